//! How requests that wait become a proposal.

use std::collections::VecDeque;
use std::sync::Arc;

use paxos_core::batch::{Commands, Entry};
use paxos_core::{Membership, Origin, Proposal, Reconfigure};
use paxos_net::protocol::Call;

use super::pending::Pending;

/// Takes the next proposal from the requests that wait, with those that it is made of. A batch
/// takes no more at so many bytes; a change of membership travels alone. `None`: nothing waits.
pub(super) fn gather(
    waiting: &mut VecDeque<Pending>,
    origin: Origin,
    batch_bytes: usize,
) -> Option<(Proposal, Vec<Option<Pending>>)> {
    if let Call::Reconfigure { base, membership } = &waiting.front()?.call {
        let (base, membership) = (*base, Membership::clone(membership));
        let first = waiting.pop_front()?;
        let by = first.identity.to_string();
        let change = Reconfigure { base, membership, origin, by };
        return Some((Proposal::Reconfigure(Box::new(change)), vec![Some(first)]));
    }
    let (mut entries, mut identities) = (Vec::new(), Vec::<Arc<str>>::new());
    let (mut pending, mut bytes) = (Vec::new(), 0);
    while let Some(next) = waiting.front() {
        let Call::Operate(operation) = &next.call else { break };
        bytes += next.size();
        if !pending.is_empty() && bytes > batch_bytes {
            break;
        }
        let identity = place(&mut identities, &next.identity);
        entries.push(Entry { identity, operation: operation.clone() });
        pending.push(waiting.pop_front());
    }
    let identities = identities.iter().map(ToString::to_string).collect();
    let commands = Commands { origin, identities, entries };
    Some((Proposal::Commands(commands.encode()), pending))
}

fn place(identities: &mut Vec<Arc<str>>, identity: &Arc<str>) -> u32 {
    let found = identities.iter().position(|known| known == identity);
    found.unwrap_or_else(|| {
        identities.push(identity.clone());
        identities.len() - 1
    }) as u32
}
