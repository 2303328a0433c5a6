//! `redlock inspect` and `redlock break`.

use serde_json::Value;

use crate::support::{Running, Scene};

/// A tool that holds `k` until the file `go` exists.
fn holder(scene: &Scene) -> Running {
    let script = "touch ready; until [ -e go ]; do sleep 0.02; done";
    let holder = scene.start(&["run", "--set=owner=me", "k", "--", "sh", "-c", script]);
    scene.appears("ready");
    holder
}

fn json(scene: &Scene, arguments: &[&str], code: i32) -> Value {
    let ended = scene.run(arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn a_held_lock_is_shown_with_its_owner_its_time_and_its_fence() {
    let scene = Scene::new(5);
    let holder = holder(&scene);
    let result = json(&scene, &["inspect", "--json", "k"], 0);
    assert_eq!((&result["state"], &result["owner"]), (&"held".into(), &"me".into()));
    let fences: Vec<_> =
        result["nodes"].as_array().unwrap().iter().map(|node| node["fence"].as_u64()).collect();
    assert!(fences.iter().all(|fence| fence.is_some() && *fence == fences[0]), "{fences:?}");
    for node in result["nodes"].as_array().unwrap() {
        assert_eq!((&node["under"], &node["owner"]), (&"lock".into(), &"me".into()));
        let left = node["remaining_ms"].as_f64().unwrap();
        assert!(0.0 < left && left <= 10_000.0, "{left}");
    }
    let text = scene.run(&["inspect", "k"]);
    assert_eq!(text.code, Some(0));
    assert_eq!(text.stdout.lines().filter(|line| line.contains("\tme\t")).count(), 5, "{text:?}");
    assert!(text.stdout.contains("\n\"k\" is held by me for another "), "{text:?}");
    scene.create("go");
    assert_eq!(holder.finish().code, Some(0));
}

#[test]
fn a_script_learns_from_the_exit_code_whether_somebody_holds_it() {
    let scene = Scene::new(5);
    assert_eq!(json(&scene, &["inspect", "--json", "k"], 1)["state"], "not_held");
    // Too few keys for a quorum, and certainly so.
    scene.hold("k", &[0, 1]);
    let ended = scene.run(&["inspect", "k"]);
    assert!(
        ended.code == Some(1) && ended.stdout.contains("a key on 2 of 5 nodes is no quorum"),
        "{ended:?}"
    );
    // With one node that does not answer, three nodes might have the key.
    scene.kill(&[4]);
    let ended = scene.run(&["inspect", "k"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stdout.contains("not known who holds \"k\": 4 of 5 nodes answered"), "{ended:?}");
    let silent = format!("not known: 127.0.0.1:{}: unreachable", scene.cluster.port(4));
    assert!(ended.stdout.contains(&silent), "{ended:?}");
    // A lock of another implementation. Its whole value counts as the owner.
    scene.hold("k", &[2]);
    assert_eq!(json(&scene, &["inspect", "--json", "k"], 0)["owner"], "another");
    scene.kill(&[0, 1]);
    assert_eq!(json(&scene, &["inspect", "--json", "k"], 69)["state"], "unknown");
    scene.cluster.command(3, &["RPUSH", "k", "1"]).unwrap();
    let ended = scene.run(&["inspect", "k"]);
    assert!(ended.code == Some(69) && ended.stdout.contains("a key that is no lock"), "{ended:?}");
}

#[test]
fn a_broken_lock_is_gone_and_its_holder_told() {
    let scene = Scene::new(5);
    let holder = holder(&scene);
    scene.cluster.kill(4).unwrap();
    scene.delete("k", &[3]);
    let result = json(&scene, &["break", "--yes", "--json", "k"], 0);
    assert_eq!((&result["result"], &result["before"]["owner"]), (&"broken".into(), &"me".into()));
    let removals: Vec<_> =
        result["nodes"].as_array().unwrap().iter().map(|node| node["removal"].as_str()).collect();
    // The holder may have set the key again on the fourth node.
    assert!(removals[..3].iter().all(|removal| *removal == Some("removed")), "{removals:?}");
    assert!(matches!(removals[3], Some("removed" | "absent")) && removals[4].is_none(), "{removals:?}");
    let ended = holder.finish();
    assert!(ended.code == Some(74) && ended.stderr.contains("was lost"), "{ended:?}");
    let ended = scene.run(&["break", "--yes", "k"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "nobody holds \"k\"; there is nothing to break\n")
    );
}

/// redlock-rs and rslock use random bytes as the value of a lock.
#[test]
fn a_holder_whose_name_is_no_text_is_shown_and_broken() {
    let scene = Scene::new(3);
    for node in 0..3 {
        let script = r"return redis.call('SET', KEYS[1], '\255\27[2J', 'PX', 60000)";
        assert_eq!(scene.cluster.command(node, &["EVAL", script, "1", "k"]).unwrap().text(), Some("OK"));
    }
    let owner = r"\xff\u{1b}[2J";
    assert_eq!(json(&scene, &["inspect", "--json", "k"], 0)["owner"], owner);
    let ended = scene.run(&["inspect", "k"]);
    assert!(ended.code == Some(0) && ended.stdout.contains(&format!("\t{owner}\t")), "{ended:?}");
    let (code, shown) = scene.type_at(&["inspect", "k"], "");
    assert!(code == Some(0) && shown.contains(owner) && !shown.contains("\u{1b}[2J"), "{shown}");
    let result = json(&scene, &["break", "--yes", "--json", "k"], 0);
    assert_eq!((&result["result"], &result["before"]["owner"]), (&"broken".into(), &owner.into()));
    scene.assert_no_keys();
}

#[test]
fn too_few_answers_are_no_success() {
    let scene = Scene::new(5);
    scene.hold("k", &[0, 1, 2]);
    scene.kill(&[0, 1, 3]);
    let ended = scene.run(&["break", "--yes", "k"]);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stdout.contains(&format!("127.0.0.1:{}: removed\n", scene.cluster.port(2))), "{ended:?}");
    assert!(ended.stdout.contains("run this again when they are back"), "{ended:?}");
    // The nodes that did not answer are named even if there was nothing to remove.
    let ended = scene.run(&["break", "--yes", "another"]);
    let silent = format!("not known: 127.0.0.1:{}: unreachable", scene.cluster.port(3));
    assert!(ended.code == Some(69) && ended.stdout.contains(&silent), "{ended:?}");
}

#[test]
fn it_asks_on_a_terminal_and_refuses_elsewhere() {
    let scene = Scene::new(3);
    scene.hold("k", &[0, 1, 2]);
    let ended = scene.run(&["break", "k"]);
    assert!(ended.code == Some(64) && ended.stderr.contains("--yes"), "{ended:?}");
    for typed in ["\n", "n\n"] {
        let (ended, shown) = scene.type_at(&["break", "k"], typed);
        assert_eq!(ended, Some(1), "{shown}");
        for part in ["\"k\" is held by another for another ", "[y/N]", "nothing was broken"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    (0..3).for_each(|node| assert_eq!(scene.cluster.keys(node).unwrap(), ["k"]));
    let (ended, shown) = scene.type_at(&["break", "k"], "y\n");
    assert!(ended == Some(0) && shown.contains("another does not hold \"k\" any more"), "{shown}");
    scene.assert_no_keys();
}

#[test]
fn a_terminal_gets_a_table_in_colour() {
    let scene = Scene::new(3);
    let (code, shown) = scene.type_at(&["doctor"], "");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("\u{1b}[") && !shown.contains('\t'), "{shown}");
    // The table is split into two parts of at most 100 columns.
    assert_eq!(shown.matches("NODE").count(), 2, "{shown}");
    let json = scene.type_at(&["inspect", "--json", "k"], "").1;
    assert!(!json.contains('\u{1b}'), "{json}");
}
