//! `redlock run --help`.

use crate::exit;
use crate::nodes::ENVIRONMENT;

pub(super) const SHORT: &str = "Run a command while holding a lock";

pub(super) const LONG: &str = "\
Run a command while holding a lock

Waits for the lock on KEY, runs COMMAND, and gives the lock back when the command and all that it has started have \
ended. The lease is renewed all the while, and the exit code is the command's. If the lock is lost, because too many \
nodes died or the key was deleted, the command and all that it has started get SIGTERM, and SIGKILL after --kill-after, \
and the exit code is 74.

HUP, INT, QUIT and TERM are passed on to the command and all that it has started, USR1 and USR2 to the command alone. \
What the command leaves running when it ends has half a second to end by itself, then SIGTERM, then SIGKILL; with \
--leave-running it is left alone. A small guardian process does the same when redlock is killed, and when redlock is \
stopped until the lock is over. docs/run.md lists every signal and way to die, with what becomes of command, descendants \
and lock.

Other clients have to use the same nodes and the same quorum. Where a node has met clients that use others, the command \
is not run and the exit code is 78, unless --allow-other-lists is given.";

const EXAMPLES: &str = "\
Examples:
  redlock run nightly-backup -- backup --full
  redlock run --ttl 30s --wait 5m deploy:shop -- ./deploy.sh
  redlock run --ttl 1m --max-ttl 1m nightly-backup -- backup --full
  redlock run --config /etc/redlock.toml KEY -- COMMAND

One of many hosts is enough; it is no failure that another one does it:
  redlock run --no-wait --conflict-exit-code 0 report -- make report

Once an hour by the cron of many hosts, also where their clocks differ by minutes. A host that comes while the lock is \
held does nothing, even if the command has ended or failed after a second. A signal ends the holding:
  redlock run --no-wait --hold-at-least 50m hourly -- ./hourly.sh

A command that may take its time to end when it is told to, but no more than a minute:
  redlock run --kill-after 1m worker -- ./worker

A script that starts a daemon, which goes on without the lock:
  redlock run --leave-running deploy:shop -- ./restart-daemon.sh

The command finds KEY in its environment as REDLOCK_RESOURCE, and as REDLOCK_FENCING_TOKEN a number that is larger than \
that of every lock of KEY before it. REDLOCK_HELD lets another `redlock run` of the same KEY under it fail at once, \
instead of waiting for itself.";

pub(super) fn after() -> String {
    format!("{EXAMPLES}\n\n{ENVIRONMENT}\n\n{}", exit::table())
}
