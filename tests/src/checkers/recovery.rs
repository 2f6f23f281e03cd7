//! What was synced is there after every restart, and nothing of it goes back.

use paxos_core::Recovered;

/// Compares what a log says after a restart with what was synced before.
///
/// # Errors
/// What is missing, in words.
pub fn remembers(synced: &Recovered, recovered: &Recovered) -> Result<(), String> {
    if recovered.promised < synced.promised {
        return Err(format!("recovery: the promise of {} was forgotten", synced.promised));
    }
    if recovered.trimmed < synced.trimmed {
        return Err(format!("recovery: the cut at {} was forgotten", synced.trimmed));
    }
    for (slot, (ballot, value)) in synced.accepted.range(recovered.trimmed..) {
        match recovered.accepted.get(slot) {
            Some((found, _)) if found > ballot => {}
            Some((found, same)) if found == ballot && same == value => {}
            Some((found, _)) => {
                return Err(format!(
                    "recovery: {slot} was accepted under {ballot}, now under {found}"
                ));
            }
            None => return Err(format!("recovery: the acceptance of {slot} was forgotten")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{Ballot, NodeId, Record, Slot, Value};

    #[test]
    fn what_is_missing_is_seen() {
        let ballot = Ballot { round: 1, node: NodeId(1), incarnation: 1 };
        let of = |records: &[Record]| {
            let mut recovered = Recovered::default();
            records.iter().for_each(|record| recovered.absorb(record.clone()));
            recovered
        };
        let accepted = Record::Accepted { slot: Slot(1), ballot, value: Value::Noop };
        let both = of(&[accepted.clone(), Record::Promised(ballot)]);
        assert!(remembers(&both, &both).is_ok());
        assert!(remembers(&both, &of(&[Record::Promised(ballot)])).is_err());
        assert!(remembers(&of(&[Record::Promised(ballot)]), &of(&[])).is_err());
    }
}
