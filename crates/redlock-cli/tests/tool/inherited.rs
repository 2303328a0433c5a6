//! Inheritance of `redlock run`: ignored signals, a terminal, orphans.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::{Scene, Terminal, eventually, redlock};

fn under(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(redlock().get_program()).args(arguments);
    command
}

/// The bug: the kernel discarded the status of the command, and the exit code was 71.
#[test]
fn an_ignored_sigchld_costs_no_exit_code() {
    let scene = Scene::new(3);
    let ignoring = r#"exec env --ignore-signal=CHLD "$@""#;
    for code in [0, 7] {
        let script = format!("exit {code}");
        let ended = scene.start_command(under(ignoring, &["run", "k", "--", "sh", "-c", &script])).finish();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""));
        scene.assert_no_keys();
    }
    let arguments = ["run", "k", "--", "sh", "-c", "touch ready; while :; do sleep 0.02; done"];
    let tool = scene.start_command(under(ignoring, &arguments));
    scene.appears("ready");
    scene.delete("k", &[0, 1, 2]);
    let ended = tool.finish();
    assert_eq!(ended.code, Some(74), "{ended:?}");
}

/// The bug: the command received the signals, and redlock did not.
#[test]
fn signals_that_were_blocked_at_the_start_are_heard() {
    let scene = Scene::new(3);
    let blocking = r#"exec env --block-signal "$@""#;
    let script = "exec 2>/dev/null; trap 'exit 42' TERM; touch ready; while :; do sleep 0.02; done";
    let tool = scene.start_command(under(blocking, &["run", "k", "--", "sh", "-c", script]));
    scene.appears("ready");
    tool.signal(Signal::TERM);
    assert_eq!(tool.finish().code, Some(42));
    scene.assert_no_keys();
}

/// The bug: children of the shell that became `redlock run` were taken for the command's.
#[test]
fn what_was_there_before_is_left_alone() {
    let scene = Scene::new(3);
    let script = r#"(touch before; until [ -e go ]; do sleep 0.02; done; touch after) & exec "$@""#;
    let ended = scene.start_command(under(script, &["run", "k", "--", "sh", "-c", "exit 7"])).finish();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(7), ""));
    scene.create("go");
    scene.appears("after");
}

#[test]
fn orphans_are_reaped() {
    let scene = Scene::new(3);
    let script =
        "for i in 1 2 3 4 5; do sh -c 'sh -c : & exec true'; done; echo $PPID >guardian; touch ready;
                  until [ -e go ]; do sleep 0.02; done";
    let tool = scene.start(&["run", "k", "--", "sh", "-c", script]);
    scene.appears("ready");
    let guardian = scene.read("guardian").trim().to_owned();
    eventually("no zombies", || !zombies_of(&[guardian.as_str(), &tool.pid().as_raw_nonzero().to_string()]));
    scene.create("go");
    assert_eq!(tool.finish().code, Some(0));
}

fn zombies_of(parents: &[&str]) -> bool {
    let stats = fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.into_iter().any(|stat| {
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        fields.len() > 1 && fields[0] == "Z" && parents.contains(&fields[1])
    })
}

/// A shell with job control on its own terminal, in the scene's directory.
struct Shell {
    child: Child,
    typed: File,
}

impl Shell {
    fn start(scene: &Scene) -> Self {
        let terminal = Terminal::open(Some(100));
        let mut shell = Command::new("setsid");
        shell.args(["--ctty", "sh", "-i"]).env("PS1", "").env("REDLOCK", redlock().get_program());
        let child = terminal.start(scene.environment(&mut shell));
        let typed = terminal.into_file();
        let mut shown = typed.try_clone().unwrap();
        // Drained, because a full terminal blocks its writers. The thread ends with the shell.
        std::thread::spawn(move || std::io::copy(&mut shown, &mut std::io::sink()));
        Self { child, typed }
    }

    fn types(&mut self, text: &str) {
        self.typed.write_all(text.as_bytes()).unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const COUNTS: &str = "trap 'echo INT >>told' INT
trap 'echo TERM >>told' TERM
(trap 'echo child >>told' INT; while [ ! -e go ]; do sleep 0.02; done) <&0 &
echo $$ >pid; touch ready
while [ ! -e go ]; do sleep 0.02; done
exit 7
";

#[test]
fn ctrl_c_reaches_the_command_once() {
    let scene = Scene::new(3);
    scene.write("counts", COUNTS);
    let mut shell = Shell::start(&scene);
    shell.types("$REDLOCK run k -- sh ./counts; echo $? >code\n");
    scene.appears("ready");
    shell.types("\u{3}");
    eventually("it is told", || scene.read("told").contains("INT"));
    shell.types("\u{3}");
    eventually("it is told again", || scene.read("told").lines().filter(|line| *line == "INT").count() >= 2);
    scene.create("go");
    eventually("it has ended", || scene.read("code").ends_with('\n'));
    assert_eq!(scene.read("code"), "7\n");
    assert_eq!(scene.read("told"), "INT\nINT\n");
    scene.assert_no_keys();
}

#[test]
fn ctrl_z_stops_and_fg_continues_the_command() {
    let scene = Scene::new(3);
    scene.write("counts", COUNTS);
    let mut shell = Shell::start(&scene);
    shell.types("$REDLOCK run --ttl 10s k -- sh ./counts; echo stopped >code\n");
    scene.appears("ready");
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", scene.read("pid").trim())).unwrap_or_default();
        stat.rsplit_once(") ").map(|(_, rest)| rest[..1].to_owned()).unwrap_or_default()
    };
    shell.types("\u{1a}");
    eventually("it is stopped", || state() == "T");
    eventually("the shell has it back", || scene.has("code"));
    shell.types("fg; echo $? >code\n");
    eventually("it goes on", || ["S", "R"].contains(&state().as_str()));
    scene.create("go");
    eventually("it has ended", || scene.read("code") == "7\n");
    assert_eq!(scene.read("told"), "");
    scene.assert_no_keys();
}

/// The command has a group of its own. The guardian of a stopped redlock ends the group's leader with the lease.
#[test]
fn a_command_that_stays_stopped_is_ended_with_the_lease() {
    let scene = Scene::new(3);
    scene.write("counts", COUNTS);
    let mut shell = Shell::start(&scene);
    shell.types("$REDLOCK run --ttl 4s --kill-after 100ms k -- sh ./counts; echo stopped >code\n");
    scene.appears("ready");
    let pid = scene.read("pid").trim().to_owned();
    shell.types("\u{1a}");
    eventually("it is ended", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    shell.types("fg; echo $? >code\n");
    eventually("it has ended", || scene.read("code") == "74\n");
}

/// The bug: each line contained one word.
#[test]
fn a_terminal_of_width_0_is_taken_for_a_usual_one() {
    let scene = Scene::new(3);
    scene.hold("k", &[0, 1, 2]);
    let terminal = Terminal::open(None);
    let mut command = redlock();
    command.args(["run", "--no-wait", "k", "--", "true"]).stdout(Stdio::null());
    let mut child = terminal.start(scene.environment(&mut command));
    let mut shown = Vec::new();
    let _ = terminal.into_file().read_to_end(&mut shown);
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let shown = String::from_utf8(shown).unwrap().replace("\r\n", "\n");
    assert!(shown.starts_with("redlock: \"k\" is held by another for another"), "{shown:?}");
    assert!(shown.lines().count() <= 3, "{shown:?}");
}
