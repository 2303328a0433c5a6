//! `redlock demo` as a newcomer runs it: clean with the lock, not clean without it, and without leftovers when
//! interrupted.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[cfg(target_os = "linux")]
#[path = "support/processes.rs"]
mod processes;
#[cfg(target_os = "linux")]
use processes::{await_end, children};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    command
}

/// The JSON object on the last line of stdout.
fn verdict(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().unwrap_or_else(|| panic!("nothing on stdout: {output:?}"));
    serde_json::from_str(last).unwrap()
}

#[test]
fn the_lock_survives_a_kill_and_a_pause() {
    let output = demo(&["--json", "--sections", "200", "--seed", "7"]).output().unwrap();
    let verdict = verdict(&output);
    assert_eq!(verdict["verdict"], "clean", "{verdict:#}");
    assert_eq!(output.status.code(), Some(0));
    assert!(verdict["sections"].as_u64().unwrap() >= 200, "{verdict:#}");
    for count in ["lost_updates", "overlaps", "leftover_keys"] {
        assert_eq!(verdict[count], 0, "{count}");
    }
    let faults = verdict["faults"].as_array().unwrap();
    let mut done: Vec<&str> = faults.iter().map(|fault| fault["what"].as_str().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, ["kill", "pause", "restart", "resume"]);
    assert!(faults.iter().all(|fault| fault["node"].as_u64().unwrap() < 5 && fault["at"].is_u64()));
    let killed = &faults.iter().find(|fault| fault["what"] == "kill").unwrap()["node"];
    let seen = verdict["failures"].as_array().unwrap().iter().find(|seen| seen["node"] == *killed).unwrap();
    assert!(!seen["workers"].as_object().unwrap().is_empty(), "nobody missed the killed node: {verdict:#}");
}

/// The checks are worthless unless they can fail.
#[test]
fn without_the_lock_the_checks_find_what_goes_wrong() {
    let output = demo(&["--json", "--sections", "100", "--seed", "7", "--without-lock"]).output().unwrap();
    let verdict = verdict(&output);
    assert_eq!(output.status.code(), Some(1), "{verdict:#}");
    assert!(verdict["lost_updates"].as_u64().unwrap() > 0, "{verdict:#}");
    assert!(verdict["overlaps"].as_u64().unwrap() > 0, "{verdict:#}");
    assert!(verdict["verdict"].as_str().unwrap().contains("lost updates"), "{verdict:#}");
}

#[test]
fn three_nodes_are_enough_for_one_fault_at_a_time() {
    let output = demo(&["--json", "--nodes", "3", "--workers", "3", "--sections", "100"]).output().unwrap();
    assert_eq!(verdict(&output)["verdict"], "clean", "{:#}", verdict(&output));
}

#[test]
fn a_time_limit_says_what_was_waited_for() {
    let output = demo(&["--json", "--sections", "100000", "--time-limit", "2"]).output().unwrap();
    let verdict = verdict(&output);
    assert_eq!(output.status.code(), Some(1));
    let text = verdict["verdict"].as_str().unwrap();
    assert!(text.contains("gave up after 2 s, waiting for"), "{text}");
    assert_eq!((&verdict["lost_updates"], &verdict["overlaps"]), (&0.into(), &0.into()), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_it_and_all_that_it_has_started() {
    // Skips a signal that this process ignores, as under `&` in a script, because its children ignore it, too.
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)].into_iter().filter(|(s, _)| is_heard(*s))
    {
        let mut child = demo(&[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let working = lines.by_ref().map(Result::unwrap).find(|line| line.contains("sections"));
        assert!(working.is_some());
        let started = children(child.id());
        // At least: five servers, of which one may be dead at the moment, one process of workers, and the helper that
        // ends the servers if nothing else does.
        assert!(started.len() >= 7, "{started:?}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(lines.map(Result::unwrap).all(|line| !line.contains("CLEAN")));
        await_end(&started);
    }
}

/// As after a kill for lack of memory: no process had a chance to clean up.
#[cfg(target_os = "linux")]
#[test]
fn its_processes_end_when_it_is_killed() {
    let mut child = demo(&[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("sections")));
    let started = children(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    await_end(&started);
}

#[cfg(target_os = "linux")]
fn is_heard(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) == 0
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    for wrong in [["--nodes", "2"], ["--workers", "0"], ["--sections", "0"]] {
        let output = demo(&wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{output:?}");
    }
}
