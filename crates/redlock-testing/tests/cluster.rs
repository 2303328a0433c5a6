//! Tests of the local cluster with real servers: faults have their effects, and nothing is left behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use redlock_testing::{ClusterError, Data, Durability, LocalCluster, NodeState, Reply};
use rustix::process::{Pid, test_kill_process};

/// Number and interval of checks whether a process has ended: 10 s in total, enough for a busy machine.
const CLEANUP_POLLS: u32 = 2_000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Environment variable of the process that will be killed.
const KEEP: &str = "REDLOCK_TEST_KEEPS_A_CLUSTER";

#[test]
fn every_node_is_a_master_of_its_own() {
    let cluster = LocalCluster::start(3).unwrap();
    assert_eq!(cluster.len(), 3);
    for node in 0..3 {
        assert_eq!(cluster.state(node), NodeState::Running);
        assert_eq!(cluster.url(node), format!("redis://127.0.0.1:{}", cluster.port(node)));
        assert_eq!(cluster.urls()[node], cluster.url(node));
        let set = cluster.command(node, &["SET", "invoice:42", &node.to_string()]);
        assert_eq!(set.unwrap(), Reply::Simple("OK".into()));
    }
    for node in 0..3 {
        assert_eq!(get(&cluster, node, "invoice:42"), Reply::Bulk(node.to_string()));
    }
}

#[test]
fn keys_leaves_out_internal_ones() {
    let cluster = LocalCluster::start(1).unwrap();
    assert_eq!(cluster.keys(0).unwrap(), Vec::<String>::new());
    for key in ["b", "redlock-quorum:node", "a", "redlock:b"] {
        cluster.command(0, &["SET", key, "1"]).unwrap();
    }
    assert_eq!(cluster.keys(0).unwrap(), ["a", "b", "redlock:b"]);
}

#[test]
fn an_error_of_the_server_is_a_reply() {
    let cluster = LocalCluster::start(1).unwrap();
    cluster.command(0, &["SET", "text", "x"]).unwrap();
    let Reply::Error(text) = cluster.command(0, &["INCR", "text"]).unwrap() else {
        panic!("INCR of a text is refused");
    };
    assert!(text.starts_with("ERR"), "{text}");
    assert_eq!(cluster.command(0, &["PTTL", "missing"]).unwrap().int(), Some(-2));
}

#[test]
fn a_restart_keeps_or_loses_data_as_it_is_told() {
    let cluster = LocalCluster::start(3).unwrap();
    let url = cluster.url(1);
    cluster.command(1, &["SET", "key", "1"]).unwrap();

    cluster.kill(1).unwrap();
    assert_eq!(cluster.state(1), NodeState::Stopped);
    assert_eq!(cluster.pid(1), None);
    assert!(matches!(cluster.command(1, &["PING"]), Err(ClusterError::Unreachable { node: 1, .. })));

    cluster.restart(1, Data::Kept).unwrap();
    assert_eq!(get(&cluster, 1, "key"), Reply::Bulk("1".into()));
    assert_eq!(cluster.url(1), url);

    // The node still runs: restart kills it.
    cluster.restart(1, Data::Lost).unwrap();
    assert_eq!(get(&cluster, 1, "key"), Reply::Nil);
    assert_eq!(cluster.state(1), NodeState::Running);
}

#[test]
fn a_volatile_node_keeps_nothing() {
    let cluster = LocalCluster::builder().nodes(1).durability(Durability::Volatile).start().unwrap();
    cluster.command(0, &["SET", "key", "1"]).unwrap();
    cluster.restart(0, Data::Kept).unwrap();
    assert_eq!(get(&cluster, 0, "key"), Reply::Nil);
}

#[test]
fn a_paused_node_answers_after_it_is_resumed() {
    let cluster = LocalCluster::builder().nodes(2).start().unwrap();
    cluster.pause(0).unwrap();
    assert_eq!(cluster.state(0), NodeState::Paused);
    assert!(matches!(cluster.command(0, &["PING"]), Err(ClusterError::NoAnswer { node: 0, .. })));
    assert_eq!(get(&cluster, 1, "key"), Reply::Nil);

    cluster.resume(0).unwrap();
    assert_eq!(cluster.state(0), NodeState::Running);
    assert_eq!(cluster.command(0, &["PING"]).unwrap().text(), Some("PONG"));
}

#[test]
fn faults_may_be_repeated_and_combined() {
    let cluster = LocalCluster::start(1).unwrap();
    cluster.resume(0).unwrap();
    cluster.pause(0).unwrap();
    cluster.pause(0).unwrap();
    cluster.kill(0).unwrap();
    cluster.kill(0).unwrap();
    let text = cluster.pause(0).unwrap_err().to_string();
    assert!(text.contains("node 0 is stopped") && text.contains("restart it first"), "{text}");
    assert!(matches!(cluster.resume(0), Err(ClusterError::WrongState { state: NodeState::Stopped, .. })));
    cluster.restart(0, Data::Kept).unwrap();
    cluster.pause(0).unwrap();
    cluster.restart(0, Data::Kept).unwrap();
    assert_eq!(cluster.command(0, &["PING"]).unwrap().text(), Some("PONG"));
}

#[test]
fn a_node_that_ends_by_itself_is_stopped() {
    let cluster = LocalCluster::start(1).unwrap();
    let pid = cluster.pid(0).unwrap();
    assert!(matches!(cluster.command(0, &["SHUTDOWN", "NOSAVE"]), Err(ClusterError::Unreachable { .. })));
    eventually("the node has ended", || cluster.state(0) == NodeState::Stopped);
    assert!(!runs(pid));
    cluster.restart(0, Data::Kept).unwrap();
}

#[test]
fn additional_directives_count() {
    let cluster = LocalCluster::builder()
        .nodes(1)
        .directive("maxmemory", "64mb")
        .directive("requirepass", "secret")
        .start()
        .unwrap();
    let Reply::Array(answer) = cluster.command(0, &["CONFIG", "GET", "maxmemory"]).unwrap() else {
        panic!("CONFIG GET answers a list");
    };
    assert_eq!(answer[1], Reply::Bulk("67108864".into()));
}

#[test]
fn a_wrong_directive_shows_in_the_error() {
    let error = LocalCluster::builder().nodes(1).directive("no-such-directive", "1").start().unwrap_err();
    assert!(matches!(error, ClusterError::StartFailed { node: 0, .. }));
    let text = error.to_string();
    assert!(text.contains("no-such-directive") && text.contains("exit status"), "{text}");
}

#[test]
fn a_missing_server_shows_how_to_get_one() {
    let error = LocalCluster::builder().server("/nonexistent/redis-server").start().unwrap_err();
    assert!(matches!(error, ClusterError::ServerNotFound { .. }));
    let text = error.to_string();
    assert!(text.contains("/nonexistent/redis-server") && text.contains("make setup"), "{text}");
}

#[test]
fn a_panicking_test_leaves_nothing_behind() {
    let mut seen = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let cluster = LocalCluster::start(3).unwrap();
        cluster.pause(1).unwrap();
        seen = Some(footprint(&cluster));
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let (pids, directory) = seen.unwrap();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
    assert!(!Path::new(&directory).exists());
}

/// The process under test is this test binary. It runs this test and is killed.
#[test]
fn a_killed_test_process_leaves_nothing_behind() {
    if std::env::var_os(KEEP).is_some() {
        keep_a_cluster();
    }
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "a_killed_test_process_leaves_nothing_behind"])
        .env(KEEP, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("cluster: ").map(str::to_owned));
    process.kill().unwrap();
    process.wait().unwrap();

    let line = line.unwrap();
    let mut words = line.split_whitespace();
    let directory = words.next().unwrap();
    let pids: Vec<u32> = words.map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    eventually("the servers have ended", || pids.iter().all(|pid| !runs(*pid)));
    eventually("the directory is removed", || !Path::new(directory).exists());
}

fn keep_a_cluster() -> ! {
    let cluster = LocalCluster::start(3).unwrap();
    // The cluster has a process that replaced another, and a process that cannot react.
    cluster.restart(0, Data::Kept).unwrap();
    cluster.pause(1).unwrap();
    let (pids, directory) = footprint(&cluster);
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    println!("\ncluster: {directory} {}", pids.join(" "));
    loop {
        thread::park();
    }
}

fn get(cluster: &LocalCluster, node: usize, key: &str) -> Reply {
    cluster.command(node, &["GET", key]).unwrap()
}

fn footprint(cluster: &LocalCluster) -> (Vec<u32>, String) {
    let pids = (0..cluster.len()).filter_map(|node| cluster.pid(node)).collect();
    (pids, cluster.directory().display().to_string())
}

fn runs(pid: u32) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    test_kill_process(pid).is_ok() && !is_zombie(pid)
}

/// Whether a killed process is left as a zombie, because a container has no init process to collect it.
fn is_zombie(pid: Pid) -> bool {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..CLEANUP_POLLS {
        if holds() {
            return;
        }
        thread::sleep(POLL_INTERVAL);
    }
    panic!("still not: {what}");
}
