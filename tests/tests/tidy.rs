//! The house rules that a machine can check.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 100;
const EXAMPLE_LINES_MAX: usize = 60;

/// What may lie at the top; files for tools are dotfiles.
const TOP: [&str; 14] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "paxos-core",
    "paxos-net",
    "paxos-actors",
    "apps",
    "tests",
];

/// The library crates from the lowest floor up, and what their code must not name: what is above
/// them, and what is not theirs to touch.
const FLOORS: [(&str, &[&str]); 3] = [
    (
        "paxos-core",
        &[
            "std::fs",
            "std::net",
            "std::thread",
            "Instant",
            "SystemTime",
            "tokio",
            "actix",
            "quinn",
            "rustls",
            "paxos_net",
            "paxos_actors",
            "paxos_app",
        ],
    ),
    ("paxos-net", &["actix", "paxos_actors", "paxos_app"]),
    ("paxos-actors", &["quinn", "rustls", "paxos_app"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below a folder, without what is built.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !path.is_symlink() {
            if name != "target" && name != ".git" {
                found.extend(files(&path));
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| is_rust(path)).collect()
}

/// A line without its comment; what is said in words is free.
fn code(line: &str) -> &str {
    match line.trim_start().starts_with("//") {
        true => "",
        false => line.split(" // ").next().unwrap_or(line),
    }
}

/// Each line that breaks a rule, with its place.
fn offences(files: &[PathBuf], breaks: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in files {
        // What is not text has no lines.
        let Ok(text) = fs::read_to_string(path) else { continue };
        let lines = text.lines().enumerate().filter(|(_, line)| breaks(line));
        found.extend(lines.map(|(index, line)| {
            let path = path.strip_prefix(root()).unwrap().display();
            format!("{path}:{}: {}", index + 1, line.trim())
        }));
    }
    found
}

/// Whether a word occurs as a whole.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(part) && !after.starts_with(part)
    })
}

#[track_caller]
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn each_floor_knows_only_what_is_below_it() {
    for (name, forbidden) in FLOORS {
        let folder = root().join(name).join("src");
        let found = offences(&rust_files(&folder), |line| {
            forbidden.iter().any(|word| names(code(line), word))
        });
        none(&format!("{name} names what it must not know"), &found);
    }
}

#[test]
fn no_library_knows_an_app() {
    let apps = fs::read_dir(root().join("apps")).unwrap();
    let apps: Vec<_> =
        apps.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(apps.iter().any(|name| name == "counter"), "{apps:?}");
    for (name, _) in FLOORS {
        let crate_folder = root().join(name);
        let sources = rust_files(&crate_folder);
        // A library may have a lock of its own, and what it calls so is no app. Leadership is what
        // the laboratory is about, and everybody's word.
        let own = |app: &str| {
            app == "leadership" || sources.iter().any(|path| path.file_stem() == Some(app.as_ref()))
        };
        let others: Vec<_> = apps.iter().filter(|app| !own(app)).collect();
        // Neither in what it calls, nor in what it says.
        let texts = |line: &str| line.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        let found = offences(&sources, |line| {
            let texts: Vec<String> = texts(line);
            others.iter().any(|app| {
                code(line).contains(&format!("use {app}::"))
                    || texts.iter().any(|text| names(text, app))
            })
        });
        none("a library names an app", &found);
        let manifest = fs::read_to_string(crate_folder.join("Cargo.toml")).unwrap();
        // Without that no path leads into one, whatever a module of the library's own is called.
        let key = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
        let dependencies =
            manifest.lines().filter(|line| apps.contains(&key(line)) || line.contains("apps/"));
        assert_eq!(dependencies.count(), 0, "{name} depends on an app");
    }
}

#[test]
fn no_file_and_no_line_is_too_long() {
    let files = rust_files(&root());
    assert!(files.len() > 50, "the files were not found: {files:?}");
    let long: Vec<_> = files
        .iter()
        .map(|path| (path, fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    none("files that are too long", &long);
    // A row of a table and a literal as it is on the wire cannot be broken.
    let whole = |line: &str| line.trim_start().starts_with("//! |") || line.contains("r#\"");
    let wide = offences(&files, |line| line.chars().count() > COLUMNS_MAX && !whole(line));
    none("lines that are too long", &wide);
}

#[test]
fn nothing_is_left_for_later() {
    // Spelled so that this file does not break its own rule.
    let marks = ["to\u{64}o!(", "unimp\u{6c}emented!(", "FIX\u{4d}E", "XX\u{58}"];
    let found = offences(&rust_files(&root()), |line| marks.iter().any(|mark| line.contains(mark)));
    none("something is left for later", &found);
}

#[test]
fn no_file_knows_the_machine_that_it_was_written_on() {
    let homes = ["home", "Users", "root", "work"].map(|folder| format!("/{folder}/"));
    let scripts = files(&root()).into_iter().filter(|path| path.file_name().unwrap() != ".git");
    let found = offences(&scripts.collect::<Vec<_>>(), |line| {
        homes.iter().any(|home| {
            line.match_indices(home).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-/{}*".contains(c))
            })
        })
    });
    none("a path of one machine", &found);
}

#[test]
fn nothing_lies_at_the_top_that_does_not_belong_there() {
    let entries = fs::read_dir(root()).unwrap();
    let strays: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target" && !TOP.contains(&name.as_str()))
        .collect();
    none("strays at the top", &strays);
}

#[test]
fn a_whole_service_of_ones_own_is_short() {
    let example = root().join("paxos-actors/examples/kv.rs");
    let lines = fs::read_to_string(example).unwrap().lines().count();
    assert!(lines <= EXAMPLE_LINES_MAX, "{lines} lines");
}

/// The ids at the beginning of the rows of the table of faults.
fn ids() -> Vec<String> {
    let table = fs::read_to_string(root().join("tests/FAULTS.md")).unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let ids = cells.flat_map(|cell| cell.split(", ").map(str::to_lowercase));
    ids.filter(|id| id.ends_with(|c: char| c.is_ascii_digit())).collect()
}

/// Whether a test of this name tells the story of this id, alone or with those of others.
fn tells(name: &str, id: &str) -> bool {
    let is_id = |word: &&str| {
        let digits = word.trim_start_matches(|c: char| c.is_ascii_lowercase());
        !digits.is_empty() && digits.len() < word.len() && digits.parse::<u32>().is_ok()
    };
    name.split('_').take_while(is_id).any(|word| word == id)
}

#[test]
fn every_fault_in_the_table_has_a_test_of_its_name() {
    assert!(tells("a9_proc9_an_older_copy", "proc9") && !tells("s1_of_s2", "s2"));
    assert!(!tells("net1_loss", "net") && !tells("net13_replies", "net1"));
    let mut tests = Vec::new();
    for path in rust_files(&root()) {
        let text = fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let declared = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            match declared.and_then(|rest| rest.split('(').next()) {
                Some(name) if is_test => tests.push(name.to_owned()),
                Some(_) => {}
                // Between the attribute and the name may stand others, and words.
                None if line.starts_with('#') || line.starts_with("//") => {
                    is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                    continue;
                }
                None => {}
            }
            is_test = false;
        }
    }
    assert!(tests.len() > 200, "the tests were not found: {}", tests.len());
    let ids = ids();
    assert!(ids.len() > 100, "the ids were not found: {ids:?}");
    let missing: Vec<_> =
        ids.into_iter().filter(|id| !tests.iter().any(|name| tells(name, id))).collect();
    none("faults without a test", &missing);
}
