//! `redlock chaos` as its users run it: a short run with everything, interruptions, and mistakes.

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

const STEPS: &str = r#"
about = "The clocks of three nodes jump far beyond the drift, again and again."
duration = "8s"

[settings]
ttl = "3s"
max_ttl = "3s"

[work]
long_one_in = 4

[[fault]]
every = "500ms"
nemesis = "clock-step"
nodes = "majority"
by = "4s"
"#;

#[test]
fn what_an_assumption_allows_is_told_apart_from_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("steps.toml");
    fs::write(&file, STEPS).unwrap();
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
    assert!(text.contains("CLEAN: everything"), "{text} {rest:#?}");
    assert_eq!(output.status.code(), Some(143), "{text}");
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:#?}");
}

/// As when the machine has no memory left: nobody had a chance to clean up, and one client cannot even notice.
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
    // Five servers, two clients, and the helper that ends the servers.
    assert!(started.len() >= 8, "{started:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    processes::await_end(&started);
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine.toml");
    fs::write(&file, "about = \"x\"\nduration = \"5s\"\n[[fault]]\nnemesis = \"kill\"\n").unwrap();
    let table: [(&[&str], i32, &str); 5] = [
        (&["--scenario", "nothing"], 78, "the ready ones are minority-down"),
        (&["--scenario", file.to_str().unwrap()], 78, "needs for"),
        (&["--nodes", "http://127.0.0.1:1"], 71, "redis://"),
        (&["--nodes", "redis://127.0.0.1:1", "--scenario", "amnesia"], 78, "run by somebody else"),
        (&["--set", "tll=3s"], 78, "tll"),
    ];
    for (arguments, code, text) in table {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_ready_scenarios_are_listed() {
    let output = run(&["--list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), text.lines().count()), (Some(0), 9), "{text}");
}
