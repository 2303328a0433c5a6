//! The script that releases many locks, on a real server.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use super::{BATCH_MAX, removed};
use crate::node::commands::{Answer, Removed};
use crate::node::scripts::{RELEASE_MANY_TEXT, RELEASE_TEXT};
use crate::testing::{LocalCluster, Reply};
use crate::types::KeySet;

const GRACE: &str = "60000";

/// The time that one command may keep a server busy here. The promise is 1 ms; the bound is larger because the
/// machine runs other work.
const BUSY_MICROS_MAX: i64 = 10_000;

struct Scene(LocalCluster);

impl Scene {
    fn new() -> Self {
        let cluster = LocalCluster::builder().nodes(1).directive("slowlog-log-slower-than", "0");
        Self(cluster.directive("slowlog-max-len", "32768").start().unwrap())
    }

    fn run(&self, command: &[&str]) -> Reply {
        self.0.command(0, command).unwrap()
    }

    /// Releases locks, given by name and token.
    fn release(&self, locks: &[(&str, &str)]) -> String {
        let (count, queues) = (locks.len().to_string(), locks.iter().map(|(lock, _)| queue(lock)));
        let queues: Vec<String> = queues.collect();
        let mut command = vec!["EVAL", RELEASE_MANY_TEXT, &count];
        command.extend(locks.iter().map(|(lock, _)| lock));
        command.push(GRACE);
        for ((_, token), queue) in locks.iter().zip(&queues) {
            command.extend([token, queue.as_str()]);
        }
        self.run(&command).text().unwrap().to_owned()
    }

    /// Puts a channel into the lock's queue. No client is subscribed to it, unless the test subscribes.
    fn queue_up(&self, lock: &str, channel: &str) {
        self.run(&["ZADD", &queue(lock), "1", channel]);
    }

    /// How long the server was busy with each script.
    fn busy_micros(&self) -> Vec<i64> {
        let Reply::Array(entries) = self.run(&["SLOWLOG", "GET", "-1"]) else { panic!() };
        let micros = |entry: &Reply| {
            let Reply::Array(fields) = entry else { panic!("{entry:?}") };
            let Reply::Array(words) = &fields[3] else { panic!("{entry:?}") };
            (words[0].text() == Some("EVAL")).then(|| fields[2].int().unwrap())
        };
        entries.iter().filter_map(micros).collect()
    }
}

fn queue(lock: &str) -> String {
    format!("redlock-quorum:queue:{lock}")
}

#[test]
fn each_of_many_is_released_as_it_would_be_by_itself() {
    let scene = Scene::new();
    for (lock, token) in [("a", "ours"), ("b", "theirs"), ("twice", "second"), ("e", "ours")] {
        scene.run(&["SET", lock, token]);
    }
    scene.run(&["SADD", "list", "of another type"]);
    let locks = [
        ("a", "ours"),
        ("b", "ours"),
        ("absent", "ours"),
        ("list", "ours"),
        ("twice", "first"),
        ("twice", "second"),
        ("e", "ours"),
    ];
    assert_eq!(scene.release(&locks), "1000011");
    assert_eq!(scene.0.keys(0).unwrap(), ["b", "list"]);
    assert_eq!(scene.release(&locks), "0000000", "and again nothing");
}

#[test]
fn those_who_wait_are_called_for_each() {
    let scene = Scene::new();
    for lock in ["ours", "theirs", "list"] {
        scene.run(&["SET", lock, lock]);
    }
    scene.run(&["DEL", "list"]);
    scene.run(&["SADD", "list", "of another type"]);
    // Nobody subscribes to these channels, so their entries are dropped and nobody is notified.
    for lock in ["ours", "theirs", "absent", "list"] {
        scene.queue_up(lock, "gone");
    }
    let locks = [("ours", "ours"), ("theirs", "ours"), ("absent", "ours"), ("list", "ours")];
    assert_eq!(scene.release(&locks), "1000");
    let left = ["ours", "theirs", "absent", "list"].map(|lock| scene.run(&["EXISTS", &queue(lock)]).int());
    assert_eq!(left, [Some(0), Some(1), Some(0), Some(1)], "asked where the lock is free, and nowhere else");

    // With a subscriber, the answers are the same as those of the script for one lock.
    for lock in ["ours", "absent"] {
        let one =
            format!("redis.call('DEL', KEYS[1]) redis.call('ZADD', KEYS[1], 1, 'w') return 1 -- {lock}");
        scene.run(&["EVAL", &one, "1", &queue(lock)]);
    }
    let mut listener = std::net::TcpStream::connect(("127.0.0.1", scene.0.port(0))).unwrap();
    std::io::Write::write_all(&mut listener, b"SUBSCRIBE w\r\n").unwrap();
    let mut subscribed = [0; 1];
    std::io::Read::read_exact(&mut listener, &mut subscribed).unwrap();
    scene.run(&["SET", "ours", "ours"]);
    assert_eq!(scene.release(&[("ours", "ours"), ("absent", "ours"), ("theirs", "ours")]), "320");
    assert_eq!(scene.release(&[("ours", "ours"), ("absent", "ours")]), "00", "they are about to come");
    let one = scene.run(&["EVAL", RELEASE_TEXT, "1", "absent", "ours", GRACE, &queue("absent")]);
    assert_eq!(one.int(), Some(0), "as the script for one says");
}

#[test]
fn an_empty_queue_is_nobodys() {
    let scene = Scene::new();
    for lock in ["quiet", "loud"] {
        scene.run(&["SET", lock, "ours"]);
        scene.queue_up(lock, "gone");
    }
    let release =
        ["EVAL", RELEASE_MANY_TEXT, "2", "quiet", "loud", GRACE, "ours", "", "ours", &queue("loud")];
    assert_eq!(scene.run(&release).text(), Some("11"));
    let left = ["quiet", "loud"].map(|lock| scene.run(&["EXISTS", &queue(lock)]).int());
    assert_eq!(left, [Some(1), Some(0)], "only the second queue was looked at");
}

#[test]
fn a_lock_is_removed_when_all_its_keys_are() {
    let some = |keys: &[usize]| keys.iter().copied().collect::<KeySet>();
    assert_eq!(removed(b"131"), Some(Removed { key: Answer::Yes, notified: some(&[1]) }));
    assert_eq!(removed(b"1203"), Some(Removed { key: Answer::No, notified: some(&[1, 3]) }));
    assert_eq!(removed(b"14"), None);
    assert_eq!(removed(b"1-"), None);
}

#[test]
fn a_batch_keeps_no_server_busy() {
    let scene = Scene::new();
    let names: Vec<String> =
        (0..BATCH_MAX).map(|i| format!("a lock with a name of usual length {i}")).collect();
    let locks: Vec<_> =
        names.iter().map(|name| (name.as_str(), "host:1:0123456789abcdef0123456789abcdef")).collect();
    for _ in 0..20 {
        assert_eq!(scene.release(&locks), "0".repeat(BATCH_MAX));
    }
    let mut absent = scene.busy_micros();
    scene.run(&["SLOWLOG", "RESET"]);
    for _ in 0..20 {
        for (name, token) in &locks {
            scene.run(&["SET", name, token]);
            scene.queue_up(name, "gone");
        }
        assert_eq!(scene.release(&locks), "1".repeat(BATCH_MAX));
    }
    let mut waited_for = scene.busy_micros();
    absent.sort_unstable();
    waited_for.sort_unstable();
    println!("{} µs where nothing is to be done, {} µs where all is", absent[10], waited_for[10]);
    assert!(
        absent[10] < BUSY_MICROS_MAX / 5 && waited_for[10] < BUSY_MICROS_MAX,
        "{absent:?} {waited_for:?}"
    );
}
