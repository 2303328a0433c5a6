//! `redlock chaos` as its users run it: a short run with all kinds of faults, interruptions, and mistakes.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[cfg(target_os = "linux")]
#[path = "support/processes.rs"]
mod processes;

fn chaos(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    command.arg("chaos").args(arguments).env_remove("REDLOCK_NODES").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    chaos(arguments).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_short_run_with_everything_is_clean_and_leaves_a_report() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let output = run(&["--json", "--duration", "10s", "--clients", "6", "--seed", "3", "--report", path]);
    let report = report(&output);
    assert_eq!(report["verdict"], "clean", "{report:#}");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!((&report["schema"], &report["seed"], &report["clients"]), (&1.into(), &3.into(), &6.into()));
    assert!(report["counts"]["sections"].as_u64().unwrap() > 100, "{report:#}");
    let faults = report["faults"].as_array().unwrap();
    assert!(faults.len() >= 5, "{report:#}");
    assert!(faults.iter().all(|fault| fault["healed_at"].is_number()), "{report:#}");
    // The names are the scenario's words and the operator's.
    for fault in faults {
        let [name, nemesis, what] = ["name", "nemesis", "what"].map(|field| fault[field].as_str().unwrap());
        assert!(what.starts_with(name) && what.ends_with(&format!("({nemesis})")), "{fault:#}");
    }
    assert_eq!(report["untested"], Value::Array(vec![]));
    let command = report["command"].as_str().unwrap();
    assert_eq!(command, "redlock chaos --nodes local --scenario random --duration 10s --clients 6 --seed 3");

    let written: Value =
        serde_json::from_slice(&fs::read(directory.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(written, report);
    let page = fs::read_to_string(directory.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains(command) && page.contains("node 4"), "{page}");
    for outside in ["http://", "https://", "<script", "@import", "url(\""] {
        assert!(!page.contains(outside), "the page needs {outside}");
    }
    let history = fs::read_to_string(directory.path().join("history.jsonl")).unwrap();
    let acquired = history.lines().filter(|line| line.contains("\"acquired\"")).count();
    assert!(acquired as u64 >= report["counts"]["sections"].as_u64().unwrap(), "{acquired}");
}

const FAST: &str = r#"
about = "The clocks of three nodes run six times too fast, and nobody looks at them."
duration = "8s"

[settings]
ttl = "3s"
max_ttl = "3s"
dangerous_no_clock_guard = true

[work]
long_one_in = 4

[[fault]]
at = "500ms"
nemesis = "clock-rate"
nodes = "majority"
ppm = 5_000_000
for = "7s"
"#;

#[test]
fn what_an_assumption_allows_is_told_apart_from_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fast.toml");
    fs::write(&file, FAST).unwrap();
    let output = run(&["--json", "--scenario", file.to_str().unwrap()]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    let excused = report["excused"].as_array().unwrap();
    assert!(excused.iter().any(|violation| violation["kind"] == "overlap"), "no early expiry: {report:#}");
    let faults = report["faults"].as_array().unwrap();
    assert!(faults.iter().all(|fault| fault["breaks"] == "clocks run alike"), "{report:#}");
    assert!(report["counts"]["stale_writes"].as_u64().unwrap() > 0, "fencing caught nothing: {report:#}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_ends_it_with_a_verdict() {
    let mut child = chaos(&["--scenario", "minority-down", "--duration", "60s", "--clients", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("killed")), "no fault was told");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let rest: Vec<String> = lines.collect();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(143), "{text}");
    assert!(text.contains("INCONCLUSIVE: nothing is wrong"), "{text} {rest:#?}");
    assert!(text.contains("pause (minority-down:17:11) was not played: the run ended before"), "{text}");
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:#?}");
}

/// As after a kill for lack of memory: no process had a chance to clean up, and one client is paused and cannot notice.
#[cfg(target_os = "linux")]
#[test]
fn its_processes_end_when_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pause.toml");
    let pause = "[[fault]]\nnemesis = \"pause-client\"\nfor = \"60s\"\n";
    fs::write(&file, format!("about = \"x\"\nduration = \"60s\"\n{pause}")).unwrap();
    let mut child = chaos(&["--scenario", file.to_str().unwrap(), "--clients", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("paused")), "no fault was told");
    let started = processes::children(child.id());
    // At least five servers, two clients, and the helper that ends the servers.
    assert!(started.len() >= 8, "{started:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    processes::await_end(&started);
}

/// Writes the text to a file and returns its path.
fn scenario(directory: &tempfile::TempDir, text: &str) -> String {
    let file = directory.path().join("mine.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A scenario, the untested part that the verdict names, and further arguments.
const UNTESTED: [(&str, &str, &[&str]); 4] = [
    ("duration = \"2s\"", "the scenario names no fault", &[]),
    (
        "duration = \"30s\"\n[[fault]]\nnemesis = \"kill\"\nat = \"9s\"\nfor = \"1s\"",
        "mine.toml:4:11) was not played: it begins after 9s, and the faults of a run of 2s end after 1.6s",
        &["--duration", "2s"],
    ),
    (
        "duration = \"2s\"\n[[fault]]\nnemesis = \"script-flush\"\n",
        "no client ever wanted a lock that another one had",
        &["--clients", "1"],
    ),
    (
        "duration = \"3s\"\n[[fault]]\nnemesis = \"pause\"\nnodes = [0]\nfor = \"2s\"\n[[fault]]\nnemesis = \"kill\"\n\
         nodes = [0, 1]\nfor = \"1s\"\n",
        "mine.toml:8:11) hit at most 1 of 2 at once",
        &[],
    ),
];

#[test]
fn a_run_in_which_nothing_was_tested_is_not_clean() {
    let directory = tempfile::tempdir().unwrap();
    for (text, expected, more) in UNTESTED {
        let file = scenario(&directory, &format!("about = \"x\"\n{text}"));
        let output = run(&[&["--json", "--scenario", &file][..], more].concat());
        let report = report(&output);
        assert_eq!(output.status.code(), Some(2), "{text}: {report:#}");
        assert_eq!(report["verdict"], "inconclusive", "{text}: {report:#}");
        let untested = report["untested"].as_array().unwrap();
        let is_told = untested.iter().any(|reason| reason.as_str().unwrap().contains(expected));
        assert!(is_told, "{text}: {untested:#?}");
    }
}

/// The nodes do not answer. The report says which client wanted which lock, and why it was not acquired.
#[test]
fn a_run_in_which_nobody_had_a_lock_is_not_clean() {
    let directory = tempfile::tempdir().unwrap();
    let reports = directory.path().join("reports");
    let closed = ["redis://127.0.0.1:1", "redis://127.0.0.1:2", "redis://127.0.0.1:3"].join(",");
    let mut arguments =
        vec!["--nodes", &closed, "--scenario", "partitioned-client", "--clients", "2", "--json"];
    arguments.extend(["--report", reports.to_str().unwrap(), "--set", "max_ttl=3s"]);
    let output = run(&arguments);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(2), "{report:#}");
    assert_eq!(report["verdict"], "inconclusive", "{report:#}");
    let denied = report["availability"]["denied"].as_array().unwrap();
    for client in [0, 1] {
        let denied = denied.iter().find(|denied| denied["client"] == client).unwrap();
        let why = denied["why"].as_str().unwrap();
        assert!(why.starts_with("no quorum: 127.0.0.1:1 "), "{report:#}");
        assert!(denied["resource"].as_str().unwrap().starts_with("chaos:"), "{report:#}");
    }
    let page = fs::read_to_string(reports.join("report.html")).unwrap();
    for shown in [
        "Inconclusive",
        "nobody had a lock within",
        "Clients that could not acquire a lock",
        "no quorum: 127.0.0.1:1",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn a_cut_of_a_client_is_in_the_report_with_the_names_of_the_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let fault = "[[fault]]\nnemesis = \"cut\"\nclients = 1\nnodes = [\"node 0\", 3]\nfor = \"1s\"\n";
    let file = scenario(&directory, &format!("about = \"x\"\nduration = \"4s\"\n{fault}"));
    let reports = directory.path().join("reports");
    let output =
        run(&["--json", "--clients", "3", "--scenario", &file, "--report", reports.to_str().unwrap()]);
    assert_eq!(report(&output)["verdict"], "clean", "{:#}", report(&output));
    let page = fs::read_to_string(reports.join("report.html")).unwrap();
    assert!(page.contains("<title>its way to node 0, node 3: cut"), "{page}");
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let head = "about = \"x\"\nduration = \"5s\"\n";
    let two = "[settings]\ntll = \"1s\"\n[[fault]]\nnemesis = \"kil\"\n[[fault]]\nnemesis = \"kill\"\nnodes = [5]\n";
    let file = scenario(&directory, &format!("{head}{two}"));
    let settings = directory.path().join("settings.toml");
    fs::write(&settings, format!("{head}[settings]\nttl = \"1ms\"\n")).unwrap();
    let table: [(&[&str], i32, &[&str]); 10] = [
        (&["--scenario", "nothing"], 78, &["the ready ones are minority-down"]),
        (&["--scenario", "flaping-node"], 78, &["did you mean flapping-node?"]),
        (
            &["--scenario", &file],
            78,
            &[
                "4 mistakes in the scenario:",
                "mine.toml:4:1: settings.tll: no such setting; did you mean ttl?",
                "mine.toml:6:11: nemesis: \"kil\"; must be one of kill, restart, ",
                "mine.toml:7:1: the nemesis \"kill\" needs for",
                "mine.toml:9:9: nodes: [5]; there is no node 5: the nodes are 0 to 4",
            ],
        ),
        (&["--scenario", settings.to_str().unwrap()], 78, &["settings.toml:4:7: ttl: "]),
        (&["--nodes", "http://127.0.0.1:1"], 71, &["redis://"]),
        (
            &["--nodes", "redis://127.0.0.1:1", "--scenario", "amnesia"],
            78,
            &[
                "amnesia:16:11: nemesis: \"kill\"; ",
                "amnesia:23:11: nemesis: \"flush\"; ",
                "run by somebody else",
            ],
        ),
        (
            &["--scenario", "clock-step", "--without", "kill"],
            78,
            &["--without kill: the faults of this scenario are clock-rate, clock-step"],
        ),
        (&["--set", "tll=3s"], 78, &["tll"]),
        (&["--duration", "0s"], 64, &["must be at least 1s"]),
        (&["--scenario", "partitioned-client", "--clients", "1"], 78, &["clients: 2; must be"]),
    ];
    for (arguments, code, texts) in table {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        for text in texts {
            assert!(stderr.contains(text), "{arguments:?}: {text} is missing in {stderr}");
        }
    }
}

#[test]
fn the_ready_scenarios_are_listed() {
    let output = run(&["--list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), text.lines().count()), (Some(0), 10), "{text}");
}
