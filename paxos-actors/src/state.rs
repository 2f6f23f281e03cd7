//! The state of a node that keeps it, as its disk has it.

use std::time::Instant;

use paxos_core::{
    Applied, Archive, ArchiveOptions, Backlog, Configurations, Learner, LearnerOptions, NodeId,
    RecentOptions, Recovered, Replica, Slot, StateMachine,
};
use paxos_net::ClusterFile;

use crate::log::{Disk, Snapshots};
use crate::node::StartError;
use crate::watches::{WatchOptions, Watches};

/// What a learner, a state machine and a shelf begin with.
pub(crate) struct State<S: StateMachine> {
    /// Knows what the log says.
    pub learner: Learner,
    /// Has applied what is chosen.
    pub replica: Replica<S>,
    /// What of it is in no snapshot yet.
    pub backlog: Backlog,
    /// What it has told lately, for those who watch.
    pub watches: Watches,
    /// Knows nothing yet of the snapshots.
    pub archive: Archive,
    /// The snapshots.
    pub snapshots: Snapshots,
}

impl<S: StateMachine> State<S> {
    /// Goes on from the newest snapshot, or from the beginning, and applies what the log has behind
    /// it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn recover(
        me: NodeId,
        disk: Box<dyn Disk + Send>,
        cluster: &ClusterFile,
        recovered: &Recovered,
        genesis: Configurations,
    ) -> Result<Self, StartError> {
        let keep = cluster.snapshots.keep as usize;
        let mut snapshots = Snapshots::open(disk, cluster.cluster, keep)?;
        let mut replica = restore::<S>(&mut snapshots, recovered.trimmed, genesis)?;
        let restored = replica.restored();
        let next = restored.next;
        let learner = Learner::recover(me, LearnerOptions::default(), restored, recovered);
        let mut backlog = Backlog::new(cluster.snapshots.every_bytes, snapshots.bytes());
        let (begun, mut commands) = (Instant::now(), 0);
        let limits = (WatchOptions::default(), RecentOptions::default());
        let mut watches = Watches::new(limits.0, limits.1, replica.applied());
        for (slot, value) in learner.chosen(next) {
            let Applied { outcomes, events, .. } = replica.apply(slot, value);
            commands += outcomes.len();
            watches.add(slot, events);
            backlog.add(slot, value, replica.configurations());
        }
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(commands, "the values behind it: applied in {seconds:.3} s");
        let options = ArchiveOptions::paced(cluster.snapshots.fetch_bytes_per_second);
        let archive = Archive::new(me, options);
        Ok(State { learner, replica, backlog, watches, archive, snapshots })
    }
}

/// The state of the newest snapshot, or the first of all.
fn restore<S: StateMachine>(
    snapshots: &mut Snapshots,
    trimmed: Slot,
    genesis: Configurations,
) -> Result<Replica<S>, StartError> {
    let state = snapshots.newest()?;
    let begun = Instant::now();
    let replica = Replica::behind(state.as_deref(), genesis)?;
    let seconds = begun.elapsed().as_secs_f64();
    tracing::info!("the newest snapshot: {}, restored in {seconds:.3} s", snapshots.effort());
    snapshots.reaches(trimmed)?;
    Ok(replica)
}
