//! One node's log on a disk in memory, and short names for what is written to it.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use paxos_actors::log::{
    DataIdentity, FormatError, Log, LogOptions, MemoryDisk, OpenError, format,
};
use paxos_core::{
    Ballot, Batch, ClusterId, Membership, NodeId, Record, Recovered, Slot, Time, Value,
};

pub const CLUSTER: ClusterId = ClusterId(0xfeed);
pub const NODE: NodeId = NodeId(1);
/// Where frames begin in a segment.
pub const FRAMES_FROM: usize = 512;
pub const FIRST: &str = "log-0000000001.seg";
pub const SECOND: &str = "log-0000000002.seg";

/// A disk that outlives the logs opened on it.
pub struct Machine {
    pub disk: Arc<Mutex<MemoryDisk>>,
}

impl Machine {
    /// A formatted one.
    pub fn new() -> Self {
        let machine = Machine::blank();
        machine.format().unwrap();
        machine
    }

    pub fn blank() -> Self {
        Machine { disk: MemoryDisk::new().shared() }
    }

    /// One with a copy of a disk.
    pub fn with(disk: MemoryDisk) -> Self {
        Machine { disk: disk.shared() }
    }

    pub fn format(&self) -> Result<(), FormatError> {
        format(&mut self.disk.clone(), &identity())
    }

    pub fn open(&self) -> Result<(Log, Recovered), OpenError> {
        self.open_with(LogOptions::default().spare_segments)
    }

    pub fn open_with(&self, spare_segments: u32) -> Result<(Log, Recovered), OpenError> {
        let options = LogOptions { segment_bytes: 4096, spare_segments };
        let (log, recovered, read) =
            Log::open(Box::new(self.disk.clone()), CLUSTER, NODE, options)?;
        assert_eq!(read, identity());
        Ok((log, recovered))
    }

    /// Opens a log that must be sound.
    pub fn start(&self) -> Log {
        self.open().unwrap().0
    }

    pub fn at(&self) -> MutexGuard<'_, MemoryDisk> {
        self.disk.lock().unwrap()
    }

    pub fn copy(&self) -> MemoryDisk {
        self.at().clone()
    }

    /// Whether a file has this name.
    pub fn has(&self, name: &str) -> bool {
        self.at().names().iter().any(|found| found == name)
    }

    /// The files that the log consists of, and those that it can use again.
    pub fn segments_and_spares(&self) -> (Vec<String>, Vec<String>) {
        let names = self.at().names().into_iter().filter(|name| name != "identity.json");
        names.partition(|name| name.ends_with(".seg"))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.at().contents(name).unwrap().to_vec()
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes(name);
        change(&mut bytes);
        self.at().overwrite(name, bytes);
    }
}

pub fn identity() -> DataIdentity {
    let voters = (1..=3).map(|node| (NodeId(node), format!("10.0.0.{node}:7000")));
    let genesis = Membership::of_voters(voters).unwrap();
    DataIdentity { cluster: CLUSTER, node: NODE, genesis, witness: false }
}

pub fn ballot(round: u64) -> Ballot {
    Ballot { round, node: NodeId(2), incarnation: 1 }
}

pub fn promised(round: u64) -> Record {
    Record::Promised(ballot(round))
}

pub fn accepted(slot: u64, round: u64, text: &str) -> Record {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let value = Value::Commands(Batch { stamp: Time(slot), by: paxos_core::Ballot::ZERO, bytes });
    Record::Accepted { slot: Slot(slot), ballot: ballot(round), value }
}

pub fn trimmed(slot: u64) -> Record {
    Record::Trimmed(Slot(slot))
}

pub fn chosen(slot: u64, round: u64) -> Record {
    Record::Chosen { slot: Slot(slot), ballot: ballot(round), value: None }
}

/// What a log of these drains says when it is opened for the `incarnation`-th time.
pub fn fold<'a>(drains: impl IntoIterator<Item = &'a Vec<Record>>, incarnation: u64) -> Recovered {
    let mut recovered = Recovered::default();
    recovered.incarnation = incarnation;
    drains.into_iter().flatten().for_each(|record| recovered.absorb(record.clone()));
    recovered
}

/// Where the frames of a segment begin, and behind the last one where it ends.
pub fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![FRAMES_FROM];
    let mut at = FRAMES_FROM;
    loop {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if length == 0 {
            return offsets;
        }
        at += 32 + length;
        offsets.push(at);
    }
}

/// The mark of the frame at an offset.
pub fn mark(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap())
}

/// A small generator: the same seed, the same story.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}
