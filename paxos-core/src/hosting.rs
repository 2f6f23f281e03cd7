//! Which roles one process hosts.

use crate::membership::Configurations;
use crate::message::RoleKind;
use crate::types::{NodeId, Slot};

/// Which roles one process hosts, beside a leadership, which all have. Two things about it are the
/// process's own: whether its disk keeps the state, which is fixed when it is formatted, and
/// whether it could lead. The rest is the membership's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// An acceptor.
    pub accepts: bool,
    /// A learner, an archive, and the state machine behind them.
    pub learns: bool,
    /// A proposer.
    pub leads: bool,
}

impl Hosting {
    /// What a process hosts that starts as `node`, knowing these memberships.
    ///
    /// An acceptor is hosted if any of them has the node accept, the one before the newest too: a
    /// quorum of it may be needed yet. One that nobody counts does no harm, since whose votes count
    /// stands in the membership of the slot.
    pub fn of(node: NodeId, keeps_state: bool, may_lead: bool, known: &Configurations) -> Self {
        Hosting {
            accepts: !keeps_state || may_be_needed(node, known),
            learns: keeps_state,
            leads: keeps_state && may_lead,
        }
    }

    /// Whether it has every role that one of these memberships gives the node. A process that lacks
    /// one must start anew: an acceptor begins with what the log says, and behind the silence of a
    /// start, or it could break its word.
    pub fn suits(self, node: NodeId, known: &Configurations) -> bool {
        self.accepts || !may_be_needed(node, known)
    }

    /// The roles, in the order of their kinds.
    pub fn roles(self) -> impl Iterator<Item = RoleKind> {
        let hosted = [
            (RoleKind::Acceptor, self.accepts),
            (RoleKind::Proposer, self.leads),
            (RoleKind::Learner, self.learns),
            (RoleKind::Leadership, true),
            (RoleKind::Archive, self.learns),
        ];
        hosted.into_iter().filter(|(_, hosts)| *hosts).map(|(kind, _)| kind)
    }
}

/// Whether the acceptor of a node may be needed for a quorum: that of the newest membership, or of
/// one before, of whose slots some may be open.
fn may_be_needed(node: NodeId, known: &Configurations) -> bool {
    known.from(Slot(0)).any(|membership| membership.quorums.contains(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Origin;
    use crate::membership::{MemberRole, Membership};
    use crate::value::Reconfigure;

    fn three() -> Configurations {
        let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
        Configurations::genesis(Membership::of_voters(voters).unwrap())
    }

    fn changed(known: &Configurations, membership: Membership) -> Configurations {
        let origin = Origin { node: NodeId(1), incarnation: 1, number: 1 };
        let base = known.newest().0;
        let change = Reconfigure { base, membership, origin, by: String::new() };
        known.changed(base, &change).unwrap()
    }

    #[test]
    fn what_is_hosted_follows_from_the_memberships_the_disk_and_one_wish() {
        let roles = |node, keeps, leads| {
            Hosting::of(NodeId(node), keeps, leads, &three()).roles().collect::<Vec<_>>()
        };
        use RoleKind::{Acceptor, Archive, Leadership, Learner, Proposer};
        assert_eq!(roles(1, true, true), [Acceptor, Proposer, Learner, Leadership, Archive]);
        assert_eq!(roles(1, true, false), [Acceptor, Learner, Leadership, Archive]);
        assert_eq!(roles(4, true, true), [Proposer, Learner, Leadership, Archive], "a front end");
        assert_eq!(roles(4, true, false), [Learner, Leadership, Archive], "a read replica");
        assert_eq!(roles(4, false, true), [Acceptor, Leadership], "a witness");
    }

    #[test]
    fn who_is_promoted_lacks_an_acceptor_and_who_is_demoted_keeps_it_for_as_long_as_it_may_count() {
        let (me, known) = (NodeId(4), three());
        let learner = known.newest().1.added(MemberRole::Learner, "n4:1".to_owned()).unwrap();
        let joined = changed(&known, learner.clone());
        let hosting = Hosting::of(me, true, true, &joined);
        assert!(!hosting.accepts && hosting.suits(me, &joined));
        let promoted = changed(&joined, learner.with_role(me, MemberRole::Voter).unwrap());
        assert!(!hosting.suits(me, &promoted) && Hosting::of(me, true, true, &promoted).accepts);
        let demoted = changed(&promoted, learner.clone());
        assert!(Hosting::of(me, true, true, &demoted).accepts, "slots before it may be open");
        let later = changed(&demoted, learner.without(NodeId(1)).unwrap());
        assert!(!Hosting::of(me, true, true, &later).accepts);
    }

    /// Seed 337344058 of the simulator, with locks: what was chosen between the two changes could
    /// not be learned any more, so both were learned at once, from a snapshot.
    #[test]
    fn who_was_promoted_and_demoted_before_it_heard_of_either_is_needed_in_between() {
        let (me, known) = (NodeId(4), three());
        let learner = known.newest().1.added(MemberRole::Learner, "n4:1".to_owned()).unwrap();
        let joined = changed(&known, learner.clone());
        let hosting = Hosting::of(me, true, true, &joined);
        let promoted = changed(&joined, learner.with_role(me, MemberRole::Voter).unwrap());
        let demoted = changed(&promoted, learner);
        assert!(!hosting.suits(me, &demoted) && Hosting::of(me, true, true, &demoted).accepts);
    }
}
