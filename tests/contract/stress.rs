//! Everything at once and at random: drops, cancellations and extensions, while nodes hang, die and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use redlock_quorum::testing::history::{Section, Sharing, check};
use redlock_quorum::testing::{Data, LocalCluster, NodeState};
use redlock_quorum::{Guard, LockError, Redlock, Released, Retry};

use crate::kinds::Lock;
use crate::support::{LONG, Random, SLACK, eventually, now, origin, resident_bytes};

const NODES: usize = 5;
const CLIENTS: usize = 2;
const TASKS: usize = 8;
const NAMES: u64 = 3;
const RUNS: Duration = Duration::from_secs(12);
/// A quorum is always left, so that the run makes progress.
const FAULTY_MAX: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_at_random_break_nothing_and_leave_nothing() {
    let mut random = Random::from_environment();
    let cluster = Arc::new(LocalCluster::start(NODES).unwrap());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let redlock = Redlock::builder().nodes(cluster.urls()).ttl(LONG).max_ttl(LONG * 2);
        clients.push(redlock.connect().await.unwrap());
    }
    let tasks_at_rest = tokio::runtime::Handle::current().metrics().num_alive_tasks();

    let stop = Arc::new(AtomicBool::new(false));
    let running = (0..TASKS).map(|id| {
        let (client, random) = (clients[id % CLIENTS].clone(), Random::new(random.next()));
        let worker = Worker { id, client, random, stop: Arc::clone(&stop), sections: Vec::new() };
        tokio::spawn(worker.run())
    });
    let running: Vec<_> = running.collect();
    let faults = {
        let (cluster, random) = (Arc::clone(&cluster), Random::new(random.next()));
        tokio::task::spawn_blocking(move || break_and_heal(&cluster, random))
    };
    let faults = faults.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let sections = try_join_all(running).await.unwrap().concat();
    println!("{faults} faults, {} sections", sections.len());

    check(&sections).assert_ok();
    assert!(sections.len() > 100, "hardly anybody got a lock: {}", sections.len());
    // A leaked key would last for a minute.
    let gone = || (0..NODES).all(|node| cluster.keys(node).unwrap().is_empty());
    eventually(2 * SLACK, "no key is left on any node", gone).await;
    let up = || clients.iter().flat_map(Redlock::nodes).all(|node| node.failure().is_none());
    eventually(SLACK, "all nodes are connected", up).await;
    for name in 0..NAMES {
        let guard = clients[0].mutex(format!("job-{name}")).unwrap().lock().await.unwrap();
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    eventually(SLACK, "no task is left behind", || alive() <= tasks_at_rest).await;
    let megabytes = resident_bytes() / 1024 / 1024;
    assert!(megabytes < 500, "{megabytes} MB");
}

/// Keeps at most [`FAULTY_MAX`] nodes faulty at a time, and heals all at the end. Returns the number of faults and
/// cures.
fn break_and_heal(cluster: &LocalCluster, mut random: Random) -> usize {
    let started = now();
    let mut faults = 0;
    while started.elapsed() < RUNS {
        // The pace of the faults, not a wait for a condition.
        std::thread::sleep(Duration::from_millis(20) + random.up_to(Duration::from_millis(700)));
        let node = usize::try_from(random.below(NODES as u64)).unwrap();
        let faulty = (0..NODES).filter(|node| cluster.state(*node) != NodeState::Running).count();
        match cluster.state(node) {
            NodeState::Paused => cluster.resume(node).unwrap(),
            NodeState::Stopped => cluster.restart(node, Data::Kept).unwrap(),
            NodeState::Running if random.one_in(6) => cluster.restart(node, Data::Kept).unwrap(),
            NodeState::Running if faulty == FAULTY_MAX => continue,
            NodeState::Running if random.one_in(2) => cluster.pause(node).unwrap(),
            NodeState::Running => cluster.kill(node).unwrap(),
        }
        faults += 1;
    }
    for node in 0..NODES {
        match cluster.state(node) {
            NodeState::Running => {}
            NodeState::Paused => cluster.resume(node).unwrap(),
            NodeState::Stopped => cluster.restart(node, Data::Kept).unwrap(),
        }
    }
    faults
}

struct Worker {
    id: usize,
    client: Redlock,
    random: Random,
    stop: Arc<AtomicBool>,
    sections: Vec<Section>,
}

impl Worker {
    async fn run(mut self) -> Vec<Section> {
        while !self.stop.load(Ordering::Relaxed) {
            let lock = self.some_lock().ttl(self.ttl()).retry(self.retry());
            let requested_at = origin();
            let Some(guard) = self.try_to_lock(&lock).await else { continue };
            let mut section = Section {
                client: format!("task {}", self.id),
                resource: String::new(),
                sharing: if let Lock::Reader(_) = lock { Sharing::Shared } else { Sharing::Exclusive },
                requested_at,
                acquired_at: origin(),
                deadline: 0,
                ended_at: None,
                fencing_token: Some(guard.fencing_token().get()),
            };
            see(&guard, &mut section);
            self.hold(guard, section).await;
        }
        self.sections
    }

    /// One resource, two of them at once, readers and writers or a leader of one, or the only permit of a semaphore.
    fn some_lock(&mut self) -> Lock {
        let name = |number| format!("job-{}", number % NAMES);
        let first = self.random.below(NAMES);
        match self.random.below(7) {
            4 => return Lock::Leader(self.client.election(name(first)).unwrap()),
            5 => return Lock::Slot(self.client.semaphore(format!("permit {first}"), 1).unwrap()),
            0 | 1 => return Lock::Mutex(self.client.mutex(name(first)).unwrap()),
            2 => return Lock::Writer(self.client.rwlock(name(first)).unwrap()),
            3 => return Lock::Reader(self.client.rwlock(name(first)).unwrap()),
            _ => {}
        }
        let second = first + 1 + self.random.below(NAMES - 1);
        Lock::Multi(self.client.multi([name(first), name(second)]).unwrap())
    }

    /// Some waiters wait in FIFO order, some poll.
    fn retry(&mut self) -> Retry {
        if self.random.one_in(2) {
            Retry::fifo()
        } else {
            Retry::exponential(Duration::from_millis(1), Duration::from_millis(50))
        }
    }

    /// Usually long enough that a leak shows; sometimes short enough that the lease ends while it is held.
    fn ttl(&mut self) -> Duration {
        if self.random.one_in(5) {
            Duration::from_millis(10) + self.random.up_to(Duration::from_millis(400))
        } else {
            LONG + self.random.up_to(LONG)
        }
    }

    async fn try_to_lock(&mut self, lock: &Lock) -> Option<Guard> {
        let result = match self.random.below(4) {
            0 => lock.try_lock().await,
            1 => lock.clone().max_wait(self.random.up_to(Duration::from_secs(1))).lock().await,
            2 => tokio::time::timeout(self.random.up_to(Duration::from_millis(5)), lock.lock()).await.ok()?,
            _ => {
                tokio::time::timeout(self.random.up_to(Duration::from_millis(500)), lock.lock()).await.ok()?
            }
        };
        match result {
            Ok(guard) => Some(guard),
            Err(LockError::Invalid(_) | LockError::ShutDown) => panic!("{result:?}"),
            Err(_) => None,
        }
    }

    async fn hold(&mut self, mut guard: Guard, mut section: Section) {
        for _ in 0..self.random.below(3) {
            tokio::time::sleep(self.random.up_to(Duration::from_millis(10))).await;
            see(&guard, &mut section);
            if self.random.one_in(3) {
                let (ttl, limit) = (self.ttl(), self.random.up_to(Duration::from_millis(400)));
                // Cancelled, failed or lost: the guard knows its deadline.
                let _ = tokio::time::timeout(limit, guard.extend(ttl)).await;
                see(&guard, &mut section);
            }
        }
        let resources: Vec<String> = guard.resources().map(str::to_owned).collect();
        section.ended_at = Some(origin());
        match self.random.below(4) {
            0 => drop(guard),
            1 => {
                drop(
                    tokio::time::timeout(self.random.up_to(Duration::from_millis(3)), guard.release()).await,
                );
            }
            2 => drop(guard.release().await),
            _ => {
                // Dropped by an unwinding task.
                let task = tokio::spawn(async move {
                    let _guard = guard;
                    std::future::pending::<()>().await;
                });
                task.abort();
            }
        }
        self.sections.extend(resources.into_iter().map(|resource| Section { resource, ..section.clone() }));
    }
}

/// Records the deadline that the guard promises, if its lease is still valid.
pub(crate) fn see(guard: &Guard, section: &mut Section) {
    let before = origin();
    let remaining = guard.remaining();
    if !remaining.is_zero() {
        section.deadline = before + u64::try_from(remaining.as_nanos()).unwrap();
    }
}
