//! The command line of the counter, and what those of all apps have in common: lines, forms, exit
//! codes.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use paxos_tests::processes::cluster::path_text;
use paxos_tests::processes::told::told_by;
use paxos_tests::processes::{Cluster, told};

const APPS: [&str; 3] = ["counter", "chat", "lock"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_what_every_host_needs_and_keeps_keys_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("D");
    let init = ["init", "--nodes", "h1:7401,h2:7402,h3:7403", "--dir", path_text(&home)];
    told(init).ok();

    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&home), "admin ca client cluster.toml node-1 node-2 node-3");
    for holder in ["client", "admin"] {
        assert_eq!(names(&home.join(holder)), "ca.pem cert.pem key.pem");
    }
    for node in ["node-1", "node-2", "node-3"] {
        assert_eq!(names(&home.join(node)), "ca.pem cert.pem data key.pem");
        assert!(names(&home.join(node).join("data")).contains("identity.json"));
        assert_eq!(mode(&home.join(node).join("key.pem")), 0o600);
    }
    for key in ["ca/ca-key.pem", "client/key.pem", "admin/key.pem"] {
        assert_eq!(mode(&home.join(key)), 0o600, "{key}");
    }
    let file = fs::read_to_string(home.join("cluster.toml")).unwrap();
    assert!(!file.contains("PRIVATE"), "the cluster file has no secrets");
    let order: Vec<_> = ["h1:7401", "h2:7402", "h3:7403"].map(|at| file.find(at).unwrap()).into();
    assert!(order.is_sorted(), "{file}");

    told(init).failed_with(78, &["cluster.toml", "is there already"]);
}

#[test]
fn every_line_of_the_manual_answers_in_its_exact_form() {
    let mut cluster = Cluster::started();

    // The last line of `serve`; before it, the graph.
    let third = cluster.take(3);
    third.signal(rustix::process::Signal::TERM);
    let told = third.told();
    assert_eq!(told.code, Some(0), "{told:?}");
    let ready = format!("node 3 ready {}", cluster.address(3));
    assert_eq!(told.stdout.lines().last(), Some(ready.as_str()));
    assert!(told.stdout.lines().count() > 3 && told.stdout.contains("acceptor"), "{told:?}");
    cluster.start(3);

    let via = cluster.address(3).to_owned();
    let line = |line: &[&str]| cluster.told(line).ok().to_owned();
    assert_eq!(cluster.told(&["list"]).stdout, "");
    assert_eq!(line(&["get", "untouched"]), "0");
    assert_eq!(line(&["incr", "hits", "--by", "2", "--via", &via]), "2");
    assert_eq!(line(&["get", "hits", "--via", &via]), "2");
    assert_eq!(cluster.told(&["get", "hits"]).stdout, "2\n");
    // What was served stands behind the value; the slot depends on who led meanwhile.
    let read = |line: String| {
        let (value, slot) = line.split_once(r#","read":"linearizable","slot":"#).unwrap();
        assert!(slot.trim_end_matches('}').parse::<u64>().is_ok_and(|slot| slot > 0), "{line}");
        format!("{value}}}")
    };
    let hits = r#"{"v":1,"name":"hits","value":2}"#;
    assert_eq!(read(line(&["get", "hits", "-o", "json"])), hits);
    assert_eq!(line(&["incr", "hits", "--by", "0", "-o", "json"]), hits);
    assert_eq!(line(&["watch", "hits", "--count", "1"]), "2");

    assert_eq!(line(&["incr"]), "1");
    assert_eq!(read(line(&["get", "-o", "json"])), r#"{"v":1,"name":"default","value":1}"#);

    assert_eq!(line(&["set", "hits", "5"]), "5");
    assert_eq!(line(&["set", "hits", "7", "--if-value", "5"]), "7");
    let refused = cluster.told(&["set", "hits", "9", "--if-value", "5"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), "7\n"));
    let refused = cluster.told(&["set", "hits", "9", "--if-value", "5", "-o", "json"]);
    let present = "{\"v\":1,\"name\":\"hits\",\"value\":7}\n";
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), present));

    assert_eq!(line(&["list"]), "default  1\nhits     7");
    assert_eq!(
        read(line(&["list", "-o", "json"])),
        r#"{"v":1,"counters":[{"name":"default","value":1},{"name":"hits","value":7}]}"#
    );
    status_has_the_keys_of_the_manual(&mut cluster);
}

fn status_has_the_keys_of_the_manual(cluster: &mut Cluster) {
    cluster.leader();
    cluster.await_level();
    let status = cluster.status();
    let (leader, applied) = (&status["leader"], &status["nodes"][0]["applied"]);
    let node = |node: u64| {
        let address = cluster.address(node);
        format!(
            r#"{{"node":{node},"addr":"{address}","role":"voter","up":true,"chosen":{applied},"applied":{applied},"saved":0}}"#
        )
    };
    let exact =
        format!("{{\"v\":1,\"leader\":{leader},\"nodes\":[{},{},{}]}}", node(1), node(2), node(3));
    assert_eq!(cluster.told(&["status", "-o", "json"]).ok(), exact);

    cluster.kill_all();
    let told = cluster.told(&["status", "-o", "json", "--timeout", "500ms"]);
    told.failed_with(69, &["reached 0 of 3"]);
    let down = |node: u64| {
        let address = cluster.address(node);
        format!(
            r#"{{"node":{node},"addr":"{address}","role":null,"up":false,"chosen":null,"applied":null,"saved":null}}"#
        )
    };
    let exact =
        format!("{{\"v\":1,\"leader\":null,\"nodes\":[{},{},{}]}}\n", down(1), down(2), down(3));
    assert_eq!(told.stdout, exact);
}

/// The commands below one, as its help lists them.
fn commands_below(help: &str) -> Vec<&str> {
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = listed.lines().take_while(|line| !line.is_empty());
    // What belongs to a command that is listed stands further to the right.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").collect()
}

#[test]
fn the_help_of_every_command_of_every_app_shows_three_examples() {
    for app in APPS {
        let (mut lines, mut looked_at) = (vec![Vec::new()], 0);
        while let Some(line) = lines.pop() {
            let told = told_by(app, line.iter().map(String::as_str).chain(["--help"]));
            let help = told.ok();
            let after = help.split("Examples:\n").nth(1).unwrap_or_default();
            let examples = after.lines().take_while(|line| line.starts_with("  "));
            let count = examples.filter(|line| line.contains(&format!("{app} "))).count();
            assert_eq!(count, 3, "{app} {line:?}: {help}");
            looked_at += 1;
            let below = commands_below(help).into_iter();
            lines.extend(below.map(|name| [&line[..], &[name.to_owned()]].concat()));
        }
        assert!(looked_at > 20, "the commands of {app} were not found: {looked_at}");
    }
}

/// What makes no sense to any app, how it ends, and words of the answer.
const NONSENSE: [(&[&str], i32, &str); 35] = [
    (&["nonsense"], 64, "nonsense"),
    (&["init"], 64, "--nodes"),
    (&["init", "--nodes", "nowhere"], 64, "\"nowhere\" is no address"),
    (&["init", "--nodes", "127.0.0.1:1,127.0.0.1:1"], 64, "the address of two nodes"),
    (&["serve"], 64, "--node"),
    (&["serve", "--node", "first"], 64, "first"),
    (&["serve", "--node", "9"], 78, "names no node 9"),
    (&["serve", "--node", "1"], 78, "another process is using this data directory"),
    (&["status", "all"], 64, "all"),
    (&["status", "-o", "xml"], 64, "xml"),
    (&["status", "--timeout", "5"], 64, "not a duration"),
    (&["status", "--identity", "nowhere"], 78, "nowhere"),
    (&["members"], 64, "Usage"),
    (&["members", "add", "nowhere"], 64, "\"nowhere\" is no address"),
    (&["members", "add", "h4:7400", "--role", "king"], 64, "king"),
    (&["members", "promote", "first"], 64, "first"),
    (&["members", "demote"], 64, "<N>"),
    (&["members", "remove", "9"], 64, "n9 is no member"),
    (&["members", "replace", "3"], 64, "HOST:PORT"),
    (&["members", "demote", "3"], 77, "this needs one: use --identity admin"),
    (&["leader"], 64, "Usage"),
    (&["leader", "show", "2"], 64, "2"),
    (&["leader", "history", "2"], 64, "2"),
    (&["leader", "transfer", "9"], 64, "names no node 9"),
    (&["leader", "transfer", "2"], 77, "this needs one: use --identity admin"),
    (&["snapshot", "now"], 77, "this needs one: use --identity admin"),
    (&["snapshot", "now", "--node", "9"], 78, "names no node 9"),
    (&["snapshot", "list", "--node", "9"], 78, "names no node 9"),
    (&["snapshot", "verify"], 64, "--node"),
    (&["backup"], 64, "DIR"),
    (&["backup", "b"], 77, "this needs one: use --identity admin"),
    (&["backup", "/"], 64, "is there already"),
    (&["log", "verify", "--node", "9"], 78, "names no node 9"),
    (&["log", "verify", "--node", "1"], 78, "another process is using this data directory"),
    (&["log", "dump", "--node", "1", "--from", "end"], 64, "end"),
];

#[test]
fn what_makes_no_sense_to_any_app_is_answered_clearly_and_the_cluster_goes_on() {
    for (app, change) in [
        ("counter", &["incr", "hits"][..]),
        ("chat", &["say", "tea", "still there"]),
        ("lock", &["acquire", "x"]),
    ] {
        let cluster = Cluster::started_of(app);
        cluster.told(change).ok();
        for (line, code, words) in NONSENSE {
            let told = match line[0] {
                // These make a cluster, or have none.
                "init" | "nonsense" => told_by(app, line.iter().copied()),
                _ => cluster.told(line),
            };
            told.failed_with(code, &[words]);
            assert_eq!(told.stdout, "", "{app} {line:?}");
        }
        for (line, code, words) in [
            (&["restore", "nowhere", "--nodes", "127.0.0.1:1"][..], 64, "nowhere is no backup"),
            (&["restore", "nowhere"], 64, "--nodes"),
            (&["completions", "tcsh"], 64, "tcsh"),
            (&["completions"], 64, "SHELL"),
            (&["demo", "now"], 64, "now"),
            (&[], 64, "Usage"),
        ] {
            told_by(app, line).failed_with(code, &[words]);
        }
        cluster.told(&["status"]).ok();
        let others = [change[0], "another", "still there"];
        cluster.told(if change.len() == 3 { &others } else { &others[..2] }).ok();
    }
}

#[test]
fn the_graphs_of_the_apps_differ_in_configuration_only() {
    let mut graphs = Vec::new();
    for app in APPS {
        let mut cluster = Cluster::started_of(app);
        let first = cluster.take(1);
        first.signal(rustix::process::Signal::TERM);
        graphs.push((app, first.told().ok().to_owned()));
    }
    // A line of the configuration has a name and a value; every other is drawn.
    let drawn = |graph: &str| {
        let lines = graph.lines().take_while(|line| !line.starts_with("  node "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let configured = |graph: &str| {
        let lines = graph.lines().skip_while(|line| !line.starts_with("  node "));
        let lines = lines.filter_map(|line| line.strip_prefix("  ")?.split_once(' '));
        let lines = lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        lines.collect::<Vec<_>>()
    };
    let (_, counter) = &graphs[0];
    assert!(drawn(counter).len() >= 3, "{counter}");
    let settings = ["leadership", "window", "batching", "snapshots", "sessions"];
    // Each cluster has these for itself, whatever its service is.
    let own = ["node", "member", "folder"];
    for (app, graph) in &graphs[1..] {
        assert_eq!(drawn(counter), drawn(graph), "{app}");
        let (plain, preset) = (configured(counter), configured(graph));
        let names = |lines: &[(String, String)]| {
            lines.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&plain), names(&preset), "{app}");
        let differing: Vec<_> = std::iter::zip(&plain, &preset)
            .filter(|(one, other)| one != other)
            .map(|((name, _), _)| name.as_str())
            .filter(|name| !own.contains(name))
            .collect();
        assert!(!differing.is_empty(), "{app} has no preset of its own: {graph}");
        assert!(differing.iter().all(|name| settings.contains(name)), "{app}: {differing:?}");
        assert!(graph.contains("  hosts       acceptor, proposer, learner, leadership, archive\n"));
    }
}

#[test]
fn wrong_usage_ends_with_64_and_says_what_is_wrong() {
    let cases: [(&[&str], &str); 9] = [
        (&[], "Usage"),
        (&["increment"], "increment"),
        (&["incr", "hits", "--by", "two"], "two"),
        (&["incr", "hits", "--request-id", "7"], "SESSION:SEQ"),
        (&["get", "hits", "--timeout", "5"], "not a duration"),
        (&["set", "hits"], "VALUE"),
        (&["init"], "--nodes"),
        (&["serve"], "--node"),
        (&["torture", "--kill-leader-every", "2s", "--cluster", "c.toml"], "--cluster"),
    ];
    for (line, words) in cases {
        let told = told(line);
        told.failed_with(64, &[words]);
        assert_eq!(told.stdout, "", "{line:?}");
    }
}
