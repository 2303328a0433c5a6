//! `redlock init`: when a declaration counts, and which nodes refuse it.

use redlock_testing::{Data, Durability, LocalCluster};
use serde_json::Value;

use crate::support::{Ended, Scene, eventually};

fn undeclared(durability: Durability) -> Scene {
    Scene::of(LocalCluster::builder().undeclared().durability(durability).start().unwrap())
}

fn declare(scene: &Scene, code: i32) -> Vec<(String, bool)> {
    let ended = scene.run(&["init", "--yes", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{ended:?}");
    let result: Value = serde_json::from_str(&ended.stdout).unwrap();
    let nodes = result["nodes"].as_array().unwrap().iter();
    nodes
        .map(|node| (node["declared"].as_str().unwrap().to_owned(), node["votes"].as_bool().unwrap()))
        .collect()
}

/// The lines of the output, without the node names in front.
fn lines(scene: &Scene, ended: &Ended) -> Vec<String> {
    let nodes = ended.stdout.lines().take(scene.cluster.len()).enumerate();
    nodes
        .map(|(node, line)| {
            let name = format!("127.0.0.1:{}: ", scene.cluster.port(node));
            line.strip_prefix(&name).unwrap_or_else(|| panic!("{ended:?}")).to_owned()
        })
        .collect()
}

#[test]
fn new_nodes_vote_once_they_are_declared() {
    let scene = undeclared(Durability::Always);
    let refused = scene.run(&["run", "--no-wait", "k", "--", "true"]);
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert!(
        refused.stderr.contains("in quarantine") && refused.stderr.contains("redlock init"),
        "{refused:?}"
    );
    let ended = scene.run(&["init", "--yes"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(lines(&scene, &ended), ["declared new; its vote counts"; 3]);
    assert!(ended.stdout.ends_with("3 of 3 nodes vote, 2 have to agree\n"), "{ended:?}");
    assert_eq!(scene.run(&["run", "--no-wait", "k", "--", "true"]).code, Some(0));
    assert_eq!(
        declare(&scene, 0),
        [("before".to_owned(), true), ("before".to_owned(), true), ("before".to_owned(), true)]
    );
}

#[test]
fn without_a_terminal_nobody_is_asked_and_nothing_is_done() {
    let scene = undeclared(Durability::Always);
    let ended = scene.run(&["init"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""), "{ended:?}");
    assert!(ended.stderr.contains("no terminal to ask on; --yes"), "{ended:?}");
    for node in 0..3 {
        let declared = scene.cluster.command(node, &["HGET", "redlock-quorum:node", "declared"]).unwrap();
        assert_eq!(declared.text(), None);
    }
}

#[test]
fn a_node_that_is_not_new_is_named_with_what_to_do() {
    let scene = undeclared(Durability::Always);
    // The first node was met without keeping every write, and restarted; the second holds a lock; the third is down.
    scene.cluster.command(0, &["CONFIG", "SET", "appendfsync", "everysec"]).unwrap();
    scene.run(&["doctor"]);
    scene.cluster.restart(0, Data::Kept).unwrap();
    scene.hold("k", &[1]);
    scene.kill(&[2]);
    let ended = scene.run(&["init", "--yes"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    let [first, second, third] = &lines(&scene, &ended)[..] else { panic!("{ended:?}") };
    assert!(first.starts_with("refused: it is not new"), "{first}");
    assert!(
        first.contains("; its vote counts in ") && first.contains(", because it restarted and may have"),
        "{first}"
    );
    assert!(
        second.starts_with("refused: it holds a key that expires") && second.contains("counts in "),
        "{second}"
    );
    assert!(third.starts_with("not declared: unreachable") && third.contains("run this again"), "{third}");
    // Two voting nodes are a quorum, but not all nodes have been declared.
    scene.delete("k", &[1]);
    scene.cluster.restart(2, Data::Kept).unwrap();
    let expected = [("refused_older", false), ("now", true), ("now", true)];
    assert_eq!(declare(&scene, 1), expected.map(|(declared, votes)| (declared.to_owned(), votes)));
}

#[test]
fn a_node_with_too_many_keys_is_not_new() {
    let scene = Scene::of(LocalCluster::builder().nodes(1).undeclared().start().unwrap());
    let fill = "for i = 1, 20000 do redis.call('SET', i, i) end";
    scene.cluster.command(0, &["EVAL", fill, "0"]).unwrap();
    let ended = scene.run(&["init", "--yes"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(lines(&scene, &ended)[0].starts_with("refused: it holds too many keys"), "{ended:?}");
}

#[test]
fn the_word_holds_for_nodes_that_do_not_keep_every_write_until_they_restart() {
    let scene = undeclared(Durability::Volatile);
    let ended = scene.run(&["init", "--yes"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(lines(&scene, &ended), ["declared new; its vote counts"; 3]);
    scene.cluster.restart(0, Data::Lost).unwrap();
    let ended = scene.run(&["doctor", "--json"]);
    let result: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(result["nodes"][0]["state"], "quarantined", "{result}");
}

#[test]
fn a_node_that_something_else_is_against_is_declared_without_a_vote_at_once() {
    let scene = undeclared(Durability::Always);
    scene.cluster.command(0, &["SET", "k", "v"]).unwrap();
    let configure = |option, value| scene.cluster.command(0, &["CONFIG", "SET", option, value]).unwrap();
    configure("maxmemory-policy", "allkeys-lru");
    configure("maxmemory", "1");
    eventually("it has evicted the key", || scene.cluster.keys(0).unwrap().is_empty());
    configure("maxmemory", "0");
    configure("maxmemory-policy", "noeviction");
    let ended = scene.run(&["init", "--yes"]);
    let line = &lines(&scene, &ended)[0];
    assert!(line.starts_with("declared new; its vote counts in "), "{ended:?}");
    assert!(line.contains(", because it has evicted keys"), "{ended:?}");
    assert_eq!(lines(&scene, &ended)[1..], ["declared new; its vote counts"; 2]);
}
