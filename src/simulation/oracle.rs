//! What must hold whatever happens: checked whenever a client gets a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::clock::{ClientAmbient, TrueTime};
use crate::lock::Guard;

/// The locks that are held, the highest tokens, the log, and what went wrong.
pub(super) struct Oracle {
    time: TrueTime,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    held: Vec<Held>,
    /// For each resource the highest token of all, and of those that are not readers'.
    tokens: BTreeMap<String, (u64, u64)>,
    log: Vec<String>,
    violations: Vec<String>,
    locks: u64,
    losses: u64,
    failures: u64,
    faults: BTreeMap<&'static str, u64>,
}

/// Whether a lock excludes readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    Exclusive,
    Shared,
}

struct Held {
    client: usize,
    sharing: Sharing,
    resource: String,
    guard: Weak<Guard>,
    ambient: Arc<ClientAmbient>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) log: Vec<String>,
    pub(super) violations: Vec<String>,
    pub(super) locks: u64,
    pub(super) losses: u64,
    pub(super) failures: u64,
    pub(super) faults: BTreeMap<&'static str, u64>,
}

impl Oracle {
    pub(super) fn new(time: TrueTime) -> Arc<Self> {
        Arc::new(Self { time, seen: Mutex::default() })
    }

    pub(super) fn note(&self, text: &str) {
        self.seen.lock().unwrap().note(self.time.now(), text);
    }

    pub(super) fn violation(&self, text: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.note(self.time.now(), &format!("VIOLATION {text}"));
        seen.violations.push(text.to_owned());
    }

    pub(super) fn handle_fault(&self, kind: &'static str, text: &str) {
        let mut seen = self.seen.lock().unwrap();
        *seen.faults.entry(kind).or_default() += 1;
        seen.note(self.time.now(), text);
    }

    /// A client has a lock from now on. Nobody else may hold it, in true time, and its token is the largest of all.
    ///
    /// A lease that is over is never revived, so that it is enough to look when another one begins.
    pub(super) fn handle_acquired(
        &self,
        client: usize,
        ambient: &Arc<ClientAmbient>,
        guard: &Arc<Guard>,
        sharing: Sharing,
    ) {
        let mut seen = self.seen.lock().unwrap();
        seen.held.retain(|held| held.guard.strong_count() > 0);
        seen.locks += 1;
        for resource in guard.resources() {
            seen.handle_held(self.time.now(), (client, sharing), (ambient, guard), resource);
        }
    }

    pub(super) fn handle_failed(&self, client: usize, why: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.failures += 1;
        seen.note(self.time.now(), &format!("client {client} has no lock: {why}"));
    }

    pub(super) fn handle_lost(&self, client: usize, resource: &str) {
        let mut seen = self.seen.lock().unwrap();
        seen.losses += 1;
        seen.note(self.time.now(), &format!("client {client} has lost {resource}"));
    }

    pub(super) fn outcome(&self) -> Outcome {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        let Seen { log, violations, locks, losses, failures, faults, .. } = seen;
        Outcome { log, violations, locks, losses, failures, faults }
    }
}

impl Seen {
    fn handle_held(
        &mut self,
        now: Duration,
        (client, sharing): (usize, Sharing),
        (ambient, guard): (&Arc<ClientAmbient>, &Arc<Guard>),
        resource: &str,
    ) {
        let token = guard.fencing_token().get();
        let others = self.held.iter().filter(|held| {
            let both_read = held.sharing == Sharing::Shared && sharing == Sharing::Shared;
            held.client != client && held.resource == resource && !both_read
        });
        let rival = others.filter(|held| held.is_valid()).map(|held| held.client).next();
        let (highest, exclusive) = self.tokens.get(resource).copied().unwrap_or_default();
        // The attempts of readers may overlap, so that the later one returns with the lower token.
        let last = match sharing {
            Sharing::Exclusive => highest,
            Sharing::Shared => exclusive,
        };
        self.note(now, &format!("client {client} has {resource} with token {token}"));
        if let Some(rival) = rival {
            self.violations.push(format!("clients {rival} and {client} hold {resource}"));
        }
        if token <= last {
            self.violations.push(format!("client {client} has {resource} with token {token} after {last}"));
        }
        let exclusive = match sharing {
            Sharing::Exclusive => token.max(exclusive),
            Sharing::Shared => exclusive,
        };
        self.tokens.insert(resource.to_owned(), (token.max(highest), exclusive));
        self.held.push(Held {
            client,
            sharing,
            resource: resource.to_owned(),
            guard: Arc::downgrade(guard),
            ambient: Arc::clone(ambient),
        });
    }

    fn note(&mut self, time: Duration, text: &str) {
        self.log.push(format!("{:>8.3} {text}", time.as_secs_f64()));
    }
}

impl Held {
    /// By the client's clock as it goes on while the client stands still.
    fn is_valid(&self) -> bool {
        let Some(guard) = self.guard.upgrade() else { return false };
        guard.deadline_by_the_clock().is_some_and(|deadline| self.ambient.truly_now() < deadline)
    }
}
