//! `redlock run`: the command, its environment and its exit code; contention and missing nodes.

use std::fs;

use rustix::process::Signal;

use crate::support::{Running, Scene, eventually};

#[test]
fn the_exit_code_is_the_command_s() {
    let scene = Scene::new(3);
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let ended = scene.run(&["run", "k", "--", "sh", "-c", script]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{script}");
        scene.assert_no_keys();
    }
}

#[test]
fn the_command_finds_the_key_in_its_environment_and_has_stdout_for_itself() {
    let scene = Scene::new(3);
    let ended =
        scene.run(&["run", "invoice:42", "--", "sh", "-c", r#"echo "$REDLOCK_RESOURCE $1""#, "sh", "-q"]);
    assert_eq!(ended.stdout, "invoice:42 -q\n");
    assert_eq!(ended.code, Some(0));
}

#[test]
fn each_run_finds_a_larger_fencing_token_in_its_environment() {
    let scene = Scene::new(3);
    let token = || -> u64 {
        let ended = scene.run(&["run", "k", "--", "sh", "-c", r#"echo "$REDLOCK_FENCING_TOKEN""#]);
        ended.stdout.trim().parse().unwrap()
    };
    let (first, second) = (token(), token());
    assert!(0 < first && first < second, "{first}, then {second}");
}

#[test]
fn the_lock_is_held_while_the_command_runs() {
    let scene = Scene::new(3);
    let first =
        scene.start(&["run", "k", "--", "sh", "-c", "touch ready; until [ -e go ]; do sleep 0.02; done"]);
    scene.appears("ready");
    for node in 0..3 {
        assert_eq!(scene.cluster.keys(node).unwrap(), ["k"]);
    }
    scene.create("go");
    assert_eq!(first.finish().code, Some(0));
    scene.assert_no_keys();
}

#[test]
fn a_lease_shorter_than_the_command_is_kept_alive() {
    let scene = Scene::new(3);
    let first = scene.start(&["run", "--ttl", "4s", "k", "--", "sh", "-c", "touch ready; sleep 6"]);
    scene.appears("ready");
    let mut denials = 0;
    loop {
        let second = scene.run(&["run", "--no-wait", "k", "--", "true"]);
        match second.code {
            Some(75) => denials += 1,
            other => {
                assert_eq!(other, Some(0), "{second:?}");
                break;
            }
        }
    }
    // The second ran after the first had released, so the first is about to end.
    assert!(denials >= 2, "{denials}");
    let ended = first.finish();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    scene.assert_no_keys();
}

#[test]
fn a_lock_that_is_held_is_75() {
    let scene = Scene::new(5);
    scene.hold("k", &[0, 1, 2]);
    for (wait, text) in [("--no-wait", "\"k\" is held by another for"), ("--wait=2s", "after waiting 2s")] {
        let ended = scene.run(&["run", wait, "k", "--", "touch", "ran"]);
        assert_eq!(ended.code, Some(75), "{ended:?}");
        assert!(ended.stderr.starts_with("redlock: ") && ended.stderr.contains(text), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1);
    }
    assert!(!scene.has("ran"));
    scene.delete("k", &[0, 1, 2]);
    scene.assert_no_keys();
}

#[test]
fn a_waiter_runs_its_command_when_the_lock_is_free() {
    let scene = Scene::new(3);
    scene.hold("k", &[0, 1, 2]);
    let waiter = scene.start(&["run", "-v", "k", "--", "touch", "ran"]);
    eventually("it waits", || waiter.stderr().contains("attempt failed"));
    assert!(!scene.has("ran"));
    scene.delete("k", &[0, 1, 2]);
    assert_eq!(waiter.finish().code, Some(0));
    assert!(scene.has("ran"));
    scene.assert_no_keys();
}

#[test]
fn two_of_five_nodes_may_be_dead() {
    let scene = Scene::new(5);
    scene.kill(&[1, 3]);
    assert_eq!(scene.run(&["run", "k", "--", "true"]).code, Some(0));
    scene.assert_no_keys();
}

#[test]
fn without_a_quorum_it_is_69_and_the_dead_nodes_are_named() {
    let scene = Scene::new(5);
    scene.kill(&[0, 2, 4]);
    for wait in ["--no-wait", "--wait=1s"] {
        let ended = scene.run(&["run", wait, "k", "--", "touch", "ran"]);
        assert_eq!(ended.code, Some(69), "{ended:?}");
        for node in [0, 2, 4] {
            let name = format!("\n  127.0.0.1:{}: unreachable", scene.cluster.port(node));
            assert!(ended.stderr.contains(&name), "{ended:?}");
        }
        assert!(ended.stderr.contains("start these nodes"), "{ended:?}");
    }
    assert!(!scene.has("ran"));
    scene.assert_no_keys();
}

#[test]
fn a_command_that_cannot_be_started_is_126_or_127() {
    let scene = Scene::new(3);
    scene.create("not-executable");
    for (command, code) in [("./not-executable", 126), ("./missing", 127), ("no-such-command-anywhere", 127)]
    {
        let ended = scene.run(&["run", "k", "--", command]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(command), "{ended:?}");
        scene.assert_no_keys();
    }
}

/// The bug: when the command and its guardian had ended before redlock was run again, the guardian counted as one that
/// could not be started, although it had announced itself.
#[cfg(target_os = "linux")]
#[test]
fn a_command_that_is_over_before_redlock_looks_keeps_its_exit_code() {
    let scene = Scene::new(1);
    for round in 0..20 {
        let mut tool = scene.start(&["run", "k", "--", "sh", "-c", "exit 3"]);
        let mut guardian = None;
        while guardian.is_none() && tool.status().is_none() {
            guardian = child(&tool);
        }
        // Otherwise the tool was faster than this test.
        if let Some(guardian) = guardian {
            tool.signal(Signal::STOP);
            let stat = || fs::read_to_string(format!("/proc/{guardian}/stat")).unwrap_or_default();
            eventually("its guardian has ended", || {
                stat().rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
            });
            tool.signal(Signal::CONT);
        }
        let ended = tool.finish();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(3), ""), "round {round}");
    }
}

/// A process that the tool has just started.
fn child(tool: &Running) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{}/task", tool.pid().as_raw_nonzero())).ok()?;
    threads.flatten().find_map(|thread| {
        let children = fs::read_to_string(thread.path().join("children")).ok()?;
        children.split(' ').next()?.parse().ok()
    })
}

#[test]
fn a_release_that_fails_does_not_hide_that_the_command_succeeded() {
    let scene = Scene::new(5);
    let pids: Vec<String> = (0..3).map(|node| scene.cluster.pid(node).unwrap().to_string()).collect();
    let script = format!("kill -KILL {}", pids.join(" "));
    let ended = scene.run(&["run", "k", "--", "sh", "-c", &script]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("warning: release of \"k\" not confirmed"), "{ended:?}");
    scene.assert_no_keys();
}
