//! The canaries: that planting nothing changes nothing, that each checker stops one, and that their
//! table has a row for each. All of them run by `canaries`, see `tests/CANARIES.md`.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeSet;
use std::ptr::fn_addr_eq;
use std::sync::{Arc, Mutex};

use paxos_actors::log::{Disk, MemoryDisk};
use paxos_core::{
    Applied, Effect, Input, NodeId, Page, Recent, Recovered, Replica, Role, RoleKind, Slot, Time,
    Value,
};
use paxos_tests::canaries::{Against, Canary, How, all};
use paxos_tests::simulation::{
    Actor, Plan, Plant, Question, Service, Services, Sound, run, run_as, run_planted,
};

/// Stands everywhere, counts, and changes nothing.
#[derive(Debug, Default)]
struct Idle {
    disks: u64,
    snapshots: u64,
    recovered: u64,
    applied: u64,
    handled: BTreeSet<RoleKind>,
    watched: u64,
}

impl Plant for Idle {
    fn disk(&mut self, _: NodeId, disk: &Arc<Mutex<MemoryDisk>>) -> Box<dyn Disk + Send> {
        self.disks += 1;
        Box::new(disk.clone())
    }

    fn snapshot(&mut self, _: NodeId, _: &mut Vec<u8>) {
        self.snapshots += 1;
    }

    fn recovered(&mut self, _: NodeId, _: &mut Recovered) {
        self.recovered += 1;
    }

    fn handle(
        &mut self,
        _: NodeId,
        role: &mut Actor<'_>,
        now: Time,
        input: Input,
        out: &mut Vec<Effect>,
    ) {
        self.handled.insert(role.kind());
        role.handle(now, input, out);
    }

    fn apply(
        &mut self,
        _: NodeId,
        replica: &mut Replica<Services>,
        slot: Slot,
        value: &Value,
    ) -> Applied {
        self.applied += 1;
        replica.apply(slot, value)
    }

    fn watched(&mut self, _: NodeId, recent: &Recent, question: &Question<'_>) -> Page {
        self.watched += 1;
        recent.page(question.topics, question.after, question.max)
    }
}

#[test]
fn to_plant_nothing_changes_nothing() {
    let mut snapshots = 0;
    for seed in [1, 7, 42] {
        let mut idle = Idle::default();
        let planted = run_planted(seed, |plan| plan, &mut idle);
        assert_eq!(planted.unwrap(), run(seed).unwrap(), "seed {seed}");
        assert!(idle.disks > 0 && idle.recovered > 0 && idle.applied > 0, "{idle:?}");
        assert_eq!(idle.handled.len(), 5, "{idle:?}");
        snapshots += idle.snapshots;
    }
    assert!(snapshots > 0, "no node ever went on from a snapshot");
    let (mut idle, chat) = (Idle::default(), |plan: Plan| plan.serving(Service::Chat));
    let planted = run_planted(1, chat, &mut idle);
    assert_eq!(planted.unwrap(), run_as(1, chat).unwrap());
    assert!(idle.watched > 0, "nobody watched");
}

#[test]
fn each_checker_stops_a_canary() {
    let quick = [
        ("one-vote-too-few", "agreement"),
        ("promise-before-sync", "durability"),
        ("repeated-command-runs-again", "history"),
        ("campaigns-at-every-nack", "leadership"),
        ("fetches-once", "progress"),
        ("never-syncs", "recovery"),
        ("campaigns-pass-any-lease", "leases"),
        ("next-in-line-has-the-same-token", "locks"),
        ("no-ops-are-not-slots", "replication"),
        ("window-is-twice-as-wide", "window"),
        ("lags-in-silence", "watches"),
        ("tells-otherwise-than-it-remembers", "followers"),
    ];
    for (id, checker) in quick {
        let canary = Canary::named(id).unwrap();
        let catch = (0..100).find_map(|seed| canary.run(seed));
        assert_eq!(catch.map(|catch| catch.checker), Some(checker), "{id}");
    }
}

#[test]
fn plans_and_stories_of_canaries_are_survived_without_them() {
    let mut plans: Vec<fn(Plan) -> Plan> = Vec::new();
    for canary in all() {
        match canary.how {
            How::Seeds(plan) if plans.iter().all(|known| !fn_addr_eq(*known, plan)) => {
                plans.push(plan);
            }
            How::Seeds(_) => {}
            How::Script(script) => assert_eq!(script(&mut Sound), Ok(()), "{}", canary.id),
        }
    }
    for plan in plans {
        for seed in 0..5 {
            run_planted(seed, plan, &mut Sound).unwrap();
        }
    }
}

#[test]
fn the_table_has_a_row_for_each() {
    let ids: BTreeSet<&str> = all().map(|canary| canary.id).collect();
    assert_eq!(ids.len(), all().count(), "two canaries have one name");
    let rules: BTreeSet<&str> = all().map(|canary| canary.rule).collect();
    assert_eq!(rules.len(), all().count(), "two canaries break one rule");
    let safety = all().filter(|canary| canary.against == Against::Safety).count();
    assert!(ids.len() >= 30 && safety >= 20, "{} canaries, {safety} of safety", ids.len());
    let table = include_str!("../CANARIES.md");
    let rows: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split('`').next())
        .collect();
    assert_eq!(rows, ids);
}
