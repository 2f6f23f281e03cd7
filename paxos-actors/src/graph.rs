//! The graph of a node, for people.

use std::fmt::Write;
use std::path::Path;

use paxos_core::{DetectorOptions, Hosting, LeadershipOptions, Membership, NodeId, Rule};
use paxos_net::{ClusterFile, Codec, format_duration};

use crate::gateway::GatewayOptions;

/// Draws the graph that is built, and the configuration that it is built with.
pub fn draw(
    cluster: &ClusterFile,
    (me, hosting): (NodeId, Hosting),
    folder: &Path,
    leadership: &LeadershipOptions,
    gateway: &GatewayOptions,
    membership: &Membership,
) -> String {
    let quorums = &membership.quorums;
    let all: Vec<_> = quorums.acceptors().collect();
    let codec = match cluster.net.codec {
        Codec::Binary => "binary (postcard)",
        Codec::Json => "json",
    };
    let mut text = String::from(match hosting {
        Hosting { learns: false, .. } => WITNESS,
        Hosting { leads: false, .. } => READ_REPLICA,
        Hosting { accepts: false, .. } => FRONT_END,
        _ => ALL,
    });
    let mut line = |name: &str, value: String| {
        writeln!(text, "  {name:<12}{value}").expect("a string takes any line");
    };
    line("node", format!("{} of cluster {}", me.0, cluster.cluster));
    let hosted: Vec<_> = hosting.roles().map(|kind| format!("{kind:?}").to_lowercase()).collect();
    line("hosts", hosted.join(", "));
    for (node, address) in &cluster.nodes {
        let this = if *node == me { " (this node)" } else { "" };
        let member = membership.members.get(node);
        let role = member.map(|member| format!(", {}", member.role)).unwrap_or_default();
        line("member", format!("{} at {address}{role}{this}", node.0));
    }
    line(
        "quorums",
        format!(
            "{} in phase 1, {} in phase 2, of {}",
            quorums.phase1(),
            quorums.phase2(),
            quorums.weight(&all)
        ),
    );
    line("window", format!("{} slots", membership.alpha));
    line("leadership", policy(leadership));
    line(
        "batching",
        format!("{} in flight, up to {} bytes", gateway.batches_in_flight, gateway.batch_bytes),
    );
    line(
        "snapshots",
        format!(
            "of every {} bytes, {} kept; log files of {} bytes",
            cluster.snapshots.every_bytes, cluster.snapshots.keep, cluster.log.segment_bytes
        ),
    );
    line(
        "sessions",
        format!(
            "{} at most, each until unused for {}",
            membership.sessions.max,
            format_duration(membership.sessions.idle)
        ),
    );
    line("codec", codec.to_owned());
    line("folder", folder.display().to_string());
    text
}

/// The policy of leadership, and what it is set to.
fn policy(options: &LeadershipOptions) -> String {
    let LeadershipOptions { rule, interval, suspect_after, spread, .. } = options;
    let every = format_duration(*interval);
    let after = format!("suspects after {}", format_duration(*suspect_after));
    let spread = format_duration(*spread);
    let detector = match rule {
        Rule::Heartbeat => return format!("heartbeat every {every}, {after}, spread {spread}"),
        Rule::FailureDetector(DetectorOptions::Fixed) => format!("fixed, {after}"),
        Rule::FailureDetector(DetectorOptions::Outside) => "outside".to_owned(),
        Rule::FailureDetector(DetectorOptions::Phi(phi)) => format!(
            "phi, suspects from {} on, over {} heartbeats, sigma at least {}",
            f64::from(phi.threshold_milli) / 1000.0,
            phi.window,
            format_duration(phi.floor)
        ),
    };
    format!("failure-detector {detector}; heartbeats every {every}, turns {spread} apart")
}

const ALL: &str = "\
clients -> gateway -> proposer -> links -> acceptor -> log -> learner -> apply -> gateway -> clients
             |           ^          |
             +- relay    +--- leadership <- heartbeats
";

const FRONT_END: &str = "\
clients -> gateway -> proposer -> links -> learner -> apply -> gateway -> clients
             |           ^          |         |
             +- relay    |          |         +- log
                         +--- leadership <- heartbeats
";

const READ_REPLICA: &str = "\
clients -> gateway -> relay to the leader; links -> learner -> apply -> gateway -> clients
                                             |         |
          leadership (never campaigns) <- heartbeats   +- log
";

const WITNESS: &str = "\
clients -> gateway -> relay to the leader; links -> acceptor -> log -> links
                                             |
          leadership (never campaigns) <- heartbeats
";
