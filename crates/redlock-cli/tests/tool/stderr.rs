//! `redlock run` with a stderr that is closed, full, or not read. The bug: the log panicked or blocked in the tasks
//! that keep the lock.

use std::fs::File;
use std::io::{Write as _, pipe};
use std::process::{Child, Stdio};

use crate::support::{Scene, eventually};

/// The capacity of a pipe on Linux.
const PIPE_BYTES: usize = 64 * 1024;

/// Runs for longer than the lease, which therefore has to be renewed. The test reads the key meanwhile.
const SCRIPT: &str = "touch ready; until [ -e go ]; do sleep 0.02; done; exit 5";

fn start(scene: &Scene, verbosity: &str, stderr: Stdio) -> Child {
    let arguments = ["run", verbosity, "--ttl", "4s", "k", "--", "sh", "-c", SCRIPT];
    scene.command(&arguments).stderr(stderr).spawn().unwrap()
}

/// The command runs under the lock for two leases, and its exit code is kept.
fn changes_nothing(scene: &Scene, mut child: Child) {
    scene.appears("ready");
    let token = scene.cluster.command(0, &["GET", "k"]).unwrap().text().unwrap().to_owned();
    let ended = scene.run(&["run", "--wait=9s", "k", "--", "true"]);
    assert_eq!(ended.code, Some(75), "{ended:?}");
    assert_eq!(scene.cluster.command(0, &["GET", "k"]).unwrap().text(), Some(token.as_str()));
    scene.create("go");
    let mut status = None;
    eventually("the tool has ended", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(5));
    scene.assert_no_keys();
}

#[test]
fn a_closed_stderr_changes_nothing() {
    for verbosity in ["-v", "-vv"] {
        let scene = Scene::new(3);
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let child = start(&scene, verbosity, writer.into());
        changes_nothing(&scene, child);
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    let scene = Scene::new(3);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let child = start(&scene, "-vv", full.into());
    changes_nothing(&scene, child);
}

#[test]
fn a_stderr_that_nobody_reads_changes_nothing() {
    let scene = Scene::new(3);
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    let child = start(&scene, "-vv", writer.into());
    changes_nothing(&scene, child);
    drop(reader);
}

#[test]
fn what_is_said_last_is_read_by_who_reads() {
    let scene = Scene::new(3);
    scene.hold("k", &[0, 1, 2]);
    for _ in 0..20 {
        let ended = scene.run(&["run", "-vv", "--no-wait", "k", "--", "true"]);
        assert_eq!(ended.code, Some(75));
        assert!(
            ended.stderr.lines().last().unwrap().starts_with("redlock: \"k\" is held by another for "),
            "{ended:?}"
        );
    }
}
