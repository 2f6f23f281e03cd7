//! What every demo shows: nodes as processes of their own, whose leader is killed under load and
//! comes back.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use paxos_actors::Preset;
use paxos_core::NodeId;
use tokio::time::sleep;

use crate::children::{Children, Layout};
use crate::exit::{Exit, Fault};
use crate::output::Output;
use crate::overview::Overview;
use crate::timeline::{Timeline, grouped};

/// For a leader to be found.
const ELECTION: Duration = Duration::from_secs(5);
/// For nodes to catch up.
pub const CATCH_UP: Duration = Duration::from_secs(5);
/// Each part with load lasts at least so long, so that there is something to see,
const PART_MIN: Duration = Duration::from_millis(1500);
/// and at most so long, so that a slow machine gets to the end.
pub const PART_MAX: Duration = Duration::from_secs(4);
/// Between two words on how far the load is.
const PROGRESS: Duration = Duration::from_millis(500);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Some nodes, and whoever follows what becomes of them.
pub struct Stage {
    /// What happens, as it is told.
    pub timeline: Timeline,
    /// The nodes.
    pub children: Children,
    /// Who led first.
    pub leader: NodeId,
}

/// A leader that was killed.
#[derive(Clone, Copy, Debug)]
pub struct Fallen {
    /// Which node that was.
    pub node: NodeId,
    /// When it was gone.
    pub at: Instant,
}

/// What a demo came to, and the least that shows something.
#[derive(Clone, Copy, Debug)]
pub struct Show<'a> {
    /// What is wrong with it in words, if something is.
    pub broken: Option<&'a str>,
    /// What is counted, in words.
    pub done: &'a str,
    /// How many that were, and how many they must be,
    pub count: (u64, u64),
    /// and of those, the ones after the change of leader.
    pub after: (u64, u64),
    /// Whether the leader changed.
    pub changed: bool,
}

impl Show<'_> {
    /// How the demo ends.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn end(&self) -> Result<Exit, Fault> {
        match self.complaints().as_slice() {
            [] => Ok(Exit::Done),
            complaints => Err(Fault::new(Exit::No, complaints.join("; "))),
        }
    }

    fn complaints(&self) -> Vec<String> {
        let Show { broken, done, count: (count, least), after: (after, after_least), changed } =
            *self;
        let mut complaints: Vec<_> = broken.map(str::to_owned).into_iter().collect();
        if count < least {
            complaints.push(format!("fewer than {least} {done}"));
        }
        if after < after_least {
            complaints.push(format!("only {after} {done} after the change of leader"));
        }
        if !changed {
            complaints.push("the leader did not change".to_owned());
        }
        complaints
    }
}

impl Stage {
    /// Starts these nodes of this program with these settings, and waits until one leads.
    ///
    /// # Errors
    /// Whatever stood in the way.
    pub async fn set(output: &Output, layout: Layout, preset: Preset) -> anyhow::Result<Stage> {
        let timeline = Timeline::start(output);
        let nodes = match layout {
            Layout { voters, read_replicas: 0 } => format!("{voters} nodes"),
            Layout { voters, read_replicas } => {
                format!("{voters} nodes and {read_replicas} to read from")
            }
        };
        timeline
            .tell(format_args!("starting {nodes}: own processes, QUIC between them, mutual TLS"))?;
        let children = Children::start(std::env::current_exe()?, layout, preset).await?;
        for (node, address) in &children.cluster().nodes {
            let process = children.process_id(*node).unwrap_or_default();
            let node = node.0;
            timeline.tell(format_args!("node {node} is ready at {address}, process {process}"))?;
        }
        let leader = children.leader_within(ELECTION).await?;
        timeline.tell(format_args!("node {} leads", leader.0))?;
        Ok(Stage { timeline, children, leader })
    }

    /// Lets a load work until its count is `enough`, or for as long as a part may last, and tells
    /// how far it is in between: `done` is what is counted, in words.
    ///
    /// # Errors
    /// That of stdout.
    pub async fn work(
        &self,
        count: impl Fn() -> u64,
        enough: u64,
        done: &str,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut told = Instant::now();
        while begun.elapsed() < PART_MAX {
            let count = count();
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                self.timeline.tell(format_args!("    {:>7} {done}", grouped(count)))?;
            }
            if count >= enough && begun.elapsed() >= PART_MIN {
                break;
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Kills the leader with SIGKILL.
    ///
    /// # Errors
    /// That nobody leads.
    pub async fn fell_leader(&mut self) -> anyhow::Result<Fallen> {
        let node = self.children.leader_within(ELECTION).await?;
        let process = self.children.process_id(node).unwrap_or_default();
        self.children.kill(node).await?;
        self.timeline.tell(format_args!("kill -9 {process}: node {}, the leader", node.0))?;
        Ok(Fallen { node, at: Instant::now() })
    }

    /// Waits until another node leads, and says which.
    ///
    /// # Errors
    /// That none does.
    pub async fn await_leader(&self, fallen: Fallen) -> anyhow::Result<NodeId> {
        let leader = self.children.leader_within(ELECTION).await?;
        let millis = fallen.at.elapsed().as_millis();
        self.timeline.tell(format_args!("node {} leads, {millis} ms later", leader.0))?;
        Ok(leader)
    }

    /// Waits until a load gets further than `before`, and tells so: `going` is what goes on.
    ///
    /// # Errors
    /// That of stdout.
    pub async fn await_progress(
        &self,
        fallen: Fallen,
        count: impl Fn() -> u64,
        before: u64,
        going: &str,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while count() == before && begun.elapsed() < PART_MAX {
            sleep(LOOK).await;
        }
        let (millis, node) = (fallen.at.elapsed().as_millis(), fallen.node.0);
        Ok(self.timeline.tell(format_args!(
            "{going} go on, {millis} ms after the kill; node {node} is still down"
        ))?)
    }

    /// Starts a node again, and waits until it knows what it missed.
    ///
    /// # Errors
    /// That it does not come so far.
    pub async fn bring_back(&mut self, fallen: Fallen) -> anyhow::Result<()> {
        let node = fallen.node;
        let missed = highest(&self.children.overview().await);
        self.timeline.tell(format_args!("starting node {} again, as it was", node.0))?;
        self.children.start_node(node).await?;
        let begun = Instant::now();
        loop {
            let overview = self.children.overview().await;
            let line = overview.nodes.iter().find(|line| line.node == node.0);
            if line.and_then(|line| line.applied).is_some_and(|applied| applied >= missed) {
                break;
            }
            if begun.elapsed() > CATCH_UP {
                return Err(anyhow!("node {} did not catch up in {CATCH_UP:?}", node.0));
            }
            sleep(LOOK).await;
        }
        let slots = grouped(missed);
        Ok(self.timeline.tell(format_args!("node {} has caught up: {slots} slots", node.0))?)
    }

    /// Waits until all nodes have applied as much as the others, and shows them.
    ///
    /// # Errors
    /// That they do not.
    pub async fn await_level(&self) -> anyhow::Result<()> {
        let overview = self.children.level_within(CATCH_UP).await?;
        let table = overview.table();
        let table: Vec<_> = table.lines().map(|line| format!("            {line}")).collect();
        Ok(self.timeline.tell(format_args!("status:\n{}", table.join("\n")))?)
    }
}

fn highest(overview: &Overview) -> u64 {
    overview.nodes.iter().filter_map(|line| line.applied).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_that_shows_too_little_is_a_bad_one() {
        let (count, after) = ((100, 100), (30, 30));
        let good = Show { broken: None, done: "grants", count, after, changed: true };
        assert_eq!(good.end(), Ok(Exit::Done));
        for (bad, words) in [
            (Show { broken: Some("two held it"), ..good }, "two held it"),
            (Show { count: (99, 100), ..good }, "fewer than 100 grants"),
            (Show { after: (29, 30), ..good }, "only 29 grants after the change of leader"),
            (Show { changed: false, ..good }, "the leader did not change"),
        ] {
            assert_eq!(bad.end(), Err(Fault::new(Exit::No, words)));
        }
        let worse = Show { count: (0, 100), changed: false, ..good };
        let words = "fewer than 100 grants; the leader did not change";
        assert_eq!(worse.end(), Err(Fault::new(Exit::No, words)));
    }
}
