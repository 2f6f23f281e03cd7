//! The comparison as a table and as CSV.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

use crate::contender::MATCHED;
use crate::experiment::Cell;
use crate::scenario::{SCENARIOS, Scenario};
use crate::statistics::Estimate;
use crate::summary::{Summary, millis};

/// The names of the columns, and how wide they are.
const COLUMNS: [(&str, usize); 8] = [
    ("out of service, ms", 20),
    ("its p95", 20),
    ("against heartbeat", 17),
    ("detected, ms", 16),
    ("replaced, ms", 16),
    ("unjustified/h", 15),
    ("mistakes/h", 19),
    ("messages/s", 15),
];

/// The table: a block for each scenario, a line for each policy; figures with 95 % intervals.
pub fn table(summaries: &[Summary], seeds: u64) -> String {
    let mut text = format!(
        "{seeds} seeds a line; all bear a silence of {} ms. In brackets: 95 % intervals.\n",
        MATCHED.as_millis(),
    );
    for scenario in SCENARIOS {
        write!(text, "\n{:<20}", scenario.title()).ok();
        for (name, width) in COLUMNS {
            write!(text, " {name:<width$}").ok();
        }
        text.push('\n');
        for summary in summaries.iter().filter(|summary| is_in_table(summary, scenario)) {
            write!(text, "  {:<18}", summary.contender.policy).ok();
            for (figure, (_, width)) in figures(summary).into_iter().zip(COLUMNS) {
                write!(text, " {figure:<width$}").ok();
            }
            text.truncate(text.trim_end().len());
            if summary.censored > 0 {
                write!(text, "  ({} of {} censored)", summary.censored, summary.runs).ok();
            }
            text.push('\n');
        }
    }
    text.push_str(LEGEND);
    text
}

const LEGEND: &str = "
Three clients add to a counter, each one command at a time, resting for up to 60 ms between two; the
watch lasts 5 s (L1), 8 s (L2), 6 s (L5) and 15 s (L0, L3, L7). What befalls, when, and which node
is the same for every policy with the same seed, and so is the network.

out of service  the longest time without a command of any client answered, their rests included: L0
                shows what that is if nothing befalls; median, and 95th percentile
against         the median of the differences to the policy heartbeat, seed by seed
detected        from the fault until another node suspected the leader; median
replaced        from the fault until another leader was elected; median
unjustified     elections, of whomever, while the leader before was well and had been for a second
                (exact Poisson interval)
mistakes        suspicions of a leader that was well, by a follower that was (bootstrap over runs)
messages        between the nodes, whoever is served; clients that are not served ask less
censored        the longest gap went on when the watch ended
";

fn is_in_table(summary: &Summary, scenario: Scenario) -> bool {
    summary.scenario == scenario && summary.contender.bears == MATCHED
}

fn figures(summary: &Summary) -> [String; 8] {
    let maybe = |estimate: &Option<Estimate>| estimate.as_ref().map_or("-".to_owned(), whole);
    [
        whole(&summary.median),
        whole(&summary.p95),
        summary.paired.as_ref().map_or("-".to_owned(), signed),
        maybe(&summary.detected),
        maybe(&summary.replaced),
        whole(&summary.unjustified),
        whole(&summary.mistakes),
        whole(&summary.messages),
    ]
}

fn whole(Estimate { value, low, high }: &Estimate) -> String {
    format!("{value:.0} [{low:.0}, {high:.0}]")
}

fn signed(Estimate { value, low, high }: &Estimate) -> String {
    format!("{value:+.0} [{low:+.0}, {high:+.0}]")
}

/// Writes a line for every run.
///
/// # Errors
/// What could not be written.
pub fn write_runs(path: &Path, cells: &[Cell]) -> anyhow::Result<()> {
    let mut lines = writer(path)?;
    lines.write_record([
        "scenario",
        "policy",
        "bears_ms",
        "seed",
        "led_first",
        "out_of_service_ms",
        "censored",
        "detected_ms",
        "replaced_ms",
        "changes",
        "unjustified",
        "mistakes",
        "messages",
        "answered",
        "watched_ms",
        "trace_hash",
    ])?;
    for Cell { contender, scenario, runs } in cells {
        for (seed, outcome) in runs {
            let maybe = |time: Option<_>| time.map(|time| millis(time).to_string());
            lines.write_record([
                scenario.name(),
                contender.policy.to_string(),
                contender.bears.as_millis().to_string(),
                seed.to_string(),
                outcome.led_first.to_string(),
                millis(outcome.out_of_service).to_string(),
                outcome.censored.to_string(),
                maybe(outcome.detected).unwrap_or_default(),
                maybe(outcome.replaced).unwrap_or_default(),
                outcome.changes.to_string(),
                outcome.unjustified.to_string(),
                outcome.mistakes.to_string(),
                outcome.messages.to_string(),
                outcome.answered.to_string(),
                scenario.lasts().as_millis().to_string(),
                format!("{:016x}", outcome.hash),
            ])?;
        }
    }
    Ok(lines.flush()?)
}

/// Writes a line for every cell.
///
/// # Errors
/// What could not be written.
pub fn write_cells(path: &Path, summaries: &[Summary]) -> anyhow::Result<()> {
    let mut lines = writer(path)?;
    let names = [
        "out_of_service_median_ms",
        "out_of_service_p95_ms",
        "against_heartbeat_ms",
        "detected_median_ms",
        "replaced_median_ms",
        "unjustified_per_hour",
        "mistakes_per_hour",
        "messages_per_second",
    ];
    let with_bounds = names
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("{name}_low"), format!("{name}_high")]);
    let first = ["scenario", "policy", "bears_ms", "runs", "censored", "detected_n", "replaced_n"];
    let first = first.map(str::to_owned);
    lines.write_record(first.into_iter().chain(with_bounds))?;
    for summary in summaries {
        let first = [
            summary.scenario.name(),
            summary.contender.policy.to_string(),
            summary.contender.bears.as_millis().to_string(),
            summary.runs.to_string(),
            summary.censored.to_string(),
            summary.detected_runs.to_string(),
            summary.replaced_runs.to_string(),
        ];
        let figures = [
            Some(summary.median),
            Some(summary.p95),
            summary.paired,
            summary.detected,
            summary.replaced,
            Some(summary.unjustified),
            Some(summary.mistakes),
            Some(summary.messages),
        ];
        let figures = figures.into_iter().flat_map(|figure| match figure {
            Some(Estimate { value, low, high }) => {
                [value, low, high].map(|figure| format!("{figure:.3}"))
            }
            None => Default::default(),
        });
        lines.write_record(first.into_iter().chain(figures))?;
    }
    Ok(lines.flush()?)
}

fn writer(path: &Path) -> anyhow::Result<csv::Writer<std::fs::File>> {
    csv::Writer::from_path(path).with_context(|| format!("cannot write {}", path.display()))
}
