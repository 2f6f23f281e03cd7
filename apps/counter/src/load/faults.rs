//! Kills of leaders while others work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use paxos_app::children::Children;
use paxos_app::timeline::Timeline;
use paxos_core::NodeId;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

/// How often is looked who leads.
const LOOK: Duration = Duration::from_millis(100);

/// What was done to the nodes, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Toll {
    /// Leaders that were killed.
    pub kills: u64,
    /// Times that another node than before was seen to lead.
    pub leader_changes: u64,
}

/// Watches who leads and, if asked to, kills them: one each period, back half a period later.
pub struct Faults<'a> {
    children: &'a mut Children,
    timeline: &'a Timeline,
    kills: watch::Sender<u64>,
    toll: Toll,
    leader: Option<NodeId>,
    killed: Option<Instant>,
}

impl<'a> Faults<'a> {
    /// Has seen and done nothing yet. It tells `kills` how many there were.
    pub fn new(
        children: &'a mut Children,
        timeline: &'a Timeline,
        kills: watch::Sender<u64>,
    ) -> Self {
        Faults { children, timeline, kills, toll: Toll::default(), leader: None, killed: None }
    }

    /// Goes on until `over`, then sees to it that all nodes run.
    ///
    /// # Errors
    /// If a node does not come back, or ends by itself.
    pub async fn run(
        mut self,
        period: Option<Duration>,
        over: &AtomicBool,
    ) -> anyhow::Result<Toll> {
        let mut next = period.map(|period| Instant::now() + period);
        let mut down: Option<(NodeId, Instant)> = None;
        while !over.load(Ordering::Relaxed) {
            let leader = self.look().await?;
            let now = Instant::now();
            match (down, leader, period) {
                (Some((node, back)), _, _) if now >= back => {
                    self.restart(node).await?;
                    down = None;
                }
                (None, Some(leader), Some(period)) if next.is_some_and(|next| now >= next) => {
                    self.kill(leader).await?;
                    next = next.map(|due| following(due, period, now));
                    down = Some((leader, now + period / 2));
                }
                _ => {}
            }
            sleep(LOOK).await;
        }
        if let Some((node, _)) = down {
            self.restart(node).await?;
        }
        self.look().await?;
        Ok(self.toll)
    }

    /// Who leads, with a word on it if it is another than before.
    async fn look(&mut self) -> anyhow::Result<Option<NodeId>> {
        if let Some((node, status)) = self.children.ended() {
            let log = self.children.end_of_log(node);
            bail!("node {} ended by itself ({status}); the end of its log:\n{log}", node.0);
        }
        let found = self.children.leader().await;
        let Some(leader) = found.filter(|found| self.leader != Some(*found)) else {
            return Ok(found);
        };
        let since = self.killed.take().map_or(String::new(), |killed| {
            format!(", {} ms after the kill", killed.elapsed().as_millis())
        });
        self.timeline.tell(format_args!("node {} leads{since}", leader.0))?;
        self.toll.leader_changes += u64::from(self.leader.is_some());
        self.leader = Some(leader);
        Ok(found)
    }

    async fn kill(&mut self, node: NodeId) -> anyhow::Result<()> {
        self.children.kill(node).await?;
        self.toll.kills += 1;
        self.kills.send_replace(self.toll.kills);
        self.killed = Some(Instant::now());
        Ok(self.timeline.tell(format_args!("node {} killed: it led", node.0))?)
    }

    async fn restart(&mut self, node: NodeId) -> anyhow::Result<()> {
        self.children.start_node(node).await?;
        Ok(self.timeline.tell(format_args!("node {} is back", node.0))?)
    }
}

/// The first instant after `now` that lies whole periods behind `due`.
fn following(due: Instant, period: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(due);
    let missed = late.as_nanos() / period.as_nanos().max(1);
    let periods = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
    due + period.saturating_mul(periods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_keep_to_the_period_also_after_a_late_one() {
        let (due, period) = (Instant::now(), Duration::from_secs(2));
        let after = |millis| following(due, period, due + Duration::from_millis(millis)) - due;
        assert_eq!(after(0), period);
        assert_eq!(after(1999), period);
        assert_eq!(after(2000), period * 2);
        assert_eq!(after(4100), period * 3);
    }
}
