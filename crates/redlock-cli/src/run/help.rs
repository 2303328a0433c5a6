//! `redlock run --help`.

use crate::exit;
use crate::nodes::ENVIRONMENT;

pub(super) const SHORT: &str = "Run a command while holding a lock";

pub(super) const LONG: &str = "\
Run a command while holding a lock

Waits for the lock on KEY, runs COMMAND, and releases the lock when the command and all its descendants have ended. \
The lease is renewed until then, and the exit code is the command's. If the lock is lost, because too many nodes died \
or the key was deleted, the command and all its descendants get SIGTERM, and SIGKILL after --kill-after, and the exit \
code is 74.

Several KEYs are locked together, all or none, in whatever order they are given. With --shared any number of commands \
may hold KEY at once, but none together with a command that holds it without --shared; one that waits to do so comes \
before new readers. With --slots N at most N commands hold KEY at once.

HUP, INT, QUIT and TERM are passed on to the command and all its descendants, USR1 and USR2 to the command alone. \
Descendants that are left when the command ends have half a second to end by themselves, then get SIGTERM, then \
SIGKILL; with --leave-running they are left alone. A small guardian process does the same when redlock is killed, or \
is stopped until the lease is over. docs/run.md lists every signal and way to end, with the consequences for command, \
descendants and lock.

Other clients have to use the same nodes and the same quorum. If a node has met clients that use others, the command \
is not run and the exit code is 78, unless --allow-other-lists is given.";

pub(super) const EXAMPLES: &str = "\
Examples:
  redlock run nightly-backup -- backup --full
  redlock run --ttl 30s --wait 5m deploy:shop -- ./deploy.sh
  redlock run --ttl 1m --max-ttl 1m nightly-backup -- backup --full
  redlock run --config /etc/redlock.toml KEY -- COMMAND

One of many hosts does the work, and for the others that is no failure:
  redlock run --no-wait --conflict-exit-code 0 report -- make report

Once an hour by the cron of many hosts, even if their clocks differ by minutes. A host that comes while the lock is \
held does nothing, even if the command has ended or failed after a second. A signal ends the holding:
  redlock run --no-wait --hold-at-least 50m hourly -- ./hourly.sh

Both accounts or none; and many readers, or one writer:
  redlock run account:7 account:9 -- ./transfer 7 9
  redlock run --shared catalogue -- ./search
  redlock run catalogue -- ./rebuild

At most three exports at once, on all hosts together:
  redlock run --slots 3 exports -- ./export

A command that may take up to a minute to end after SIGTERM:
  redlock run --kill-after 1m worker -- ./worker

A script that starts a daemon, which continues without the lock:
  redlock run --leave-running deploy:shop -- ./restart-daemon.sh

The environment of the command contains KEY as REDLOCK_RESOURCE (several KEYs sorted, with a comma and a space between them), and as REDLOCK_FENCING_TOKEN a number that is larger \
than that of every earlier lock on KEY (readers at the same time have no order); with --slots, the number of the slot from 0 as REDLOCK_SLOT. REDLOCK_HELD lets a nested `redlock run` of the same KEY fail at once, instead \
of waiting for itself.";

pub(super) const ELECT_SHORT: &str = "Run a command on one of many hosts, the leader";

pub(super) const ELECT_LONG: &str = "\
Run a command on one of many hosts, the leader

Waits, without a limit, until this candidate leads NAME, runs COMMAND, and steps down when the command and all its \
descendants have ended; the exit code is the command's. If the leadership is lost, because too many nodes died or the key \
was deleted, the command and all its descendants get SIGTERM, and SIGKILL after --kill-after, and this candidate waits \
until it leads again: it runs the command once more. When a leader dies, another candidate leads once \
its TTL is over.

To other clients the leadership is the lock on NAME. Signals, descendants and the ends of the processes are as for \
`redlock run`: docs/run.md.";

pub(super) const ELECT_EXAMPLES: &str = "\
Examples:
  redlock elect scheduler -- ./scheduler
  redlock elect --value \"$(hostname):8080\" api -- ./serve --port 8080
  redlock leader api

The environment of the command contains NAME as REDLOCK_RESOURCE, and the term as REDLOCK_FENCING_TOKEN: a number that \
is larger than that of every earlier leader. A store that refuses smaller numbers is safe from a leader that has been \
replaced and does not know it yet.";

pub(super) fn after(examples: &str) -> String {
    format!("{examples}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}
