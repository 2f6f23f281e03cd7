//! `log`: shows and checks the log of a node that does not run.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use paxos_actors::log::{Inspection, Located, SegmentReport};
use paxos_actors::{NodeConfig, StartError};
use paxos_core::{NodeId, Record, Slot};
use serde::Serialize;

use crate::exit::Exit;
use crate::options::ClusterOption;
use crate::output::Output;

const VERIFY_EXAMPLES: &str = "\
Examples:
  {app} log verify --node 1
  {app} log verify --node 2 --cluster D/cluster.toml
  {app} log verify --node 3 --identity /etc/node-3 -o json";

const DUMP_EXAMPLES: &str = "\
Examples:
  {app} log dump --node 1
  {app} log dump --node 2 --cluster D/cluster.toml --from 1000
  {app} log dump --node 3 -o json";

/// The arguments of `log`.
#[derive(Args, Debug)]
pub struct Log {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read all of it as the node would, and say whether it is sound
    ///
    /// Damage is named with file and offset, and ends with 74. A torn tail, which a crash leaves,
    /// is no damage: nothing that left the node depends on it.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Place),
    /// Print its records, one a line: segment and offset, drain, record
    #[command(after_help = DUMP_EXAMPLES)]
    Dump(Dump),
}

/// Where the log is.
#[derive(Args, Debug)]
struct Place {
    /// The number of the node, as in the cluster file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,

    #[command(flatten)]
    at: ClusterOption,

    /// The node's folder [default: node-N/ beside the cluster file]
    #[arg(long, value_name = "DIR")]
    identity: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Dump {
    #[command(flatten)]
    place: Place,

    /// Only records about this slot and later ones; those about no slot are left out
    #[arg(long, value_name = "SLOT")]
    from: Option<u64>,
}

impl Log {
    /// Reads, prints, and writes nothing to the node's folder.
    ///
    /// # Errors
    /// See [`paxos_actors::StartError`]: the node runs, or the log is damaged.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        match &self.what {
            What::Verify(place) => verify(&mut place.inspect()?, output)?,
            What::Dump(dump) => dump.run(output)?,
        }
        Ok(Exit::Done)
    }
}

impl Place {
    fn inspect(&self) -> anyhow::Result<Inspection> {
        let config = NodeConfig::load(&self.at.path(), NodeId(self.node), self.identity.clone())?;
        Ok(config.inspect()?)
    }
}

impl Dump {
    fn run(&self, output: &Output) -> anyhow::Result<()> {
        let mut log = self.place.inspect()?;
        loop {
            let read = log.next_segment();
            // Of a damaged segment, too, what stands before the damage.
            let report = read.as_ref().map_or(log.damaged(), Option::as_ref);
            for located in report.iter().flat_map(|report| &report.found) {
                if self.wants(&located.record) {
                    let line = Line::of(report.map_or(0, |report| report.number), located);
                    output.result(&line, &line)?;
                }
            }
            match read.map_err(StartError::from)? {
                Some(report) if report.torn => output.remark(torn(&report)),
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    fn wants(&self, record: &Record) -> bool {
        let Some(from) = self.from else { return true };
        match record {
            Record::Accepted { slot, .. } | Record::Chosen { slot, .. } => *slot >= Slot(from),
            _ => false,
        }
    }
}

/// One record.
#[derive(Serialize)]
struct Line<'a> {
    segment: u32,
    offset: u64,
    drain: u64,
    record: &'a Record,
}

impl<'a> Line<'a> {
    fn of(segment: u32, located: &'a Located) -> Self {
        let Located { offset, drain, record } = located;
        Line { segment, offset: *offset, drain: *drain, record }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {} {}", self.segment, self.offset, self.drain, self.record)
    }
}

fn verify(log: &mut Inspection, output: &Output) -> anyhow::Result<()> {
    let mut sum = Verdict::default();
    while let Some(report) = log.next_segment().map_err(StartError::from)? {
        sum.segments += 1;
        sum.frames += report.frames;
        sum.records += report.records;
        sum.bytes += report.bytes;
        sum.torn |= report.torn;
        let segment = Segment::of(&report);
        output.result(&segment, &segment)?;
        if report.torn {
            output.remark(torn(&report));
        }
    }
    output.remark(log.effort());
    let recovered = log.recovered();
    sum.drain = log.drain();
    sum.marked = log.mark();
    sum.promised = recovered.promised.to_string();
    sum.trimmed = recovered.trimmed.0;
    sum.incarnation = recovered.incarnation;
    sum.sound = true;
    Ok(output.result(&sum, &sum)?)
}

/// One segment.
#[derive(Serialize)]
struct Segment {
    segment: u32,
    file: PathBuf,
    frames: u64,
    records: u64,
    /// The lowest and the highest slot.
    slots: Option<(u64, u64)>,
    bytes: u64,
    end: u64,
    sealed: bool,
    torn: bool,
}

impl Segment {
    fn of(report: &SegmentReport) -> Self {
        Segment {
            segment: report.number,
            file: report.path.clone(),
            frames: report.frames,
            records: report.records,
            slots: report.slots.map(|(low, high)| (low.0, high.0)),
            bytes: report.bytes,
            end: report.end,
            sealed: report.sealed,
            torn: report.torn,
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Segment { frames, records, bytes, end, .. } = self;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        write!(f, "{name}  frames {frames}  records {records}  ")?;
        match self.slots {
            Some((low, high)) => write!(f, "slots {low}..{high}")?,
            None => f.write_str("no slots")?,
        }
        write!(f, "  ends at {end} of {bytes} bytes")?;
        f.write_str(if self.sealed { ", sealed" } else { "" })?;
        f.write_str(if self.torn { ", torn tail" } else { "" })
    }
}

/// The whole log.
#[derive(Default, Serialize)]
struct Verdict {
    sound: bool,
    segments: u32,
    frames: u64,
    records: u64,
    bytes: u64,
    torn: bool,
    /// The last drain, and the last one that is known to be synced.
    drain: u64,
    marked: u64,
    promised: String,
    trimmed: u64,
    incarnation: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { segments, frames, records, bytes, drain, marked, .. } = self;
        writeln!(f, "segments {segments}  frames {frames}  records {records}  bytes {bytes}")?;
        writeln!(f, "drains to {drain}, known to be synced to {marked}")?;
        let Verdict { promised, trimmed, incarnation, .. } = self;
        writeln!(f, "promised {promised}  cut below {trimmed}  incarnation {incarnation}")?;
        f.write_str("sound")
    }
}

fn torn(report: &SegmentReport) -> String {
    let (path, end) = (report.path.display(), report.end);
    format!("{path}: a torn tail at offset {end}: no damage, the next start takes it away")
}
