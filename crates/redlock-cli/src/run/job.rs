//! Holds the lock for a command until neither the command nor a descendant runs.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use redlock_quorum::{Guard, Loss, Released};
use rustix::process::Signal;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::command::{Command, Ending, Variable};
use super::reaper::Reaper;
use super::system::adopt_orphans;
use super::wire::News;
use crate::clock;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{setting, short};
use crate::report::Report;
use crate::signals::{ENDING, Signals};

/// How often the guardian is told the end of the lease: this many times in a TTL. Renewals take place at a third of the
/// TTL.
const TOLD_PER_TTL: u32 = 10;
const TELL_MIN: Duration = Duration::from_millis(20);
const TELL_MAX: Duration = Duration::from_secs(1);
/// How often the end of `--hold-at-least` is checked. Timers do not advance while the machine sleeps.
const LOOK: Duration = Duration::from_secs(1);
/// Timeout while there is no reason to give the guardian up.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

pub(super) struct Job {
    guard: Guard,
    ttl: Duration,
    hold_at_least: Duration,
    /// The end of `hold_at_least`, in nanoseconds of [`clock`].
    held_until: u64,
    ending: Ending,
    report: Report,
}

impl Job {
    /// The time of `hold_at_least` begins with this call.
    pub(super) fn new(
        guard: Guard,
        ttl: Duration,
        hold_at_least: Duration,
        ending: Ending,
        report: Report,
    ) -> Self {
        let nanos = u64::try_from(hold_at_least.as_nanos()).unwrap_or(u64::MAX);
        Self { guard, ttl, hold_at_least, held_until: clock::now().saturating_add(nanos), ending, report }
    }

    /// Runs the command to its end. The lock is released in every case: dropping the guard hands the release to the
    /// client, whose shutdown awaits it.
    pub(super) async fn run(
        self,
        command: &[OsString],
        variables: &[Variable],
        signals: &mut Signals,
        reaper: &mut Reaper,
    ) -> Result<Exit, Failure> {
        // If the guardian is killed, the command's descendants become our children.
        adopt_orphans();
        let mut command = Command::start(command, &self.guard, variables, self.ending, reaper).await?;
        let (status, loss) = self.until_gone(&mut command, signals, reaper).await?;
        if let Some(failure) = command.failure() {
            return Err(failure);
        }
        // After the machine has slept, the end of the command and the end of the lease may be found at the same time.
        if loss.is_some() || !self.guard.is_valid() {
            return Err(self.lost(status, loss.as_ref()));
        }
        tokio::select! {
            () = self.hold(signals) => {}
            () = reaper.reap_all() => {}
        }
        self.release(status).await
    }

    /// Waits until the command and its descendants have ended, as far as they can be ended.
    async fn until_gone(
        &self,
        command: &mut Command,
        signals: &mut Signals,
        reaper: &mut Reaper,
    ) -> Result<(ExitStatus, Option<Loss>), Failure> {
        let (mut ended, mut loss) = (None, None);
        let mut tick = interval((self.ttl / TOLD_PER_TTL).clamp(TELL_MIN, TELL_MAX));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = pin!(sleep(FOR_EVER));
        loop {
            tokio::select! {
                biased;
                news = command.next() => match news {
                    Some(News::Started(_)) => {}
                    Some(News::NotStarted(number)) => {
                        let source = io::Error::from_raw_os_error(number);
                        return Err(Failure::System { action: "start the command", source });
                    }
                    Some(News::Ended(status)) => {
                        ended = Some(ExitStatus::from_raw(status));
                        if self.ending.leave_running && loss.is_none() {
                            break;
                        }
                    }
                    Some(News::Left(names)) => self.tell_left(&names),
                    Some(News::Gone) => break,
                    Some(News::Stuck(names)) => {
                        self.tell_stuck(&names);
                        break;
                    }
                    None => {
                        let (status, stuck) = command.end_without_guardian(reaper).await;
                        ended = ended.or(Some(status));
                        self.tell_stuck(&stuck);
                        break;
                    }
                },
                lost = self.guard.lost(), if loss.is_none() => {
                    loss = Some(lost);
                    command.end().await;
                    patience.as_mut().reset(now() + self.ending.patience());
                }
                signal = signals.next() => command.pass_on(signal).await,
                _ = tick.tick() => command.tell_lease(&self.guard).await,
                () = reaper.until_changed() => command.reap(),
                () = patience.as_mut() => {
                    command.give_guardian_up();
                    patience.as_mut().reset(now() + FOR_EVER);
                }
            }
        }
        Ok((ended.unwrap_or_else(|| ExitStatus::from_raw(Signal::KILL.as_raw())), loss))
    }

    fn tell_left(&self, names: &[String]) {
        if !names.is_empty() {
            self.report.notice(format_args!(
                "the command left these running, which get SIGTERM now, and SIGKILL {} later (--kill-after; \
                 --leave-running would leave them alone): {}",
                setting(self.ending.kill_after),
                names.join(", ")
            ));
        }
    }

    fn tell_stuck(&self, names: &[String]) {
        if !names.is_empty() {
            self.report.notice(format_args!(
                "warning: these could not be ended, and continue without the lock: {}",
                names.join(", ")
            ));
        }
    }

    fn lost(&self, command: ExitStatus, loss: Option<&Loss>) -> Failure {
        let key = self.guard.resource().to_owned();
        Failure::LockLost { key, command, votes: loss.and_then(Loss::votes).cloned() }
    }

    /// Waits until the time of `--hold-at-least` is over, a signal asks to end, or the lock is lost. The command's exit
    /// code stands in each case, because the command has done its work.
    async fn hold(&self, signals: &mut Signals) {
        loop {
            let left = Duration::from_nanos(self.held_until.saturating_sub(clock::now()));
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(left.min(LOOK)) => {}
                signal = signals.next() => if ENDING.contains(&signal) {
                    self.tell_short(left, "a signal asked to end");
                    return;
                },
                loss = self.guard.lost() => {
                    self.tell_short(left, &loss.to_string());
                    return;
                }
            }
        }
    }

    fn tell_short(&self, left: Duration, reason: &str) {
        self.report.notice(format_args!(
            "warning: {:?} was to be held for {}, and was not for the last {} of it: {reason}",
            self.guard.resource(),
            setting(self.hold_at_least),
            short(left),
        ));
    }

    async fn release(self, status: ExitStatus) -> Result<Exit, Failure> {
        let was_held = self.guard.is_valid();
        let Self { guard, ttl, report, .. } = self;
        let key = guard.resource().to_owned();
        match guard.release().await {
            Ok(Released::InTime) => {}
            // The loss occurred after the command's end, and has been reported.
            Ok(_) if !was_held => {}
            Ok(Released::AlreadyExpired | _) => {
                return Err(Failure::LockLost { key, command: status, votes: None });
            }
            Err(error) => {
                let ttl = humantime::format_duration(ttl);
                report.notice(format_args!("warning: {error}; others may have to wait for up to {ttl}"));
            }
        }
        Ok(Exit::of_command(status))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long to wait for other processes is no part of the protocol"
)]
fn now() -> Instant {
    Instant::now()
}
