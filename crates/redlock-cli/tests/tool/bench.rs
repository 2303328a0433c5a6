//! `redlock bench` measures, and leaves no keys behind.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::Scene;

fn measure(scene: &Scene, arguments: &[&str]) -> Value {
    let ended = scene.run(&[&["bench", "--json", "--duration=300ms"], arguments].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    scene.assert_no_keys();
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn percentiles_and_throughput_are_told() {
    let scene = Scene::new(3);
    for (arguments, tasks, keys) in [
        (&["--tasks=1"][..], 1, "own"),
        (&["--tasks=4"], 4, "own"),
        (&["--tasks=4", "--keys=same"], 4, "same"),
    ] {
        let result = measure(&scene, arguments);
        assert_eq!((&result["tasks"], &result["keys"]), (&tasks.into(), &keys.into()));
        let (locks, elapsed) = (result["locks"].as_f64().unwrap(), result["elapsed_ms"].as_f64().unwrap());
        assert!(locks >= 1.0 && elapsed >= 300.0, "{result}");
        let rate = result["locks_per_second"].as_f64().unwrap();
        assert!((rate - locks * 1e3 / elapsed).abs() < 1.0, "{result}");
        for step in ["lock", "release"] {
            let names = ["median_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms"];
            let values = names.map(|name| result[step][name].as_f64().unwrap());
            assert!(values[0] > 0.0 && values.is_sorted(), "{result}");
        }
    }
}

#[test]
fn on_a_terminal_there_are_a_bar_and_a_table() {
    let scene = Scene::new(3);
    let (code, shown) = scene.type_at(&["bench", "--duration=300ms"], "");
    assert_eq!(code, Some(0), "{shown}");
    for part in ["] ", " of 300ms, ", "MEDIAN", " locks a second: ", "by 8 tasks with a key each, on 3 nodes"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let quiet = scene.type_at(&["bench", "--duration=300ms", "--quiet"], "").1;
    assert!(!quiet.contains(" of 300ms, ") && quiet.contains("MEDIAN"), "{quiet}");
}

#[test]
fn an_interrupt_ends_it_with_what_there_is() {
    let scene = Scene::new(3);
    let tool = scene.start(&["bench", "--json", "--duration=10m", "-v"]);
    crate::support::eventually("it runs", || tool.stderr().contains("node is up"));
    tool.signal(Signal::TERM);
    let ended = tool.finish();
    assert_eq!(ended.code, Some(143), "{ended:?}");
    scene.assert_no_keys();
}

#[test]
fn nodes_that_grant_nothing_are_not_measured() {
    let scene = Scene::new(3);
    scene.kill(&[0, 1]);
    let ended = scene.run(&["bench"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(69), ""), "{ended:?}");
    assert!(ended.stderr.contains("no quorum") && ended.stderr.contains("start these nodes"), "{ended:?}");
}
