//! When `redlock run` does not run the command: another holder, the caller's own lock, other clients' nodes.

use crate::support::Scene;

#[test]
fn the_holder_is_named_and_the_exit_code_is_the_callers_choice() {
    let scene = Scene::new(3);
    let holder = scene.start(&[
        "run",
        "--set=owner=web-1:4711",
        "k",
        "--",
        "sh",
        "-c",
        "touch ready; until [ -e go ]; do sleep 0.02; done",
    ]);
    scene.appears("ready");
    for (options, code) in [(&[][..], 75), (&["--conflict-exit-code=0"], 0), (&["--conflict-exit-code=3"], 3)]
    {
        let ended = scene.run(&[&["run", "--no-wait"][..], options, &["k", "--", "touch", "ran"]].concat());
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.starts_with("redlock: \"k\" is held by web-1:4711 for another "), "{ended:?}");
    }
    let ended = scene.run(&["run", "--wait=2s", "k", "--", "touch", "ran"]);
    assert!(ended.code == Some(75) && ended.stderr.contains("renewed after waiting 2s;"), "{ended:?}");
    scene.kill(&[0, 1]);
    let ended = scene.run(&["run", "--no-wait", "--conflict-exit-code=0", "k", "--", "touch", "ran"]);
    assert_eq!(ended.code, Some(69), "no quorum is no conflict: {ended:?}");
    assert!(!scene.has("ran"));
    drop(holder);
}

#[test]
fn a_run_under_one_of_the_same_key_does_not_wait_for_itself() {
    let scene = Scene::new(3);
    let redlock = env!("CARGO_BIN_EXE_redlock");
    let nested = |outer: &str, between: &[&str], inner: &[&str]| {
        scene.run(
            &[&["run", outer, "--"][..], between, &[redlock, "run"], inner, &["--", "touch", "ran"]].concat(),
        )
    };
    for (between, options) in
        [(&[][..], &["k"][..]), (&["env"], &["k"]), (&[redlock, "run", "other", "--"], &["k"])]
    {
        let ended = nested("k", between, options);
        assert_eq!(ended.code, Some(75), "{ended:?}");
        let text = "redlock: \"k\" is held by the `redlock run` that this one runs under (process ";
        assert!(ended.stderr.starts_with(text), "{ended:?}");
    }
    // The same nodes by other names.
    let urls: Vec<_> = scene.cluster.urls().iter().map(|url| url.replace("127.0.0.1", "localhost")).collect();
    let renamed = format!("--set=nodes={}", urls.join(","));
    assert_eq!(nested("k", &[], &[&renamed, "k"]).code, Some(75));
    assert_eq!(nested("k", &[], &["--conflict-exit-code=9", "k"]).code, Some(9));
    assert!(!scene.has("ran"));
    let ended = nested("k", &[], &["other"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    scene.assert_no_keys();
}

/// A process with the environment of a run that is over may lock.
#[test]
fn a_process_that_a_run_has_left_may_lock_the_same_key() {
    let scene = Scene::new(3);
    let redlock = env!("CARGO_BIN_EXE_redlock");
    let script = format!("(until [ -e go ]; do sleep 0.02; done; {redlock} run k -- touch ran) >left 2>&1 &");
    assert_eq!(scene.run(&["run", "--leave-running", "k", "--", "sh", "-c", &script]).code, Some(0));
    scene.create("go");
    scene.appears("ran");
}

#[test]
fn other_clients_with_another_list_or_quorum_are_told_and_refused() {
    let scene = Scene::new(3);
    let url = |node: usize| format!("--node={}", scene.cluster.urls()[node]);
    assert_eq!(scene.run(&["run", "k", "--", "true"]).code, Some(0));
    let two = [url(0), url(1)];
    let others = [&["run", "--set=quorum=3"][..], &["run", two[0].as_str(), two[1].as_str()]];
    for other in others {
        let ended = scene.run(&[other, &["k", "--", "touch", "ran"]].concat());
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(
            ended.stderr.starts_with("redlock: other clients use these nodes together with"),
            "{ended:?}"
        );
        let name = format!("\n  127.0.0.1:{}\n", scene.cluster.port(0));
        assert!(ended.stderr.contains(&name) && ended.stderr.contains("--allow-other-lists"), "{ended:?}");
        assert!(!scene.has("ran"));
        scene.assert_no_keys();
    }
    let ended = scene.run(&[others[1], &["--allow-other-lists", "k", "--", "touch", "ran"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.starts_with("redlock: warning: other clients use 127.0.0.1:"), "{ended:?}");
    assert!(scene.has("ran"));
}
