//! What must hold whatever happens: exclusion in true time, tokens in order, losses that are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::clock::{ClientAmbient, TrueTime};
use super::outcome::Outcome;
use super::waits::{Neglected, Waits};
use crate::coordinator::HeldLease;
use crate::lock::Guard;
use crate::types::Moment;

/// How late a holder that is not stopped may learn of the end of its lease: timers are exact to a millisecond.
const TELL_MAX: Duration = Duration::from_millis(100);

/// One process of a client. A client that is killed has another one later.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) client: usize,
    pub(super) number: usize,
    pub(super) ambient: Arc<ClientAmbient>,
}

impl Process {
    /// The label that all its keys bear.
    pub(super) fn owner(&self) -> String {
        format!("client-{}-{}", self.client, self.number)
    }
}

/// The locks that are held, the tokens, the log, and what went wrong.
pub(super) struct Oracle {
    time: TrueTime,
    exclusion: Exclusion,
    seen: Mutex<Seen>,
}

/// Whether two holders are a violation. Faults outside of the assumptions of SAFETY.md make them possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exclusion {
    Promised,
    NotPromised,
}

#[derive(Default)]
struct Seen {
    held: BTreeMap<u64, Held>,
    holdings: u64,
    tokens: BTreeMap<String, Tokens>,
    owners: BTreeSet<String>,
    excused: BTreeSet<String>,
    killed: Vec<String>,
    waits: Waits,
    outcome: Outcome,
}

/// The fencing tokens of a resource, and when each was handed out.
#[derive(Default)]
struct Tokens(Vec<(u64, Duration)>);

struct Held {
    process: Process,
    resource: String,
    token: String,
    lease: Weak<HeldLease>,
    watch: Watch,
    /// Since when it is over, by the client's clock as it goes on while the client stands still.
    over: Option<Duration>,
}

/// Whether the holder waits to be told of the end of its lease.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Watching,
    Busy,
    Told,
}

impl Oracle {
    pub(super) fn new(time: TrueTime, exclusion: Exclusion) -> Arc<Self> {
        Arc::new(Self { time, exclusion, seen: Mutex::default() })
    }

    pub(super) fn note(&self, text: &str) {
        self.seen.lock().unwrap().note(self.time.now(), text);
    }

    pub(super) fn violation(&self, text: &str) {
        self.seen.lock().unwrap().violation(self.time.now(), text);
    }

    pub(super) fn handle_fault(&self, kind: &'static str, text: &str) {
        let mut seen = self.seen.lock().unwrap();
        *seen.outcome.faults.entry(kind).or_default() += 1;
        seen.note(self.time.now(), text);
    }

    pub(super) fn handle_killed(&self, process: &Process) {
        self.seen.lock().unwrap().killed.push(process.owner());
    }

    /// From now on nothing is in the way, and a free lock has to be taken at once.
    pub(super) fn begin_calm(&self) {
        self.seen.lock().unwrap().waits.begin_calm(self.time.now());
    }

    /// Somebody waits for a lock until the value is dropped.
    pub(super) fn start_wait(self: &Arc<Self>, resource: &str) -> Wait {
        let now = self.time.now();
        let number = self.seen.lock().unwrap().waits.start(resource, now);
        Wait { oracle: Arc::clone(self), resource: resource.to_owned(), number, since: now }
    }

    /// A process has a lock from now on. Nobody else may hold it, in true time, and its token is larger than those before.
    pub(super) fn handle_acquired(self: &Arc<Self>, process: &Process, wait: &Wait, guard: Guard) -> Holding {
        let now = self.time.now();
        let (resource, token) = (guard.resource().to_owned(), guard.fencing_token().get());
        let mut seen = self.seen.lock().unwrap();
        seen.note(now, &format!("{} has {resource} with token {token}", process.owner()));
        seen.outcome.locks += 1;
        seen.holdings += 1;
        let number = seen.holdings;
        let held = Held {
            process: process.clone(),
            resource: resource.clone(),
            token: guard.token().to_owned(),
            lease: Arc::downgrade(guard.lease()),
            watch: Watch::Busy,
            over: None,
        };
        if !seen.owners.insert(held.token.clone()) {
            seen.violation(now, &format!("two locks have the owner token {}", held.token));
        }
        let tokens = seen.tokens.entry(resource.clone()).or_default();
        let wrong = tokens.handle(token, wait.since, now, self.exclusion);
        if let Err(earlier) = wrong {
            seen.violation(
                now,
                &format!("{} has {resource} with token {token} after {earlier}", process.owner()),
            );
        }
        seen.held.insert(number, held);
        let neglected = seen.waits.taken(&resource, now);
        seen.judge_wait(&resource, neglected, now);
        drop(seen);
        self.look();
        Holding { oracle: Arc::clone(self), number, resource, guard: Some(guard) }
    }

    pub(super) fn handle_failed(&self, process: &Process, why: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.outcome.failures += 1;
        seen.note(self.time.now(), &format!("{} has no lock: {why}", process.owner()));
    }

    /// Looks at all leases: at each acquisition, and now and then.
    pub(super) fn look(&self) {
        let now = self.time.now();
        let mut seen = self.seen.lock().unwrap();
        let mut wrong = Vec::new();
        for held in seen.held.values_mut() {
            let owner = || format!("{} of {}", held.process.owner(), held.resource);
            match (held.is_valid(), held.over) {
                (true, None) => {}
                (true, Some(_)) => {
                    wrong.push(format!("the lease of {} is valid after its end", owner()));
                    held.over = None;
                }
                (false, _) if held.process.ambient.is_frozen() => {
                    // The holder cannot learn of it before it goes on.
                    held.over = Some(now);
                }
                (false, None) => held.over = Some(now),
                (false, Some(since)) if held.watch == Watch::Watching && now - since > TELL_MAX => {
                    wrong.push(format!("the loss by {} is not told", owner()));
                    held.watch = Watch::Told;
                }
                (false, Some(_)) => {}
            }
        }
        if self.exclusion == Exclusion::Promised {
            let valid: Vec<_> = seen.held.values().filter(|held| held.is_valid()).collect();
            for (i, one) in valid.iter().enumerate() {
                for other in &valid[..i] {
                    if one.resource == other.resource {
                        let (one, other, of) = (one.process.owner(), other.process.owner(), &one.resource);
                        wrong.push(format!("{other} and {one} hold {of}"));
                    }
                }
            }
        }
        for text in wrong {
            seen.violation(now, &text);
        }
    }

    /// The key of this owner token may be there although it was released, because a server has lost the release.
    pub(super) fn excuse(&self, token: String) {
        self.seen.lock().unwrap().excused.insert(token);
    }

    /// Whether a key with this owner token is of a lease that is held, or of a process that was killed, or excused.
    pub(super) fn may_be_there(&self, token: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.excused.contains(token)
            || seen.held.values().any(|held| held.token == token)
            || seen
                .killed
                .iter()
                .any(|owner| token.strip_prefix(&**owner).is_some_and(|rest| rest.starts_with(':')))
    }

    pub(super) fn with_outcome(&self, change: impl FnOnce(&mut Outcome)) {
        change(&mut self.seen.lock().unwrap().outcome);
    }

    pub(super) fn outcome(&self) -> Outcome {
        let Seen { waits, outcome, .. } = &mut *self.seen.lock().unwrap();
        Outcome { longest_free: waits.longest(), ..std::mem::take(outcome) }
    }
}

impl Seen {
    fn note(&mut self, time: Duration, text: &str) {
        self.outcome.log.push(format!("{:>8.3} {text}", time.as_secs_f64()));
    }

    fn violation(&mut self, time: Duration, text: &str) {
        self.note(time, &format!("VIOLATION {text}"));
        self.outcome.violations.push(text.to_owned());
    }

    fn judge_wait(&mut self, resource: &str, judged: Result<(), Neglected>, now: Duration) {
        if let Err(Neglected(free)) = judged {
            self.violation(now, &format!("{resource} was free for {free:?} although somebody waited"));
        }
    }
}

impl Tokens {
    /// With exclusion, tokens grow from lock to lock. Without, they differ, and grow where one lock was asked for after
    /// another one was had.
    fn handle(
        &mut self,
        token: u64,
        asked: Duration,
        now: Duration,
        exclusion: Exclusion,
    ) -> Result<(), u64> {
        let before = |(other, had): &&(u64, Duration)| match exclusion {
            Exclusion::Promised => token <= *other,
            Exclusion::NotPromised => token == *other || token < *other && *had < asked,
        };
        let wrong = self.0.iter().rev().find(before).map(|(other, _)| *other);
        self.0.push((token, now));
        wrong.map_or(Ok(()), Err)
    }
}

impl Held {
    fn is_valid(&self) -> bool {
        let deadline =
            |lease: Arc<HeldLease>| lease.deadline().map(|(_, deadline): (Moment, Moment)| deadline);
        let deadline = self.lease.upgrade().and_then(deadline);
        deadline.is_some_and(|deadline| self.process.ambient.truly_now() < deadline)
    }
}

/// A wait for a lock, until it is dropped.
pub(super) struct Wait {
    oracle: Arc<Oracle>,
    resource: String,
    number: u64,
    since: Duration,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let now = self.oracle.time.now();
        let mut seen = self.oracle.seen.lock().unwrap();
        let judged = seen.waits.end(&self.resource, self.number, now);
        seen.judge_wait(&self.resource, judged, now);
    }
}

/// A lock that a process holds, until it is dropped or released.
pub(super) struct Holding {
    oracle: Arc<Oracle>,
    number: u64,
    resource: String,
    guard: Option<Guard>,
}

impl Holding {
    pub(super) fn guard(&mut self) -> &mut Guard {
        self.guard.as_mut().expect("it is held")
    }

    /// Waits for the loss of the lease, for this time at most. Returns whether it was lost.
    pub(super) async fn is_lost_within(&mut self, time: Duration) -> bool {
        self.watch(Watch::Watching);
        let lost = tokio::time::timeout(time, self.guard().lost()).await;
        self.watch(if lost.is_ok() { Watch::Told } else { Watch::Busy });
        if lost.is_ok() {
            self.oracle.with_outcome(|outcome| outcome.losses += 1);
        }
        lost.is_ok()
    }

    pub(super) async fn release(mut self) {
        self.let_go();
        let resource = self.resource.clone();
        let guard = self.guard.take().expect("it is held");
        let owner = guard.token().split(':').next().unwrap_or_default().to_owned();
        let released = guard.release().await;
        self.oracle.note(&format!("{owner} has released {resource}: {released:?}"));
    }

    fn watch(&self, watch: Watch) {
        if let Some(held) = self.oracle.seen.lock().unwrap().held.get_mut(&self.number) {
            held.watch = watch;
        }
    }

    fn let_go(&self) {
        let now = self.oracle.time.now();
        let mut seen = self.oracle.seen.lock().unwrap();
        if seen.held.remove(&self.number).is_some() {
            seen.waits.freed(&self.resource, now);
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.let_go();
    }
}
