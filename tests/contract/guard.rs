//! The restart guard: only nodes that cannot have forgotten a lock vote.

use std::time::Duration;

use redlock_quorum::testing::{Data, Durability, LocalCluster};
use redlock_quorum::{
    Declared, Guard, Loss, NodeFailure, NodeStatus, OtherClients, QuarantineCause, Redlock, RedlockBuilder,
};

use crate::support::{NODE_TIMEOUT, SLACK, eventually, name, no_quorum, now, plant};

const KEY: &str = "job";
/// Short, so that the quarantine is short: 2.02 s plus two seconds.
const TTL: Duration = Duration::from_secs(2);
const QUARANTINE: Duration = Duration::from_millis(4020);
const QUARANTINE_MARGIN: Duration = Duration::from_secs(2);

/// For leases that outlive what the test does meanwhile. A node takes about a second to copy another.
const LONGER_TTL: Duration = Duration::from_secs(8);

fn builder(cluster: &LocalCluster, ttl: Duration) -> RedlockBuilder {
    Redlock::builder()
        .nodes(cluster.urls())
        .ttl(ttl)
        .max_ttl(ttl)
        .node_timeout(ttl * 3 / 4)
        .connect_timeout(NODE_TIMEOUT)
        .min_validity(Duration::ZERO)
}

async fn client(cluster: &LocalCluster) -> Redlock {
    builder(cluster, TTL).connect().await.unwrap()
}

/// An empty master for other nodes to follow.
fn empty_master() -> LocalCluster {
    LocalCluster::builder().nodes(1).directive("repl-diskless-sync-delay", 0).start().unwrap()
}

/// A lock on the first two of three nodes only. It is not renewed, because a renewal would lose it at the first node
/// that forgot it.
async fn hold_on_two(cluster: &LocalCluster, redlock: &Redlock) -> Guard {
    plant(cluster, 2, KEY);
    let guard = redlock.mutex(KEY).unwrap().keep_alive(false).lock().await.unwrap();
    cluster.command(2, &["DEL", KEY]).unwrap();
    guard
}

/// The longest quarantine of a node that replaced another. Clients may have used the other node for up to two and a
/// half more observation intervals, each an eighth of their TTL.
fn longest_quarantine(ttl: Duration) -> Duration {
    ttl.mul_f64(1.01) + QUARANTINE_MARGIN + ttl * 5 / 16
}

fn quarantined(node: &NodeStatus) -> Option<(Duration, QuarantineCause)> {
    match node.failure() {
        Some(NodeFailure::Quarantined { left, cause }) => Some((*left, *cause)),
        _ => None,
    }
}

/// `forget` makes node 1 lose its locks while a lease lives on nodes 0 and 1. No other client gets the lock through
/// node 1. A client without the restart guard does get it, which shows that the test can fail.
async fn forgetting_helps_nobody(
    cluster: &LocalCluster,
    ttl: Duration,
    cause: QuarantineCause,
    forget: impl FnOnce(),
) {
    let redlock = builder(cluster, ttl).connect().await.unwrap();
    let guard = hold_on_two(cluster, &redlock).await;
    forget();
    let other = builder(cluster, ttl).connect().await.unwrap();
    let (left, why) = quarantined(&other.nodes()[1]).expect("node 1 is in quarantine");
    assert!(left <= longest_quarantine(ttl) && why == cause, "{left:?} {why:?}");
    // Two of three nodes have answered, and one of them denies: neither a quorum nor contention.
    let error = other.mutex(KEY).unwrap().try_lock().await.unwrap_err();
    let reasons: Vec<_> = error.votes().unwrap().failures().collect();
    assert!(matches!(reasons[..], [(_, NodeFailure::Quarantined { .. })]), "{error}");

    let reckless = builder(cluster, ttl).dangerous_no_restart_guard().connect().await.unwrap();
    let second = reckless.mutex(KEY).unwrap().try_lock().await;
    assert!(second.is_ok() && guard.is_valid(), "without the guard there are two holders: {second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volatile_node_that_restarts_helps_nobody_to_a_lock_that_it_forgot() {
    let cluster = LocalCluster::builder().durability(Durability::Volatile).undeclared().start().unwrap();
    // The nodes are new, so their quarantine has to end first.
    let started = now();
    let redlock = client(&cluster).await;
    assert!(redlock.nodes().iter().all(|node| quarantined(node).is_some()), "{redlock:?}");
    redlock.mutex("first").unwrap().lock().await.unwrap().release().await.unwrap();
    assert!(started.elapsed() + Duration::from_secs(1) > QUARANTINE, "{:?}", started.elapsed());
    forgetting_helps_nobody(&cluster, LONGER_TTL, QuarantineCause::NotDurable, || {
        cluster.restart(1, Data::Kept).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_node_that_lost_its_files_helps_nobody_to_a_lock_that_it_forgot() {
    let cluster = LocalCluster::start(3).unwrap();
    forgetting_helps_nobody(&cluster, LONGER_TTL, QuarantineCause::NewOrWiped, || {
        cluster.restart(1, Data::Lost).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_helps_nobody_to_a_lock_that_did_not_reach_it() {
    let cluster = LocalCluster::start(3).unwrap();
    // Node 1 follows an empty master for a moment, and loses its data.
    let master = empty_master();
    forgetting_helps_nobody(&cluster, LONGER_TTL, QuarantineCause::Promoted, || {
        cluster.command(1, &["REPLICAOF", "127.0.0.1", &master.port(0).to_string()]).unwrap();
        let started = now();
        while !matches!(cluster.keys(1), Ok(keys) if keys.is_empty()) {
            assert!(started.elapsed() < SLACK, "it has copied its master");
            std::thread::yield_now();
        }
        cluster.command(1, &["REPLICAOF", "NO", "ONE"]).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_node_that_kept_its_files_counts_at_once() {
    let cluster = LocalCluster::start(3).unwrap();
    let guard = hold_on_two(&cluster, &client(&cluster).await).await;
    for node in 0..3 {
        cluster.restart(node, Data::Kept).unwrap();
    }
    let other = client(&cluster).await;
    assert!(other.nodes().iter().all(|node| node.failure().is_none()), "{other:?}");
    drop(guard);
    other.mutex(KEY).unwrap().lock().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_is_told_which_nodes_forgot_its_lock() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = builder(&cluster, LONGER_TTL).connect().await.unwrap();
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    let (_, lost) = tokio::join!(
        async {
            cluster.restart(0, Data::Lost).unwrap();
            cluster.restart(1, Data::Lost).unwrap();
        },
        crate::support::lost(&guard)
    );
    let Loss::Denied { quarantined, .. } = &lost else { panic!("{lost}") };
    assert_eq!(*quarantined, [name(&cluster, 0), name(&cluster, 1)], "{lost}");
    assert!(lost.to_string().contains("in quarantine: "), "{lost}");
}

/// The first observation is stored on the node. A quarantine therefore ends even if no client lives as long as it
/// lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_ends_for_clients_that_live_for_a_moment() {
    let cluster = LocalCluster::start(1).unwrap();
    let master = empty_master();
    cluster.command(0, &["REPLICAOF", "127.0.0.1", &master.port(0).to_string()]).unwrap();
    let linked = || cluster.command(0, &["INFO", "replication"]).unwrap();
    eventually(SLACK, "it is a replica", || linked().text().unwrap().contains("link_status:up")).await;
    cluster.command(0, &["REPLICAOF", "NO", "ONE"]).unwrap();
    let started = now();
    let (mut clients, mut last) = (0, Duration::MAX);
    loop {
        let redlock = client(&cluster).await;
        let Some((left, cause)) = quarantined(&redlock.nodes()[0]) else { break };
        assert!(cause == QuarantineCause::Promoted && left < last, "{left:?} after {last:?}");
        no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
        (clients, last) = (clients + 1, left);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(started.elapsed() < QUARANTINE + SLACK);
    }
    assert!(clients > 3, "{clients}");
    assert!(client(&cluster).await.mutex(KEY).unwrap().try_lock().await.is_ok());
}

/// Otherwise a node that restarted would vote before the longest locks have expired. A wiped node cannot report the
/// longest `max_ttl`, but the others can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_max_ttl_of_all_clients_counts() {
    let cluster = LocalCluster::start(3).unwrap();
    let longer = Duration::from_secs(60);
    drop(builder(&cluster, TTL).max_ttl(longer).connect().await.unwrap());
    cluster.restart(1, Data::Lost).unwrap();
    let redlock = client(&cluster).await;
    let heard = || quarantined(&redlock.nodes()[1]).is_some_and(|(left, _)| left > longer / 2);
    eventually(SLACK, "it is in quarantine for as long as the other needs", heard).await;
    assert_eq!(redlock.longest_max_ttl(), longer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_other_nodes_or_another_quorum_is_told() {
    let cluster = LocalCluster::start(4).unwrap();
    let three = async |nodes: [usize; 3]| {
        let urls: Vec<_> = nodes.into_iter().map(|node| cluster.url(node)).collect();
        Redlock::builder().nodes(urls).connect().await.unwrap()
    };
    let told = |redlock: &Redlock| {
        redlock
            .nodes()
            .iter()
            .filter(|node| matches!(node.other_clients(), OtherClients::Different(_)))
            .count()
    };
    let first = three([0, 1, 2]).await;
    let noted = |node| record(&cluster, node).iter().any(|field| field.starts_with("list:"));
    eventually(SLACK, "the first have been written down", || (0..3).all(noted)).await;
    let same = three([2, 0, 1]).await;
    let other = three([1, 2, 3]).await;
    eventually(SLACK, "two nodes have other clients", || told(&other) == 2).await;
    let stricter = Redlock::builder().nodes(cluster.urls().into_iter().take(3)).quorum(3);
    let stricter = stricter.connect().await.unwrap();
    eventually(SLACK, "three nodes have clients with another quorum", || told(&stricter) == 3).await;
    assert_eq!((told(&first), told(&same)), (0, 0));
    assert!(first.survey().await.iter().all(|node| *node.status().other_clients() == OtherClients::Same));
    let theirs = stricter.nodes()[0].other_clients().clone();
    let ids = first.nodes().into_iter().map(|node| node.id().unwrap().to_owned());
    let OtherClients::Different(theirs) = theirs else { panic!("{theirs:?}") };
    assert!(theirs.starts_with("2 of ") && ids.into_iter().all(|id| theirs.contains(&id)), "{theirs}");
    drop((other, stricter));
    // A node that lost its data has a new id. Clients that knew the old id leave the old list, so there is no finding.
    cluster.restart(0, Data::Lost).unwrap();
    let renamed = || first.nodes()[0].id().is_some_and(|id| !theirs.contains(id));
    eventually(SLACK, "it has another name", renamed).await;
    let newcomer = three([0, 1, 2]).await;
    // A client announces its old list to the wiped node before it knows the new id, and leaves that list with its next
    // observation; a newcomer may observe the node in between.
    let is_same = |redlock: &Redlock| *redlock.nodes()[0].other_clients() == OtherClients::Same;
    eventually(SLACK, "no client uses another list", || is_same(&newcomer) && told(&first) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_under_two_names_has_one_vote() {
    let cluster = LocalCluster::start(2).unwrap();
    let second_name = cluster.url(0).replace("127.0.0.1", "localhost");
    let urls = [cluster.url(0), cluster.url(1), second_name];
    let redlock = Redlock::builder().nodes(urls).quorum(3).connect().await.unwrap();
    let duplicates = || {
        let nodes = redlock.nodes();
        let is_duplicate = |node: &&NodeStatus| matches!(node.failure(), Some(NodeFailure::Duplicate { .. }));
        nodes.iter().filter(is_duplicate).count()
    };
    eventually(SLACK, "one of the two is refused", || duplicates() == 1).await;
    let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
    assert!(error.to_string().contains("list each server once"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_evict_locks_has_no_vote_unless_that_is_wanted() {
    let evicting = LocalCluster::builder().nodes(1).directive("maxmemory", "100mb");
    let cluster = evicting.directive("maxmemory-policy", "allkeys-lru").start().unwrap();
    let redlock = client(&cluster).await;
    let nodes = redlock.nodes();
    let policy = Some(&NodeFailure::MayEvict { policy: "allkeys-lru".into() });
    assert_eq!(nodes[0].failure(), policy);
    assert_eq!(nodes[0].facts().unwrap().eviction_policy(), "allkeys-lru", "facts are there all the same");
    let reckless = builder(&cluster, TTL).dangerous_allow_eviction().connect().await.unwrap();
    assert!(reckless.mutex(KEY).unwrap().try_lock().await.is_ok());
    // After the correction the node votes from the next observation on.
    cluster.command(0, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).unwrap();
    eventually(SLACK, "it is taken", || redlock.nodes()[0].failure().is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_nodes_are_declared_once_and_only_while_they_are_new() {
    let cluster = LocalCluster::builder().nodes(3).undeclared().start().unwrap();
    let redlock = client(&cluster).await;
    let (left, cause) = quarantined(&redlock.nodes()[0]).unwrap();
    assert_eq!(cause, QuarantineCause::NewOrWiped);
    let text = redlock.mutex(KEY).unwrap().max_wait(Duration::ZERO).lock().await.unwrap_err().to_string();
    assert!(text.contains("redlock init") && text.contains(" s: it is new"), "{text} {left:?}");
    let declared = async || {
        let nodes = redlock.dangerous_declare_new().await;
        nodes.iter().map(|node| *node.result().unwrap()).collect::<Vec<_>>()
    };
    let locks = ["foreign", "redlock-quorum:slot:0:job"];
    for key in locks {
        plant(&cluster, 1, key);
        cluster.command(1, &["PEXPIRE", key, "100000"]).unwrap();
    }
    plant(&cluster, 2, "no lock: it does not expire");
    assert_eq!(declared().await, [Declared::Now, Declared::HoldsLocks, Declared::Now]);
    for key in locks {
        assert_eq!(declared().await, [Declared::Before, Declared::HoldsLocks, Declared::Before]);
        cluster.command(1, &["DEL", key]).unwrap();
    }
    // A node that keeps every write is still new after a restart; a node that does not is no longer new.
    let after_a_restart = async || {
        cluster.restart(1, Data::Kept).unwrap();
        client(&cluster).await.dangerous_declare_new().await[1].clone()
    };
    let declared = after_a_restart().await;
    assert_eq!((declared.name(), declared.result()), (name(&cluster, 1).as_str(), Ok(&Declared::Now)));
    let newcomer = client(&cluster).await;
    assert!(newcomer.nodes().iter().all(|node| node.failure().is_none()), "{newcomer:?}");
    assert!(newcomer.mutex(KEY).unwrap().try_lock().await.is_ok());
    cluster.command(1, &["CONFIG", "SET", "appendfsync", "everysec"]).unwrap();
    let noted = || !record(&cluster, 1).contains(&"durable".to_owned());
    eventually(SLACK, "it was seen not to keep every write", noted).await;
    assert_eq!(after_a_restart().await.result(), Ok(&Declared::Older));
}

/// The fields of a node's record.
fn record(cluster: &LocalCluster, node: usize) -> Vec<String> {
    let keys = "return table.concat(redis.call('HKEYS', KEYS[1]), '|')";
    let fields = cluster.command(node, &["EVAL", keys, "1", "redlock-quorum:node"]).unwrap();
    fields.text().unwrap().split('|').map(str::to_owned).collect()
}
