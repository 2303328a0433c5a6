//! All implementations at once, while the nodes are restarted one after the other.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use redlock_quorum::testing::history::{Section, Sharing, check};
use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{LockError, Redlock, Retry};

use crate::client::{Foreign, Held, IMPLEMENTATIONS, nanos, now};
use crate::{LONG, NODES, RESOURCE, SLACK, environment, eventually, ours, values};

/// One client of ours for each way to wait.
const OURS: usize = 2;
const CLIENTS: usize = OURS + IMPLEMENTATIONS.len();

/// The number of sections that every client must have had before the next node is restarted, and before the end.
const SECTIONS: usize = 2;

/// The bound for a client that starves. A run takes a few seconds, so that a busy machine does not reach the bound.
const STARVED_AFTER: Duration = Duration::from_secs(120);

/// Foreign clients may leave keys behind until their TTL has passed, even on a quorum; see client.py.
const THEIR_TTL: Duration = Duration::from_secs(1);

/// The TTL of locks that are not released in time.
const SHORT: Duration = Duration::from_millis(120);
const SHORT_ONE_IN: u64 = 4;

const HOLD_MAX: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The wait of one call by our clients.
const MAX_WAIT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validity_windows_do_not_overlap_and_everybody_gets_on() {
    let Some(python) = environment::python() else { return };
    let cluster = LocalCluster::start(NODES).unwrap();
    let run = Arc::new(Run { stop: AtomicBool::new(false), sections: Default::default() });

    let mut our_clients = Vec::new();
    // A foreign release notifies no waiter. Clients in FIFO order therefore check at intervals; the other client polls
    // all the time.
    for (id, retry) in [Retry::fifo(), Retry::exponential(FIRST_PAUSE, HOLD_MAX)].into_iter().enumerate() {
        let redlock = ours(&cluster).retry(retry).max_wait(MAX_WAIT);
        let recorder = Recorder::new(id, format!("ours {id}"), Arc::clone(&run));
        our_clients.push(tokio::spawn(contend(redlock.connect().await.unwrap(), recorder)));
    }
    let mut their_clients = Vec::new();
    for (index, implementation) in IMPLEMENTATIONS.into_iter().enumerate() {
        let recorder = Recorder::new(OURS + index, implementation.to_owned(), Arc::clone(&run));
        let client = Foreign::start(python, implementation, &cluster);
        // A thread instead of a task, because the runtime of a failing test would wait for a task's end.
        their_clients.push(thread::spawn(move || contend_foreign(client, recorder)));
    }
    for node in 0..NODES {
        run.everybody_has((node + 1) * SECTIONS).await;
        cluster.restart(node, Data::Kept).unwrap();
    }
    run.everybody_has((NODES + 1) * SECTIONS).await;
    run.stop.store(true, Ordering::Relaxed);

    let mut sections = Vec::new();
    for client in our_clients {
        sections.extend(client.await.unwrap());
    }
    for client in their_clients {
        sections.extend(client.join().unwrap());
    }
    println!("sections of each client: {:?}", run.sections);
    check(&sections).assert_ok();
    // A leaked key of ours would stay for a minute.
    let is_clean = || values(&cluster).iter().all(Option::is_none);
    eventually(THEIR_TTL + SLACK, "no key is left on any node", is_clean).await;
}

async fn contend(redlock: Redlock, mut recorder: Recorder) -> Vec<Section> {
    while recorder.goes_on() {
        let is_short = below(SHORT_ONE_IN) == 0;
        let ttl = if is_short { SHORT } else { LONG };
        let mutex = redlock.mutex(RESOURCE).unwrap().ttl(ttl).keep_alive(false);
        let requested_at = now();
        let guard = match mutex.lock().await {
            Ok(guard) => guard,
            Err(LockError::Timeout { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        // The time is read before the remaining validity, so that a pause in between does not make the deadline later
        // than it is.
        let acquired_at = now();
        let held = Held {
            requested_at,
            acquired_at,
            deadline: acquired_at + nanos(guard.remaining()),
            token: guard.token().to_owned(),
        };
        if is_short {
            guard.lost().await;
        } else {
            tokio::time::sleep(up_to(HOLD_MAX)).await;
        }
        recorder.held(&held, now(), Some(guard.fencing_token().get()));
        // The result does not matter: a release is unconfirmed while nodes are restarted, and too late after a loss.
        drop(guard.release().await);
        tokio::time::sleep(up_to(PAUSE_MAX)).await;
    }
    redlock.shutdown().await;
    recorder.sections
}

fn contend_foreign(mut client: Foreign, mut recorder: Recorder) -> Vec<Section> {
    while recorder.goes_on() {
        let is_short = below(SHORT_ONE_IN) == 0;
        if let Some(held) = client.lock(if is_short { SHORT } else { THEIR_TTL }) {
            if is_short {
                // Sleeps until another client may hold the lock.
                thread::sleep(Duration::from_nanos(held.deadline.saturating_sub(now())) + PAUSE_MAX);
            }
            thread::sleep(up_to(HOLD_MAX));
            recorder.held(&held, client.unlock(), None);
        }
        thread::sleep(up_to(PAUSE_MAX));
    }
    recorder.sections
}

/// The state of the run that all clients share.
struct Run {
    stop: AtomicBool,
    /// The number of sections of each client.
    sections: [AtomicUsize; CLIENTS],
}

impl Run {
    async fn everybody_has(&self, sections: usize) {
        let so_many = |of: &AtomicUsize| of.load(Ordering::Relaxed) >= sections;
        let everybody = || self.sections.iter().all(so_many);
        eventually(STARVED_AFTER, ("sections of each client", &self.sections), everybody).await;
    }
}

/// The records of one client.
struct Recorder {
    id: usize,
    client: String,
    run: Arc<Run>,
    sections: Vec<Section>,
}

impl Recorder {
    fn new(id: usize, client: String, run: Arc<Run>) -> Self {
        Self { id, client, run, sections: Vec::new() }
    }

    fn goes_on(&self) -> bool {
        !self.run.stop.load(Ordering::Relaxed)
    }

    fn held(&mut self, held: &Held, ended_at: u64, fencing_token: Option<u64>) {
        self.sections.push(Section {
            client: self.client.clone(),
            resource: RESOURCE.to_owned(),
            sharing: Sharing::Exclusive,
            requested_at: held.requested_at,
            acquired_at: held.acquired_at,
            deadline: held.deadline,
            ended_at: Some(ended_at),
            fencing_token,
        });
        self.run.sections[self.id].fetch_add(1, Ordering::Relaxed);
    }
}

/// Without a seed, which could not repeat what the scheduler does.
fn below(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

fn up_to(longest: Duration) -> Duration {
    Duration::from_nanos(below(nanos(longest)))
}
