//! `torture`: many clients on one counter while leaders are killed, and a verdict.

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::children::{Children, Layout};
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_app::policy::PolicyOptions;
use paxos_app::signals::{stdin_closed, unless_stopped};
use paxos_app::timeline::Timeline;
use paxos_net::client::ClientConfig;
use paxos_net::duration::parse_duration;
use serde::Serialize;

use counter::load::faults::Toll;
use counter::load::latency::{Quantiles, table};
use counter::load::torture::{Outcome, Torture};
use counter::load::verdict::Verdict;

/// The nodes of a cluster of its own.
const NODES: Layout = Layout::THREE_VOTERS;
/// One attempt at a cluster whose leader may just have been killed: the next one follows under the
/// same request id, so there is no use in waiting long.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Below this, nodes would be killed before they have started.
const PERIOD_MIN: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  counter torture --clients 8 --ops 10000 --kill-leader-every 2s
  counter torture --kill-leader-every 2s --policy failure-detector --detector phi
  counter torture --cluster D/cluster.toml --until-stdin-closes    (without kills)";

/// Work on one counter with many clients while leaders are killed, and judge the result
///
/// Starts three nodes of its own in a temporary folder; only --cluster makes it use others, whose
/// leaders it does not kill: meanwhile members can be replaced, and hosts restarted. With kills,
/// the operations are spread over at least five periods.
/// Exit 1 if an acknowledged increment is lost or doubled, or if the leader was not killed at
/// least three times and changed.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct TortureCommand {
    /// Clients, each with one operation outstanding at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1024))]
    clients: u64,

    /// Operations of each client, one in four a read
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    ops: u64,

    /// Kill the leader so often, and bring it back half that time later
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    kill_leader_every: Option<Duration>,

    /// Go on until stdin ends, however many operations that are
    #[arg(long, requires = "cluster", conflicts_with_all = ["ops", "kill_leader_every"])]
    until_stdin_closes: bool,

    /// Write what clients asked and were told to this file, as JSON Lines
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    #[command(flatten)]
    policy: PolicyOptions,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    toll: Toll,
    longest_gap_ms: u64,
    #[serde(flatten)]
    verdict: Verdict,
    increments: Quantiles,
    reads: Quantiles,
}

impl TortureCommand {
    /// Tortures, and prints what came of it.
    ///
    /// # Errors
    /// Wrong usage; or whatever kept the run from its end.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        self.check()?;
        block_on(unless_stopped(self.torture(output)))
    }

    fn check(&self) -> Result<(), Fault> {
        if let Some(period) = self.kill_leader_every {
            if self.common.names_cluster() {
                return Err(Fault::usage(
                    "--kill-leader-every kills nodes of its own only: leave --cluster away",
                ));
            }
            if period < PERIOD_MIN {
                return Err(Fault::usage("--kill-leader-every must be at least 500ms"));
            }
        }
        if self.policy.is_given() && self.common.names_cluster() {
            return Err(Fault::usage(
                "--policy is for nodes of its own: leave --cluster away, or set it in that file",
            ));
        }
        self.policy.preset()?;
        if self.common.names_cluster() { Ok(()) } else { self.common.refuse_strays() }
    }

    async fn torture(&self, output: &Output) -> anyhow::Result<Exit> {
        let torture = Torture {
            clients: self.clients,
            ops: if self.until_stdin_closes { u64::MAX } else { self.ops },
            kill_leader_every: self.kill_leader_every,
            history: self.history.clone(),
            counter: untouched()?,
        };
        let timeline = Timeline::start(output);
        let outcome = if self.common.names_cluster() {
            let config = self.attempts(self.common.client_config()?);
            torture.run_elsewhere(config, &timeline, self.told_enough()).await?
        } else {
            let program = std::env::current_exe()?;
            let mut children = Children::start(program, NODES, self.policy.preset()?).await?;
            timeline.tell(format_args!("{} nodes started", NODES.voters))?;
            let config = self.attempts(children.client_config()?);
            torture.run(&mut children, config, &timeline).await?
        };
        self.tell(&outcome, output)
    }

    /// One attempt is short: the operation is repeated.
    fn attempts(&self, config: ClientConfig) -> ClientConfig {
        ClientConfig { timeout: self.common.timeout.min(ATTEMPT), ..config }
    }

    /// Resolves when the clients shall end, if somebody is to say so.
    async fn told_enough(&self) {
        match self.until_stdin_closes {
            true => stdin_closed().await,
            false => pending().await,
        }
    }

    fn tell(&self, outcome: &Outcome, output: &Output) -> anyhow::Result<Exit> {
        output.result(text(outcome), &report(outcome))?;
        match outcome.complaints.as_slice() {
            [] => Ok(Exit::Done),
            complaints => Err(Fault::new(Exit::No, complaints.join("; ")).into()),
        }
    }
}

/// A name that no counter has yet: a run judges only what it did itself.
fn untouched() -> anyhow::Result<String> {
    Ok(format!("torture-{:016x}", getrandom::u64()?))
}

fn text(outcome: &Outcome) -> String {
    let Outcome { verdict, toll, tally, .. } = outcome;
    format!(
        "{}\nkills {}, leader changes {}, longest gap {} ms\n{verdict}",
        table(&[("incr", &tally.increments), ("get", &tally.reads)]),
        toll.kills,
        toll.leader_changes,
        tally.longest_gap.as_millis(),
    )
}

fn report(outcome: &Outcome) -> Report {
    Report {
        toll: outcome.toll,
        longest_gap_ms: outcome.tally.longest_gap.as_millis() as u64,
        verdict: outcome.verdict,
        increments: outcome.tally.increments.quantiles(),
        reads: outcome.tally.reads.quantiles(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use counter::load::ledger::Tally;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        torture: TortureCommand,
    }

    fn check(line: &[&str]) -> Result<(), Fault> {
        Line::try_parse_from(["x"].iter().chain(line)).unwrap().torture.check()
    }

    #[test]
    fn nodes_of_others_are_not_killed() {
        assert!(check(&["--cluster", "c.toml", "--kill-leader-every", "2s"]).is_err());
        assert!(check(&["--cluster", "c.toml"]).is_ok());
        assert!(check(&["--kill-leader-every", "2s"]).is_ok());
        assert!(check(&["--kill-leader-every", "0s"]).is_err());
        assert!(check(&["--via", "127.0.0.1:7401"]).is_err());
        assert!(check(&["--policy", "failure-detector"]).is_ok());
        assert!(check(&["--detector", "phi"]).is_err());
        assert!(check(&["--cluster", "c.toml", "--policy", "heartbeat"]).is_err());
    }

    #[test]
    fn only_a_cluster_of_others_is_worked_on_until_somebody_says_so() {
        let understood = |line: &[&str]| {
            let line = ["x", "--until-stdin-closes"].iter().chain(line);
            Line::try_parse_from(line).is_ok()
        };
        assert!(understood(&["--cluster", "c.toml"]));
        assert!(!understood(&[]) && !understood(&["--cluster", "c.toml", "--ops", "7"]));
        assert!(!understood(&["--cluster", "c.toml", "--kill-leader-every", "2s"]));
    }

    #[test]
    fn the_last_two_lines_are_those_documented() {
        let tally = Tally {
            answers: (1..=60_000).collect(),
            longest_gap: Duration::from_millis(812),
            ..Tally::default()
        };
        let outcome = Outcome {
            verdict: Verdict::new(&tally.answers, &[60_000; 8], 0),
            toll: Toll { kills: 4, leader_changes: 4 },
            reads: vec![60_000; 8],
            complaints: Vec::new(),
            tally,
        };
        let text = text(&outcome);
        let last: Vec<_> = text.lines().rev().take(2).collect();
        assert_eq!(last[1], "kills 4, leader changes 4, longest gap 812 ms");
        assert_eq!(last[0], "acknowledged 60000, counter 60000, lost 0, doubled 0");
        let json = paxos_app::output::json(&report(&outcome)).unwrap();
        assert!(json.starts_with(r#"{"v":1,"kills":4,"leader_changes":4,"#), "{json}");
    }
}
