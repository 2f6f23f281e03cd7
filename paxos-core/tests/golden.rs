//! Golden scripts: a role, inputs, and the trace of what it does, which *is* the protocol.
//!
//! A script in `tests/golden` begins with the role and its parameters; then each line that begins
//! with `>` is an input, and the lines below it are what follows from it. `UPDATE_GOLDEN=1 cargo
//! test -p paxos-core --test golden` writes them anew; read the difference before it is committed.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "support/script.rs"]
mod script;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use paxos_core::{
    Acceptor, AcceptorOptions, Archive, ArchiveOptions, Configurations, DetectorOptions, Elector,
    Input, LeadershipOptions, Learner, LearnerOptions, MemberRole, Membership, NodeId, PhiOptions,
    Policy, Proposer, ProposerOptions, Quorums, Recovered, Restored, Role, Rule, Status, Time,
};
use script::Words;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The fewest scripts there must be: a wrong directory must not pass.
const SCRIPTS_MIN: usize = 8;

#[test]
fn every_script_plays_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut scripts: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the scripts' directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "script"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= SCRIPTS_MIN, "only {} scripts", scripts.len());
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    let mut differing = String::new();
    for path in scripts {
        let written = fs::read_to_string(&path).expect("a script is text");
        let played = play(&written);
        if written == played {
            continue;
        }
        if update {
            fs::write(&path, played).expect("a script can be written");
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            writeln!(differing, "{name}:\n{}", first_difference(&written, &played)).unwrap();
        }
    }
    assert!(differing.is_empty(), "\n{differing}");
}

fn first_difference(written: &str, played: &str) -> String {
    let mut input = "";
    let padded = |text| str::lines(text).map(Some).chain(std::iter::repeat(None));
    for (line, (one, other)) in padded(written).zip(padded(played)).enumerate() {
        input = one.filter(|one| one.starts_with('>')).unwrap_or(input);
        if one != other {
            let (one, other) = (one.unwrap_or("(the end)"), other.unwrap_or("(the end)"));
            return format!("line {}, after {input}\n  - {one}\n  + {other}", line + 1);
        }
    }
    "only the end of the last line".to_owned()
}

/// Plays a script; the answer is the script as it ought to be.
fn play(script: &str) -> String {
    let head: Vec<_> = script.lines().take_while(|line| !line.starts_with('>')).collect();
    let mut played = head.join("\n") + "\n";
    let mut stage = Stage::set(head.into_iter().filter(|line| !line.starts_with('#')));
    for line in script.lines().skip_while(|line| !line.starts_with('>')) {
        if line.is_empty() || line.starts_with('#') {
            writeln!(played, "{line}").unwrap();
        } else if let Some(input) = line.strip_prefix('>') {
            writeln!(played, "{line}").unwrap();
            stage.play(input, &mut played);
        }
    }
    played
}

/// One role, ready to play.
struct Stage {
    role: Box<dyn Role>,
    configurations: Configurations,
    now: Time,
    wakes: Option<Time>,
    seen: Status,
}

impl Stage {
    fn set<'a>(head: impl Iterator<Item = &'a str>) -> Self {
        let (mut kind, mut me, mut voters, mut quorums) = (String::new(), NodeId(1), 3, None);
        let (mut alpha, mut options, mut log) = (Membership::ALPHA, vec![], Recovered::default());
        let (mut witnesses, mut rule) = (vec![], Rule::Heartbeat);
        for line in head.filter(|line| !line.is_empty()) {
            let mut words = Words::of(line);
            match words.word().as_str() {
                "role" => kind = words.word(),
                "detector" => rule = Rule::FailureDetector(detector(&words.word())),
                "node" => me = words.node(),
                "voters" => voters = words.number(),
                "quorums" => quorums = Some((words.number(), words.number())),
                "alpha" => alpha = words.number(),
                "witness" => witnesses.push(words.node()),
                "option" => options.push((words.word(), setting(&mut words))),
                "log" => log.absorb(words.record()),
                other => panic!("no parameter is called {other}"),
            }
        }
        let nodes = (1..=voters).map(NodeId);
        let mut membership = Membership::of_voters(nodes.clone().map(|node| (node, String::new())))
            .and_then(|membership| membership.with_alpha(alpha))
            .unwrap();
        if let Some((phase1, phase2)) = quorums {
            membership.quorums = Quorums::flexible(nodes, phase1, phase2).unwrap();
        }
        for witness in witnesses {
            membership.members.get_mut(&witness).unwrap().role = MemberRole::Witness;
        }
        let genesis = Configurations::genesis(membership);
        let (to, now) = (genesis.clone(), Time(0));
        let role: Box<dyn Role> = match kind.as_str() {
            "acceptor" => {
                let options = with(AcceptorOptions::default(), &options);
                Box::new(Acceptor::recover(me, options, &log, now))
            }
            "proposer" => {
                Box::new(Proposer::new(me, 1, with(ProposerOptions::default(), &options), to))
            }
            "learner" => {
                let options = with(LearnerOptions::default(), &options);
                Box::new(Learner::recover(me, options, Restored::nothing(to), &log))
            }
            "leadership" => {
                let options = with(LeadershipOptions { rule, ..Default::default() }, &options);
                Box::new(Elector::new(me, Policy::new(me, 1, options, to, 1, now)))
            }
            "archive" => Box::new(Archive::new(me, with(ArchiveOptions::default(), &options))),
            other => panic!("no role is called {other}"),
        };
        let (configurations, wakes, seen) = (genesis, None, Status::default());
        Stage { role, configurations, now, wakes, seen }
    }

    /// `[at SECONDS] timeout`, or `[at SECONDS] from NODE: MESSAGE`.
    fn play(&mut self, input: &str, played: &mut String) {
        let mut words = Words::of(input);
        if words.has("at") {
            let now = words.time();
            assert!(now >= self.now, "time runs backwards: {input}");
            self.now = now;
        }
        let input = match words.word().as_str() {
            "timeout" => Input::Timeout,
            "from" => Input::Message(words.node(), words.message(&self.configurations)),
            other => panic!("no input begins with {other}"),
        };
        assert!(words.ends(), "more than one input: {input}");
        let mut effects = Vec::new();
        self.role.handle(self.now, input, &mut effects);
        for effect in effects {
            writeln!(played, "{effect}").unwrap();
        }
        self.tell_changes(played);
    }

    /// What is not an effect but belongs to a trace: the alarm clock, and what was counted.
    fn tell_changes(&mut self, played: &mut String) {
        let mut status = Status::default();
        self.role.describe(&mut status);
        if status.dropped > self.seen.dropped {
            writeln!(played, "(dropped)").unwrap();
        }
        if status.alarms > self.seen.alarms {
            writeln!(played, "(alarm)").unwrap();
        }
        self.seen = status;
        let wakes = self.role.next_deadline();
        match wakes {
            Some(at) if self.wakes != wakes => writeln!(played, "(wakes at {at})").unwrap(),
            None if self.wakes.is_some() => writeln!(played, "(sleeps)").unwrap(),
            _ => {}
        }
        self.wakes = wakes;
    }
}

/// A detector with its parameters as by default.
fn detector(name: &str) -> DetectorOptions {
    match name {
        "fixed" => DetectorOptions::Fixed,
        "phi" => DetectorOptions::Phi(PhiOptions::default()),
        "outside" => DetectorOptions::Outside,
        other => panic!("no detector is called {other}"),
    }
}

/// The options with some fields set by name; `true`: to so many milliseconds.
/// `no`, a number, or a number of `ms`.
fn setting(words: &mut Words<'_>) -> serde_json::Value {
    if words.has("no") {
        return false.into();
    }
    let number = words.number();
    match words.has("ms") {
        true => serde_json::to_value(Duration::from_millis(number)).unwrap(),
        false => number.into(),
    }
}

fn with<T: Serialize + DeserializeOwned>(options: T, fields: &[(String, serde_json::Value)]) -> T {
    let mut form = serde_json::to_value(options).unwrap();
    for (name, setting) in fields {
        assert!(form.get(name).is_some(), "no option is called {name}");
        form[name] = setting.clone();
    }
    serde_json::from_value(form).unwrap()
}
