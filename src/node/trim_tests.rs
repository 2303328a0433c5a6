//! The trimming script on a real server.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use super::STEP;
use crate::testing::LocalCluster;

const SECOND: u64 = 1_000_000;
const RETENTION: u64 = 7 * 24 * 60 * 60 * SECOND;
const SKEW: u64 = 60 * SECOND;

struct Scene {
    cluster: LocalCluster,
    /// The node's clock, in microseconds.
    now: u64,
}

impl Scene {
    fn new() -> Self {
        let cluster = LocalCluster::start(1).unwrap();
        let time = cluster.command(0, &["EVAL", "return redis.call('TIME')[1]", "0"]).unwrap();
        let now = time.text().unwrap().parse::<u64>().unwrap() * SECOND;
        Self { cluster, now }
    }

    fn add(&self, name: &str, score: u64) {
        self.cluster.command(0, &["ZADD", "redlock-quorum:fences", &score.to_string(), name]).unwrap();
    }

    fn has(&self, name: &str) -> bool {
        self.cluster.command(0, &["ZSCORE", "redlock-quorum:fences", name]).unwrap().text().is_some()
    }

    /// Runs one step of a client with this wall clock; returns the number of removed tokens.
    fn trim(&self, client: u64) -> i64 {
        let [client, retention, skew, step] =
            [client, RETENTION, SKEW, STEP].map(|number| number.to_string());
        let script = include_str!("scripts/trim.lua");
        let command = ["EVAL", script, "1", "redlock-quorum:fences", &client, &retention, &skew, &step];
        self.cluster.command(0, &command).unwrap().int().unwrap()
    }
}

#[test]
fn old_tokens_go_in_bounded_steps_and_young_ones_stay() {
    let scene = Scene::new();
    for i in 0..STEP + 50 {
        scene.add(&format!("old-{i}"), scene.now - RETENTION - SECOND - i);
    }
    for i in 0..50 {
        scene.add(&format!("young-{i}"), scene.now - RETENTION + 60 * SECOND + i);
    }
    assert_eq!(scene.trim(scene.now), i64::try_from(STEP).unwrap());
    assert!(scene.has("old-0") && !scene.has("old-249"), "the oldest go first");
    assert_eq!(scene.trim(scene.now), 50);
    assert_eq!(scene.trim(scene.now), 0);
    assert!((0..50).all(|i| scene.has(&format!("young-{i}"))));
}

#[test]
fn the_clock_behind_decides() {
    let scene = Scene::new();
    // The token is old by one clock only: by the node's in the first case, by the client's in the second.
    for (client, score) in [(scene.now - 50 * SECOND, 20), (scene.now + 50 * SECOND, -20)] {
        let score =
            (scene.now - RETENTION).checked_add_signed(-score * i64::try_from(SECOND).unwrap()).unwrap();
        scene.add("old by one clock", score);
        assert_eq!(scene.trim(client), 0);
        assert!(scene.has("old by one clock"));
    }
    scene.add("old by both", scene.now - RETENTION - 60 * SECOND);
    assert_eq!(scene.trim(scene.now - 50 * SECOND), 1);
}

#[test]
fn nothing_is_removed_where_the_clocks_disagree() {
    let scene = Scene::new();
    scene.add("old", 1);
    for client in [0, scene.now - SKEW - SECOND, scene.now + SKEW + 20 * SECOND, scene.now * 2] {
        assert_eq!(scene.trim(client), 0, "{client}");
    }
    assert_eq!(scene.trim(scene.now), 1, "and it is, where they agree");
}
