//! The graph of a node, for people.

use std::fmt::Write;
use std::path::Path;

use paxos_core::{HeartbeatOptions, Hosting, Membership, NodeId};
use paxos_net::{ClusterFile, Codec, format_duration};

use crate::gateway::GatewayOptions;

/// Draws the graph that is built, and the configuration that it is built with.
pub fn draw(
    cluster: &ClusterFile,
    (me, hosting): (NodeId, Hosting),
    folder: &Path,
    leadership: &HeartbeatOptions,
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
    line(
        "leadership",
        format!(
            "heartbeat every {}, suspects after {}, spread {}",
            format_duration(leadership.interval),
            format_duration(leadership.suspect_after),
            format_duration(leadership.spread)
        ),
    );
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
