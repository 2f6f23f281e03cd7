//! Nothing is proposed beyond the window: at or above `alpha` slots behind what is known to be
//! chosen, a distance and never a count.

use paxos_core::{AcceptorMessage, Envelope, Message, Slot};

/// Checks a message of a node that has applied this much.
///
/// # Errors
/// What is violated, in words.
pub fn within(envelope: &Envelope, applied: Slot, alpha: u64) -> Result<(), String> {
    let Message::Acceptor(AcceptorMessage::Accept { slot, .. }) = &envelope.message else {
        return Ok(());
    };
    let end = applied.next().plus(alpha);
    if *slot < end {
        return Ok(());
    }
    Err(format!("window: {} proposes {slot}, but its window ends before {end}", envelope.from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{Ballot, NodeId, Value};

    #[test]
    fn a_proposal_beyond_the_window_is_seen() {
        let node = NodeId(1);
        let accept = |slot| {
            let ballot = Ballot { round: 1, node, incarnation: 1 };
            let accept = AcceptorMessage::Accept { ballot, slot: Slot(slot), value: Value::Noop };
            Envelope { from: node, to: NodeId(2), message: Message::Acceptor(accept) }
        };
        assert!(within(&accept(9), Slot(5), 4).is_ok());
        assert!(within(&accept(10), Slot(5), 4).is_err());
    }
}
