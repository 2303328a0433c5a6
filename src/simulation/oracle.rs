//! What must hold whatever happens: exclusion in true time, tokens in order, losses that are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::clock::{ClientAmbient, TrueTime};
use super::locks::{Kind, Locked};
use super::outcome::{Count, Outcome};
use super::waits::{Neglected, Waits};
use crate::coordinator::HeldLease;
use crate::lock::Guard;
use crate::types::Moment;

/// How late a holder that is not stopped may learn of the end of its lease. Timers are exact to a millisecond, but tokio's
/// go by true time, from which the client's clock differs by 150 ms at the end of the longest lease.
const TELL_MAX: Duration = Duration::from_millis(250);

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
    gone: Vec<String>,
    waits: Waits,
    outcome: Outcome,
}

/// The fencing tokens of a resource, when each was handed out, and to whom.
#[derive(Default)]
struct Tokens(Vec<(u64, Duration, Kind)>);

struct Held {
    process: Process,
    kind: Kind,
    resources: Vec<String>,
    token: String,
    lease: Weak<HeldLease>,
    /// The latest deadline that was seen.
    deadline: Moment,
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

    /// A process has ended before its time, and its keys may last for as long as their TTL.
    pub(super) fn handle_gone(&self, process: &Process) {
        self.seen.lock().unwrap().gone.push(process.owner());
    }

    /// From now on nothing is in the way, and a free lock has to be taken at once.
    pub(super) fn begin_calm(&self) {
        self.seen.lock().unwrap().waits.begin_calm(self.time.now());
    }

    /// Somebody waits for a lock until the value is dropped.
    pub(super) fn start_wait(self: &Arc<Self>, kind: Kind, resource: &str) -> Wait {
        let now = self.time.now();
        let place = kind.waits_at(resource);
        let number = self.seen.lock().unwrap().waits.start(&place, kind.served(), now);
        Wait { oracle: Arc::clone(self), place, number, since: now }
    }

    /// A process has a lock from now on. In true time nobody else may hold it who does not share it, and its token is
    /// larger than those before.
    pub(super) fn handle_acquired(
        self: &Arc<Self>,
        process: &Process,
        kind: Kind,
        wait: &Wait,
        locked: Locked,
    ) -> Holding {
        let now = self.time.now();
        let guard = locked.guard();
        let token = guard.fencing_token().get();
        let resources = kind.held(guard);
        let mut seen = self.seen.lock().unwrap();
        seen.note(
            now,
            &format!("{} has {} ({kind:?}) with token {token}", process.owner(), guard.resource()),
        );
        seen.count(kind).leases += 1;
        seen.holdings += 1;
        let number = seen.holdings;
        let held = Held {
            process: process.clone(),
            kind,
            resources: resources.clone(),
            token: guard.token().to_owned(),
            lease: Arc::downgrade(guard.lease()),
            deadline: guard.lease().deadline().map_or(Moment::from_nanos(0), |(_, deadline)| deadline),
            watch: Watch::Busy,
            over: None,
        };
        if !seen.owners.insert(held.token.clone()) {
            seen.violation(now, &format!("two locks have the owner token {}", held.token));
        }
        for resource in resources {
            let tokens = seen.tokens.entry(resource.clone()).or_default();
            if let Err(earlier) = tokens.handle(token, kind, wait.since, now, self.exclusion) {
                let owner = process.owner();
                seen.violation(now, &format!("{owner} has {resource} with token {token} after {earlier}"));
            }
        }
        seen.held.insert(number, held);
        let neglected = seen.waits.taken(&wait.place, now);
        seen.judge_wait(&wait.place, neglected, now);
        drop(seen);
        self.look();
        let place = wait.place.clone();
        Holding { oracle: Arc::clone(self), number, kind, place, locked: Some(locked) }
    }

    /// A call has ended without a lock.
    pub(super) fn handle_failed(&self, process: &Process, kind: Kind, why: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.count(kind).failures += 1;
        seen.note(self.time.now(), &format!("{} has no lock ({kind:?}): {why}", process.owner()));
    }

    /// Looks at all leases: at each acquisition, and now and then.
    pub(super) fn look(&self) {
        let now = self.time.now();
        let mut seen = self.seen.lock().unwrap();
        let (mut wrong, mut raised) = (Vec::new(), Vec::new());
        for held in seen.held.values_mut() {
            if let Some((_, deadline)) = held.lease.upgrade().and_then(|lease| lease.deadline())
                && held.deadline < deadline
            {
                held.deadline = deadline;
                raised.push(held.kind);
            }
            let owner = || format!("{} of {}", held.process.owner(), held.resources.join(", "));
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
            let resources: BTreeSet<_> = valid.iter().flat_map(|held| &held.resources).collect();
            for resource in resources {
                let holders: Vec<_> = valid.iter().filter(|held| held.resources.contains(resource)).collect();
                if holders.iter().any(|held| held.kind.holders_max() < holders.len()) {
                    let owners: Vec<_> = holders.iter().map(|held| held.process.owner()).collect();
                    wrong.push(format!("{} hold {resource}", owners.join(" and ")));
                }
            }
        }
        raised.into_iter().for_each(|kind| seen.count(kind).raised += 1);
        for text in wrong {
            seen.violation(now, &text);
        }
    }

    /// The key of this owner token may be there although it was released, because a server has lost the release.
    pub(super) fn excuse(&self, token: String) {
        self.seen.lock().unwrap().excused.insert(token);
    }

    /// Whether a key with this owner token is of a lease that is held, or of a process that has ended early, or excused.
    pub(super) fn may_be_there(&self, token: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.excused.contains(token)
            || seen.held.values().any(|held| held.token == token)
            // The label of a leader is behind its term.
            || seen.gone.iter().any(|owner| token.split(':').any(|part| part == owner))
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
    fn count(&mut self, kind: Kind) -> &mut Count {
        self.outcome.kinds.entry(kind).or_default()
    }

    fn note(&mut self, time: Duration, text: &str) {
        self.outcome.log.push(format!("{:>8.3} {text}", time.as_secs_f64()));
    }

    fn violation(&mut self, time: Duration, text: &str) {
        self.note(time, &format!("VIOLATION {text}"));
        self.outcome.violations.push(text.to_owned());
    }

    fn judge_wait(&mut self, place: &str, judged: Result<(), Neglected>, now: Duration) {
        if let Err(Neglected(free)) = judged {
            self.violation(now, &format!("{place} was free for {free:?} although somebody waited"));
        }
    }
}

impl Tokens {
    /// With exclusion, tokens grow from lock to lock. Without, and among those who share a lock, they differ, and grow
    /// where one lock was asked for after another one was had.
    fn handle(
        &mut self,
        token: u64,
        kind: Kind,
        asked: Duration,
        now: Duration,
        exclusion: Exclusion,
    ) -> Result<(), u64> {
        let is_wrong = |(other, had, its_kind): &&(u64, Duration, Kind)| {
            let excluded = kind.is_exclusive() || its_kind.is_exclusive();
            let is_ordered = excluded && exclusion == Exclusion::Promised || *had < asked;
            token == *other || token < *other && is_ordered
        };
        let wrong = self.0.iter().rev().find(is_wrong).map(|(other, ..)| *other);
        self.0.push((token, now, kind));
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
    place: String,
    number: u64,
    since: Duration,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let now = self.oracle.time.now();
        let mut seen = self.oracle.seen.lock().unwrap();
        let judged = seen.waits.end(&self.place, self.number, now);
        seen.judge_wait(&self.place, judged, now);
    }
}

/// A lock that a process holds, until it is dropped or released.
pub(super) struct Holding {
    oracle: Arc<Oracle>,
    number: u64,
    kind: Kind,
    place: String,
    locked: Option<Locked>,
}

impl Holding {
    pub(super) fn guard(&mut self) -> &mut Guard {
        self.locked.as_mut().expect("it is held").guard_mut()
    }

    /// Waits for the loss of the lease, for this time at most. Returns whether it was lost.
    pub(super) async fn is_lost_within(&mut self, time: Duration) -> bool {
        self.watch(Watch::Watching);
        let lost = tokio::time::timeout(time, self.guard().lost()).await;
        self.watch(if lost.is_ok() { Watch::Told } else { Watch::Busy });
        if lost.is_ok() {
            self.oracle.seen.lock().unwrap().count(self.kind).losses += 1;
        }
        lost.is_ok()
    }

    /// Makes a reader of a writer: from the call on, others may read.
    pub(super) async fn downgrade(&mut self) {
        self.change(|held| held.kind = Kind::Reader);
        let locked = self.locked.take().expect("it is held").downgrade().await;
        self.locked = Some(locked);
    }

    pub(super) async fn release(mut self) {
        self.let_go();
        let locked = self.locked.take().expect("it is held");
        let (owner, name) = (locked.guard().token().to_owned(), locked.guard().resource().to_owned());
        let owner = owner.split(':').next().unwrap_or_default();
        let released = locked.release().await;
        self.oracle.note(&format!("{owner} has released {name}: {released:?}"));
    }

    fn watch(&self, watch: Watch) {
        self.change(|held| held.watch = watch);
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        if let Some(held) = self.oracle.seen.lock().unwrap().held.get_mut(&self.number) {
            change(held);
        }
    }

    fn let_go(&self) {
        let now = self.oracle.time.now();
        let mut seen = self.oracle.seen.lock().unwrap();
        if seen.held.remove(&self.number).is_some() {
            seen.waits.freed(&self.place, now);
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.let_go();
    }
}
