//! `--hold-at-least`: the lock is kept for longer than the command runs.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Running, Scene, eventually};

const HOLD: Duration = Duration::from_secs(8);

fn start(scene: &Scene, hold: &str, script: &str) -> Running {
    scene.start(&["run", "--ttl=4s", hold, "k", "--", "sh", "-c", script])
}

/// A tool that keeps its lock after the command has failed.
fn start_kept(scene: &Scene) -> Running {
    let tool = start(scene, "--hold-at-least=1h", "echo $PPID >pid.new; mv pid.new pid; exit 3");
    scene.appears("pid");
    // The guardian ends when the command's descendants have ended.
    let guardian = format!("/proc/{}", scene.read("pid").trim());
    eventually("the command has ended", || !Path::new(&guardian).exists());
    tool
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures another process")]
fn a_lock_is_kept_after_a_command_that_ended_or_failed_at_once() {
    for code in [0, 3] {
        let scene = Scene::new(3);
        let first = start(&scene, "--hold-at-least=8s", &format!("touch ready-{code}; exit {code}"));
        scene.appears(&format!("ready-{code}"));
        let ready = Instant::now();
        assert_eq!(scene.run(&["run", "--no-wait", "k", "--", "true"]).code, Some(75));
        let second = scene.run(&["run", "k", "--", "true"]);
        assert_eq!(second.code, Some(0), "{second:?}");
        // The lock was acquired a moment before the command started.
        assert!(ready.elapsed() > HOLD / 2, "{:?}", ready.elapsed());
        let ended = first.finish();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""));
        scene.assert_no_keys();
    }
}

#[test]
fn a_command_that_takes_longer_is_not_held_for_longer() {
    let scene = Scene::new(3);
    let tool = start(&scene, "--hold-at-least=10ms", "sleep 0.1; exit 3");
    assert_eq!(tool.finish().code, Some(3));
    scene.assert_no_keys();
}

#[test]
fn a_signal_ends_the_holding_and_the_exit_code_stays_the_commands() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let scene = Scene::new(3);
        let tool = start_kept(&scene);
        assert_eq!(scene.run(&["run", "--no-wait", "k", "--", "true"]).code, Some(75));
        tool.signal(signal);
        let ended = tool.finish();
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains("was to be held for 1h, and was not for the last 59m"), "{ended:?}");
        scene.assert_no_keys();
    }
}

#[test]
fn a_lock_that_is_lost_while_it_is_kept_is_told() {
    let scene = Scene::new(3);
    let tool = start_kept(&scene);
    scene.delete("k", &[0, 1, 2]);
    let ended = tool.finish();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("was to be held for 1h, and was not for the last 59m"), "{ended:?}");
    scene.assert_no_keys();
}

#[test]
fn a_command_that_cannot_be_started_is_not_held_for() {
    let scene = Scene::new(3);
    let ended = scene.run(&["run", "--hold-at-least=1h", "k", "--", "no-such-command-anywhere"]);
    assert_eq!(ended.code, Some(127), "{ended:?}");
    scene.assert_no_keys();
}
