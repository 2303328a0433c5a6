//! `redlock members` through a change of node lists.

use serde_json::Value;

use crate::support::{Scene, eventually};

/// Runs the command with these nodes, by number, as `nodes` and as `next_nodes`. Both kinds of output agree.
fn members(scene: &Scene, nodes: [usize; 3], next: &[usize]) -> (Option<i32>, Value) {
    let url = |node: &usize| scene.cluster.url(*node);
    let mut arguments: Vec<String> = nodes.iter().flat_map(|node| ["--node".to_owned(), url(node)]).collect();
    if !next.is_empty() {
        let urls: Vec<_> = next.iter().map(url).collect();
        arguments.extend(["--set".to_owned(), format!("next_nodes={}", urls.join(","))]);
    }
    // The change takes as long as the longest lease, and some seconds.
    arguments.extend(["max_ttl=4s", "ttl=4s"].iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = scene.run(&[&["members", "--json"], &arguments[..]].concat());
    let json: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    (ended.code, json)
}

#[test]
fn a_change_from_its_beginning_to_its_end() {
    let scene = Scene::new(5);
    let (code, steady) = members(&scene, [0, 1, 2], &[]);
    assert_eq!((code, &steady["stage"]), (Some(0), &"steady".into()), "{steady}");
    assert_eq!(steady["nodes"][0]["lists"][0]["state"], "in use", "{steady}");

    let (code, hindered) = members(&scene, [0, 1, 2], &[2, 3, 4]);
    assert_eq!((code, &hindered["stage"]), (Some(1), &"hindered".into()), "{hindered}");
    let name = |node: usize| format!("127.0.0.1:{}", scene.cluster.port(node));
    let advice = hindered["next"].as_str().unwrap();
    let named = [0, 1, 2, 3, 4].map(|node| advice.contains(&name(node)));
    assert_eq!(named, [true, true, true, false, false], "{advice}");
    assert_eq!(hindered["nodes"].as_array().unwrap().len(), 5);
    // The first client of the next list comes too early.
    let (code, early) = members(&scene, [2, 3, 4], &[]);
    assert_eq!((code, &early["stage"]), (Some(1), &"too early".into()), "{early}");

    eventually("the change is done", || {
        let (code, json) = members(&scene, [0, 1, 2], &[2, 3, 4]);
        assert!(["hindered", "waiting", "done"].iter().any(|stage| json["stage"] == *stage), "{json}");
        code == Some(0)
    });
    let (code, new) = members(&scene, [2, 3, 4], &[]);
    assert_eq!((code, &new["stage"]), (Some(0), &"steady".into()), "{new}");
    let (code, late) = members(&scene, [0, 1, 2], &[]);
    assert_eq!((code, &late["stage"]), (Some(1), &"too late".into()), "{late}");
    let old = [0, 1, 2].map(|node| format!("--node={}", scene.cluster.url(node)));
    let text = scene.run(&["members", &old[0], &old[1], &old[2]]);
    assert_eq!(text.code, Some(1), "{text:?}");
    assert!(
        text.stdout.contains("change done") && text.stdout.contains("\ntoo late: Name the nodes"),
        "{text:?}"
    );
}
