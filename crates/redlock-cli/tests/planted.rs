//! Clients with deliberate bugs: `redlock chaos` finds each bug, for the right reason. Three of the bugs are
//! settings that weaken the lock; the others are planted in the library, in the build of `make planted`.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

/// In how many runs a bug is found at the latest.
const SEEDS: u32 = 3;

/// The kinds of violations that the run of a seed finds in a client with the planted bug of that name.
fn kinds(fault: &str, seed: u32) -> (BTreeSet<String>, Value) {
    let scenario = format!("{}/tests/planted/{fault}.toml", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_redlock"));
    command.args(["chaos", "--json", "--seed", &seed.to_string(), "--scenario", &scenario]);
    if let Some(reports) = std::env::var_os("PLANTED_REPORTS") {
        command.arg("--report").arg(std::path::Path::new(&reports).join(fault));
    }
    let output = command
        .env("PLANTED_FAULT", fault)
        .env_remove("REDLOCK_NODES")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let violations = report["violations"].as_array().unwrap();
    let kinds: BTreeSet<String> =
        violations.iter().map(|violation| violation["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(output.status.code(), Some(i32::from(!kinds.is_empty())), "{report:#}");
    (kinds, report)
}

#[track_caller]
fn assert_found(fault: &str, kind: &str) {
    // One run suffices, unless the machine stands still while the nodes forget.
    let found = (1..=SEEDS).map(|seed| kinds(fault, seed)).find(|(kinds, _)| kinds.contains(kind));
    assert!(found.is_some(), "{fault} should be found by {kind} in one of {SEEDS} runs");
}

#[test]
fn without_the_restart_guard_nodes_that_forget_let_two_in() {
    assert_found("no-restart-guard", "overlap");
}

#[test]
fn without_the_clock_guard_clocks_that_jump_let_two_in() {
    assert_found("no-clock-guard", "overlap");
}

#[test]
fn without_drift_a_fast_clock_lets_two_in() {
    assert_found("no-drift", "overlap");
}

#[cfg(redlock_planted)]
#[test]
fn without_rollback_keys_are_left() {
    assert_found("no-rollback", "key_left");
}

#[cfg(redlock_planted)]
#[test]
fn a_lease_that_is_revived_is_noticed() {
    assert_found("revival", "revived");
}

/// An ordinary build does not contain the planted bugs, so the same scenarios find nothing.
#[cfg(not(redlock_planted))]
#[test]
fn an_ordinary_build_has_no_planted_faults() {
    for fault in ["no-rollback", "revival"] {
        let (kinds, report) = kinds(fault, 1);
        assert!(kinds.is_empty(), "{fault}: {report:#}");
    }
}
