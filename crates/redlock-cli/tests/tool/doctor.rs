//! `redlock doctor` with healthy and with faulty nodes.

use redlock_testing::{Data, LocalCluster};
use serde_json::Value;

use crate::support::{Ended, Scene, eventually};

/// Runs the doctor twice, for programs and for people. Both results must agree.
fn examine(scene: &Scene, arguments: &[&str], code: i32) -> (Value, String) {
    let json = scene.run(&[&["doctor", "--json", "--sample=0s"], arguments].concat());
    let text = scene.run(&[&["doctor", "--sample=0s"], arguments].concat());
    for Ended { code: ended, stderr, .. } in [&json, &text] {
        assert_eq!((*ended, stderr.as_str()), (Some(code), ""), "{json:?} {text:?}");
    }
    let result: Value = serde_json::from_str(&json.stdout).unwrap();
    let health = match code {
        0 => "healthy",
        1 => "degraded",
        _ => "no_quorum",
    };
    assert_eq!(result["health"], health);
    assert!(text.stdout.contains(&format!("\n{}: ", health.replace('_', " "))), "{}", text.stdout);
    let told = problems(&result);
    assert_eq!(text.stdout.matches("problem: ").count(), told.len(), "{}", text.stdout);
    for (_, _, advice) in told {
        assert!(text.stdout.contains(&advice), "{advice}: {}", text.stdout);
    }
    (result, text.stdout)
}

/// The only problem, which must concern this node: its description and the advice.
fn problem(result: &Value, scene: &Scene, node: usize) -> (String, String) {
    let problems = problems(result);
    let [(nodes, what, advice)] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!(*nodes, [format!("127.0.0.1:{}", scene.cluster.port(node))]);
    (what.clone(), advice.clone())
}

/// All problems, each with its nodes, its description and the advice.
fn problems(result: &Value) -> Vec<(Vec<String>, String, String)> {
    let findings = result["findings"].as_array().unwrap().iter();
    let problems = findings.filter(|finding| finding["severity"] == "problem");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    problems
        .map(|finding| {
            let nodes = finding["nodes"].as_array().unwrap().iter().map(text).collect();
            (nodes, text(&finding["what"]), text(&finding["advice"]))
        })
        .collect()
}

#[test]
fn five_healthy_nodes() {
    let scene = Scene::new(5);
    let (result, text) = examine(&scene, &[], 0);
    assert_eq!(result["findings"], Value::Array(vec![]));
    assert_eq!(result["quorum"]["tolerated_failures"], 2);
    assert!(text.contains("also if another 2 nodes are lost"), "{text}");
    for node in result["nodes"].as_array().unwrap() {
        let expected = [("state", "votes"), ("role", "master"), ("appendfsync", "always")];
        for (field, value) in expected {
            assert_eq!(node[field], value, "{node}");
        }
        assert_eq!((&node["durable"], &node["maxmemory"]), (&true.into(), &0.into()));
        let measured = &node["measured"];
        let [median, p99] =
            ["round_trip_median_ms", "round_trip_p99_ms"].map(|field| measured[field].as_f64().unwrap());
        assert!(0.0 < median && median <= p99, "{measured}");
        // Both clocks are this machine's, read within a round trip.
        assert!(measured["clock_offset_us"].as_i64().unwrap().unsigned_abs() < 1_000_000, "{measured}");
        assert!(measured["connected_clients"].as_u64().unwrap() >= 1);
    }
    // For `cut`: a header and a line for each node, all with the same number of fields.
    let rows: Vec<_> = text.lines().take(6).map(|line| line.split('\t').collect::<Vec<_>>()).collect();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
    assert_eq!((rows[0][0], rows[5][0]), ("NODE", &*format!("127.0.0.1:{}", scene.cluster.port(4))));
}

#[test]
fn clocks_that_run_at_a_wrong_rate() {
    let scene = Scene::of(LocalCluster::builder().nodes(3).adjustable_clocks().start().unwrap());
    let rates = [0, 5_000, -200_000];
    (0..3).for_each(|node| scene.cluster.set_clock_rate(node, rates[node]).unwrap());
    // Long enough for the round trips of a busy machine. Neither rate costs a node its vote.
    let ended = scene.run(&["doctor", "--json", "--sample=5s"]);
    let result: Value = serde_json::from_str(&ended.stdout).unwrap();
    for (node, rate) in result["nodes"].as_array().unwrap().iter().zip(rates) {
        assert_eq!(node["state"], "votes", "{result:#}");
        let [ppm, uncertainty] = ["clock_rate_ppm", "clock_rate_uncertainty_ppm"]
            .map(|field| node["measured"][field].as_f64().unwrap_or_else(|| panic!("{result:#}")));
        // The preloaded clock is not exact, and this machine's may be slewed meanwhile.
        assert!((ppm - f64::from(rate)).abs() <= uncertainty + 200.0, "{rate}: {node:#}");
        assert!(0.0 < uncertainty && uncertainty <= 1000.0, "{node:#}");
    }
    let ended = scene.run(&["doctor", "--sample=2h"]);
    assert!(ended.code == Some(64) && ended.stderr.contains("must be at most 1h"), "{ended:?}");
}

#[test]
fn one_down() {
    let scene = Scene::new(5);
    scene.kill(&[2]);
    let (result, text) = examine(&scene, &[], 1);
    let (what, advice) = problem(&result, &scene, 2);
    assert!(what.starts_with("unreachable: ") && advice.starts_with("Start it"), "{what} {advice}");
    assert!(
        text.contains("4 of 5 nodes vote, 3 have to agree; locks can be taken, also if another node is lost")
    );
    assert_eq!(result["nodes"][2]["state"], "unreachable");
}

#[test]
fn one_that_hangs() {
    let scene = Scene::new(3);
    scene.cluster.pause(0).unwrap();
    let (result, text) = examine(&scene, &[], 1);
    problem(&result, &scene, 0);
    assert_eq!(result["nodes"][0]["state"], "unreachable");
    assert!(
        text.contains("2 of 3 nodes vote, 2 have to agree; locks can be taken, but not if another"),
        "{text}"
    );
}

#[test]
fn too_few_left() {
    let scene = Scene::new(3);
    scene.kill(&[0, 1]);
    let (result, text) = examine(&scene, &[], 69);
    assert_eq!(problems(&result).len(), 2);
    assert!(text.contains("1 of 3 nodes vote, 2 have to agree; nobody can take a lock\n"), "{text}");
    assert_eq!(text.matches("Start it").count(), 1, "what both want is told once: {text}");
}

#[test]
fn one_a_replica() {
    let scene = Scene::new(5);
    let port = scene.cluster.port(0).to_string();
    scene.cluster.command(4, &["REPLICAOF", "127.0.0.1", &port]).unwrap();
    let (result, _) = examine(&scene, &[], 1);
    let (what, advice) = problem(&result, &scene, 4);
    assert!(what.contains("not a master but a replica") && advice.starts_with("List its master"), "{what}");
    assert_eq!(
        (&result["nodes"][4]["state"], &result["nodes"][4]["role"]),
        (&"refused".into(), &"replica".into())
    );
}

#[test]
fn the_same_server_twice_under_two_names() {
    let scene = Scene::new(4);
    let mut urls = scene.cluster.urls();
    urls.push(urls[0].replace("127.0.0.1", "localhost"));
    let nodes: Vec<_> = urls.iter().map(|url| format!("--node={url}")).collect();
    let arguments: Vec<_> = nodes.iter().map(String::as_str).collect();
    let (result, _) = examine(&scene, &arguments, 1);
    let problems = problems(&result);
    // Either of the two names may be met second.
    let names = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{}", scene.cluster.port(0)));
    let [(nodes, what, advice)] = problems.as_slice() else { panic!("{problems:?}") };
    let [node] = nodes.as_slice() else { panic!("{nodes:?}") };
    assert!(names.contains(node) && names.iter().any(|name| what.contains(name) && name != node), "{what}");
    assert!(
        what.contains("the same server as") && advice.starts_with("Remove one of the two names"),
        "{advice}"
    );
    assert_eq!(result["quorum"]["voting"], 4);
}

#[test]
fn one_that_may_evict_locks() {
    let scene = Scene::new(5);
    for (option, value) in [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")] {
        scene.cluster.command(1, &["CONFIG", "SET", option, value]).unwrap();
    }
    let (result, _) = examine(&scene, &[], 1);
    let (what, advice) = problem(&result, &scene, 1);
    assert!(what.contains("maxmemory-policy is allkeys-lru"), "{what}");
    assert!(advice.starts_with("CONFIG SET maxmemory-policy noeviction"), "{advice}");
    assert_eq!(result["nodes"][1]["maxmemory_policy"], "allkeys-lru");
    // With eviction allowed the node votes, and is still a problem.
    let (result, _) = examine(&scene, &["--set", "dangerous_allow_eviction=true"], 1);
    let (what, _) = problem(&result, &scene, 1);
    assert!(what.contains("dangerous_allow_eviction"), "{what}");
    assert_eq!(result["nodes"][1]["state"], "votes");
}

#[test]
fn one_with_a_wrong_password() {
    let scene = Scene::new(5);
    scene.cluster.command(3, &["CONFIG", "SET", "requirepass", "correct"]).unwrap();
    let mut nodes: Vec<_> = scene.cluster.urls().iter().map(|url| format!("--node={url}")).collect();
    nodes[3] = format!("--node=redis://:hunter2@127.0.0.1:{}", scene.cluster.port(3));
    let arguments: Vec<_> = nodes.iter().map(String::as_str).collect();
    let (result, text) = examine(&scene, &arguments, 1);
    let (what, advice) = problem(&result, &scene, 3);
    assert!(what.starts_with("authentication failed") && advice.starts_with("Correct the user"), "{what}");
    assert!(!text.contains("hunter2") && !result.to_string().contains("hunter2"), "{text}");
    assert_eq!(result["nodes"][3]["state"], "refused");
}

#[test]
fn one_that_restarted_without_its_data() {
    let scene = Scene::new(5);
    scene.cluster.restart(2, Data::Lost).unwrap();
    let (result, text) = examine(&scene, &[], 1);
    let (what, advice) = problem(&result, &scene, 2);
    assert!(what.contains("in quarantine for another ") && what.contains("lost its data"), "{what}");
    assert!(advice.starts_with("Wait") && advice.contains("redlock init"), "{advice}");
    let node = &result["nodes"][2];
    assert_eq!(node["state"], "quarantined");
    let left = node["quarantine_ms"].as_f64().unwrap();
    // 22.2 s minus the time since its start.
    assert!(0.0 < left && left <= 22_200.0, "{left}");
    assert!(text.contains("quarantine "), "{text}");
    // Later clients know the node by another id than earlier ones.
    let scene = Scene::new(5);
    examine(&scene, &[], 0);
    scene.cluster.restart(2, Data::Lost).unwrap();
    let (result, _) = examine(&scene, &[], 1);
    let [_, (nodes, _, advice)] = &problems(&result)[..] else { panic!("{result}") };
    let only = format!("or if it is only that 127.0.0.1:{} lost its data", scene.cluster.port(2));
    assert!(nodes.len() == 4 && advice.contains(&only), "{result}");
    // All nodes are restarted without data: no quorum, but only for a while.
    (0..5).for_each(|node| scene.cluster.restart(node, Data::Lost).unwrap());
    let (_, text) = examine(&scene, &[], 69);
    assert!(
        text.contains("0 of 5 nodes vote, 3 have to agree; nobody can take a lock for another "),
        "{text}"
    );
}

#[test]
fn a_client_with_another_node_list() {
    let scene = Scene::new(4);
    let nodes = |which: [usize; 3]| which.map(|node| format!("--node={}", scene.cluster.url(node)));
    let (ours, theirs) = (nodes([0, 1, 2]), nodes([1, 2, 3]));
    let [ours, theirs] = [&ours, &theirs].map(|nodes| nodes.iter().map(String::as_str).collect::<Vec<_>>());
    examine(&scene, &ours, 0);
    let (result, _) = examine(&scene, &theirs, 1);
    let name = |node| format!("127.0.0.1:{}", scene.cluster.port(node));
    let [(quarantined, why, settle), (told, what, advice)] = &problems(&result)[..] else {
        panic!("{result}")
    };
    assert!(*quarantined == [name(3)] && why.contains("clients used another server in its place"), "{why}");
    assert!(settle.starts_with("Wait") && settle.ends_with("redlock nodes forget."), "{settle}");
    assert_eq!(*told, [name(1), name(2)]);
    assert!(what.contains("other nodes or another quorum (2 of 3: "), "{what}");
    // Known nodes by their names, and the unknown one by its id.
    assert!(what.contains(&name(1)) && what.contains(&name(2)) && !what.contains(&name(3)), "{what}");
    assert!(what.contains("none of yours, id "), "{what}");
    assert!(
        advice.contains("the same nodes and quorum")
            && advice.contains("by themselves")
            && advice.ends_with("redlock nodes forget."),
        "{advice}"
    );
    // Following the advice solves the problem.
    let ended = scene.run(&[&["nodes", "forget", "--yes"], &theirs[..]].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.stdout.ends_with("3 of 3 nodes have forgotten it\n"), "{ended:?}");
    examine(&scene, &theirs, 0);
}

#[test]
fn a_longer_max_ttl_is_forgotten_when_the_nodes_are_told_to() {
    let scene = Scene::new(3);
    let is_noted = || {
        let (result, _) = examine(&scene, &[], 0);
        let notes = result["findings"].as_array().unwrap().iter();
        let mut notes = notes.filter(|note| note["what"].as_str().unwrap().contains("a max_ttl of 1h"));
        notes.any(|note| note["advice"].as_str().unwrap().ends_with("redlock nodes forget."))
    };
    examine(&scene, &["--set=max_ttl=1h"], 0);
    assert!(is_noted());
    // Without a terminal no question is asked, and nothing is done.
    let ended = scene.run(&["nodes", "forget"]);
    assert!(ended.code == Some(64) && ended.stderr.contains("no terminal to ask on; --yes"), "{ended:?}");
    let (code, shown) = scene.type_at(&["nodes", "forget"], "n\n");
    assert!(code == Some(1) && shown.contains("The longest max_ttl is 1h, yours is 20s."), "{shown}");
    assert!(
        shown.contains("two clients can hold one lock") && shown.contains("nothing was forgotten"),
        "{shown}"
    );
    assert!(is_noted());
    scene.kill(&[2]);
    let ended = scene.run(&["nodes", "forget", "--yes", "--json"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{ended:?}");
    let result: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(result["quorum"]["forgotten"], 2, "{result}");
    assert_eq!(result["nodes"][2]["forgotten"], false, "{result}");
    scene.kill(&[1]);
    assert_eq!(scene.run(&["nodes", "forget", "--yes"]).code, Some(69));
    scene.cluster.restart(1, Data::Kept).unwrap();
    scene.cluster.restart(2, Data::Kept).unwrap();
    assert_eq!(scene.run(&["nodes", "forget", "--yes"]).code, Some(0));
    assert!(!is_noted());
}

#[test]
fn settings_that_could_be_better_are_noted() {
    let scene =
        Scene::of(LocalCluster::builder().nodes(4).directive("appendfsync", "everysec").start().unwrap());
    let old = || {
        let info = scene.cluster.command(3, &["INFO", "server"]).unwrap();
        let uptime = info.text().unwrap().lines().find_map(|line| line.strip_prefix("uptime_in_seconds:"));
        uptime.unwrap().parse::<u64>().unwrap() > 5
    };
    eventually("no quarantine is left", old);
    examine(&scene, &["--set=ttl=1s", "--set=node_timeout=500ms", "--set=max_ttl=2s"], 0);
    let (result, text) =
        examine(&scene, &["--set=ttl=1s", "--set=node_timeout=500ms", "--set=max_ttl=1s"], 0);
    let notes = result["findings"].as_array().unwrap();
    let noted = |part: &str| notes.iter().any(|note| note["what"].as_str().unwrap().contains(part));
    assert!(noted("does not keep every write: each restart costs it its vote for 3.0 s"), "{text}");
    assert!(noted("4 nodes survive no more losses than 3 do"), "{text}");
    assert!(noted("another client has a max_ttl of 2s, yours is 1s"), "{text}");
}
