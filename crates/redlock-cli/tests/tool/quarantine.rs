//! The restart guard, as seen by tools that run for less than a second each.

use redlock_testing::{Data, LocalCluster};

use crate::support::{Ended, Scene, eventually};

/// A short `max_ttl` makes the quarantine short: 4.04 s plus two seconds.
const SETTINGS: [&str; 3] = ["run", "--set=ttl=4s", "--set=max_ttl=4s"];

fn run(scene: &Scene, wait: &str) -> Ended {
    scene.run(&[&SETTINGS[..], &[wait, "k", "--", "true"]].concat())
}

/// Runs the tool again and again, each time as a process of its own. The runs fail with the reason and the remaining
/// time, until one succeeds.
fn ends_by_itself(scene: &Scene, reason: &str) {
    let mut calls = 0;
    let mut last = f64::MAX;
    eventually("it is let in", || {
        let ended = run(scene, "--no-wait");
        if ended.code == Some(0) {
            assert_eq!(ended.stderr, "");
            return true;
        }
        assert_eq!(ended.code, Some(69), "{ended:?}");
        assert!(ended.stderr.contains(reason) && ended.stderr.contains("redlock init"), "{ended:?}");
        let left = ended.stderr.split("in quarantine for another ").nth(1).unwrap();
        let left: f64 = left.split(" s").next().unwrap().parse().unwrap();
        assert!(left <= last && left <= 6.1, "{left} after {last}");
        (calls, last) = (calls + 1, left);
        false
    });
    assert!(calls > 3, "{calls}");
}

#[test]
fn a_wiped_node_is_believed_again_when_its_time_is_over() {
    let scene = Scene::new(1);
    assert_eq!(run(&scene, "--no-wait").code, Some(0));
    scene.cluster.restart(0, Data::Lost).unwrap();
    ends_by_itself(&scene, "it is new or has lost its data");
}

/// The node's uptime is no evidence. Only the node's record, written at the first observation, can end the quarantine.
#[test]
fn a_promoted_node_is_believed_again_when_its_time_is_over() {
    let scene = Scene::new(1);
    assert_eq!(run(&scene, "--no-wait").code, Some(0));
    let master = LocalCluster::builder().nodes(1).directive("repl-diskless-sync-delay", 0).start().unwrap();
    let port = master.port(0).to_string();
    scene.cluster.command(0, &["REPLICAOF", "127.0.0.1", &port]).unwrap();
    let info = || scene.cluster.command(0, &["INFO", "replication"]).unwrap();
    eventually("it is a replica", || info().text().unwrap().contains("link_status:up"));
    scene.cluster.command(0, &["REPLICAOF", "NO", "ONE"]).unwrap();
    ends_by_itself(&scene, "it was promoted and may lack locks");
}

#[test]
fn a_wait_that_covers_a_quarantine_waits_it_out_and_says_so_once() {
    let scene = Scene::new(3);
    // One node of three in quarantine does not make the tool wait.
    scene.cluster.restart(0, Data::Lost).unwrap();
    let ended = run(&scene, "--wait=20s");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    scene.cluster.restart(1, Data::Lost).unwrap();
    // A wait that is shorter than the quarantine does not begin.
    let ended = run(&scene, "--wait=300ms");
    assert!(ended.code == Some(69) && ended.stderr.contains("after waiting 300ms"), "{ended:?}");
    assert!(ended.stderr.contains("redlock init") && !ended.stderr.contains("waiting another"), "{ended:?}");
    // Two of three nodes have new ids, so that the earlier node list may be in use elsewhere.
    let ended =
        scene.run(&[&SETTINGS[..], &["--wait=20s", "--allow-other-lists", "k", "--", "true"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told: Vec<_> =
        ended.stderr.lines().filter(|line| !line.contains("warning: other clients use")).collect();
    assert!(told.len() == 1 && told[0].starts_with("redlock: waiting another "), "{ended:?}");
    let told = told[0];
    assert!(told.contains(" s for nodes in quarantine") && told.contains("redlock doctor"), "{told:?}");
}

#[test]
fn quiet_waits_without_a_word() {
    let scene = Scene::new(1);
    scene.cluster.restart(0, Data::Lost).unwrap();
    let ended = scene.run(&[&SETTINGS[..], &["-q", "--wait=20s", "k", "--", "true"]].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}
