//! The node list changes while locks are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::testing::history::{Section, Sharing, check};
use redlock_quorum::{ChangeProgress, LockError, NodeFailure, Redlock, Released};

use crate::stress::see;
use crate::support::{NODE_TIMEOUT, SLACK, eventually, no_quorum, origin};

const KEY: &str = "job";
/// The change takes this long, its drift and a few seconds. Renewals come in time although the machine stands still for
/// a while.
const TTL: Duration = Duration::from_secs(6);
/// How long a change takes after its last client of the old list: `used_for` of [`TTL`], and an observation.
const CHANGE: Duration = Duration::from_secs(13);
const CLIENTS: usize = 8;

/// What a client names, out of five nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lists {
    Old,
    Both,
    New,
    /// The change in the other direction.
    Back,
}

async fn client(cluster: &LocalCluster, lists: Lists) -> Redlock {
    let urls = cluster.urls();
    let (old, new) = (&urls[..3], &urls[2..]);
    let builder =
        Redlock::builder().ttl(TTL).max_ttl(TTL).node_timeout(TTL / 2).connect_timeout(NODE_TIMEOUT);
    let builder = builder.min_validity(Duration::ZERO);
    let builder = match lists {
        Lists::Old => builder.nodes(old),
        Lists::New => builder.nodes(new),
        Lists::Both => builder.nodes(old).next_nodes(new),
        Lists::Back => builder.nodes(new).next_nodes(old),
    };
    builder.connect().await.unwrap()
}

fn is_done(redlock: &Redlock) -> bool {
    let is_done = |node: &redlock_quorum::NodeStatus| {
        node.lists().iter().any(|list| list.is_ours && list.progress == Some(ChangeProgress::Done))
    };
    redlock.nodes().iter().all(is_done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_either_list_and_of_both_exclude_each_other() {
    let cluster = LocalCluster::start(5).unwrap();
    let [old, both] = [client(&cluster, Lists::Old).await, client(&cluster, Lists::Both).await];
    for (holder, other) in [(&old, &both), (&both, &old)] {
        let guard = holder.mutex(KEY).unwrap().lock().await.unwrap();
        assert!(other.mutex(KEY).unwrap().try_lock().await.is_err());
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
    // A quorum of the present list is not enough.
    for node in [3, 4] {
        cluster.pause(node).unwrap();
    }
    let early = both.mutex(KEY).unwrap().ttl(TTL).try_lock().await;
    let error = no_quorum(early).to_string();
    assert!(error.contains("2 of 3 nodes and 2 of 3 of the next list must answer"), "{error}");
    assert_eq!(old.mutex(KEY).unwrap().lock().await.unwrap().release().await, Ok(Released::InTime));
    for node in [3, 4] {
        cluster.resume(node).unwrap();
    }
    let up = || both.nodes().iter().all(|node| node.failure().is_none());
    eventually(SLACK, "all nodes are connected", up).await;
    // Clients of the new list alone come too early.
    let new = client(&cluster, Lists::New).await;
    let error = no_quorum(new.mutex(KEY).unwrap().try_lock().await);
    let early = |(_, failure): (&str, &NodeFailure)| *failure == NodeFailure::NodesNotYetInUse;
    assert!(error.votes().unwrap().failures().all(early), "{error}");
    drop(old);
    let guard = both.mutex(KEY).unwrap().lock().await.unwrap();
    eventually(CHANGE + SLACK, "the change is done", || is_done(&both)).await;
    assert!(guard.is_valid(), "it is held meanwhile");
    let voting = || new.nodes().iter().all(|node| node.failure().is_none());
    eventually(SLACK, "the next list is in use", voting).await;
    assert!(matches!(new.mutex(KEY).unwrap().try_lock().await, Err(LockError::Contended { .. })));
    assert_eq!(guard.release().await, Ok(Released::InTime));
    assert_eq!(new.mutex(KEY).unwrap().lock().await.unwrap().release().await, Ok(Released::InTime));
    // A client of the old list comes back late.
    let late = client(&cluster, Lists::Old).await;
    let error = no_quorum(late.mutex(KEY).unwrap().try_lock().await);
    let over = |(_, failure): (&str, &NodeFailure)| *failure == NodeFailure::NodesGivenUp;
    assert_eq!(error.votes().unwrap().failures().filter(|failure| over(*failure)).count(), 3, "{error}");
    // The change is taken back, by a change in the other direction.
    drop((both, new));
    let back = client(&cluster, Lists::Back).await;
    eventually(CHANGE + SLACK, "the change back is done", || is_done(&back)).await;
    let voting = || late.nodes().iter().all(|node| node.failure().is_none());
    eventually(SLACK, "the old list is in use again", voting).await;
    assert_eq!(late.mutex(KEY).unwrap().lock().await.unwrap().release().await, Ok(Released::InTime));
}

/// The services of an installation are restarted one by one, twice, while they take the lock again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_change_of_three_nodes_to_three_others_under_load() {
    let cluster = Arc::new(LocalCluster::start(5).unwrap());
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let services: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (lists, given) = tokio::sync::watch::channel(Lists::Old);
            let service = Service {
                number,
                cluster: Arc::clone(&cluster),
                given,
                stop: Arc::clone(&stop),
                count: Arc::clone(&count),
            };
            (lists, tokio::spawn(service.run()))
        })
        .collect();
    for lists in [Lists::Both, Lists::New] {
        for (given, _) in &services {
            let before = count.load(Ordering::Relaxed);
            given.send_replace(lists);
            let goes_on = || count.load(Ordering::Relaxed) >= before + 2 * CLIENTS;
            eventually(2 * SLACK, ("sections go on with", lists), goes_on).await;
        }
        if lists == Lists::Both {
            let observer = client(&cluster, Lists::Both).await;
            eventually(CHANGE + SLACK, "the change is done", || is_done(&observer)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut sections = Vec::new();
    for (_, service) in services {
        sections.extend(service.await.unwrap());
    }
    check(&sections).assert_ok();
    sections.sort_by_key(|section| section.acquired_at);
    let gap = |two: &[Section]| two[1].acquired_at.saturating_sub(two[0].acquired_at);
    let longest = sections.windows(2).map(gap).max().unwrap();
    println!("{} sections, longest gap {:?}", sections.len(), Duration::from_nanos(longest));
}

struct Service {
    number: usize,
    cluster: Arc<LocalCluster>,
    given: tokio::sync::watch::Receiver<Lists>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

impl Service {
    async fn run(mut self) -> Vec<Section> {
        let mut sections = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let lists = *self.given.borrow_and_update();
            let redlock = client(&self.cluster, lists).await;
            while !self.stop.load(Ordering::Relaxed) && !self.given.has_changed().unwrap() {
                let requested_at = origin();
                let guard = match redlock.mutex(KEY).unwrap().max_wait(TTL).lock().await {
                    Ok(guard) => guard,
                    Err(LockError::Timeout { .. }) => continue,
                    Err(error) => panic!("{error}"),
                };
                let mut section = Section {
                    client: format!("service {} {lists:?}", self.number),
                    resource: KEY.to_owned(),
                    sharing: Sharing::Exclusive,
                    requested_at,
                    acquired_at: origin(),
                    deadline: 0,
                    ended_at: None,
                    fencing_token: Some(guard.fencing_token().get()),
                };
                tokio::time::sleep(Duration::from_millis(1)).await;
                see(&guard, &mut section);
                section.ended_at = Some(origin());
                let _ = guard.release().await;
                sections.push(section);
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            redlock.shutdown().await;
        }
        sections
    }
}
