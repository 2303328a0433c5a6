//! The scripts that handle a lock's queue, on a real server.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::node::scripts::{LEAVE_TEXT, REGISTER_TEXT, RELEASE_TEXT};
use crate::testing::{ClockStep, LocalCluster, Reply};

const LOCK: &str = "job";
const QUEUE: &str = "redlock-quorum:queue:job";
const GRACE: &str = "60000";
struct Scene {
    cluster: LocalCluster,
}

/// A client that is subscribed to its channel.
struct Client {
    name: &'static str,
    stream: TcpStream,
}

impl Scene {
    fn new() -> Self {
        Self { cluster: LocalCluster::start(1).unwrap() }
    }

    fn with_a_clock_of_its_own() -> Self {
        Self { cluster: LocalCluster::builder().nodes(1).adjustable_clocks().start().unwrap() }
    }

    fn set_clock_back(&self) {
        self.cluster.step_clock(0, ClockStep::Backward(Duration::from_secs(3600))).unwrap();
    }

    fn client(&self, name: &'static str) -> Client {
        let mut stream = TcpStream::connect(("127.0.0.1", self.cluster.port(0))).unwrap();
        write!(stream, "SUBSCRIBE {name}\r\n").unwrap();
        let mut client = Client { name, stream };
        client.hears("subscribe");
        client
    }

    fn run(&self, script: &str, keys: &[&str], arguments: &[&str]) -> Reply {
        let count = keys.len().to_string();
        let command = [&["EVAL", script, &count], keys, arguments].concat();
        self.cluster.command(0, &command).unwrap()
    }

    fn lock(&self, token: &str) {
        self.cluster.command(0, &["SET", LOCK, token, "PX", "30000"]).unwrap();
    }

    fn release(&self, token: &str) -> i64 {
        self.run(RELEASE_TEXT, &[LOCK], &[token, GRACE, QUEUE]).int().unwrap()
    }

    fn register_as(&self, client: &Client, ticket: &str, manner: &str, grace: &str) -> i64 {
        let reply = self.run(REGISTER_TEXT, &[LOCK, QUEUE], &[client.name, ticket, manner, grace, "10000"]);
        let Reply::Array(parts) = &reply else { panic!("{reply:?}") };
        parts[0].int().unwrap()
    }

    fn register(&self, client: &Client, ticket: &str) -> i64 {
        self.register_as(client, ticket, "eager", GRACE)
    }

    fn leave(&self, client: &Client) -> i64 {
        self.run(LEAVE_TEXT, &[LOCK, QUEUE], &[client.name, GRACE]).int().unwrap()
    }

    /// The entries of the queue; notified ones begin with `called `.
    fn queue(&self) -> Vec<String> {
        let reply = self.cluster.command(0, &["ZRANGE", QUEUE, "0", "-1", "WITHSCORES"]).unwrap();
        let Reply::Array(parts) = reply else { panic!("{reply:?}") };
        let entry = |pair: &[Reply]| {
            let called = if pair[1].text().unwrap().starts_with('-') { "called " } else { "" };
            format!("{called}{}", pair[0].text().unwrap())
        };
        parts.chunks(2).map(entry).collect()
    }
}

impl Client {
    /// Reads until `word` has arrived.
    fn hears(&mut self, word: &str) {
        self.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut heard = String::new();
        let mut bytes = [0; 512];
        while !heard.contains(word) {
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "{} heard only {heard:?}", self.name);
            heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}

#[test]
fn a_release_calls_the_one_that_came_first() {
    let scene = Scene::new();
    let [mut a, b] = ["a", "b"].map(|name| scene.client(name));
    scene.lock("me");
    assert!((1..=30_000).contains(&scene.register(&b, "200")), "the TTL is told");
    assert!(scene.register(&a, "100") > 0);
    assert_eq!(scene.queue(), ["a", "b"]);
    assert_eq!(scene.release("me"), 3, "removed, and called");
    a.hears(LOCK);
    assert_eq!(scene.queue(), ["called a", "b"]);

    scene.lock("of a");
    assert_eq!(scene.release("of a"), 3);
    assert_eq!(scene.queue(), ["called b"], "its own release takes the one away that had it");
    scene.lock("of b");
    assert_eq!(scene.release("of b"), 1);
    assert_eq!(scene.queue(), [""; 0]);
}

#[test]
fn a_client_that_is_gone_is_dropped_and_the_next_called() {
    let scene = Scene::new();
    let (gone, mut here) = (scene.client("gone"), scene.client("here"));
    scene.lock("me");
    scene.register(&gone, "1");
    scene.register(&here, "2");
    drop(gone);
    // The server notices the end of a connection with some delay.
    while scene.cluster.command(0, &["PUBSUB", "NUMSUB", "gone"]).unwrap()
        != Reply::Array(vec![Reply::Bulk("gone".into()), Reply::Int(0)])
    {}
    assert_eq!(scene.release("me"), 3);
    here.hears(LOCK);
    assert_eq!(scene.queue(), ["called here"]);
}

#[test]
fn a_release_of_nothing_calls_too_but_not_over_again() {
    let scene = Scene::new();
    let [mut a, b] = ["a", "b"].map(|name| scene.client(name));
    scene.lock("other");
    scene.register(&a, "1");
    scene.register(&b, "2");
    assert_eq!(scene.release("me"), 0, "it is somebody else's");
    assert_eq!(scene.queue(), ["a", "b"]);
    scene.cluster.command(0, &["DEL", LOCK]).unwrap();
    assert_eq!(scene.release("me"), 2);
    a.hears(LOCK);
    assert_eq!(scene.release("me"), 0, "a is about to come");
    assert_eq!(scene.queue(), ["called a", "b"]);
}

#[test]
fn nobody_comes_before_those_that_wait() {
    let scene = Scene::new();
    let [mut a, mut b, late] = ["a", "b", "late"].map(|name| scene.client(name));
    scene.lock("me");
    scene.register(&a, "");
    scene.register(&b, "");
    scene.release("me");
    a.hears(LOCK);
    assert!(scene.register(&late, "") > 0, "a is about to come");
    assert_eq!(scene.queue(), ["called a", "b", "late"]);
    // The notified client never comes. With a grace of 1 ms, the next client is notified a millisecond later.
    while scene.register_as(&late, "", "eager", "1") == 0 || scene.queue() != ["called b", "late"] {}
    b.hears(LOCK);
}

#[test]
fn the_turn_is_told_to_whoever_asks_first_of_all() {
    let scene = Scene::new();
    let [mut a, b] = ["a", "b"].map(|name| scene.client(name));
    assert_eq!(scene.register(&b, "2"), 0, "free, and nobody else is there");
    assert_eq!(scene.queue(), ["called b"]);
    assert!(scene.register(&a, "1") > 0);
    // The attempt failed against a holder whose key is not on this node: the client is back in the queue, as patient.
    assert_eq!(scene.register_as(&b, "2", "patient", GRACE), -2);
    assert_eq!(scene.queue(), ["a", "b"]);
    assert!(scene.register(&b, "2") > 0, "an expired lock is for the first, whoever finds it");
    a.hears(LOCK);
    assert_eq!(scene.queue(), ["called a", "b"]);
}

#[test]
fn whoever_leaves_passes_the_call_on() {
    let scene = Scene::new();
    let [mut a, mut b, c] = ["a", "b", "c"].map(|name| scene.client(name));
    scene.lock("me");
    for (client, ticket) in [(&a, "1"), (&b, "2"), (&c, "3")] {
        scene.register(client, ticket);
    }
    assert_eq!(scene.leave(&c), 0, "the lock is held");
    scene.release("me");
    a.hears(LOCK);
    assert_eq!(scene.leave(&a), 1);
    b.hears(LOCK);
    assert_eq!(scene.leave(&b), 0, "nobody is left");
    assert_eq!(scene.queue(), [""; 0]);
}

/// A queue that is broken, or forbidden to our user, must not affect the lock.
#[test]
fn a_release_releases_whatever_the_queue_is() {
    let scene = Scene::new();
    scene.cluster.command(0, &["SET", QUEUE, "not a queue"]).unwrap();
    scene.lock("me");
    assert_eq!(scene.release("me"), 1);
    scene.cluster.command(0, &["DEL", QUEUE]).unwrap();
    let a = scene.client("a");
    scene.lock("me");
    scene.register(&a, "1");
    let deaf = ["ACL", "SETUSER", "default", "resetchannels", "-publish", "-time"];
    scene.cluster.command(0, &deaf).unwrap();
    assert_eq!(scene.release("me"), 1);
    assert_eq!(scene.queue(), ["a"], "it finds the lock free when it looks again");
    assert_eq!(scene.cluster.command(0, &["EXISTS", LOCK]).unwrap().int(), Some(0));
}

#[test]
fn where_nobody_can_be_called_it_is_the_turn_of_whoever_asks() {
    let scene = Scene::new();
    let [a, b] = ["a", "b"].map(|name| scene.client(name));
    scene.lock("me");
    scene.register(&a, "1");
    scene.cluster.command(0, &["ACL", "SETUSER", "default", "-publish"]).unwrap();
    assert_eq!(scene.release("me"), 1);
    assert_eq!(scene.register(&b, "2"), 0);
    scene.lock("of b");
    assert_eq!(scene.release("of b"), 1);
    assert_eq!(scene.queue(), ["a"], "and its release takes it out");
}

/// The bug: a notified client was expected for an hour and a grace, because the time since its notification was
/// negative.
#[test]
fn a_call_of_the_future_keeps_nobody_waiting() {
    for found_by in ["who registers", "who leaves", "a release of nothing"] {
        let scene = Scene::with_a_clock_of_its_own();
        let [mut gone, mut next, late] = ["gone", "next", "late"].map(|name| scene.client(name));
        scene.lock("me");
        scene.register(&gone, "");
        scene.register(&next, "");
        assert_eq!(scene.release("me"), 3);
        gone.hears(LOCK);
        scene.set_clock_back();
        match found_by {
            "who registers" => {
                let grace: i64 = GRACE.parse().unwrap();
                assert_eq!(scene.register(&late, ""), grace, "and no longer: the next has just been called");
                assert_eq!(scene.queue(), ["called next", "late"]);
            }
            "who leaves" => assert_eq!(scene.leave(&late), 1),
            _ => assert_eq!(scene.release("nobody"), 2),
        }
        next.hears(LOCK);
    }
}

/// The bug: clients that waited already stood behind all that came within the hour.
#[test]
fn nobody_is_overtaken_when_the_clock_is_set_back() {
    let scene = Scene::with_a_clock_of_its_own();
    let [a, b, c] = ["a", "b", "c"].map(|name| scene.client(name));
    scene.lock("me");
    scene.register(&a, "");
    scene.set_clock_back();
    scene.register(&b, "");
    scene.register(&c, "");
    assert_eq!(scene.queue(), ["a", "b", "c"]);
}

/// Scores of any value, written by anyone.
#[test]
fn scores_out_of_range_keep_nobody_waiting() {
    let scene = Scene::new();
    let [mut a, mut b] = ["a", "b"].map(|name| scene.client(name));
    for score in ["-inf", "-9e300", "-9007199254740993", "-1"] {
        scene.cluster.command(0, &["ZADD", QUEUE, score, "called long ago, or never"]).unwrap();
        assert_eq!(scene.register(&a, ""), 0, "{score}");
        scene.cluster.command(0, &["DEL", QUEUE]).unwrap();
    }
    scene.lock("me");
    for score in ["+inf", "9e300", "9007199254740993"] {
        scene.cluster.command(0, &["ZADD", QUEUE, score, "of no time"]).unwrap();
        scene.register(&a, "");
        scene.register(&b, "");
        assert_eq!(scene.queue(), ["a", "b", "of no time"], "{score}");
        scene.cluster.command(0, &["DEL", QUEUE]).unwrap();
    }
    scene.register(&a, "");
    scene.register(&b, "");
    // The order also holds where our user may not ask for the time.
    scene.cluster.command(0, &["ACL", "SETUSER", "default", "-time"]).unwrap();
    for (client, left) in [(&mut a, vec!["called a", "b"]), (&mut b, vec!["called b"])] {
        scene.lock("me");
        scene.release("me");
        client.hears(LOCK);
        assert_eq!(scene.queue(), left);
    }
}

#[test]
fn a_queue_ends_by_itself() {
    let scene = Scene::new();
    let a = scene.client("a");
    scene.lock("me");
    scene.register(&a, "1");
    let left = scene.cluster.command(0, &["PTTL", QUEUE]).unwrap().int().unwrap();
    assert!((1..=10_000).contains(&left), "{left}");
}

/// What the scripts tell of the place of a client, and what they send to those whose place has changed.
#[test]
fn each_learns_how_many_wait_before_it_and_when_it_is_the_first() {
    let scene = Scene::new();
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| scene.client(name));
    let ahead = |client: &Client, ticket: &str| {
        let arguments = [client.name, ticket, "eager", GRACE, "10000"];
        let Reply::Array(parts) = scene.run(REGISTER_TEXT, &[LOCK, QUEUE], &arguments) else { panic!() };
        parts[3].int().unwrap()
    };
    let told = format!("\n{LOCK}");
    scene.lock("me");
    assert_eq!([ahead(&a, "1"), ahead(&c, "3"), ahead(&b, "2"), ahead(&c, "3")], [0, 1, 1, 2]);
    assert_eq!(scene.release("me"), 3);
    a.hears(LOCK);
    b.hears(&told);
    scene.lock("of a");
    assert_eq!(ahead(&b, "2"), 0, "a client that was notified is not counted");
    assert_eq!(scene.leave(&b), 0, "the first of those that wait");
    c.hears(&told);
}

#[test]
fn whoever_is_behind_others_changes_nothing_but_keeps_the_queue() {
    let scene = Scene::new();
    let clients = ["a", "b", "c", "d", "e"].map(|name| scene.client(name));
    scene.lock("me");
    let behind = |client: &Client, ticket: &str| scene.register_as(client, ticket, "behind", GRACE);
    for (client, ticket) in clients.iter().zip(["1", "2", "3", "4", "5"]) {
        assert!(behind(client, ticket) > 0, "it registers, because it is not there yet");
    }
    assert_eq!(scene.queue(), ["a", "b", "c", "d", "e"]);
    let kept_by = |client: usize| {
        scene.cluster.command(0, &["PEXPIRE", QUEUE, "5000"]).unwrap();
        assert!(behind(&clients[client], "9") > 0);
        scene.cluster.command(0, &["PTTL", QUEUE]).unwrap().int().unwrap() > 5_000
    };
    assert_eq!([1, 2, 3, 4].map(kept_by), [true, true, true, false]);
    assert_eq!(scene.queue(), ["a", "b", "c", "d", "e"], "nobody has another place");
    assert!(kept_by(0), "the first registers");
    // The lock is free: whoever notices it, it is for the first.
    scene.cluster.command(0, &["DEL", LOCK]).unwrap();
    assert!(behind(&clients[4], "5") > 0);
    assert!(scene.queue().iter().any(|entry| entry.starts_with("called ")), "{:?}", scene.queue());
}
