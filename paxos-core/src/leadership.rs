//! Leadership: when to campaign and when to resign. It is about progress only; no policy can make
//! two nodes disagree.

use crate::effect::{Change, Effect, Input, Role, Took};
use crate::membership::Configurations;
use crate::message::{Envelope, Heartbeat, Inside, LeadershipMessage, Message, Resignation};
use crate::policy::Policy;
use crate::status::Status;
use crate::types::{Ballot, NodeId, Slot, Time};

/// A leadership policy.
pub trait Leadership {
    /// Takes one event; what follows goes to `out`.
    fn handle(&mut self, now: Time, event: Event, out: &mut Outbox<'_>);

    /// When it wants [`Event::Timeout`].
    fn next_deadline(&self) -> Option<Time>;

    /// The ballot of the leader that it hears, this node's own included.
    fn leader(&self) -> Option<Ballot>;

    /// Writes what it knows into a status.
    fn describe(&self, status: &mut Status);
}

/// What a policy hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A heartbeat of another node.
    Heard(NodeId, Heartbeat),
    /// The leader of this ballot hands over to this node.
    Succeed(Ballot),
    /// The log has advanced: the first slot not known to be chosen, and the memberships from there.
    Advanced(Slot, Configurations),
    /// Synced snapshots of this node cover every slot below this one.
    Saved(Slot),
    /// The membership that governs from this slot on has settled: whoever it leaves out is needed
    /// no more.
    Settled(Slot),
    /// This node's acceptor has promised a ballot.
    Seen(Ballot),
    /// This node leads.
    Elected(Ballot),
    /// This node shall hand over, if it leads: to the named one, or to whoever is level first.
    Transfer(Option<NodeId>),
    /// What this node's leadership has proposed is chosen, and it takes no more.
    Drained(Ballot, Slot),
    /// This node has given a ballot up.
    Resigned(Ballot, Resignation),
    /// The first slot of this node's leadership is chosen.
    Ready(Ballot),
    /// An outside detector suspects this node, for this reason.
    Suspected(NodeId, String),
    /// An outside detector trusts this node.
    Trusted(NodeId),
    /// The deadline has come.
    Timeout,
}

/// What a policy can do.
#[derive(Debug)]
pub struct Outbox<'a> {
    me: NodeId,
    effects: &'a mut Vec<Effect>,
}

impl Outbox<'_> {
    /// Has the proposer of this node try to lead.
    pub fn campaign(&mut self, after: Option<Ballot>) {
        self.inside(Inside::Campaign { after });
    }

    /// Has the proposer of this node give a ballot up.
    pub fn resign(&mut self, ballot: Ballot) {
        self.inside(Inside::Resign { ballot });
    }

    /// Has the proposer of this node take no more commands for a while, and say when it is
    /// [`Event::Drained`].
    pub fn yield_until(&mut self, ballot: Ballot, until: Time) {
        self.inside(Inside::Yield { ballot, until });
    }

    /// Has the proposer of this node give a ballot up, and tell the successor in the same step.
    pub fn hand_over(&mut self, ballot: Ballot, to: NodeId) {
        self.inside(Inside::HandOver { ballot, to });
    }

    /// Sends a heartbeat.
    pub fn heartbeat(&mut self, to: NodeId, heartbeat: Heartbeat) {
        let message = Message::Leadership(LeadershipMessage::Heartbeat(heartbeat));
        self.effects.push(Effect::Send(Envelope { from: self.me, to, message }));
    }

    /// Says that the view has changed, and why.
    pub fn led(&mut self, leader: Option<Ballot>, why: String) {
        self.effects.push(Effect::Led(Change { leader, why, took: None }));
    }

    /// The same, and how long what ends with it has taken.
    pub fn led_after(&mut self, took: Took, leader: Option<Ballot>, why: String) {
        self.effects.push(Effect::Led(Change { leader, why, took: Some(took) }));
    }

    fn inside(&mut self, message: Inside) {
        let message = Message::Inside(message);
        self.effects.push(Effect::Send(Envelope { from: self.me, to: self.me, message }));
    }
}

/// The role of a node that carries a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Elector<L = Policy> {
    me: NodeId,
    policy: L,
}

impl<L: Leadership> Elector<L> {
    /// The role of node `me`.
    pub fn new(me: NodeId, policy: L) -> Self {
        Elector { me, policy }
    }

    /// Its policy.
    pub fn policy(&self) -> &L {
        &self.policy
    }
}

impl<L: Leadership> Role for Elector<L> {
    fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) {
        let event = match input {
            Input::Timeout => Event::Timeout,
            Input::Message(from, Message::Leadership(message)) => match message {
                LeadershipMessage::Heartbeat(heartbeat) => Event::Heard(from, heartbeat),
                // Nobody gives up another node's ballot.
                LeadershipMessage::Succeed { ballot } if ballot.node == from => {
                    Event::Succeed(ballot)
                }
                LeadershipMessage::Succeed { .. } => return,
            },
            Input::Message(_, Message::Inside(message)) => match message {
                Inside::Advanced { next, configurations, .. } => {
                    Event::Advanced(next, configurations)
                }
                Inside::Saved { upto, .. } => Event::Saved(upto),
                Inside::Settled { from } => Event::Settled(from),
                Inside::Seen { ballot } => Event::Seen(ballot),
                Inside::Transfer { to } => Event::Transfer(to),
                Inside::Drained { ballot, next } => Event::Drained(ballot, next),
                Inside::Elected { ballot } => Event::Elected(ballot),
                Inside::Resigned { ballot, reason } => Event::Resigned(ballot, reason),
                Inside::Ready { ballot } => Event::Ready(ballot),
                Inside::Suspected { node, why } => Event::Suspected(node, why),
                Inside::Trusted { node } => Event::Trusted(node),
                _ => return,
            },
            Input::Message(..) => return,
        };
        self.policy.handle(now, event, &mut Outbox { me: self.me, effects: out });
    }

    fn next_deadline(&self) -> Option<Time> {
        self.policy.next_deadline()
    }

    fn describe(&self, status: &mut Status) {
        self.policy.describe(status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it hears.
    #[derive(Default)]
    struct Listener(Vec<Event>);

    impl Leadership for Listener {
        fn handle(&mut self, _: Time, event: Event, _: &mut Outbox<'_>) {
            self.0.push(event);
        }

        fn next_deadline(&self) -> Option<Time> {
            None
        }

        fn leader(&self) -> Option<Ballot> {
            None
        }

        fn describe(&self, _: &mut Status) {}
    }

    #[test]
    fn a_policy_hears_of_each_step_of_its_own_leadership() {
        let (me, reason) = (NodeId(1), Resignation::Told);
        let ballot = Ballot { round: 1, node: me, incarnation: 1 };
        let mut elector = Elector::new(me, Listener::default());
        for inside in [
            Inside::Elected { ballot },
            Inside::Ready { ballot },
            Inside::Resigned { ballot, reason },
            Inside::Campaign { after: None },
        ] {
            let input = Input::Message(me, Message::Inside(inside));
            elector.handle(Time(0), input, &mut Vec::new());
        }
        let own = [Event::Elected(ballot), Event::Ready(ballot), Event::Resigned(ballot, reason)];
        assert_eq!(elector.policy().0, own, "and nothing that is meant for others");
    }
}
