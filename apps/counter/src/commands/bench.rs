//! `bench`: how much goes through, and how fast.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::children::{Children, Layout};
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_app::policy::PolicyOptions;
use paxos_app::signals::unless_stopped;
use paxos_app::timeline::grouped;
use paxos_net::client::ClientConfig;
use paxos_net::duration::parse_duration;
use serde::Serialize;

use counter::load::generator::{Generator, Measured};
use counter::load::latency::{Quantiles, table};
use counter::machine::{COUNTERS_MAX, NAME_MAX};

/// The nodes of a cluster of its own.
const NODES: Layout = Layout::THREE_VOTERS;
/// Clients that share a connection, if not told otherwise.
const SHARING: u64 = 64;
/// Connections that a node takes from one certificate, by default.
const CONNECTIONS_MAX: u64 = 64;
/// For a cluster of its own to be ready.
const ELECTION: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  counter bench                                 (three nodes of its own)
  counter bench --clients 1024 --duration 30s -o json
  counter bench --cluster D/cluster.toml --payload 1000";

/// Measure throughput and latency of increments
///
/// Without --cluster it starts three nodes of its own in a temporary folder. Each client has one
/// increment outstanding at a time.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// Increments outstanding at any time
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=65_536))]
    clients: u64,

    /// Connections that the clients share [default: one for 64 clients]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    connections: Option<u64>,

    /// For how long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    duration: Duration,

    /// Bytes without meaning in every command
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    payload: usize,

    /// Counters that the increments go to, one after the other: with many the state is large
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=COUNTERS_MAX as u64))]
    counters: u64,

    /// Bytes of the names of several counters, at least
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=NAME_MAX as u64))]
    name_bytes: u64,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    clients: u64,
    connections: u64,
    payload: usize,
    seconds: f64,
    operations: u64,
    throughput: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    busy: u64,
    failed: u64,
}

impl Bench {
    /// Generates load and prints what went through.
    ///
    /// # Errors
    /// Whatever kept it from measuring; or that a command failed otherwise than by being refused.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(unless_stopped(self.measure(output)))
    }

    async fn measure(&self, output: &Output) -> anyhow::Result<Exit> {
        if self.common.names_cluster() {
            return self.measure_at(self.common.client_config()?, output).await;
        }
        self.common.refuse_strays()?;
        let preset = PolicyOptions::default().preset()?;
        let children = Children::start(std::env::current_exe()?, NODES, preset).await?;
        children.leader_within(ELECTION).await?;
        let mut config = children.client_config()?;
        config.timeout = self.common.timeout;
        self.measure_at(config, output).await
    }

    async fn measure_at(&self, config: ClientConfig, output: &Output) -> anyhow::Result<Exit> {
        let generator = Generator {
            clients: self.clients,
            connections: self.connections(),
            duration: self.duration,
            payload: self.payload,
            counters: self.counters,
            name_bytes: self.name_bytes as usize,
        };
        let live = !output.quiet && io::stderr().is_terminal();
        let progress = |done| {
            if live {
                output.remark(format_args!("{} increments", grouped(done)));
            }
        };
        let measured = generator.run(&config, progress).await?;
        let text = self.text(&measured);
        output.result(text, &self.report(&measured))?;
        match measured.reason {
            Some(reason) if measured.done() == 0 => Err(reason.into()),
            _ if measured.failed > 0 => {
                let words = format!("{} increments failed", measured.failed);
                Err(Fault::new(Exit::No, words).into())
            }
            _ => Ok(Exit::Done),
        }
    }

    fn connections(&self) -> u64 {
        let usual = self.clients.div_ceil(SHARING).min(CONNECTIONS_MAX);
        self.connections.unwrap_or(usual).min(self.clients)
    }

    fn text(&self, measured: &Measured) -> String {
        let mut text = format!(
            "{} clients, {} connections, payload {} bytes, {:.1} s\n{}\n{:.0} increments/s",
            self.clients,
            self.connections(),
            self.payload,
            measured.elapsed.as_secs_f64(),
            table(&[("incr", &measured.latency)]),
            measured.throughput(),
        );
        if measured.busy + measured.failed > 0 {
            text.push_str(&format!(", {} busy, {} failed", measured.busy, measured.failed));
        }
        text
    }

    fn report(&self, measured: &Measured) -> Report {
        let Quantiles { count, p50_us, p99_us, p999_us, max_us } = measured.latency.quantiles();
        Report {
            clients: self.clients,
            connections: self.connections(),
            payload: self.payload,
            seconds: measured.elapsed.as_secs_f64(),
            operations: count,
            throughput: measured.throughput(),
            p50_us,
            p99_us,
            p999_us,
            max_us,
            busy: measured.busy,
            failed: measured.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn connections(line: &[&str]) -> u64 {
        let line = ["x"].iter().chain(line);
        Line::try_parse_from(line).unwrap().bench.connections()
    }

    #[test]
    fn clients_share_connections_unless_told_otherwise() {
        assert_eq!(connections(&[]), 1);
        assert_eq!(connections(&["--clients", "1024"]), 16);
        assert_eq!(connections(&["--clients", "65536"]), 64);
        assert_eq!(connections(&["--clients", "2", "--connections", "8"]), 2);
    }
}
