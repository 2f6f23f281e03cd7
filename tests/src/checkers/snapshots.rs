//! Nothing is cut before it is saved: the log of a node with a replica is cut below a slot only if
//! a synced snapshot of that node covers everything below, and that of a node without one only if
//! enough others have such a snapshot: of every phase 1 quorum one, or, where even all replicas
//! leave a phase 1 quorum out, one more than there can be acceptors lost.

use std::collections::BTreeMap;

use paxos_core::{Membership, NodeId, Record, Slot};

/// Watches what is stored, and what is cut.
#[derive(Debug)]
pub struct Snapshots {
    /// Every membership so far.
    memberships: Vec<Membership>,
    /// The first slot that the newest stored snapshot of each node does not cover.
    stored: BTreeMap<NodeId, Slot>,
}

impl Snapshots {
    /// A checker of a cluster that begins with this membership.
    pub fn new(membership: Membership) -> Self {
        Snapshots { memberships: vec![membership], stored: BTreeMap::new() }
    }

    /// The membership has changed.
    pub fn govern(&mut self, membership: Membership) {
        self.memberships.push(membership);
    }

    /// A node says that this membership has everything from before it in snapshots.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn settled(&self, node: NodeId, from: Slot, membership: &Membership) -> Result<(), String> {
        if self.is_held(membership, from) {
            return Ok(());
        }
        Err(format!("snapshots: {node} takes what was before {from} for safe, which it is not"))
    }

    /// Whether, whatever is lost, a snapshot is left of every slot below as long as a phase 1
    /// quorum is.
    fn is_held(&self, membership: &Membership, below: Slot) -> bool {
        let covers = |node: &NodeId| self.stored.get(node).is_some_and(|upto| *upto >= below);
        let replicas: Vec<_> = membership.learners().collect();
        let covered = replicas.iter().copied().filter(covers).collect::<Vec<_>>();
        let quorums = subsets(&membership.quorums.acceptors().collect::<Vec<_>>())
            .filter(|acceptors| membership.quorums.is_phase1(acceptors))
            .collect::<Vec<_>>();
        let meets_all = |nodes: &[NodeId]| {
            quorums.iter().all(|quorum| quorum.iter().any(|node| nodes.contains(node)))
        };
        let smallest = quorums.iter().map(Vec::len).min().unwrap_or_default();
        let losses = membership.quorums.acceptors().count() - smallest;
        covered.len() as u64 >= membership.snapshot_replicas
            && if meets_all(&replicas) { meets_all(&covered) } else { covered.len() > losses }
    }

    /// A node's disk holds a snapshot of every slot below, synced.
    pub fn stored(&mut self, node: NodeId, upto: Slot) {
        let known = self.stored.entry(node).or_default();
        *known = upto.max(*known);
    }

    /// A node's disk holds the record, synced.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn synced(&self, node: NodeId, record: &Record) -> Result<(), String> {
        match record {
            Record::Trimmed(below) | Record::Head { trimmed: below, .. } => self.cut(node, *below),
            _ => Ok(()),
        }
    }

    /// A node has cut its log.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn cut(&self, node: NodeId, below: Slot) -> Result<(), String> {
        let own = self.stored.get(&node).is_some_and(|upto| *upto >= below);
        let enough = |membership: &Membership| match membership.members.get(&node) {
            Some(member) if member.role.learns() => own,
            _ => self.is_held(membership, below),
        };
        if below <= Slot::FIRST || self.memberships.iter().any(enough) {
            return Ok(());
        }
        Err(format!("snapshots: {node} cuts its log below {below}, which is in no snapshot"))
    }
}

/// Every set of some of these nodes.
fn subsets(nodes: &[NodeId]) -> impl Iterator<Item = Vec<NodeId>> + '_ {
    (0..1u64 << nodes.len()).map(move |set| {
        let chosen = nodes.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1);
        chosen.map(|(_, node)| *node).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{Member, MemberRole};

    #[test]
    fn what_is_cut_too_early_is_seen() {
        let voters = (1..=3).map(|id| (NodeId(id), String::new()));
        let mut membership = Membership::of_voters(voters).unwrap();
        if let Some(member) = membership.members.get_mut(&NodeId(3)) {
            member.role = MemberRole::Witness;
        }
        membership.snapshot_replicas = 2;
        let mut checker = Snapshots::new(membership);
        checker.stored(NodeId(1), Slot(9));
        assert!(checker.cut(NodeId(1), Slot(9)).is_ok());
        assert!(checker.cut(NodeId(1), Slot(10)).is_err());
        assert!(checker.cut(NodeId(2), Slot(2)).is_err());
        assert!(checker.synced(NodeId(3), &Record::Trimmed(Slot(9))).is_err());
        checker.memberships[0].snapshot_replicas = 1;
        assert!(checker.cut(NodeId(3), Slot(9)).is_err(), "nodes 2 and 3 are a quorum");
        checker.memberships[0].snapshot_replicas = 2;
        checker.stored(NodeId(2), Slot(12));
        assert!(checker.synced(NodeId(3), &Record::Trimmed(Slot(9))).is_ok());
        assert!(checker.cut(NodeId(3), Slot(10)).is_err());
        let newest = checker.memberships[0].without(NodeId(1)).unwrap();
        assert!(checker.settled(NodeId(2), Slot(12), &newest).is_err(), "one replica is not two");
        let newest = Membership { snapshot_replicas: 1, ..newest };
        assert!(checker.settled(NodeId(2), Slot(12), &newest).is_ok());
        assert!(checker.settled(NodeId(2), Slot(13), &newest).is_err());
    }

    #[test]
    fn where_no_acceptor_is_a_replica_one_more_must_have_it_than_can_be_lost() {
        let nodes = (1..=5).map(|id| (NodeId(id), String::new()));
        let mut membership = Membership::of_voters(nodes.clone()).unwrap();
        for (node, address) in nodes {
            let role = MemberRole::Witness;
            membership.members.insert(node, Member { role, address });
            let (node, role) = (NodeId(node.0 + 5), MemberRole::Learner);
            membership.members.insert(node, Member { role, address: String::new() });
        }
        let mut checker = Snapshots::new(membership);
        for (node, is_enough) in [(6, false), (8, false), (9, true)] {
            checker.stored(NodeId(node), Slot(9));
            assert_eq!(checker.cut(NodeId(1), Slot(9)).is_ok(), is_enough, "node {node}");
        }
        assert!(checker.cut(NodeId(7), Slot(2)).is_err(), "a replica cuts what it has itself");
    }
}
