//! Semaphores under faults, judged by the history checker; and a semaphore that counts by node, which is caught.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use redlock_quorum::testing::history::{Section, Sharing, check_permits};
use redlock_quorum::testing::{Data, LocalCluster, NodeState, Reply};
use redlock_quorum::{Permit, Redlock, Semaphore};

use crate::semaphore::{PERMITS, judge, section, semaphore};
use crate::support::{LONG, Random, now, origin};

/// Kills, pauses, and restarts with and without the data, while tasks acquire permits. A quorum is left, so that the run
/// makes progress.
struct Faults {
    cluster: Arc<LocalCluster>,
    random: Random,
    /// Until when a node that was restarted empty counts as faulty, because it is in quarantine.
    quarantined: [Option<Instant>; NODES],
}

const NODES: usize = 5;
const FAULTY_MAX: usize = 2;
const TTL: Duration = Duration::from_secs(1);

impl Faults {
    fn run(mut self, stop: &AtomicBool) -> [usize; 4] {
        let mut counts = [0; 4];
        while !stop.load(Ordering::Relaxed) {
            // The pace of the faults, not a wait for a condition.
            std::thread::sleep(Duration::from_millis(10) + self.random.up_to(Duration::from_millis(200)));
            let node = usize::try_from(self.random.below(NODES as u64)).unwrap();
            let has_room = (0..NODES).filter(|node| self.is_faulty(*node)).count() < FAULTY_MAX;
            match self.cluster.state(node) {
                NodeState::Paused => self.cluster.resume(node).unwrap(),
                NodeState::Stopped if self.random.one_in(2) => {
                    self.cluster.restart(node, Data::Lost).unwrap();
                    // The quarantine lasts for the longest TTL with its drift, and two seconds.
                    self.quarantined[node] = Some(now() + 2 * TTL + Duration::from_secs(3));
                    counts[3] += 1;
                }
                NodeState::Stopped => {
                    self.cluster.restart(node, Data::Kept).unwrap();
                    counts[2] += 1;
                }
                NodeState::Running if self.is_faulty(node) || !has_room => {}
                NodeState::Running if self.random.one_in(2) => {
                    self.cluster.pause(node).unwrap();
                    counts[0] += 1;
                }
                NodeState::Running => {
                    self.cluster.kill(node).unwrap();
                    counts[1] += 1;
                }
            }
        }
        for node in 0..NODES {
            match self.cluster.state(node) {
                NodeState::Running => {}
                NodeState::Paused => self.cluster.resume(node).unwrap(),
                NodeState::Stopped => self.cluster.restart(node, Data::Kept).unwrap(),
            }
        }
        counts
    }

    fn is_faulty(&self, node: usize) -> bool {
        self.cluster.state(node) != NodeState::Running
            || self.quarantined[node].is_some_and(|until| now() < until)
    }
}

/// How a permit is acquired in the run with faults.
#[derive(Clone)]
enum Way {
    Slots(Semaphore),
    /// A count of holders on each node, and a majority of nodes: the mistake.
    ByNode(Arc<LocalCluster>),
}

enum Held {
    Slot(Permit),
    Counted { cluster: Arc<LocalCluster>, token: String },
}

const COUNT: &str = "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
return redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])";

impl Way {
    async fn acquire(&self, name: &str, random: &mut Random) -> Option<Held> {
        match self {
            Self::Slots(semaphore) => semaphore.acquire().await.ok().map(Held::Slot),
            Self::ByNode(cluster) => {
                let (token, first) = (format!("{name}:{}", random.next()), random.next() as usize);
                let ttl = TTL.as_millis().to_string();
                let grants = |node: usize| {
                    let ask = ["EVAL", COUNT, "1", "counted", &token, &PERMITS.to_string(), &ttl];
                    cluster.state(node) == NodeState::Running
                        && cluster.command(node, &ask).is_ok_and(|reply| reply == Reply::Int(1))
                };
                let nodes = (0..NODES).map(|node| (node + first) % NODES);
                let granted = tokio::task::block_in_place(|| nodes.filter(|node| grants(*node)).count());
                let held = Held::Counted { cluster: Arc::clone(cluster), token: token.clone() };
                if granted > NODES / 2 {
                    return Some(held);
                }
                held.release().await;
                None
            }
        }
    }
}

impl Held {
    async fn section(&self, client: &str, requested_at: u64) -> Section {
        match self {
            Self::Slot(permit) => section(client, requested_at, permit).await,
            Self::Counted { .. } => {
                let acquired_at = origin();
                tokio::time::sleep(Duration::from_millis(2)).await;
                Section {
                    client: client.to_owned(),
                    resource: "counted".to_owned(),
                    sharing: Sharing::Shared,
                    requested_at,
                    acquired_at,
                    deadline: requested_at + u64::try_from(TTL.as_nanos()).unwrap() / 2,
                    ended_at: Some(origin()),
                    fencing_token: None,
                }
            }
        }
    }

    async fn release(self) {
        match self {
            // Lost, or confirmed by too few nodes: both may happen here.
            Self::Slot(permit) => drop(permit.release().await),
            Self::Counted { cluster, token } => tokio::task::block_in_place(|| {
                for node in (0..NODES).filter(|node| cluster.state(*node) == NodeState::Running) {
                    let _ = cluster.command(node, &["ZREM", "counted", &token]);
                }
            }),
        }
    }
}

/// Acquires and releases permits under faults until there are this many sections.
async fn under_faults(cluster: &Arc<LocalCluster>, ways: &[Way], acquisitions: usize) -> Vec<Section> {
    const TASKS: usize = 12;
    let mut random = Random::from_environment();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let faults =
        Faults { cluster: Arc::clone(cluster), random: Random::new(random.next()), quarantined: [None; 5] };
    let faults = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || faults.run(&stop)
    });
    let began = now();
    let tasks = (0..TASKS).map(|task| {
        let (way, mut random) = (ways[task % ways.len()].clone(), Random::new(random.next()));
        let (name, count) = (format!("task {task}"), Arc::clone(&count));
        tokio::spawn(async move {
            let mut sections = Vec::new();
            while count.load(Ordering::Relaxed) < acquisitions && began.elapsed() < LONG {
                let requested_at = origin();
                let Some(held) = way.acquire(&name, &mut random).await else { continue };
                sections.push(held.section(&name, requested_at).await);
                held.release().await;
                count.fetch_add(1, Ordering::Relaxed);
            }
            sections
        })
    });
    let sections = try_join_all(tasks.collect::<Vec<_>>()).await.unwrap().concat();
    stop.store(true, Ordering::Relaxed);
    let [paused, killed, kept, wiped] = faults.await.unwrap();
    println!(
        "{} sections in {:?}; {paused} pauses, {killed} kills, {kept} restarts with the data, {wiped} without",
        sections.len(),
        began.elapsed()
    );
    sections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_never_let_a_fourth_holder_in() {
    let cluster = Arc::new(LocalCluster::start(NODES).unwrap());
    let mut ways = Vec::new();
    for _ in 0..3 {
        let redlock = Redlock::builder().nodes(cluster.urls()).ttl(TTL).max_ttl(2 * TTL);
        let redlock = redlock.node_timeout(Duration::from_millis(300)).connect().await.unwrap();
        ways.push(Way::Slots(semaphore(&redlock).max_wait(Duration::from_secs(5))));
    }
    let sections = under_faults(&cluster, &ways, 5_000).await;
    judge(&sections);
    assert!(sections.len() >= 2_000, "hardly anybody got a permit: {}", sections.len());
}

/// The run can fail: counting the holders on each node lets too many in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_by_node_is_caught() {
    let cluster = Arc::new(LocalCluster::start(NODES).unwrap());
    let sections = under_faults(&cluster, &[Way::ByNode(Arc::clone(&cluster))], 1_000).await;
    let verdict = check_permits(&sections, PERMITS);
    println!("{}", verdict.to_string().lines().take(3).collect::<Vec<_>>().join("\n"));
    assert!(!verdict.is_ok());
}
