//! Implementations that cannot run here, represented by the keys and values that they write with default settings, and
//! by what their commands do. See `docs/key-formats.md`.

use std::time::Duration;

use redlock_quorum::testing::{LocalCluster, Reply};
use redlock_quorum::{KeyContent, LockError, LockState, NodeStatus, Redlock, Removal};

use crate::{LONG, NODES, SLACK, eventually, ours};

/// How an implementation stores the lock `job`: a string, set if the key does not exist.
struct Format {
    implementation: &'static str,
    key: &'static str,
    value: &'static str,
}

const STRINGS: [Format; 6] = [
    // A GUID. The key follows the default RedisKeyFormat, `redlock:{0}`; before version 2, `redlock-{0}`.
    Format {
        implementation: "RedLock.net",
        key: "redlock:job",
        value: "4f6d2a0e-6a3b-4c1e-9a52-0d5c2f7b8e11",
    },
    Format {
        implementation: "RedLock.net 1",
        key: "redlock-job",
        value: "4f6d2a0e-6a3b-4c1e-9a52-0d5c2f7b8e11",
    },
    // Machine, process and GUID.
    Format {
        implementation: "DistributedLock.Redis",
        key: "job",
        value: "web-1_4711_4f6d2a0e6a3b4c1e9a520d5c2f7b8e11",
    },
    // 16 bytes in Base64.
    Format { implementation: "redsync", key: "job", value: "q83vEjRWeJCrze8SNFZ4kA==" },
    // 16 bytes in hexadecimal.
    Format { implementation: "node-redlock", key: "job", value: "abcdef1234567890abcdef1234567890" },
    Format { implementation: "pottery", key: "redlock:job", value: "0b51be4e-8bd1-4ae6-a2a4-3a08c3a0c0d4" },
];

/// Tested with the key as our name, and with a part of it as our prefix.
#[tokio::test]
async fn a_string_of_another_implementation_excludes_us_and_ours_excludes_it() {
    for Format { implementation, key, value } in STRINGS {
        let cluster = LocalCluster::start(NODES).unwrap();
        let prefix = key.strip_suffix("job").unwrap();
        let plain = ours(&cluster).keep_alive(false).connect().await.unwrap();
        let prefixed = ours(&cluster).keep_alive(false).key_prefix(prefix).connect().await.unwrap();
        for (redlock, name) in [(&plain, key), (&prefixed, "job")] {
            all_connected(redlock).await;
            assert_eq!(set(&cluster, key, value), NODES, "{implementation}");
            match redlock.mutex(name).unwrap().try_lock().await {
                Err(LockError::Contended { .. }) => {}
                other => panic!("{implementation} holds it: {other:?}"),
            }
            let state = redlock.inspect(name).await.unwrap().state();
            let LockState::Held(holder) = state else { panic!("{implementation} holds it: {state:?}") };
            assert_eq!(holder.owner(), value, "{implementation}");
            assert_eq!(remove(&cluster, key, value), NODES, "{implementation} removes its own keys");

            let guard = redlock.mutex(name).unwrap().try_lock().await.unwrap();
            let ours_is_there = || get(&cluster, key).iter().all(|value| value == guard.token());
            eventually(SLACK, "we hold all nodes", ours_is_there).await;
            assert_eq!(set(&cluster, key, value), 0, "we hold it, and so does {implementation}");
            assert_eq!(remove(&cluster, key, value), 0, "{implementation} removes our keys");
            assert!(guard.is_valid() && ours_is_there());
            guard.release().await.unwrap();
        }
    }
}

/// Redisson's lock is a hash, and its other kinds of locks are no strings either. A hash excludes us because the key
/// exists, and our string is an error to Redisson.
#[tokio::test]
async fn a_hash_of_redisson_excludes_us_and_our_key_is_an_error_to_it() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = ours(&cluster).keep_alive(false).connect().await.unwrap();
    all_connected(&redlock).await;
    // The field is a client's UUID and its thread; the value counts its locks; the TTL is the watchdog's 30 s.
    let field = "8a6fd1e2-4f0b-4a8e-8f3f-5a3d1b9c7e22:1";
    for node in 0..NODES {
        assert_eq!(cluster.command(node, &["HSET", "job", field, "1"]).unwrap(), Reply::Int(1));
        assert_eq!(cluster.command(node, &["PEXPIRE", "job", "30000"]).unwrap(), Reply::Int(1));
    }
    match redlock.mutex("job").unwrap().try_lock().await {
        Err(LockError::Contended { .. }) => {}
        other => panic!("Redisson holds it: {other:?}"),
    }
    let inspection = redlock.inspect("job").await.unwrap();
    assert!(inspection.nodes().all(|node| node.content() == Some(KeyContent::Other)), "{inspection:?}");
    let broken = redlock.dangerous_break("job").await.unwrap();
    assert!(broken.iter().all(|node| node.result() == Ok(&Removal::NoLock)), "{broken:?}");
    (0..NODES).for_each(|node| drop(cluster.command(node, &["DEL", "job"]).unwrap()));

    let guard = redlock.mutex("job").unwrap().try_lock().await.unwrap();
    let all_hold = || get(&cluster, "job").iter().all(|value| value == guard.token());
    eventually(SLACK, "we hold all nodes", all_hold).await;
    for node in 0..NODES {
        // Redisson checks whether the key exists, and then whether its own field does.
        assert_eq!(cluster.command(node, &["EXISTS", "job"]).unwrap(), Reply::Int(1));
        let reply = cluster.command(node, &["HEXISTS", "job", field]).unwrap();
        assert!(matches!(&reply, Reply::Error(error) if error.starts_with("WRONGTYPE")), "{reply:?}");
    }
    guard.release().await.unwrap();
}

async fn all_connected(redlock: &Redlock) {
    let is_up = || redlock.nodes().iter().all(NodeStatus::is_connected);
    eventually(SLACK, "every node is connected", is_up).await;
}

/// The number of nodes on which the key was free.
fn set(cluster: &LocalCluster, key: &str, value: &str) -> usize {
    let ttl = Duration::as_millis(&LONG).to_string();
    let is_set = |node: &usize| {
        let reply = cluster.command(*node, &["SET", key, value, "NX", "PX", &ttl]).unwrap();
        reply.text() == Some("OK")
    };
    (0..NODES).filter(is_set).count()
}

/// All implementations compare the value before they delete the key.
fn remove(cluster: &LocalCluster, key: &str, value: &str) -> usize {
    let script = "local held = redis.call('GET', KEYS[1]) == ARGV[1] \
                  return held and redis.call('DEL', KEYS[1]) or 0";
    let is_removed =
        |node: &usize| cluster.command(*node, &["EVAL", script, "1", key, value]).unwrap() == Reply::Int(1);
    (0..NODES).filter(is_removed).count()
}

fn get(cluster: &LocalCluster, key: &str) -> Vec<String> {
    let value = |node| cluster.command(node, &["GET", key]).unwrap().text().unwrap_or_default().to_owned();
    (0..NODES).map(value).collect()
}
