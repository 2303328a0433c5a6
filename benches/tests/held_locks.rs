//! The measurement of held locks runs and loses none.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::process::Command;

#[test]
fn held_locks_are_measured_and_none_is_lost() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_held_locks"));
    let output = command.args(["--locks", "500", "--ttl", "2s", "--seconds", "2"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}\n{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Vec<&str>> = table.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.iter().map(|row| &row[..2]).collect::<Vec<_>>(), [["5", "0"], ["50", "0"], ["500", "0"]]);
    let renewals: f64 = rows[2][4].parse().unwrap();
    // Each of 500 leases is renewed every two thirds of a second, on each node.
    assert!(renewals > 500.0, "{table}");
}
