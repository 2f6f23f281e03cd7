//! The lock service as its users meet it: its lines and exit codes, and that a command runs only as
//! long as its lock is held.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lock::{AcquireError, AcquireOptions, LockClient, Loss, Refusal, Terms, Wait};
use paxos_net::client::Client;
use paxos_tests::processes::binary::{app, example};
use paxos_tests::processes::cluster::path_text;
use paxos_tests::processes::patience::LIMIT;
use paxos_tests::processes::process::{command_of, runs};
use paxos_tests::processes::proxy::Proxy;
use paxos_tests::processes::told::told_by;
use paxos_tests::processes::{Cluster, Process, until};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{sleep, timeout};

const LOCK: &str = "lock";

/// For commands that a slow machine may keep waiting.
const PATIENCE: [&str; 2] = ["--timeout", "60s"];

/// Starts `lock run` with a script of the shell, in the folder of the cluster.
fn begin(cluster: &Cluster, options: &[&str], script: &str) -> Process {
    let line = [&["run"], options, &PATIENCE, &["--", "sh", "-c", script]].concat();
    let mut command = command_of(LOCK, line);
    command.env("PAXOS_CLUSTER", cluster.file()).current_dir(cluster.folder());
    Process::start(command)
}

/// Waits until a file has a text in it that ends in a line break, and reads it.
fn text_of(cluster: &Cluster, name: &str) -> String {
    let path = cluster.folder().join(name);
    let text = until(&format!("{name} is written"), || {
        fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
    });
    text.trim_end().to_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_line_of_the_manual_answers_in_its_exact_form() {
    let cluster = Cluster::started_of(LOCK);
    let told = |line: &[&str]| cluster.told(&[line, &PATIENCE].concat());
    let line = |line: &[&str]| told(line).ok().to_owned();
    assert_eq!(line(&["list"]), "");
    told(&["show", "x"]).failed(1);
    assert_eq!(line(&["acquire", "x", "--ttl", "1h"]), "1 1");
    let acquired = r#"{"v":1,"name":"y","token":1,"session":2}"#;
    assert_eq!(line(&["acquire", "y", "--ttl", "1h", "-n", "-o", "json"]), acquired);
    assert_eq!(line(&["renew", "--session", "1"]), "session 1 renewed");
    let shown = json(&line(&["show", "x", "-o", "json"]));
    assert_eq!((&shown["last"], &shown["holder"]["session"]), (&1.into(), &1.into()));
    assert!(shown["holder"]["identity"].as_str().unwrap().contains("client"), "{shown}");
    let listed = json(&line(&["list", "-o", "json"]));
    assert_eq!(listed["locks"].as_array().unwrap().len(), 2);
    assert!(line(&["list", "y"]).starts_with("y  token 1  "));
    assert_eq!(line(&["queue", "x"]), "");
    assert_eq!(line(&["fence", "check", "x", "1"]), "1 is current");
    let checked = told(&["fence", "check", "x", "2", "-o", "json"]);
    let never = "{\"v\":1,\"name\":\"x\",\"token\":2,\"current\":false,\"last\":1}\n";
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(1), never));
    assert!(line(&["watch", "x", "--count", "1"]).starts_with("granted   1  session 1  "));
    told(&["acquire", "x", "-n"]).failed_with(75, &["not acquired"]);
    told(&["acquire", "x", "-w", "0.2"]).failed_with(75, &["held by another"]);
    told(&["acquire", "x", "-w", "0"]).failed_with(75, &["held by another"]);
    assert!(line(&["acquire", "z", "-w", "0"]).starts_with("1 "));
    assert_eq!(line(&["release", "--session", "1"]), "session 1 released");
    told(&["renew", "--session", "1"]).failed_with(1, &["expired"]);
    told(&["fence", "check", "x", "1"]).failed(1);
    assert_eq!(line(&["watch", "x", "--from", "0", "--count", "1"]), "free      1");
}

#[test]
fn bad_input_gets_a_clear_answer_and_the_cluster_goes_on() {
    let cluster = Cluster::started_of(LOCK);
    let told = |line: &[&str]| cluster.told(line);
    let name = "x".repeat(201);
    let cases: [(&[&str], &str); 23] = [
        (&["acquire"], "NAME"),
        (&["acquire", "x", "--ttl", "25h"], "ttl"),
        (&["acquire", "two words"], "no spaces"),
        (&["acquire", ""], "1 to 200 bytes"),
        (&["acquire", &name], "1 to 200 bytes"),
        (&["acquire", "x", "--ttl", "1ms"], "ttl"),
        (&["acquire", "x", "--ttl", "2s", "--grace", "2s"], "grace"),
        (&["acquire", "x", "-w", "soon"], "soon"),
        (&["acquire", "x", "-n", "-w", "1"], "cannot be used with"),
        (&["renew"], "--session"),
        (&["release", "--session", "-1"], "-1"),
        (&["fence", "check", "x", "abc"], "abc"),
        (&["fence"], "Usage"),
        (&["fence", "check", "x"], "TOKEN"),
        (&["show"], "NAME"),
        (&["show", "x", "--at-least", "7", "--read", "lease"], "--at-least"),
        (&["list", "a", "b"], "unexpected argument 'b'"),
        (&["list", "--read", "newest"], "newest"),
        (&["queue", "a b"], "no spaces"),
        (&["watch"], "NAME"),
        (&["watch", "x", "--from", "now"], "now"),
        (&["watch", "x", "--count", "0"], "count"),
        (&["run", "x"], "CMD"),
    ];
    for (line, words) in cases {
        let told = told(line);
        told.failed_with(64, &[words]);
        assert_eq!(told.stdout, "", "{line:?}");
    }
    // Behind what it would run nothing of the command's own can stand.
    for (options, words) in [
        (&["a b"][..], "no spaces"),
        (&["x", "--on-lost", "hug"], "hug"),
        (&["x", "--ttl", "0s"], "ttl"),
        (&["x", "-E", "300"], "300"),
    ] {
        let told = begin(&cluster, options, "echo ran").told();
        told.failed_with(64, &[words]);
        assert_eq!(told.stdout, "", "{options:?}");
    }
    told(&["renew", "--session", "7"]).failed_with(1, &["session 7 has expired"]);
    told(&["release", "--session", "7"]).failed_with(1, &["session 7 has expired"]);
    assert_eq!(told(&["acquire", "x", "--ttl", "1h"]).ok(), "1 1");
    let not_yours = ["session 1 is not yours"];
    cluster.told_admin(&["renew", "--session", "1"]).failed_with(77, &not_yours);
    cluster.told_admin(&["release", "--session", "1"]).failed_with(77, &not_yours);
    told_by(LOCK, ["show", "x", "--cluster", "/nowhere/c.toml"]).failed_with(78, &["c.toml"]);
    assert!(told(&["list"]).ok().starts_with("x  token 1"));
}

#[test]
fn a_command_finds_its_token_and_its_status_is_kept() {
    let cluster = Cluster::started_of(LOCK);
    let script = "echo $PAXOS_LOCK_NAME $PAXOS_LOCK_TOKEN $PAXOS_LOCK_SESSION; exit 3";
    let told = begin(&cluster, &["x"], script).told();
    assert_eq!((told.code, told.stdout.as_str()), (Some(3), "x 1 1\n"), "{told:?}");
    let told = begin(&cluster, &["x"], "kill -TERM $$").told();
    assert_eq!(told.code, Some(143), "{told:?}");
    let mut missing = command_of(LOCK, ["run", "x", "--", "there-is-no-such-command"]);
    missing.env("PAXOS_CLUSTER", cluster.file());
    let told = Process::start(missing).told();
    told.failed_with(127, &["there-is-no-such-command"]);
    // Its parent may have wanted not to hear of the ends of its own children.
    let mut ignoring = Command::new("env");
    ignoring
        .arg("--ignore-signal=CHLD")
        .arg(app(LOCK))
        .args(["run", "x", "--", "sh", "-c", "exit 4"]);
    ignoring.env("PAXOS_CLUSTER", cluster.file());
    assert_eq!(Process::start(ignoring).told().failed(4), "");
    // It was given back each time, not left to expire.
    assert!(cluster.told(&["show", "x"]).stdout.contains("x is free; its last token is 4"));
}

#[test]
fn a_command_runs_although_the_program_was_replaced_while_it_waited() {
    let cluster = Cluster::started_of(LOCK);
    let copy = cluster.folder().join("copy");
    fs::copy(app(LOCK), &copy).unwrap();
    let mut holder = begin(&cluster, &["x"], "echo held; read line; exit 0");
    holder.line_with("held");
    let mut command = Command::new(&copy);
    command.args(["run", "x", "--ttl", "1h", "--timeout", "60s", "--", "sh", "-c", "echo ran"]);
    command.env("PAXOS_CLUSTER", cluster.file());
    let waiter = Process::start(command);
    until("somebody waits", || (!cluster.told(&["queue", "x"]).stdout.is_empty()).then_some(()));
    fs::remove_file(&copy).unwrap();
    holder.close_stdin();
    holder.told();
    assert_eq!(waiter.told().ok(), "ran");
}

#[test]
fn the_lock_of_a_command_that_cannot_be_started_is_given_back_at_once() {
    let cluster = Cluster::started_of(LOCK);
    symlink(app(LOCK), cluster.folder().join("l")).unwrap();
    let command = |ttl: &str, length: usize| {
        let mut command = Command::new("./l");
        command.args(["run", "x", "--ttl", ttl, "--", "true"]).current_dir(cluster.folder());
        command.args(vec!["x".repeat(100_000); length / 100_000]);
        command.arg("x".repeat(length % 100_000)).env_clear();
        command
    };
    // The longest line that the system takes: with what the command is told it is too long.
    let (mut fits, mut exceeds) = (0usize, 8 << 20);
    while exceeds - fits > 1 {
        let length = fits.midpoint(exceeds);
        let taken = command("0h", length).output().is_ok();
        if taken { fits = length } else { exceeds = length }
    }
    Process::start(command("1h", fits)).told().failed_with(126, &["cannot be started"]);
    assert!(cluster.told(&["show", "x"]).stdout.contains("x is free; its last token is 1"));
}

#[test]
fn who_does_not_get_the_lock_does_not_run() {
    let cluster = Cluster::started_of(LOCK);
    let mut holder = begin(&cluster, &["x"], "echo held; read line; exit 0");
    holder.line_with("held");
    for (options, code) in
        [(vec!["x", "-n"], 75), (vec!["x", "-w", "0.2"], 75), (vec!["x", "-n", "-E", "9"], 9)]
    {
        let told = begin(&cluster, &options, "echo ran").told();
        assert_eq!((told.code, told.stdout.as_str()), (Some(code), ""), "{told:?}");
    }
    // One that gives up while it waits leaves the queue.
    let waiter = begin(&cluster, &["x"], "echo ran");
    until("somebody waits", || (!cluster.told(&["queue", "x"]).stdout.is_empty()).then_some(()));
    waiter.signal(Signal::INT);
    let told = waiter.told();
    assert_eq!((told.code, told.stdout.as_str()), (Some(130), ""), "{told:?}");
    assert_eq!(cluster.told(&["queue", "x"]).ok(), "");
    // A signal reaches the command, whose status it then is.
    holder.signal(Signal::TERM);
    assert_eq!(holder.told().code, Some(143));
    assert_eq!(cluster.told(&["show", "x"]).code, Some(1));
}

#[test]
fn a_command_does_not_run_if_the_lock_came_when_its_time_was_over() {
    let cluster = Cluster::started_of(LOCK);
    // Nobody answers within the microsecond that is left before the end begins.
    let options = ["x", "--ttl", "500ms", "--grace", "499999us"];
    let told = begin(&cluster, &options, "trap '' TERM; echo > ran").told();
    told.failed_with(75, &["x is not acquired", "time was over"]);
    assert!(!cluster.folder().join("ran").exists());
    assert!(cluster.told(&["show", "x"]).stdout.contains("x is free; its last token is 1"));
    let told = begin(&cluster, &[&options[..], &["-E", "9"]].concat(), "echo > ran").told();
    assert_eq!((told.code, told.stdout.as_str()), (Some(9), ""), "{told:?}");
}

#[test]
fn who_was_stopped_while_it_waited_is_told_that_its_session_expired() {
    let cluster = Cluster::started_of(LOCK);
    let acquire = ["acquire", "x", "--ttl", "1h"];
    assert_eq!(cluster.told(&[&acquire, &PATIENCE[..]].concat()).ok(), "1 1");
    let queue = || cluster.told(&["queue", "x"]).stdout;
    let waiter = begin(&cluster, &["x", "--ttl", "2s"], "echo ran");
    until("somebody waits", || (!queue().is_empty()).then_some(()));
    waiter.signal(Signal::STOP);
    until("its session has expired", || queue().is_empty().then_some(()));
    waiter.signal(Signal::CONT);
    let told = waiter.told();
    told.failed_with(75, &["x is not acquired", "time was over"]);
    assert_eq!(told.stdout, "");
}

fn client(cluster: &Cluster) -> LockClient {
    LockClient::new(Client::new(cluster.client_config()).unwrap())
}

/// Waits for what must come to pass.
async fn come<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_ends_while_no_node_answers_says_so() {
    let mut cluster = Cluster::started_of(LOCK);
    let locks = client(&cluster);
    let open = locks.open(Terms::default()).await.unwrap();
    let short = Wait::For(Duration::from_millis(10));
    cluster.kill_all();
    let error = come(locks.turn(&open, "x", short)).await.unwrap_err();
    assert_eq!(error, AcquireError::Unanswered("x".to_owned()));
    cluster.start_all();
    // Whoever holds it says so, however short the wait.
    let holder = come(locks.acquire("x", AcquireOptions::default())).await.unwrap();
    let waiter = come(locks.open(Terms::default())).await.unwrap();
    let error = come(locks.turn(&waiter, "x", short)).await.unwrap_err();
    assert_eq!(error, AcquireError::NotAcquired("x".to_owned()));
    holder.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_says_when_its_lock_is_lost_and_how_long_it_has_to_stop() {
    let mut cluster = Cluster::started_of(LOCK);
    let locks = client(&cluster);
    let terms = Terms { ttl: Duration::from_secs(12), grace: Duration::from_secs(3) };
    let options = AcquireOptions { terms, ..AcquireOptions::default() };
    let guard = come(locks.acquire("x", options)).await.unwrap();
    assert!(guard.left() <= terms.ttl);
    locks.close(guard.session()).await.unwrap();
    assert_eq!(come(guard.lost()).await, Loss::Gone);
    let (name, token) = ("x".to_owned(), guard.token());
    let error = guard.release().await.unwrap_err();
    assert_eq!(error, AcquireError::Refused(Refusal::NotHolder { name, token }));

    let guard = come(locks.acquire("x", options)).await.unwrap();
    assert!(guard.token() > token);
    cluster.kill_all();
    assert_eq!(come(guard.lost()).await, Loss::Silence);
    assert!(guard.left() <= terms.grace);
    let over = async {
        while !guard.left().is_zero() {
            sleep(guard.left()).await;
        }
    };
    come(over).await;
}

#[test]
fn the_queue_is_served_in_its_order() {
    let cluster = Cluster::started_of(LOCK);
    let mut holder = begin(&cluster, &["x"], "echo held; while [ ! -e go ]; do sleep 0.05; done");
    holder.line_with("held");
    let mut waiting = Vec::new();
    for number in 1..=3usize {
        let script = format!("echo {number} >> order");
        waiting.push(begin(&cluster, &["x"], &script));
        until("one more waits", || {
            let queue = cluster.told(&["queue", "x"]).stdout;
            (queue.lines().count() == number).then_some(())
        });
    }
    fs::write(cluster.folder().join("go"), "").unwrap();
    holder.told().ok();
    for waiter in waiting {
        waiter.told().ok();
    }
    assert_eq!(text_of(&cluster, "order"), "1\n2\n3");
}

#[test]
fn a_lost_lock_stops_the_command_and_all_that_it_started() {
    let mut cluster = Cluster::started_of(LOCK);
    // Neither hears SIGTERM as it should; the grandchild is what is left of the group.
    let script = "trap 'echo term > told' TERM; \
                  sh -c 'trap : TERM; echo $$ > grandchild; while :; do sleep 0.1; done' & \
                  echo $$ > child; while :; do sleep 0.1; done";
    let holder = begin(&cluster, &["x", "--ttl", "4s", "--grace", "2s"], script);
    let id = |name| text_of(&cluster, name).parse::<u32>().unwrap();
    let (child, grandchild) = (id("child"), id("grandchild"));
    cluster.kill_all();
    let told = holder.told();
    told.failed_with(76, &["the lock is lost", "no renewal was acknowledged"]);
    assert_eq!(text_of(&cluster, "told"), "term");
    for process in [child, grandchild] {
        until("what the lock protected has stopped", || (!runs(process)).then_some(()));
    }
    // Nobody else can have had it meanwhile, and after a restart it is free in time.
    cluster.start_all();
    let told = begin(&cluster, &["x", "-w", "60"], "echo $PAXOS_LOCK_TOKEN").told();
    assert_eq!(told.ok(), "2");
}

/// A pipe that nobody reads from and that has no room left.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[0]).is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn a_stderr_that_nobody_reads_keeps_no_command_alive_and_no_lock_from_being_renewed() {
    let mut cluster = Cluster::started_of(LOCK);
    let (_reader, full) = full_pipe();
    let stuck = |verbose: &str, script: &str| {
        let line = ["run", "x", verbose, "--ttl", "6s", "--timeout", "60s", "--", "sh", "-c"];
        let mut command = command_of(LOCK, line);
        command.arg(script).env("PAXOS_CLUSTER", cluster.file()).current_dir(cluster.folder());
        Process::start_with_stderr(command, full.try_clone().unwrap())
    };
    // What it has to say is said when the lock is free again.
    let _talker = stuck("-v", "echo $PAXOS_LOCK_TOKEN > ran");
    assert_eq!(text_of(&cluster, "ran"), "1");
    let script = "trap '' TERM; echo $$ > child; while :; do sleep 0.1; done";
    let _holder = stuck("-v", script);
    let child: u32 = text_of(&cluster, "child").parse().unwrap();
    cluster.kill_all();
    until("the command has stopped", || (!runs(child)).then_some(()));
}

#[test]
fn cli2_the_lock_of_a_client_that_was_killed_is_free_in_time_and_its_command_is_gone() {
    let cluster = Cluster::started_of(LOCK);
    let script = "echo $$ > child; while :; do sleep 0.1; done";
    let holder = begin(&cluster, &["x", "--ttl", "2s"], script);
    let child: u32 = text_of(&cluster, "child").parse().unwrap();
    holder.kill();
    until("the command is gone with its parent", || (!runs(child)).then_some(()));
    let told = begin(&cluster, &["x", "-w", "60"], "echo $PAXOS_LOCK_TOKEN").told();
    assert_eq!(told.ok(), "2");
}

#[test]
fn f2_f7_of_those_who_wait_the_next_that_lives_gets_the_lock_of_a_holder_that_was_killed() {
    let cluster = Cluster::started_of(LOCK);
    let mut holder = begin(&cluster, &["x", "--ttl", "2s"], "echo held; read line");
    holder.line_with("held");
    let queue = || cluster.told(&["queue", "x"]).stdout.lines().count();
    let mut waiting = Vec::new();
    for number in 1..=3usize {
        let script = "echo $PAXOS_LOCK_TOKEN >> order";
        waiting.push(begin(&cluster, &["x", "--ttl", "2s"], script));
        until("one more waits", || (queue() == number).then_some(()));
    }
    waiting.remove(0).kill();
    until("who was killed waits no more", || (queue() == 2).then_some(()));
    holder.kill();
    for waiter in waiting {
        waiter.told().ok();
    }
    assert_eq!(text_of(&cluster, "order"), "2\n3");
}

#[test]
fn f4_a_session_that_has_expired_takes_nothing_from_the_next_holder() {
    let cluster = Cluster::started_of(LOCK);
    let told = |line: &[&str]| cluster.told(&[line, &PATIENCE].concat());
    assert_eq!(told(&["acquire", "x", "--ttl", "1s"]).ok(), "1 1");
    assert_eq!(told(&["acquire", "x", "--ttl", "1h", "-w", "60"]).ok(), "2 2");
    for verb in ["release", "renew"] {
        told(&[verb, "--session", "1"]).failed_with(1, &["session 1 has expired"]);
    }
    assert_eq!(told(&["fence", "check", "x", "2"]).ok(), "2 is current");
    told(&["fence", "check", "x", "1"]).failed(1);
}

#[test]
fn f6_tokens_rise_and_a_watch_tells_each_of_them_while_nodes_are_killed() {
    let mut cluster = Cluster::started_of(LOCK);
    let acquire = |cluster: &Cluster| {
        let told = cluster.told(&[&["acquire", "x", "--ttl", "1h"], &PATIENCE[..]].concat());
        let words: Vec<u64> = told.ok().split(' ').map(|word| word.parse().unwrap()).collect();
        (words[0], words[1].to_string())
    };
    let mut watch = cluster.begin(&["watch", "x", "-o", "json"]);
    let (mut token, mut session) = acquire(&cluster);
    let granted = watch.line().unwrap();
    assert!(granted.contains(r#""event":"granted","name":"x","token":1,"#), "{granted}");
    // Whichever node it watches at is one of them.
    for fallen in [1, 2, 3, 1] {
        cluster.kill(fallen);
        cluster.told(&[&["release", "--session", &session], &PATIENCE[..]].concat()).ok();
        (token, session) = acquire(&cluster);
        cluster.start(fallen);
    }
    cluster.kill_all();
    cluster.start_all();
    cluster.told(&[&["release", "--session", &session], &PATIENCE[..]].concat()).ok();
    assert_eq!((acquire(&cluster).0, token), (6, 5));
    for due in 1..=5u64 {
        for (event, token) in [("released", due), ("granted", due + 1)] {
            let told = json(&watch.line().unwrap());
            assert_eq!((&told["event"], &told["token"]), (&event.into(), &token.into()));
        }
    }
}

#[test]
fn a_watch_that_lags_does_not_repeat_what_it_told() {
    let mut cluster = Cluster::started_of(LOCK);
    let told = |cluster: &Cluster, line: &[&str]| {
        cluster.told(&[line, &PATIENCE].concat()).ok().to_owned()
    };
    assert_eq!(told(&cluster, &["acquire", "x", "--ttl", "1h"]), "1 1");
    let mut watch = cluster.begin(&["watch", "x"]);
    assert!(watch.line().unwrap().starts_with("granted   1  session 1  "));
    watch.signal(Signal::STOP);
    // What is in a snapshot at the start of a node is not told by it any more.
    assert_eq!(told(&cluster, &["acquire", "y", "--ttl", "1h"]), "1 2");
    cluster.await_level();
    for node in ["1", "2", "3"] {
        cluster.told_admin(&["snapshot", "now", "--node", node]).ok();
    }
    cluster.kill_all();
    cluster.start_all();
    watch.signal(Signal::CONT);
    for _ in 0..10 {
        told(&cluster, &["renew", "--session", "2"]);
    }
    told(&cluster, &["release", "--session", "1"]);
    let line = watch.line().unwrap();
    assert!(line.starts_with("released  1") || line.starts_with("free      1"), "{line}");
}

/// A line of the shell that appends its token to a file so many times, and does not hear SIGTERM.
fn lines(count: usize) -> String {
    let line = "echo $PAXOS_LOCK_TOKEN >> lines; sleep 0.01; n=$((n + 1))";
    format!("trap '' TERM; n=0; while [ $n -lt {count} ]; do {line}; done")
}

/// Starts `lock run` behind a proxy.
fn begin_behind(cluster: &Cluster, options: &[&str], script: &str) -> (Proxy, Process) {
    let proxy = Proxy::start(cluster.address(1), usize::MAX);
    let address = proxy.address().to_string();
    let file = cluster.file_with(1, &address);
    let options = [options, &["--via", &address, "--cluster", path_text(&file)]].concat();
    let process = begin(cluster, &options, script);
    (proxy, process)
}

/// Has another one wait for the lock, and write some lines when it has it.
fn wait_to_write(cluster: &Cluster) -> Process {
    let waiter = begin(cluster, &["x"], &lines(100));
    until("somebody waits", || (!cluster.told(&["queue", "x"]).stdout.is_empty()).then_some(()));
    waiter
}

/// Requires that the first holder wrote nothing any more when the second one had begun.
#[track_caller]
fn assert_in_turn(cluster: &Cluster) {
    let text = text_of(cluster, "lines");
    let tokens: Vec<_> = text.lines().collect();
    assert!(tokens.is_sorted(), "two wrote at once: {tokens:?}");
    assert_eq!((tokens.first(), tokens.last()), (Some(&"1"), Some(&"2")));
}

#[test]
fn a_command_of_who_is_cut_off_has_stopped_before_another_has_the_lock() {
    let cluster = Cluster::started_of(LOCK);
    let terms = ["x", "--ttl", "12s", "--grace", "3s"];
    let (proxy, holder) = begin_behind(&cluster, &terms, &lines(6_000));
    text_of(&cluster, "lines");
    let waiter = wait_to_write(&cluster);
    proxy.cut();
    waiter.told().ok();
    holder.told().failed_with(76, &["the lock is lost", "no renewal was acknowledged"]);
    assert_in_turn(&cluster);
}

#[test]
fn what_a_command_leaves_behind_ends_before_the_lock_is_given_back() {
    let cluster = Cluster::started_of(LOCK);
    let left = lines(6_000).replace('$', "\\$");
    let script = format!("sh -c \"{left}\" & while [ ! -e go ]; do sleep 0.01; done");
    let (proxy, holder) = begin_behind(&cluster, &["x"], &script);
    text_of(&cluster, "lines");
    let waiter = wait_to_write(&cluster);
    // That the lock is free is not heard by who gave it back: it has to have stopped before.
    proxy.deafen();
    fs::write(cluster.folder().join("go"), "").unwrap();
    waiter.told().ok();
    assert_in_turn(&cluster);
    holder.kill();
}

/// A store that refuses stale tokens, as the example has it.
fn store() -> PathBuf {
    example("fenced_store")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn f1_cli3_a_holder_that_was_stopped_is_refused_by_its_token() {
    let cluster = Cluster::started_of(LOCK);
    let store = store();
    let store = text(&store);
    let sleeper = format!(
        "{store} journal $PAXOS_LOCK_TOKEN first; echo > written; \
         while [ ! -e go ]; do sleep 0.05; done; \
         {store} journal $PAXOS_LOCK_TOKEN late; echo $? > told; sleep 600"
    );
    let stopped = begin(&cluster, &["x", "--ttl", "2s"], &sleeper);
    until("the first line is written", || cluster.folder().join("written").exists().then_some(()));
    // It cannot stop its command now, and the command does not know.
    stopped.signal(Signal::STOP);
    let second = format!("{store} journal $PAXOS_LOCK_TOKEN second");
    begin(&cluster, &["x", "-w", "60"], &second).told().ok();
    fs::write(cluster.folder().join("go"), "").unwrap();
    assert_eq!(text_of(&cluster, "told"), "1");
    assert_eq!(text_of(&cluster, "journal"), "1 first\n2 second");
    stopped.signal(Signal::CONT);
    stopped.told().failed_with(76, &["the lock is lost"]);
}

#[test]
fn the_demo_ends_with_its_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command_of(LOCK, ["demo"]);
    command.env("TMPDIR", folder.path());
    let told = Process::start(command).told();
    let last = told.ok().lines().last().unwrap();
    let grants = last.split([' ', ',']).nth(1).unwrap();
    assert_eq!(last, format!("grants {grants}, overlaps 0, tokens rising, lost 0"));
    assert!(grants.parse::<u64>().unwrap() >= 100, "{last}");
    assert!(told.stdout.contains("kill -9 "), "{}", told.stdout);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
