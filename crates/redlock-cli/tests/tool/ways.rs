//! Every way in which `redlock run` can end, as in the table of docs/run.md: the fate of the command, of its
//! descendants, and of the lock.

use std::fs;
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::{Running, Scene, eventually, redlock};

/// Records the signals that it receives. Every signal except USR1 and USR2 ends it, unless it is deaf.
const MEMBER: &str = r#"
name=$1
for signal in HUP INT QUIT TERM; do
    if [ "$2" != obedient ]; then trap '' $signal; else trap "echo $name $signal >>told; exit 42" $signal; fi
done
for signal in USR1 USR2; do trap "echo $name $signal >>told" $signal; done
echo $$ >pid-$name.new
mv pid-$name.new pid-$name
while :; do
    if [ $name = command ] && [ -e go ]; then exit 7; fi
    sleep 0.02
done
"#;

/// A command with a child, and with a descendant that has left the process group and the session. A shell starts both
/// with the keyboard's signals ignored, which `env` reverts.
const COMMAND: &str = r#"
hear='env --default-signal=HUP,INT,QUIT,TERM,USR1,USR2'
case $1 in stubborn) others=obedient ;; *) others=$1 ;; esac
$hear sh ./member child "$others" &
$hear setsid sh ./member escaped "$others" &
until [ -e pid-child ] && [ -e pid-escaped ]; do sleep 0.01; done
exec $hear sh ./member command "$1"
"#;

const MEMBERS: [&str; 3] = ["command", "child", "escaped"];

/// Number of ways that are tested at the same time.
const AT_ONCE: usize = 2;

struct Way {
    /// The first column of the table.
    name: &'static str,
    options: &'static [&'static str],
    manners: &'static str,
    /// The action; the last argument is the guardian.
    act: fn(&Scene, &Running, Pid),
    /// The condition to wait for, where nothing ends.
    until: fn(&Scene) -> bool,
    /// Whether descendants continue for ever.
    leaves: bool,
    /// A last action that lets the tool end.
    after: fn(&Running),
}

impl Way {
    const fn new(name: &'static str, act: fn(&Scene, &Running, Pid)) -> Self {
        Self { name, options: &[], manners: "obedient", act, until: |_| false, leaves: false, after: |_| {} }
    }

    const fn of(self, manners: &'static str) -> Self {
        Self { manners, ..self }
    }

    const fn with(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    const fn goes_on(self, until: fn(&Scene) -> bool) -> Self {
        Self { until, ..self }
    }

    const fn leaves(self) -> Self {
        Self { leaves: true, ..self }
    }

    const fn after(self, after: fn(&Running)) -> Self {
        Self { after, ..self }
    }
}

const KILL_SOON: &[&str] = &["--kill-after", "300ms"];

const WAYS: &[Way] = &[
    Way::new("the command ends by itself", |scene, _, _| scene.create("go")),
    Way::new("the command ends by itself, its descendants ignore TERM", |scene, _, _| scene.create("go"))
        .of("deaf")
        .with(KILL_SOON),
    Way::new("the command ends by itself, with `--leave-running`", |scene, _, _| scene.create("go"))
        .with(&["--leave-running"])
        .leaves(),
    Way::new("KILL of the command", |scene, _, _| kill(pid(scene, "command"), Signal::KILL)),
    Way::new("HUP", |_, tool, _| tool.signal(Signal::HUP)),
    Way::new("INT", |_, tool, _| tool.signal(Signal::INT)),
    Way::new("QUIT", |_, tool, _| tool.signal(Signal::QUIT)),
    Way::new("TERM", |_, tool, _| tool.signal(Signal::TERM)),
    Way::new("TERM, to redlock and its guardian", |_, tool, guardian| {
        kill(guardian, Signal::TERM);
        tool.signal(Signal::TERM);
    }),
    Way::new("TERM, which the command ignores", |_, tool, _| tool.signal(Signal::TERM))
        .of("stubborn")
        .goes_on(|scene| told(scene, "child") == ["TERM"] && told(scene, "escaped") == ["TERM"]),
    Way::new("TERM, which all ignore, with `--kill-after`", |_, tool, _| tool.signal(Signal::TERM))
        .of("deaf")
        .with(KILL_SOON),
    Way::new("USR1", |_, tool, _| tool.signal(Signal::USR1))
        .goes_on(|scene| told(scene, "command") == ["USR1"]),
    Way::new("USR2", |_, tool, _| tool.signal(Signal::USR2))
        .goes_on(|scene| told(scene, "command") == ["USR2"]),
    Way::new("the lock is lost", |scene, _, _| scene.delete("k", &[0, 1, 2])),
    Way::new("the lock is lost, all ignore TERM", |scene, _, _| scene.delete("k", &[0, 1, 2]))
        .of("deaf")
        .with(KILL_SOON),
    Way::new("KILL", |_, tool, _| tool.signal(Signal::KILL)),
    Way::new("KILL, all ignore TERM", |_, tool, _| tool.signal(Signal::KILL)).of("deaf"),
    Way::new("KILL, to the process group of redlock", |_, tool, _| {
        kill_process_group(tool.pid(), Signal::KILL).unwrap();
    }),
    Way::new("ABRT", |_, tool, _| tool.signal(Signal::ABORT)),
    Way::new("ALRM", |_, tool, _| tool.signal(Signal::ALARM)),
    Way::new("STOP until the lease is over, and CONT", |_, tool, _| tool.signal(Signal::STOP))
        .after(|tool| tool.signal(Signal::CONT)),
    Way::new("KILL of the guardian", |_, _, guardian| kill(guardian, Signal::KILL)),
    Way::new("KILL of redlock and its guardian at once", |_, tool, guardian| {
        // Both are stopped first, so that neither can act between the two kills. The guardian is killed first: the kernel
        // continues a stopped process whose parent has died.
        kill(guardian, Signal::STOP);
        tool.signal(Signal::STOP);
        eventually("both are stopped", || is_stopped(guardian) && is_stopped(tool.pid()));
        kill(guardian, Signal::KILL);
        tool.signal(Signal::KILL);
    })
    .leaves(),
];

#[test]
fn the_table_of_ways_to_end_is_true() {
    let document =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/run.md")).unwrap_or_default();
    let documented: Vec<&str> =
        document.lines().skip_while(|line| !line.starts_with("| way |")).skip(2).map_while(row).collect();
    let mut seen = Vec::new();
    for ways in WAYS.chunks(AT_ONCE) {
        let rows: Vec<String> = thread::scope(|scope| {
            let running: Vec<_> = ways.iter().map(|way| scope.spawn(|| take(way))).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        });
        seen.extend(rows);
    }
    assert!(documented == seen, "docs/run.md has to say:\n{}", seen.join("\n"));
}

fn row(line: &str) -> Option<&str> {
    line.starts_with('|').then_some(line)
}

/// Tests one way, and returns its row of the table.
fn take(way: &Way) -> String {
    let scene = Scene::new(3);
    scene.write("member", MEMBER);
    scene.write("command", COMMAND);
    // Without a terminal, and with 3 s of drift between the end of the lease and the expiry of its key.
    let mut command = Command::new("setsid");
    command.arg(redlock().get_program()).args(["run", "-q", "--ttl=8s", "--set=clock_drift_floor=3s"]);
    command.args(way.options).args(["k", "--", "sh", "./command", way.manners]);
    let mut tool = scene.start_command(command);
    scene.appears("pid-command");
    let guardian = parent(pid(&scene, "command"));
    (way.act)(&scene, &tool, guardian);
    let (mut goes_on, mut is_lapsing, mut is_beside) = (false, false, false);
    eventually(way.name, || {
        // The key is read first: a member that is found after the key was gone has run without the lock.
        let is_held = is_held(&scene);
        let is_anybody_left = MEMBERS.iter().any(|name| is_running(&scene, name));
        is_beside |= is_anybody_left && !is_held;
        let is_out = tool.status().is_some() || is_stopped(tool.pid());
        is_lapsing |= is_out && self::is_held(&scene);
        goes_on = (way.until)(&scene);
        goes_on || is_out && !is_held && (!is_anybody_left || way.leaves)
    });
    let lock = match (goes_on, is_lapsing, is_beside) {
        (true, _, _) => "held on",
        (false, true, true) => "lapses, while they go on",
        (false, true, false) => "lapses after their end",
        (false, false, true) if way.leaves => "released at the end of the command",
        (false, false, true) => "over before their end",
        (false, false, false) => "released after their end",
    };
    let [command, child, escaped] = MEMBERS.map(|name| end(&scene, name));
    let descendants =
        if child == escaped { child } else { format!("{child}; of another session: {escaped}") };
    (way.after)(&tool);
    scene.create("go");
    for name in ["child", "escaped"] {
        if is_running(&scene, name) {
            kill(pid(&scene, name), Signal::KILL);
        }
    }
    let code = tool.finish_as_shell();
    format!("| {} | {command} | {descendants} | {lock} | {code} |", way.name)
}

/// How a process ended, and the signals that it received.
fn end(scene: &Scene, name: &str) -> String {
    let mut parts = told(scene, name);
    if is_running(scene, name) {
        parts.push("goes on".to_owned());
    } else if parts.is_empty() {
        let by_itself = name == "command" && scene.has("go");
        parts.push(if by_itself { "ends" } else { "KILL" }.to_owned());
    }
    parts.join(", ")
}

fn told(scene: &Scene, name: &str) -> Vec<String> {
    let told = scene.read("told");
    told.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned).collect()
}

/// Whether a quorum has the key.
fn is_held(scene: &Scene) -> bool {
    (0..3).filter(|node| scene.cluster.keys(*node).unwrap().contains(&"k".to_owned())).count() >= 2
}

fn pid(scene: &Scene, name: &str) -> Pid {
    Pid::from_raw(scene.read(&format!("pid-{name}")).trim().parse().unwrap()).unwrap()
}

fn is_running(scene: &Scene, name: &str) -> bool {
    stat(pid(scene, name)).is_some_and(|fields| !["Z", "X"].contains(&fields[0].as_str()))
}

fn is_stopped(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

fn parent(pid: Pid) -> Pid {
    Pid::from_raw(stat(pid).unwrap()[1].parse().unwrap()).unwrap()
}

/// State, parent and the following fields; `None` for a process that has been reaped.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn kill(pid: Pid, signal: Signal) {
    // The process may have ended by itself.
    let _ = kill_process(pid, signal);
}
