//! Signals to this process, as awaitable values.

use std::future::poll_fn;
use std::task::Poll;

use nix::sys::signal::{self, SigSet};
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::failure::Failure;

/// Signals with which a terminal, a shell or a service manager ends a program.
pub(crate) const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// Signals that a user may send to a program for any purpose; `redlock run` passes them on.
pub(crate) const ALL: [Signal; 6] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::TERM];

/// Signals received since [`listen`](Signals::listen). The process handles them, and none of them ends it by default.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Listens for the signals. Signals that the process was started to ignore (`nohup`, or `&` in a script) stay
    /// ignored. Signals that were blocked at the start are unblocked: the parent had blocked them for one of its own
    /// threads, and the command receives them, too.
    pub(crate) fn listen(wanted: &[Signal]) -> Result<Self, Failure> {
        unblock(wanted);
        let ignored = ignored_signals();
        let heard = wanted.iter().filter(|signal| ignored & bit(**signal) == 0);
        let listen = |signal: &Signal| Ok((*signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
        heard
            .map(listen)
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|source| Failure::System { action: "listen for signals", source })
    }

    /// The next signal. Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            let arrived = self
                .0
                .iter_mut()
                .find_map(|(signal, stream)| stream.poll_recv(cx).is_ready().then_some(*signal));
            arrived.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Unblocks the signals for this thread, which is enough for signals to the process.
pub(crate) fn unblock(signals: &[Signal]) {
    let known = signals.iter().filter_map(|signal| signal::Signal::try_from(signal.as_raw()).ok());
    // Cannot fail for a valid set of signals.
    let _ = known.collect::<SigSet>().thread_unblock();
}

fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// The mask of the signals that are ignored now. Linux reports it in a file; elsewhere none counts as ignored.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_ignored(&status)
}

fn parse_ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_file() {
        let ignored = parse_ignored("Name:\tredlock\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n");
        assert_eq!(ignored & bit(Signal::HUP), 1);
        assert_eq!(ignored & bit(Signal::INT), 0);
        assert_eq!(parse_ignored("anything else"), 0);
    }
}
