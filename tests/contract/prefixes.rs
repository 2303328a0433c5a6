//! Clients with different prefixes, or none, on the same nodes. The key identifies the lock: whether its prefix comes
//! from the settings or is part of the name, there is one lock, one sequence of tokens and one queue.

use std::time::Duration;

use redlock_quorum::testing::{LocalCluster, Reply};
use redlock_quorum::{Declared, LockError, NodeFailure, Redlock, Released, SettingsError};

use crate::access::assert_nothing_was_refused;
use crate::servers::KEY;
use crate::support::{LONG, SLACK, builder, client, eventually, no_quorum, queues, value};
use crate::waiting::{FORGOTTEN, LEFT_WITHIN, by_notification};

/// The key of the lock `job` with the prefix `app:`.
const APP_KEY: &str = "app:job";

async fn with_prefix(cluster: &LocalCluster, prefix: &str) -> Redlock {
    builder(cluster.urls()).key_prefix(prefix).connect().await.unwrap()
}

/// All keys on a node, in alphabetical order.
fn keys(cluster: &LocalCluster, node: usize) -> Vec<String> {
    let Reply::Array(keys) = cluster.command(node, &["KEYS", "*"]).unwrap() else { panic!("no keys") };
    let mut keys: Vec<_> = keys.iter().map(|key| key.text().unwrap().to_owned()).collect();
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_of_different_prefixes_do_not_exclude_each_other_and_those_of_one_key_do() {
    let cluster = LocalCluster::start(3).unwrap();
    let (plain, app) = (client(cluster.urls()).await, with_prefix(&cluster, "app:").await);
    let ours = app.mutex(KEY).unwrap().try_lock().await.unwrap();
    let others = plain.mutex(KEY).unwrap().try_lock().await.unwrap();
    assert_eq!(ours.resource(), KEY);
    assert_eq!(value(&cluster, 0, APP_KEY).as_deref(), Some(ours.token()));
    assert_eq!(value(&cluster, 0, KEY).as_deref(), Some(others.token()));
    let error = with_prefix(&cluster, "app:").await.mutex(KEY).unwrap().try_lock().await.unwrap_err();
    assert!(matches!(&error, LockError::Contended { resource, .. } if resource == KEY), "{error}");
    // One client without the prefix whose name contains it, and one client with half of it.
    let error = plain.mutex(APP_KEY).unwrap().try_lock().await.unwrap_err();
    assert!(matches!(error, LockError::Contended { .. }), "{error}");
    let half = with_prefix(&cluster, "ap").await;
    let error = half.mutex("p:job").unwrap().try_lock().await.unwrap_err();
    assert!(matches!(error, LockError::Contended { .. }), "{error}");
    assert_eq!(ours.release().await, Ok(Released::InTime));
    assert_eq!(others.release().await, Ok(Released::InTime));
    let internal = ["redlock-quorum:fences", "redlock-quorum:node"];
    let only_internal = || (0..3).all(|node| keys(&cluster, node) == internal);
    eventually(SLACK, "the same internal keys for all clients, and nothing else", only_internal).await;
}

/// A user moves from names with `app:` in them to the prefix, one service after the other. The bug: with a set of
/// tokens for each prefix, the second service began at its own clock, 30 s below the tokens of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_key_grow_whatever_prefixes_its_clients_use() {
    let cluster = LocalCluster::start(3).unwrap();
    let ahead =
        cluster.command(0, &["EVAL", "return redis.call('TIME')[1] + 30", "0"]).unwrap().int().unwrap();
    let plain = client(cluster.urls()).await;
    for node in 0..3 {
        let score = format!("{ahead}000000");
        cluster.command(node, &["ZADD", "redlock-quorum:fences", &score, APP_KEY]).unwrap();
    }
    let (half, app) = (with_prefix(&cluster, "ap").await, with_prefix(&cluster, "app:").await);
    let mut last = 0;
    for _ in 0..3 {
        for (redlock, name) in [(&plain, APP_KEY), (&app, KEY), (&half, "p:job")] {
            let guard = redlock.mutex(name).unwrap().lock().await.unwrap();
            let token = guard.fencing_token().get();
            assert!(token > last, "{name}: {token} after {last}");
            last = token;
            guard.release().await.unwrap();
        }
    }
    assert!(last > u64::try_from(ahead).unwrap() * 1_000_000);
}

/// The bug: with a queue for each prefix, a release notified only waiters of its own prefix, and the others found out
/// after a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_of_a_key_stand_in_one_queue_whatever_their_prefix() {
    let cluster = LocalCluster::start(3).unwrap();
    let (holder, plain) = (client(cluster.urls()).await, client(cluster.urls()).await);
    let app = with_prefix(&cluster, "app:").await;
    let guard = holder.mutex(APP_KEY).unwrap().try_lock().await.unwrap();
    let wait = |redlock: Redlock, name| {
        tokio::spawn(async move {
            let mutex = redlock.mutex(name).unwrap().retry(by_notification()).max_wait(LONG);
            mutex.lock().await.unwrap().release().await.unwrap();
        })
    };
    let waiters = [wait(app, KEY), wait(plain, APP_KEY)];
    let waiting = |node| {
        let queue = format!("redlock-quorum:queue:{APP_KEY}");
        cluster.command(node, &["ZCARD", &queue]).unwrap().int().unwrap()
    };
    eventually(SLACK, "both stand in one queue", || (0..3).any(|node| waiting(node) == 2)).await;
    guard.release().await.unwrap();
    for waiter in waiters {
        tokio::time::timeout(FORGOTTEN, waiter).await.expect("both are called").unwrap();
    }
    eventually(LEFT_WITHIN, "no queue is left", || (0..3).all(|node| queues(&cluster, node).is_empty()))
        .await;
}

/// The bug: the prefix `app:` kept its tokens in `app:redlock-quorum:fences`. A lock of that name without a prefix made
/// all tokens impossible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_can_lock_what_another_one_keeps_for_itself() {
    let cluster = LocalCluster::start(3).unwrap();
    let plain = client(cluster.urls()).await;
    let mut guards = Vec::new();
    for name in ["fences", "node", "queue:app:job", "queue:job"] {
        let name = format!("app:redlock-quorum:{name}");
        guards.push(plain.mutex(name).unwrap().try_lock().await.unwrap());
    }
    let app = with_prefix(&cluster, "app:").await;
    let guard = app.mutex(KEY).unwrap().try_lock().await.unwrap();
    guard.release().await.unwrap();

    for (prefix, name) in
        [("", "redlock-quorum:fences"), ("app:", "redlock-quorum:node"), ("redlock-", "quorum:node")]
    {
        let redlock = with_prefix(&cluster, prefix).await;
        let refused = redlock.mutex(name);
        assert!(matches!(refused, Err(SettingsError::Resource { .. })), "{prefix:?} {name:?}: {refused:?}");
        for error in
            [redlock.inspect(name).await.unwrap_err(), redlock.dangerous_break(name).await.unwrap_err()]
        {
            assert!(matches!(error, SettingsError::Resource { .. }), "{error}");
        }
    }
}

/// A node's record concerns the node. A new prefix neither makes the node new, nor has leases of another length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_record_is_that_of_all_prefixes() {
    let cluster = LocalCluster::start(3).unwrap();
    let longer = builder(cluster.urls()).max_ttl(LONG * 3).key_prefix("app:").connect().await.unwrap();
    let declared = longer.dangerous_declare_new().await;
    assert!(declared.iter().all(|node| node.result() == Ok(&Declared::Before)), "{declared:?}");
    assert_eq!(client(cluster.urls()).await.longest_max_ttl(), LONG * 3);
}

/// The README's patterns for a prefix: its locks, and the keys that all clients share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_needs_the_keys_of_its_prefix_and_the_shared_ones() {
    let cluster = LocalCluster::start(3).unwrap();
    for node in 0..3 {
        let user = |name: &'static str, patterns: &[&'static str]| {
            let rule = ["ACL", "SETUSER", name, "on", ">secret", "+@all"];
            let command: Vec<_> = rule.into_iter().chain(patterns.iter().copied()).collect();
            assert_eq!(cluster.command(node, &command).unwrap().text(), Some("OK"));
        };
        user("app", &["~app:*", "~redlock-quorum:*", "resetchannels", "&redlock-quorum:wake:*"]);
        user("narrow", &["~app:*", "resetchannels", "&app:*"]);
    }
    let connect = |user: &str| {
        let settings = builder(cluster.urls()).username(user).password("secret").key_prefix("app:");
        settings.connect()
    };
    let app = connect("app").await.unwrap();
    let mut guard = app.mutex(KEY).unwrap().try_lock().await.unwrap();
    guard.extend(LONG + Duration::from_secs(1)).await.unwrap();
    let waiter = tokio::spawn(async move { app.mutex(KEY).unwrap().lock().await.unwrap().release().await });
    let queued = || (0..3).any(|node| !queues(&cluster, node).is_empty());
    eventually(SLACK, "it is in the queue", queued).await;
    assert_eq!(guard.release().await, Ok(Released::InTime));
    assert_eq!(waiter.await.unwrap(), Ok(Released::InTime));
    (0..3).for_each(|node| assert_nothing_was_refused(&cluster, node));

    // The failure is reported, instead of working silently without the shared keys.
    let narrow = connect("narrow").await.unwrap();
    no_quorum(narrow.mutex(KEY).unwrap().try_lock().await);
    for node in narrow.nodes() {
        assert!(matches!(node.failure(), Some(NodeFailure::Permission { .. })), "{node:?}");
    }
}
