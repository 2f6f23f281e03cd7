//! `demo`: a cluster that loses its leader, and followers who miss nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use chat::load::audience::Audience;
use chat::load::speakers::Speakers;
use chat::load::verdict::Verdict;
use clap::Args;
use paxos_app::app::block_on;
use paxos_app::children::Layout;
use paxos_app::exit::Exit;
use paxos_app::output::Output;
use paxos_app::signals::unless_stopped;
use paxos_app::stage::{Show, Stage};
use paxos_core::NodeId;

use crate::preset;

/// The last one is the read replica.
const LAYOUT: Layout = Layout { read_replicas: 1, ..Layout::THREE_VOTERS };

const SPEAKERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const ROOM: &str = "demo";

/// Fewer messages show nothing,
const SAID_MIN: u64 = 1_000;
/// nor do fewer after the change of leader.
const SAID_AFTER_MIN: u64 = 200;

/// For one message, however often the library has to send it.
const PATIENCE: Duration = Duration::from_secs(20);
/// For the followers to hear the last message.
const HEARD_OUT: Duration = Duration::from_secs(20);
/// What is counted.
const DONE: &str = "messages said";

const EXAMPLES: &str = "\
Examples:
  chat demo
  chat demo -o json    (the verdict alone)
  TMPDIR=/var/tmp chat demo";

/// Show three followers who see every message once while the leader is killed
///
/// Starts three nodes and a read replica as processes in a temporary folder, lets four people speak
/// in one room and has it followed at the leader, at another node and at the read replica. Kills
/// the leader with SIGKILL, brings it back, and compares what was acknowledged with what each
/// follower saw. Exit 1 if that differs.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Demo {}

impl Demo {
    /// Shows it.
    ///
    /// # Errors
    /// Whatever kept it from its end; or what is wrong with it.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(unless_stopped(show(output)))
    }
}

async fn show(output: &Output) -> anyhow::Result<Exit> {
    let mut stage = Stage::set(output, LAYOUT, preset()).await?;
    let mut config = stage.children.client_config()?;
    config.timeout = PATIENCE;
    let others = stage.children.nodes().into_iter().filter(|node| *node != stage.leader);
    let followed: BTreeSet<_> = others.rev().take(2).chain([stage.leader]).collect();
    let audience = Audience::gather(&config, &followed, ROOM, &stage.timeline)?;
    let authority = stage.children.cluster_path().with_file_name("ca");
    let speakers = Speakers::start(&SPEAKERS, &authority, &config, ROOM)?;
    let people = SPEAKERS.len();
    stage
        .timeline
        .tell(format_args!("{people} people speak; followers listen at {}", names(&followed)))?;
    let count = || speakers.said();
    stage.work(count, SAID_MIN / 2, DONE).await?;
    let fallen = stage.fell_leader().await?;
    let leader = stage.await_leader(fallen).await?;
    let before = count();
    stage.await_progress(fallen, count, before, "messages").await?;
    stage.work(count, before + SAID_MIN / 2, DONE).await?;
    let after = count() - before;
    // Whoever followed the fallen node is at another before that one is back.
    let heard_by_all = || audience.reached().into_iter().min().unwrap_or(0);
    stage.work(heard_by_all, count(), "messages heard by everybody").await?;
    stage.bring_back(fallen).await?;
    let told = speakers.stop().await?;
    let last = told.said.iter().map(|(id, _)| *id).max().unwrap_or(0);
    stage.timeline.tell(format_args!("everybody falls silent behind #{last}"))?;
    let heard = audience.hear_out(last, HEARD_OUT).await?;
    stage.await_level().await?;
    let verdict = Verdict::new(&told, &heard);
    output.result(verdict, &verdict)?;
    let show = Show {
        broken: (!verdict.is_good()).then_some("the followers did not see what was said, once"),
        done: DONE,
        count: (verdict.said, SAID_MIN),
        after: (after, SAID_AFTER_MIN),
        changed: leader != fallen.node,
    };
    Ok(show.end()?)
}

fn names(nodes: &BTreeSet<NodeId>) -> String {
    let names: Vec<_> = nodes.iter().map(|node| format!("node {}", node.0)).collect();
    names.join(", ")
}
