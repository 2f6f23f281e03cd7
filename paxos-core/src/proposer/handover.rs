//! How a leader hands over: it takes nothing more, lets what is in flight be chosen, and gives its
//! ballot up in the step in which it tells the successor.

use crate::effect::{Effect, Refusal};
use crate::message::{Envelope, Inside, LeadershipMessage, Message, Resignation};
use crate::types::{Ballot, NodeId, Time};

use super::Proposer;

impl Proposer {
    /// Takes no more commands until then. What waits has no slot yet, and goes back to its gateway.
    pub(super) fn yields(&mut self, now: Time, ballot: Ballot, until: Time, out: &mut Vec<Effect>) {
        let term = self.term.as_mut().filter(|term| term.elected && term.ballot == ballot);
        let Some(term) = term else { return };
        (term.yields_until, term.drained) = (until, false);
        for waiting in self.queue.drain(..) {
            out.push(Effect::Refuse { ticket: waiting.ticket, refusal: Refusal::NotLeader });
        }
        self.tell_when_drained(now, out);
    }

    /// Whether everything that was reported to this leader, or proposed by it, is chosen, and
    /// nothing more will be proposed.
    fn is_drained(&self, now: Time) -> bool {
        self.term.as_ref().is_some_and(|term| {
            let behind_all = self.next >= term.top && self.next >= term.trimmed;
            now < term.yields_until && term.ready && term.flights.is_empty() && behind_all
        })
    }

    pub(super) fn tell_when_drained(&mut self, now: Time, out: &mut Vec<Effect>) {
        let (drained, next) = (self.is_drained(now), self.next);
        let Some(term) = self.term.as_mut().filter(|term| drained && !term.drained) else { return };
        term.drained = true;
        let ballot = term.ballot;
        out.push(self.inside(Inside::Drained { ballot, next }));
    }

    /// Invariant: with the word to the successor the ballot is gone, and its lease with it; neither
    /// is ever taken up again.
    pub(super) fn hand_over(
        &mut self,
        now: Time,
        ballot: Ballot,
        to: NodeId,
        out: &mut Vec<Effect>,
    ) {
        if self.ballot() != Some(ballot) || !self.is_drained(now) {
            return;
        }
        self.resign(Resignation::HandedOver(to), out);
        let message = Message::Leadership(LeadershipMessage::Succeed { ballot });
        out.push(Effect::Send(Envelope { from: self.me, to, message }));
    }
}
