//! Examples whose outcome matters, run as their readers run them.

use std::path::PathBuf;
use std::process::Command;

/// Built by `cargo test` beside this test, unless it is told to build this one alone.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{path:?} is missing: `cargo build --all-features --examples` makes it");
    Command::new(path)
}

/// A holder that was stopped for longer than its lease writes late: with its smaller token it is refused, and where
/// nobody looks at tokens it gets through.
#[test]
fn a_holder_that_wakes_up_late_is_refused_by_its_token() {
    let output = example("fenced_storage").output().unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "second: I write. With the check: accepted",
        "first:  I write. With the check: REFUSED, for a larger token was seen; without: accepted",
        "The table with the check says that the last write was by the second: right.",
    ] {
        assert!(story.contains(line), "{line:?} is not in:\n{story}");
    }
    let tokens: Vec<u64> = story
        .split("with token ")
        .skip(1)
        .filter_map(|rest| rest.split(['.', ',']).next()?.parse().ok())
        .collect();
    assert!(matches!(tokens[..], [first, second] if 0 < first && first < second), "{story}");
}

#[cfg(target_os = "linux")]
#[test]
fn held_locks_are_measured_and_none_is_lost() {
    let output =
        example("held_locks").args(["--locks", "500", "--ttl", "2s", "--seconds", "2"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}\n{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Vec<&str>> = table.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.iter().map(|row| &row[..2]).collect::<Vec<_>>(), [["5", "0"], ["50", "0"], ["500", "0"]]);
    let renewals: f64 = rows[2][4].parse().unwrap();
    // Once in two thirds of a second, each on each node.
    assert!(renewals > 500.0, "{table}");
}

/// What an example printed, if it ended well.
fn story(name: &str) -> String {
    let output = example(name).env_remove("REDLOCK_NODES").output().unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    story
}

#[test]
fn one_candidate_leads_at_a_time_and_none_without_a_quorum() {
    let story = story("leader_election");
    let leaders = story.lines().filter(|line| line.contains(" leads, with token ")).count();
    assert!(leaders >= 3 && story.contains("steps down: expired"), "{story}");
}

#[test]
fn a_job_on_three_hosts_runs_once() {
    assert_eq!(story("cron_job").matches("it ran 1 time on three hosts").count(), 3);
}

#[test]
fn a_service_tells_contention_from_an_outage() {
    let story = story("axum_service");
    for part in ["invoice 42: HTTP/1.1 200 OK; charged", "invoice 43: HTTP/1.1 200 OK; charged"] {
        assert!(story.contains(part), "{story}");
    }
    for part in
        ["invoice 42: HTTP/1.1 409 Conflict; retry-after: 1", "503 Service Unavailable; retry-after: 5"]
    {
        assert!(story.contains(part), "{story}");
    }
}
