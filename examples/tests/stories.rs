//! Runs the examples whose outcome matters, as their readers run them.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use redlock_quorum::testing::LocalCluster;

/// Number and interval of checks whether an example has ended: two minutes in total. The longest story takes some 20 s.
/// A story whose nodes never vote would not end by itself.
const POLLS: u32 = 12_000;
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// An example waits a quarter of a second for a node. If a check comes this late, the machine stood still, and the story
/// may be another one. The example is then run again, at most [`AGAIN_MAX`] times.
const STOOD_STILL: Duration = Duration::from_millis(150);
const AGAIN_MAX: u32 = 10;

/// An example's program. `cargo test` builds the examples beside this test, unless only this test is selected.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{path:?} is missing: `cargo build -p redlock-examples --examples` makes it");
    Command::new(path)
}

/// Runs an example to its end.
fn output(command: &mut Command) -> Output {
    for _ in 0..AGAIN_MAX {
        if let (output, Machine::Ran) = run(command) {
            return output;
        }
    }
    run(command).0
}

/// What the machine did while an example ran.
enum Machine {
    Ran,
    StoodStill,
}

/// Runs an example to its end. An example that does not end in time is killed, and the test fails.
fn run(command: &mut Command) -> (Output, Machine) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            pipe.read_to_end(&mut text).unwrap();
            text
        })
    };
    let [stdout, stderr]: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    let (stdout, stderr) = (read(stdout), read(stderr));
    let mut machine = Machine::Ran;
    let ended = (0..POLLS).find_map(|_| {
        let looked = now();
        let ended = child.try_wait().unwrap();
        if ended.is_none() {
            thread::sleep(POLL_INTERVAL);
        }
        if looked.elapsed() > STOOD_STILL {
            machine = Machine::StoodStill;
        }
        ended
    });
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let story = String::from_utf8_lossy(&stdout);
    (Output { status: ended.unwrap_or_else(|| panic!("it has no end: {story}")), stdout, stderr }, machine)
}

#[expect(clippy::disallowed_methods, reason = "measures the machine")]
fn now() -> Instant {
    Instant::now()
}

/// A holder that was stopped for longer than its lease writes late. A store that checks tokens refuses the late write;
/// a store that does not lets it through.
#[test]
fn a_holder_that_wakes_up_late_is_refused_by_its_token() {
    let output = output(&mut example("fenced_storage"));
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

/// Runs an example as in a fresh checkout, without `REDLOCK_NODES`, and returns its output. The exit code says whether
/// all went as it should.
fn story(name: &str) -> String {
    let output = output(example(name).env_remove("REDLOCK_NODES"));
    let story = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
    story
}

/// The example itself checks that there is one leader at a time and that terms grow.
#[test]
fn leaders_follow_each_other_and_step_down_without_a_quorum() {
    let story = story("leader_election");
    assert_eq!(story.matches("I lead, in term").count(), 3, "{story}");
    let at = |text: &str| story.find(text).unwrap_or_else(|| panic!("{text:?} is not in:\n{story}"));
    assert!(at("I resign") < at("nodes hang") && at("nodes hang") < at("I step down"), "{story}");
    assert!(
        at("I step down") < at("The nodes go on") && at("The nodes go on") < story.rfind("I lead").unwrap()
    );
}

/// The job runs once a night, although hosts are late and a node is down.
#[test]
fn one_host_of_many_runs_a_job() {
    let story = story("cron_job");
    assert_eq!(story.matches("I make the report").count(), 2, "{story}");
    assert_eq!(story.matches("another host does").count(), 6, "{story}");
}

/// Contention is a client error, an outage is not; both answers say when to retry.
#[test]
fn a_service_answers_409_to_contention_and_503_to_an_outage() {
    let story = story("axum_service");
    for line in [
        "client: invoice 42: 200 charged invoice 42",
        "client: invoice 42: 409 conflict (Retry-After: 1)",
        "client: invoice 43: 200 charged invoice 43",
        "client: invoice 44: 503 service unavailable (Retry-After: 5)",
        "redlock_attempts_total{outcome=\"won\"} 2",
    ] {
        assert!(story.contains(line), "{line:?} is not in:\n{story}");
    }
}

/// The quickstart prints its steps, including those with nodes down, and ends.
#[test]
fn the_quickstart_goes_through() {
    let story = story("quickstart");
    for line in
        ["somebody else is told: 127.0.0.1:", "still valid: true", "released: InTime", "the waiter has it"]
    {
        assert!(story.contains(line), "{line:?} is not in:\n{story}");
    }
}

#[cfg(unix)]
#[test]
fn with_nodes_of_its_own_an_example_is_one_host_of_many() {
    let cluster = LocalCluster::start(3).unwrap();
    let nodes = cluster.urls().join(",");
    for node in [0, 1] {
        let set = cluster.command(node, &["SET", "cron:nightly-report", "another", "NX", "PX", "60000"]);
        assert_eq!(set.unwrap().text(), Some("OK"));
    }
    let host = || output(example("cron_job").env("REDLOCK_NODES", &nodes));
    let late = host();
    assert!(late.status.success());
    assert_eq!(String::from_utf8(late.stdout).unwrap(), "LeftToAnother\n");
    for node in [0, 1] {
        cluster.kill(node).unwrap();
    }
    assert_eq!(host().status.code(), Some(1), "nobody ran it");
}
