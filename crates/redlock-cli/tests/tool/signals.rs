//! `redlock run` and signals: cancelled while it waits, passed on while the command runs.

use rustix::process::Signal;

use crate::support::{Scene, eventually, is_heard, redlock};

#[test]
fn a_signal_ends_the_wait_and_leaves_no_key() {
    let scene = Scene::new(5);
    scene.hold("k", &[0, 1, 2]);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        if !is_heard(signal) {
            continue;
        }
        let waiter = scene.start(&["run", "-v", "k", "--", "touch", "ran"]);
        eventually("it waits", || waiter.stderr().contains("attempt failed"));
        waiter.signal(signal);
        assert_eq!(waiter.finish().code, Some(code));
        for node in [3, 4] {
            assert_eq!(scene.cluster.keys(node).unwrap(), Vec::<String>::new());
        }
    }
    assert!(!scene.has("ran"));
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let scene = Scene::new(3);
    let signals = [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("TERM", Signal::TERM),
    ];
    for (name, signal) in signals.into_iter().filter(|(_, signal)| is_heard(*signal)) {
        // stderr is closed because a shell complains when its `sleep` is ended as well.
        let script = format!(
            "exec 2>/dev/null; trap 'exit 42' {name}; touch ready-{name}; while :; do sleep 0.02; done"
        );
        let tool = scene.start(&["run", "k", "--", "sh", "-c", &script]);
        scene.appears(&format!("ready-{name}"));
        tool.signal(signal);
        let ended = tool.finish();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(42), ""), "{name}");
        scene.assert_no_keys();
    }
}

#[test]
fn a_command_that_dies_of_a_signal_passed_on_is_reported_as_by_a_shell() {
    let scene = Scene::new(3);
    let tool = scene.start(&["run", "k", "--", "sh", "-c", "touch ready; exec sleep 60"]);
    scene.appears("ready");
    tool.signal(Signal::TERM);
    assert_eq!(tool.finish().code, Some(143));
    scene.assert_no_keys();
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let scene = Scene::new(3);
    let mut nohup = std::process::Command::new("sh");
    let tool = redlock();
    nohup.args(["-c", r#"trap '' HUP; exec "$@""#, "sh"]).arg(tool.get_program());
    nohup.args(["run", "k", "--", "sh", "-c", "touch ready; until [ -e go ]; do sleep 0.02; done; exit 7"]);
    let tool = scene.start_command(nohup);
    scene.appears("ready");
    tool.signal(Signal::HUP);
    scene.create("go");
    assert_eq!(tool.finish().code, Some(7));
    scene.assert_no_keys();
}
