//! One run: a policy, a scenario and a seed.

use std::fmt;
use std::time::Duration;

use paxos_core::{NodeId, Random};
use paxos_tests::checkers::counter_history::{self, Action, Call};
use paxos_tests::virtual_time::{Cluster, Crowd, Printed, Setup, Trace, in_virtual_time};
use tokio::time::{Instant, sleep, timeout};

use crate::contender::Contender;
use crate::scenario::{FAIR, Scenario, Stage};
use crate::witness::Witness;

/// Nodes, all of them voters.
pub const NODES: u64 = 3;

/// Clients, each of which has one command outstanding at most,
pub const CLIENTS: u64 = 3;

/// and rests for up to so long between two.
const PAUSE: Duration = Duration::from_millis(60);

/// A cluster gets together in this time; then it is led by the node that the seed has for it.
const GATHERING: Duration = Duration::from_secs(2);

/// What happens before counts for nothing; the scenario begins within a second after.
const WARM_UP: Duration = Duration::from_secs(2);

/// A sync takes up to this.
const SYNC: Duration = Duration::from_millis(2);

/// A healed cluster has so much virtual time to answer everything.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The policy and its parameter.
    pub contender: Contender,
    /// What befalls the cluster.
    pub scenario: Scenario,
    /// Network, faults and work. The same seed is the same of each for every policy.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The same for the same trial and build.
    pub hash: u64,
    /// Who led when it began.
    pub led_first: NodeId,
    /// The longest time without a command answered.
    pub out_of_service: Duration,
    /// It lasted until the end.
    pub censored: bool,
    /// From the fault until another node suspected the leader.
    pub detected: Option<Duration>,
    /// From the fault until another was elected.
    pub replaced: Option<Duration>,
    /// Suspicions of a leader that was well.
    pub mistakes: u64,
    /// Changes of leaders.
    pub changes: u64,
    /// Those of them while the leader before was well.
    pub unjustified: u64,
    /// Messages between nodes.
    pub messages: u64,
    /// Commands answered while it was watched.
    pub answered: usize,
}

impl fmt::Display for Trial {
    /// The command line that tells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trial { contender: Contender { policy, bears }, scenario, seed } = self;
        let (scenario, bears) = (scenario.name(), bears.as_millis());
        write!(f, "leadership run {scenario} {policy} {seed} --bears-ms {bears}")
    }
}

impl Trial {
    /// Runs it on this thread, in virtual time. Agreement, durability, recovery, leases and the
    /// clients' history are checked.
    ///
    /// # Errors
    /// The first promise that was broken, in words.
    pub fn run(&self, printed: Printed) -> Result<Outcome, String> {
        in_virtual_time(async {
            let trace = Trace::new(printed);
            let mut outcome = self.play(&trace).await?;
            (outcome.hash, _) = trace.hash();
            Ok(outcome)
        })
    }

    async fn play(&self, trace: &Trace) -> Result<Outcome, String> {
        let mut random = Random::new(self.seed);
        let (nodes, mut fate, mut work) =
            (random.draw(), Random::new(random.draw()), Random::new(random.draw()));
        let leadership = self.contender.settings();
        let setup = Setup { leadership, ..Setup::of_voters(NODES, SYNC)? };
        let mut cluster = Cluster::of(&setup, nodes, trace.clone())?;
        let witness = Witness::new(trace.clone());
        cluster.overhear(witness.listener());
        cluster.switch.blow(FAIR);
        for node in cluster.nodes() {
            cluster.start(node)?;
            sleep(fate.duration_below(Duration::from_millis(100))).await;
        }
        let mut crowd = Crowd::new(trace.clone(), setup.leases_hold);
        for number in 0..CLIENTS {
            crowd.join(cluster.client(number, None)?, 0, PAUSE, work.draw());
        }
        let first = NodeId(1 + fate.below(NODES));
        let later = WARM_UP + fate.duration_below(Duration::from_secs(1));
        let mut stage = Stage { cluster: &mut cluster, witness: &witness, fate };
        stage.pass(Instant::now() + GATHERING).await?;
        stage.cluster.transfer(Some(first))?;
        stage.pass(Instant::now() + later).await?;
        let leader = stage.cluster.watch().leader().ok_or("nobody leads after the warm-up")?;
        if leader.node != first {
            return Err(format!("{leader} leads after the warm-up, and not {first}"));
        }
        witness.begin();
        let since = trace.elapsed();
        self.scenario.play(&mut stage, leader.node).await?;
        let (seen, until) = (witness.seen(), trace.elapsed());
        let calls = finish(cluster, crowd).await?;
        let service = Service::of(&calls, since, until);
        let after = |at: Duration| at.saturating_sub(since);
        Ok(Outcome {
            hash: 0,
            led_first: leader.node,
            out_of_service: service.longest_gap,
            censored: service.censored,
            detected: seen.suspected.map(after),
            replaced: seen.replaced.map(after),
            mistakes: seen.mistakes,
            changes: seen.changes,
            unjustified: seen.unjustified,
            messages: seen.messages,
            answered: service.answered,
        })
    }
}

/// Heals, lets the clients come to an end, and checks what they and the disks hold.
async fn finish(mut cluster: Cluster, mut crowd: Crowd) -> Result<Vec<Call>, String> {
    cluster.heal();
    for node in cluster.nodes() {
        if !cluster.runs(node) {
            cluster.start(node)?;
        }
    }
    crowd.dismiss();
    let done = timeout(PROGRESS_WITHIN, crowd.done()).await;
    cluster.check().await?;
    done.map_err(|_| format!("no progress within {PROGRESS_WITHIN:?} of healing"))?;
    crowd.leave().await;
    for node in cluster.nodes() {
        cluster.stop(node).await;
    }
    cluster.check_disks()?;
    let calls = crowd.seen().calls;
    counter_history::check(&calls)?;
    Ok(calls)
}

/// What clients had of a cluster.
#[derive(Debug, PartialEq, Eq)]
struct Service {
    longest_gap: Duration,
    censored: bool,
    answered: usize,
}

impl Service {
    /// Between two moments: the longest time between two commands answered, of whichever clients.
    /// One that begins before counts from its beginning; one that goes on at the end is censored.
    fn of(calls: &[Call], since: Duration, until: Duration) -> Self {
        let increments =
            calls.iter().filter(|call| matches!(call.action, Action::Increment { .. }));
        let mut answered: Vec<_> =
            increments.filter_map(|call| call.answered).map(Duration::from_micros).collect();
        answered.sort_unstable();
        let (before, within): (Vec<_>, Vec<_>) =
            answered.into_iter().filter(|at| *at <= until).partition(|at| *at <= since);
        let (mut last, mut longest_gap) = (before.last().copied().unwrap_or(since), Duration::ZERO);
        for at in &within {
            longest_gap = longest_gap.max(*at - last);
            last = *at;
        }
        let censored = until - last > longest_gap;
        longest_gap = longest_gap.max(until - last);
        Service { longest_gap, censored, answered: within.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(at: u64) -> Call {
        let action = Action::Increment { by: 1, became: Some(at) };
        Call { invoked: at - 1, answered: Some(at), action }
    }

    #[test]
    fn a_gap_counts_from_the_last_answer_before_and_is_censored_at_the_end() {
        let of = |calls: &[Call]| {
            let Service { longest_gap, censored, answered } =
                Service::of(calls, Duration::from_micros(100), Duration::from_micros(200));
            (longest_gap.as_micros(), censored, answered)
        };
        let calls = [90, 130, 160, 210].map(answered);
        assert_eq!(of(&calls), (40, false, 2));
        assert_eq!(of(&calls[..2]), (70, true, 1));
        assert_eq!(of(&[]), (100, true, 0));
        let read = Call { action: Action::Read(3), ..answered(110) };
        assert_eq!(of(&[read, answered(95), answered(199)]), (104, false, 1));
    }
}
