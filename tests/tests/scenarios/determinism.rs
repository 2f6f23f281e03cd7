//! Scenario D17: a state machine that is none.

use std::collections::HashMap;

use paxos_core::batch::{Commands, Entry};
use paxos_core::{
    Batch, Configurations, Context, Membership, NodeId, Operation, Origin, Replica, SessionId,
    StateMachine, Time, Value,
};
use paxos_tests::checkers::replication::Replication;
use serde::{Deserialize, Serialize};

/// Remembers words; which of them it forgets when it is full depends on the order of a `HashMap`,
/// which no two processes share.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Forgetful {
    words: HashMap<u64, u64>,
    sum: u64,
}

impl StateMachine for Forgetful {
    type Command = u64;
    type Reply = ();
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: &mut Context<'_>, word: u64) {
        self.words.insert(word, word * word);
        if self.words.len() > 8 {
            let first = self.words.keys().next().copied();
            self.sum += first.and_then(|word| self.words.remove(&word)).unwrap_or_default();
        }
    }

    fn query(&self, (): ()) -> u64 {
        self.sum
    }

    fn snapshot(&self) -> Vec<u8> {
        // Equal for equal states, whatever the order of the map.
        let words: std::collections::BTreeMap<_, _> = self.words.iter().collect();
        postcard::to_stdvec(&(words, self.sum)).unwrap()
    }
}

fn batch(slot: u64, operation: Operation) -> Value {
    let commands = Commands {
        origin: Origin { node: NodeId(1), incarnation: 1, number: slot },
        identities: vec!["client/ada".to_owned()],
        entries: vec![Entry { identity: 0, operation }],
    };
    Value::Commands(Batch {
        stamp: Time(slot),
        by: paxos_core::Ballot::ZERO,
        bytes: commands.encode(),
    })
}

#[test]
fn d17_a_state_machine_that_depends_on_chance_is_found_out_at_the_next_check() {
    const CHECK_EVERY: u64 = 16;
    let mut checker = Replication::default();
    let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
    let genesis = Configurations::genesis(Membership::of_voters(voters).unwrap());
    let mut replicas =
        [1, 2, 3].map(|node| (NodeId(node), Replica::<Forgetful>::new(genesis.clone())));
    let mut values = vec![batch(1, Operation::Open)];
    for sequence in 1..CHECK_EVERY * 20 {
        let command = postcard::to_stdvec(&sequence).unwrap().into();
        let operation = Operation::Run { session: SessionId(1), sequence, command };
        values.push(batch(sequence + 1, operation));
    }
    let mut found = None;
    for value in &values {
        for (node, replica) in &mut replicas {
            let slot = replica.applied().next();
            replica.apply(slot, value);
            let checked = match slot.0.is_multiple_of(CHECK_EVERY) {
                true => checker.state(*node, slot, &replica.snapshot()),
                false => Ok(()),
            };
            found = found.or(checked.err());
        }
        if found.is_some() {
            break;
        }
    }
    let words = found.expect("the order of the maps differs somewhere in 300 commands");
    let named = ["of n2 ", "of n3 "].iter().any(|node| words.contains(node));
    assert!(named && words.contains("behind #"), "{words}");
}

#[test]
fn d17_clus11_a_replica_that_went_another_way_is_named_in_a_run() {
    let mut cluster = paxos_tests::simulation::directed::Cluster::of(3);
    cluster.run_until_led();
    cluster.spoil_state(2);
    let spoilt = std::panic::AssertUnwindSafe(|| cluster.run_until_more(200));
    let broken = std::panic::catch_unwind(spoilt).unwrap_err();
    let words = broken.downcast_ref::<String>().unwrap();
    assert!(words.contains("state of") && words.contains("n2"), "{words}");
}
