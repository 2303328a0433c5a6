//! Elections: one leader at a time, terms that grow, and what others see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{
    Election, Fencing, Leader, LeaderState, LeaderWatch, LockError, Redlock, Released, SettingsError,
};

use crate::support::{LONG, SLACK, builder, client, contended, eventually, plant};
use crate::topology::Topology;
use crate::waiting::ends_empty;

const NODES: usize = 3;

/// Longer than a machine stands still between two renewals.
const TTL: Duration = Duration::from_secs(6);

fn election(client: &Redlock) -> Election {
    client.election("job").unwrap()
}

#[track_caller]
fn leads(state: LeaderState) -> Leader {
    match state {
        LeaderState::Leads(leader) => leader,
        other @ (LeaderState::Vacant | LeaderState::Unknown | _) => panic!("a leader expected: {other:?}"),
    }
}

/// Asks until a leader of another term is seen, because a node may not have it yet.
async fn leader_after(election: &Election, term: u64) -> Leader {
    tokio::time::timeout(LONG, async {
        loop {
            if let LeaderState::Leads(leader) = election.leader().await
                && leader.term().get() > term
            {
                return leader;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("somebody leads within a minute")
}

async fn changed(watch: &mut LeaderWatch) -> Option<Leader> {
    tokio::time::timeout(LONG, watch.changed()).await.expect("it changes within a minute")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_says_who_it_is_and_since_when() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = [client(cluster.urls()).await, client(cluster.urls()).await];
    let other = election(&clients[1]);
    assert_eq!(other.leader().await, LeaderState::Vacant);
    let before = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let leadership = election(&clients[0]).value("10.0.0.7:8080").campaign().await.unwrap();
    let leader = leader_after(&other, 0).await;
    assert_eq!((leader.value(), leader.term()), ("10.0.0.7:8080", leadership.term()));
    assert_eq!(leadership.term(), leadership.fencing_token());
    let since = leader.since().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(since + Duration::from_millis(1) >= before && since < before + SLACK, "{since:?} {before:?}");
    // The leader holds the mutex of the name.
    contended(clients[1].mutex("job").unwrap().try_lock().await);
    let term = leadership.term();
    assert_eq!(leadership.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
    assert_eq!(other.leader().await, LeaderState::Vacant);

    // Whoever holds the mutex is no leader, and keeps leaders out.
    let mutex = clients[0].mutex("job").unwrap().lock().await.unwrap();
    assert_eq!(other.leader().await, LeaderState::Vacant);
    let error = other.clone().max_wait(Duration::ZERO).campaign().await.unwrap_err();
    assert!(matches!(error.reason(), LockError::Contended { .. }), "{error}");
    assert_eq!(mutex.release().await, Ok(Released::InTime));
    let next = other.campaign().await.unwrap();
    assert!(next.term() > term);

    for node in 0..2 {
        cluster.kill(node).unwrap();
    }
    let unknown = || clients[0].nodes().iter().filter(|node| node.failure().is_some()).count() == 2;
    eventually(SLACK, "two nodes are gone", unknown).await;
    assert_eq!(election(&clients[0]).leader().await, LeaderState::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_may_be_any_text_that_is_not_too_long() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = client(cluster.urls()).await;
    let mut term = 0;
    let hostile = [
        "",
        ":",
        "leader:1:2:me",
        "\0\r\n$5\r\nDEL x\r\n",
        "ä\u{1b}[2J\u{9b}\u{202e}\"'\\",
        "00112233445566778899aabbccddeeff",
        "a:00112233445566778899aabbccddeeff",
        &"x".repeat(256),
        &"\u{10ffff}".repeat(64),
    ];
    for value in hostile {
        let leadership = election(&redlock).value(value).campaign().await.unwrap();
        let leader = leader_after(&election(&redlock), term).await;
        assert_eq!((leader.value(), leader.term()), (value, leadership.term()));
        term = leader.term().get();
        let shown = redlock.inspect("job").await.unwrap();
        let shown = format!("{:?}", shown.state());
        assert!(!shown.chars().any(char::is_control), "{shown}");
        assert_eq!(leadership.release().await, Ok(Released::InTime));
    }
    let error = election(&redlock).value("x".repeat(257)).campaign().await.unwrap_err();
    assert!(matches!(error, LockError::Invalid(SettingsError::OutOfRange { .. })), "{error:?}");
    assert!(error.to_string().contains("257 bytes") && error.to_string().contains("256"), "{error}");
    let tokenless = builder(cluster.urls()).fencing(Fencing::Off).connect().await.unwrap();
    assert!(matches!(tokenless.election("job"), Err(SettingsError::OutOfRange { .. })));
    ends_empty(&cluster).await;
}

/// Counts what a body does, and when it is dropped.
#[derive(Clone, Default)]
struct Body {
    term: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

impl Body {
    /// Leads until it is dropped.
    async fn lead(&self, term: u64) {
        struct Dropped<'a>(&'a AtomicU64);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _dropped = Dropped(&self.dropped);
        self.term.store(term, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }

    fn term(&self) -> u64 {
        self.term.load(Ordering::SeqCst)
    }
}

fn candidate(redlock: &Redlock) -> (Body, tokio::task::JoinHandle<Result<(), LockError>>) {
    let (body, election) = (Body::default(), election(redlock).ttl(TTL));
    let task = tokio::spawn({
        let body = body.clone();
        async move { election.lead(async |leadership| body.lead(leadership.term().get()).await).await }
    });
    (body, task)
}

/// The leader's process ends without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_leads_after_the_leader_was_killed() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let urls = cluster.urls();
    // With its runtime, everything that the client does ends at once.
    let first = tokio::task::spawn_blocking(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let term = runtime.block_on(async {
            let redlock = builder(urls).keep_alive(true).connect().await.unwrap();
            let leadership =
                election(&redlock).ttl(Duration::from_secs(2)).value("first").campaign().await.unwrap();
            let term = leadership.term().get();
            std::mem::forget(leadership);
            term
        });
        runtime.shutdown_background();
        term
    });
    let first = first.await.unwrap();
    let redlock = builder(cluster.urls()).keep_alive(true).connect().await.unwrap();
    let (body, task) = candidate(&redlock);
    let leader = leader_after(&election(&redlock), first).await;
    eventually(SLACK, "the body runs", || body.term() == leader.term().get()).await;
    assert!(body.term() > first);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(body.dropped.load(Ordering::SeqCst), 1);
    ends_empty(&cluster).await;
}

/// A leader that loses its leadership is dropped before another one leads, and campaigns again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_steps_down_when_it_is_lost_and_campaigns_again() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = builder(cluster.urls()).keep_alive(true).connect().await.unwrap();
    let (body, task) = candidate(&redlock);
    let mut term = 0;
    for round in 1..=3 {
        let leader = leader_after(&election(&redlock), term).await;
        eventually(SLACK, "the body runs", || body.term() == leader.term().get()).await;
        assert!(leader.term().get() > term);
        term = leader.term().get();
        for node in 0..NODES {
            plant(&cluster, node, "job");
        }
        eventually(SLACK, "it is dropped", || body.dropped.load(Ordering::SeqCst) == round).await;
        assert_eq!(election(&redlock).leader().await, LeaderState::Vacant);
        for node in 0..NODES {
            cluster.command(node, &["DEL", "job"]).unwrap();
        }
    }
    redlock.shutdown().await;
    let ended = tokio::time::timeout(LONG, task).await.expect("it ends with the client").unwrap();
    assert_eq!(ended, Err(LockError::ShutDown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_steps_down_when_its_body_returns() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = client(cluster.urls()).await;
    let mut terms = Vec::new();
    for _ in 0..3 {
        let term = election(&redlock).lead(async |leadership| leadership.term().get()).await.unwrap();
        terms.push(term);
    }
    assert!(terms.windows(2).all(|pair| pair[0] < pair[1]), "{terms:?}");
    ends_empty(&cluster).await;
}

/// Watchers see every leader that stays, in the order of their terms, and that nobody leads in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_see_the_terms_in_order() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = [client(cluster.urls()).await, client(cluster.urls()).await];
    let mut patient = election(&clients[1]).watch();
    assert_eq!(changed(&mut patient).await, None, "nobody leads yet");
    // Another watcher is slower than the changes, and may skip some.
    let watching = tokio::spawn({
        let mut watch = election(&clients[0]).watch();
        async move {
            let mut terms = Vec::new();
            loop {
                match changed(&mut watch).await {
                    Some(leader) if leader.value() == "last" => return terms,
                    Some(leader) => terms.push(leader.term().get()),
                    None => {}
                }
            }
        }
    });
    for round in 0..4 {
        let leadership = election(&clients[round % 2]).value(round.to_string()).campaign().await.unwrap();
        let leader = changed(&mut patient).await.expect("somebody leads");
        assert_eq!((leader.value(), leader.term()), (round.to_string().as_str(), leadership.term()));
        assert_eq!(leadership.release().await, Ok(Released::InTime));
        assert_eq!(changed(&mut patient).await, None);
    }
    for _ in 0..200 {
        let leadership = election(&clients[0]).campaign().await.unwrap();
        assert_eq!(leadership.release().await, Ok(Released::InTime));
    }
    let _last = election(&clients[0]).value("last").campaign().await.unwrap();
    let terms = tokio::time::timeout(LONG, watching).await.expect("it sees the last").unwrap();
    assert!(terms.windows(2).all(|pair| pair[0] < pair[1]), "{terms:?}");
    println!("{} of 204 terms seen", terms.len());
}

/// A watch survives nodes that forget: the leader restores its key there, with what it says of itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_restored_with_its_value() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = builder(cluster.urls()).keep_alive(true).connect().await.unwrap();
    let election = election(&redlock).ttl(TTL).value("host:80");
    let leadership = election.campaign().await.unwrap();
    for node in 0..NODES {
        cluster.command(node, &["DEL", "job"]).unwrap();
        let back = || cluster.command(node, &["GET", "job"]).unwrap().text() == Some(leadership.token());
        eventually(SLACK, "it is restored", back).await;
    }
    let leader = leads(election.leader().await);
    assert_eq!((leader.value(), leader.term()), ("host:80", leadership.term()));
    assert!(leadership.is_valid());
}

/// The rule of the README suffices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_need_no_more_permissions() {
    let world = Topology::THREE_GUARDED.start().await;
    let leadership = election(&world.redlock).campaign().await.unwrap();
    let waiting = tokio::spawn({
        let other = election(&world.other);
        async move { other.campaign().await }
    });
    eventually(SLACK, "it waits", || world.other.stats().waiting == 1).await;
    let term = leader_after(&election(&world.other), 0).await.term();
    assert_eq!(term, leadership.term());
    assert_eq!(leadership.release().await, Ok(Released::InTime));
    let next = waiting.await.unwrap().unwrap();
    assert!(next.term() > term);
    assert_eq!(next.release().await, Ok(Released::InTime));
    world.ends_without_keys().await;
}
