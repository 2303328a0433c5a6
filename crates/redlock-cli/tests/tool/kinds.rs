//! `redlock run` with several keys, and with `--shared`.

use crate::support::{Running, Scene};

/// A command under a lock, which runs until the scene has the file `go`.
fn holder(scene: &Scene, arguments: &[&str]) -> Running {
    let script = r#"echo "$REDLOCK_RESOURCE" >ready; until [ -e go ]; do sleep 0.02; done"#;
    let running = scene.start(&[&["run"], arguments, &["--", "sh", "-c", script]].concat());
    scene.appears("ready");
    running
}

fn code(scene: &Scene, arguments: &[&str]) -> Option<i32> {
    scene.run(&[&["run", "--no-wait"], arguments, &["--", "true"]].concat()).code
}

#[test]
fn several_keys_are_locked_together_or_not_at_all() {
    let scene = Scene::new(3);
    let first = holder(&scene, &["b", "a"]);
    assert_eq!(scene.read("ready"), "a, b\n");
    for (keys, expected) in [(&["a"][..], 75), (&["b"], 75), (&["c", "b"], 75), (&["c"], 0)] {
        assert_eq!(code(&scene, keys), Some(expected), "{keys:?}");
    }
    let refused = scene.run(&["run", "--no-wait", "c", "b", "a", "--", "true"]);
    assert!(refused.stderr.contains(r#""a, b, c" is taken: "a" by "#), "{refused:?}");
    assert!(refused.stderr.contains(r#", "b" by "#), "{refused:?}");
    scene.create("go");
    assert_eq!(first.finish().code, Some(0));
    scene.assert_no_keys();
}

#[test]
fn readers_share_a_key_and_exclude_writers() {
    let scene = Scene::new(3);
    let reader = holder(&scene, &["--shared", "k"]);
    assert_eq!(code(&scene, &["--shared", "k"]), Some(0));
    let refused = scene.run(&["run", "--no-wait", "k", "--", "true"]);
    assert_eq!(refused.code, Some(75));
    assert!(refused.stderr.contains(r#""k" is read by "#), "{refused:?}");
    scene.create("go");
    assert_eq!(reader.finish().code, Some(0));
    scene.hold("k", &[0, 1, 2]);
    assert_eq!(code(&scene, &["--shared", "k"]), Some(75));
}

#[test]
fn at_most_so_many_commands_have_a_slot() {
    let scene = Scene::new(3);
    let holds = |file: &str| {
        let script = format!(
            "echo $REDLOCK_SLOT >{file}.new; mv {file}.new {file}; until [ -e go ]; do sleep 0.02; done"
        );
        let running = scene.start(&["run", "--slots", "2", "k", "--", "sh", "-c", &script]);
        scene.appears(file);
        running
    };
    let (first, second) = (holds("first"), holds("second"));
    let mut slots = [scene.read("first"), scene.read("second")];
    slots.sort();
    assert_eq!(slots, ["0\n", "1\n"]);
    let refused = scene.run(&["run", "--no-wait", "--slots", "2", "k", "--", "true"]);
    assert_eq!(refused.code, Some(75));
    assert!(refused.stderr.contains(r#""k" is held 2 times, by "#), "{refused:?}");
    let others = scene.run(&["run", "--slots", "3", "k", "--", "true"]);
    assert_eq!(others.code, Some(78), "{others:?}");
    let inspected = scene.run(&["inspect", "--slots", "2", "--json", "k"]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!((&inspected["held"], &inspected["slots"][1]["state"]), (&2.into(), &"held".into()));
    scene.create("go");
    assert_eq!([first.finish().code, second.finish().code], [Some(0); 2]);
    let shown = scene.run(&["inspect", "--slots", "2", "k"]);
    assert_eq!(shown.code, Some(1));
    assert!(shown.stdout.contains("0 of 2 slots of \"k\" are held"), "{shown:?}");
    scene.assert_no_keys();
}

#[test]
fn a_key_of_a_run_above_is_refused_at_once() {
    let scene = Scene::new(3);
    for (outer, inner) in
        [(&["a", "b"][..], &["c", "b"][..]), (&["--shared", "a"], &["--shared", "a"]), (&["a", "b"], &["b"])]
    {
        let tool = env!("CARGO_BIN_EXE_redlock");
        let ended =
            scene.run(&[&["run"], outer, &["--", tool, "run"], inner, &["--", "touch", "ran"]].concat());
        assert_eq!(ended.code, Some(75), "{ended:?}");
        assert!(ended.stderr.contains("would never end"), "{ended:?}");
    }
    assert!(!scene.has("ran"));
    scene.assert_no_keys();
}

#[test]
fn mistakes_are_explained() {
    let scene = Scene::new(1);
    for (arguments, code, text) in [
        (&["--shared", "a", "b"][..], 64, "--shared takes one KEY"),
        (&["--slots", "2", "a", "b"], 64, "--slots takes one KEY"),
        (&["--slots", "0", "a"], 78, "number of permits: 0; must be between 1 and 64"),
        (&["a", "b", "a"], 78, r#""a": must not occur twice among the names"#),
    ] {
        let ended = scene.run(&[&["run"], arguments, &["--", "touch", "ran"]].concat());
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(text), "{ended:?}");
    }
    assert!(!scene.has("ran"));
}
