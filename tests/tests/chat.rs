//! The chat as its users meet it: what it says, and that followers miss nothing and see nothing
//! twice, whoever fails.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use chat::cursor::News;
use chat::follower::{Follower, Heard, Start};
use paxos_tests::processes::process::{command_of, runs};
use paxos_tests::processes::told::told_by;
use paxos_tests::processes::{Cluster, Form, Process, Told, until};
use rustix::process::Signal;
use serde_json::Value;

const CHAT: &str = "chat";

/// For commands that a slow machine may keep waiting.
const PATIENCE: [&str; 2] = ["--timeout", "30s"];

fn told(cluster: &Cluster, line: &[&str]) -> Told {
    cluster.told(&[line, &PATIENCE].concat())
}

/// Says `count` messages in a room, each with its number and the same long rest, and waits until
/// all are said.
fn say(cluster: &Cluster, room: &str, from: u64, count: u64, rest: &str) {
    let mut say = cluster.begin(&[&["say", room, "-"], &PATIENCE[..]].concat());
    let lines: String = (from..from + count).map(|number| format!("m{number}{rest}\n")).collect();
    say.write(&lines);
    say.close_stdin();
    let said = say.told();
    let ids: Vec<_> = said.ok().lines().map(str::to_owned).collect();
    let all: Vec<_> = (from..from + count).map(|number| format!("#{number}")).collect();
    assert_eq!(ids, all);
}

/// A follower from the first message on.
fn follow(cluster: &Cluster, room: &str, node: u64) -> Process {
    let via = node.to_string();
    cluster.begin(&["tail", room, "-f", "--from", "start", "-o", "json", "--via", &via])
}

/// Reads messages until the one with this number: each must be the next.
#[track_caller]
fn hears(follower: &mut Process, from: u64, upto: u64) {
    for number in from..=upto {
        let message = loop {
            let line = follower.line().expect("a follower goes on for ever");
            let value: Value = serde_json::from_str(&line).unwrap();
            assert!(value.get("gone").is_none(), "{line}");
            // How far it has read is said in between.
            if value.get("seq").is_some() {
                break value;
            }
        };
        assert_eq!(message["seq"], number);
        let text = message["text"].as_str().unwrap();
        assert!(text.starts_with(&format!("m{number}")), "{text}");
    }
}

#[test]
fn every_line_of_the_manual_answers_in_its_exact_form() {
    let mut cluster = Cluster::started_of(CHAT);
    assert_eq!(told(&cluster, &["say", "tea", "who wants some?"]).ok(), "#1");
    let json = told(&cluster, &["say", "tea", "me\u{1b}[2J", "-o", "json"]);
    assert_eq!(json.ok(), r#"{"v":1,"room":"tea","seq":2}"#);
    say(&cluster, "logs", 1, 3, "");

    let history = told(&cluster, &["history", "tea", "--read", "linearizable"]);
    let lines: Vec<_> = history.ok().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("#1 ") && lines[0].ends_with(" client  who wants some?"));
    assert!(lines[1].ends_with(r" client  me\u{1b}[2J"), "{lines:?}");
    let before =
        told(&cluster, &["history", "logs", "--before", "3", "--limit", "1", "-o", "json"]);
    let page: Vec<Value> =
        before.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&page[0]["seq"], &page[0]["text"]), (&2.into(), &"m2".into()));
    assert_eq!((&page[1]["caught_up_to"], &page[1]["read"]), (&3.into(), &"stale".into()));

    // A stale read may be behind: the others have to have heard of it first.
    cluster.await_level();
    let tail = told(&cluster, &["tail", "logs", "-n", "2", "--via", "2"]);
    assert_eq!(tail.ok().lines().count(), 2, "{tail:?}");
    assert!(tail.stderr.contains("caught up to #3") && tail.stderr.contains("slot"), "{tail:?}");
    let rooms = told(&cluster, &["rooms"]);
    assert!(rooms.ok().starts_with("logs  #3  from #1  "), "{rooms:?}");
    assert!(rooms.ok().contains("\ntea   #2  from #1  "), "{rooms:?}");

    let verified = told(&cluster, &["verify", "--all-nodes", "tea"]);
    assert_eq!(verified.ok(), "identical to #2 on 3 of 3");
    assert_eq!(told(&cluster, &["verify", "tea"]).ok(), "sound from #1 to #2");
    cluster.kill(3);
    let down = cluster.told(&["verify", "--all-nodes", "tea", "--timeout", "4s"]);
    assert_eq!(down.stdout.trim_end(), "identical to #2 on 2 of 3");
    down.failed_with(75, &["node 3: ", "1 of 3 nodes did not answer"]);
}

#[test]
fn whoever_keeps_the_messages_is_compared_and_nobody_else() {
    let mut cluster = Cluster::started_in(Form::Apart, CHAT);
    assert_eq!(told(&cluster, &["say", "tea", "hi"]).ok(), "#1");
    let verified = told(&cluster, &["verify", "--all-nodes", "tea"]);
    assert_eq!(verified.ok(), "identical to #1 on 3 of 3", "of six, three are witnesses");
    cluster.kill_all();
    let nobody = cluster.told(&["tail", "tea", "--timeout", "3s"]);
    nobody.failed_with(69, &["no node could be read from", "left "]);
}

#[test]
fn what_makes_no_sense_is_answered_clearly_and_the_cluster_goes_on() {
    let cluster = Cluster::started_of(CHAT);
    let long = "x".repeat(5000);
    for (line, code, words) in [
        (vec!["say", "two words", "hi"], 64, "no blanks"),
        (vec!["say", "tea", ""], 64, "1 to 4096 bytes, not 0"),
        (vec!["say", "tea", &long], 64, "1 to 4096 bytes, not 5000"),
        (vec!["say", "tea"], 64, "TEXT"),
        (vec!["say"], 64, "ROOM"),
        (vec!["say", "", "hi"], 64, "1 to 64 bytes"),
        (vec!["tail"], 64, "ROOM"),
        (vec!["tail", "two words"], 64, "no blanks"),
        (vec!["tail", "tea", "-n", "5", "--from", "7"], 64, "cannot be used with"),
        (vec!["tail", "tea", "--from", "yesterday"], 64, "nor `start`"),
        (vec!["tail", "tea"], 1, "nothing was said in tea yet"),
        (vec!["tail", "tea", "--via", "9"], 78, "no node 9"),
        (vec!["history", "tea"], 1, "nothing was said in tea yet"),
        (vec!["history"], 64, "ROOM"),
        (vec!["history", "tea", "--before", "0"], 64, "before"),
        (vec!["history", "tea", "--via", "nowhere"], 78, "nowhere is not an address"),
        (vec!["history", "tea", "--limit", "0"], 64, "limit"),
        (vec!["history", "tea", "--at-least", "7", "--read", "lease"], 64, "--at-least"),
        (vec!["verify", "--all-nodes", "tea"], 1, "nothing was said in tea yet"),
        (vec!["verify", "tea"], 1, "nothing was said in tea yet"),
        (vec!["verify", "--all-nodes"], 64, "ROOM"),
        (vec!["verify", "tea", "--all-nodes", "--via", "n"], 64, "cannot be used with"),
        (vec!["rooms", "tea"], 64, "tea"),
        (vec!["rooms", "--read", "newest"], 64, "newest"),
        (vec!["demo", "tea"], 64, "tea"),
    ] {
        cluster.told(&line).failed_with(code, &[words]);
    }
    let mut say = cluster.begin(&["say", "tea", "-"]);
    say.write(&format!("one\n\n{long}\nthree\n"));
    let said = say.told();
    said.failed_with(64, &["line 3 of stdin", "1 to 4096 bytes"]);
    assert_eq!(said.stdout, "#1\n", "what came before it is said");
    let nobody = ["rooms", "--cluster", "nowhere/cluster.toml"];
    told_by(CHAT, nobody).failed_with(78, &["nowhere/cluster.toml"]);
    assert_eq!(told(&cluster, &["say", "tea", "still there"]).ok(), "#2");
}

#[test]
fn cli7_d15_a_follower_that_stood_still_gets_everything_once_and_in_order() {
    const BEFORE: u64 = 100;
    const MEANWHILE: u64 = 5_000;
    let mut cluster = Cluster::started_of(CHAT);
    let mut slow = follow(&cluster, "tea", 2);
    let mut other = follow(&cluster, "tea", 2);
    say(&cluster, "tea", 1, BEFORE, "");
    hears(&mut slow, 1, BEFORE);
    slow.signal(Signal::STOP);
    let rest = " and so on".repeat(100);
    say(&cluster, "tea", BEFORE + 1, MEANWHILE, &rest);
    // Nobody waits for it, and its node has nothing to keep for it but its room.
    hears(&mut other, 1, BEFORE + MEANWHILE);
    let peak = cluster.node(2).memory_peak();
    assert!(peak < 256 << 20, "{peak} bytes");
    slow.signal(Signal::CONT);
    hears(&mut slow, BEFORE + 1, BEFORE + MEANWHILE);
    say(&cluster, "tea", BEFORE + MEANWHILE + 1, 10, "");
    hears(&mut slow, BEFORE + MEANWHILE + 1, BEFORE + MEANWHILE + 10);
}

#[tokio::test]
async fn d15_a_follower_that_is_too_slow_for_its_node_is_told_so_and_misses_nothing() {
    // More than a node keeps of what it told.
    const ELSEWHERE: u64 = 4_400;
    let cluster = Cluster::started_of(CHAT);
    say(&cluster, "tea", 1, 10, "");
    cluster.await_level();
    let config = cluster.client_config_via(2);
    let mut follower = Follower::new(config, "tea", Start::At(1)).unwrap();
    let mut heard = Vec::new();
    while !matches!(heard.last(), Some(Heard::CaughtUp(mark)) if mark.last == 10) {
        heard.push(follower.next().await.unwrap());
    }
    // Nothing of the follower runs meanwhile.
    say(&cluster, "tea", 11, 10, "");
    say(&cluster, "logs", 1, ELSEWHERE, &"x".repeat(4_000));
    while messages(&heard) < 20 {
        heard.push(follower.next().await.unwrap());
    }
    assert!(heard.contains(&Heard::Lagged), "{heard:?}");
    let ids = heard.iter().filter_map(|heard| match heard {
        Heard::News(News::Said(message)) => Some(message.id),
        Heard::CaughtUp(_) | Heard::Lagged => None,
        other => panic!("{other:?}"),
    });
    assert!(ids.eq(1..=20), "{heard:?}");
    follower.close().await;
}

/// How many of them are messages.
fn messages(heard: &[Heard]) -> usize {
    heard.iter().filter(|heard| matches!(heard, Heard::News(News::Said(_)))).count()
}

#[test]
fn a_follower_goes_on_at_another_node_behind_the_last_message_that_it_heard() {
    let mut cluster = Cluster::started_of(CHAT);
    say(&cluster, "tea", 1, 50, "");
    let (leader, mut heard) = (cluster.leader(), 50);
    let mut followers: Vec<_> = (1..=3).map(|node| follow(&cluster, "tea", node)).collect();
    followers.iter_mut().for_each(|follower| hears(follower, 1, 50));
    for fallen in [leader, leader % 3 + 1] {
        cluster.kill(fallen);
        say(&cluster, "tea", heard + 1, 50, "");
        followers.iter_mut().for_each(|follower| hears(follower, heard + 1, heard + 50));
        heard += 50;
        cluster.start(fallen);
    }
    let verified = told(&cluster, &["verify", "--all-nodes", "tea"]);
    assert_eq!(verified.ok(), "identical to #150 on 3 of 3");
}

#[test]
fn a_node_without_a_vote_serves_followers() {
    let mut cluster = Cluster::started_of(CHAT);
    say(&cluster, "tea", 1, 50, "");
    let replica = cluster.admit(&["members", "add", "ADDRESS", "--role", "learner"]);
    cluster.start(replica);
    let mut follower = follow(&cluster, "tea", replica);
    hears(&mut follower, 1, 50);
    say(&cluster, "tea", 51, 50, "");
    hears(&mut follower, 51, 100);
    assert!(!follower.stderr().contains("left "), "{}", follower.stderr());
    let verified = told(&cluster, &["verify", "--all-nodes", "tea"]);
    assert_eq!(verified.ok(), "identical to #100 on 4 of 4");
}

#[test]
fn the_demo_ends_with_its_verdict_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command_of(CHAT, ["demo"]);
    command.env("TMPDIR", folder.path());
    let mut demo = Process::start(command);
    let lines = (1..=3).map(|node| demo.line_with(&format!("node {node} is ready at ")));
    let nodes: Vec<u32> =
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    let told = demo.told();
    let last = told.ok().lines().last().unwrap();
    let number = last.split([' ', ',']).nth(1).unwrap();
    assert_eq!(last, format!("said {number}, seen {number} on 3 of 3, lost 0, repeated 0"));
    assert!(number.parse::<u64>().unwrap() >= 500, "{last}");
    for part in ["kill -9 ", "messages go on", "has caught up", "goes on at"] {
        assert!(told.stdout.contains(part), "no {part:?} in {}", told.stdout);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it left something");
    for node in nodes {
        until("a node has ended", || (!runs(node)).then_some(()));
    }
}
