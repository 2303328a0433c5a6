//! `redlock run` when the lock is lost while the command runs.

use std::time::{Duration, Instant};

use redlock_testing::LocalCluster;

use crate::support::{Running, Scene, eventually};

/// Ends on SIGTERM, and records that it was asked. stderr is closed because a shell complains when its `sleep` is ended
/// as well.
const OBEDIENT: &str =
    "exec 2>/dev/null; trap 'touch told; exit 0' TERM; touch ready; while :; do sleep 0.02; done";
/// Ignores SIGTERM.
const DEAF: &str = "trap '' TERM; touch ready; while :; do sleep 0.02; done";

#[test]
fn the_command_is_ended_when_three_of_five_nodes_die() {
    let (scene, tool) = start(OBEDIENT);
    scene.kill(&[0, 1, 2]);
    let ended = tool.finish();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(scene.has("told"));
    assert!(ended.stderr.starts_with("redlock: the lock on \"k\" was lost"), "{ended:?}");
    for node in 0..3 {
        assert!(ended.stderr.contains(&format!("\n  127.0.0.1:{}: ", scene.cluster.port(node))), "{ended:?}");
    }
    scene.assert_no_keys();
}

#[test]
fn the_command_is_ended_when_three_of_five_nodes_hang() {
    let (scene, tool) = start(OBEDIENT);
    for_nodes(&scene, LocalCluster::pause);
    let ended = tool.finish();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(scene.has("told"));
    for_nodes(&scene, LocalCluster::resume);
    // The TTL of 4 s is over. Keys on the nodes that hung have expired, or expire as soon as the nodes run again.
    eventually("no keys", || (0..5).all(|node| scene.cluster.keys(node).unwrap().is_empty()));
}

#[test]
fn the_command_is_ended_when_the_key_is_deleted() {
    let (scene, tool) = start(OBEDIENT);
    scene.delete("k", &[0, 1, 2]);
    let ended = tool.finish();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(scene.has("told"));
    assert!(ended.stderr.contains(": holds no key of ours"), "{ended:?}");
    scene.assert_no_keys();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures another process")]
fn a_command_that_ignores_sigterm_is_killed_after_five_seconds() {
    let (scene, tool) = start(DEAF);
    let deleted = Instant::now();
    scene.delete("k", &[0, 1, 2]);
    let ended = tool.finish();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(deleted.elapsed() >= Duration::from_secs(5));
    assert!(ended.stderr.contains("SIGKILL"), "{ended:?}");
    scene.assert_no_keys();
}

#[test]
fn a_key_that_is_gone_when_the_command_ends_is_a_loss_too() {
    let scene = Scene::new(3);
    let tool =
        scene.start(&["run", "k", "--", "sh", "-c", "touch ready; until [ -e go ]; do sleep 0.02; done"]);
    scene.appears("ready");
    scene.delete("k", &[0, 1, 2]);
    scene.create("go");
    let ended = tool.finish();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.stderr.contains("was lost"), "{ended:?}");
}

/// A tool on five nodes with a lock of 4 s and a command that is ready.
fn start(script: &str) -> (Scene, Running) {
    let scene = Scene::new(5);
    let tool = scene.start(&["run", "--ttl", "4s", "k", "--", "sh", "-c", script]);
    scene.appears("ready");
    (scene, tool)
}

fn for_nodes<E: std::fmt::Debug>(scene: &Scene, fault: impl Fn(&LocalCluster, usize) -> Result<(), E>) {
    for node in 0..3 {
        fault(&scene.cluster, node).unwrap();
    }
}
