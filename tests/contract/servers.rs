//! Servers that refuse, unusual names, and secrets that stay secret.

use std::time::Duration;

use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{
    Declared, ExtendError, KeyContent, LockError, LockState, NodeFailure, NodeOptions, QuarantineCause,
    Redlock, ReleaseError, Released, Removal, SettingsError,
};

use crate::support::{LONG, SLACK, builder, client, contended, eventually, no_quorum, value};

pub(crate) const KEY: &str = "job";
const PASSWORD: &str = "s3cret@pass/word";
const PASSWORD_IN_URL: &str = "s3cret%40pass%2Fword";
const WRONG: &str = "hunter2isWrong";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens_and_a_wrong_one_is_told_without_being_shown() {
    let cluster = LocalCluster::builder().directive("requirepass", PASSWORD).start().unwrap();
    let redlock = client(with_credentials(&cluster, &format!(":{PASSWORD_IN_URL}"))).await;
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    no_secret(&format!("{redlock:?} {guard:?} {:?}", redlock.mutex(KEY)));
    assert_eq!(guard.release().await, Ok(Released::InTime));

    for credentials in [&format!(":{WRONG}"), &format!("nobody:{WRONG}"), ""] {
        let redlock = client(with_credentials(&cluster, credentials)).await;
        let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
        for (node, failure) in error.votes().unwrap().failures() {
            assert!(matches!(failure, NodeFailure::Authentication { .. }), "{node}: {failure:?}");
            assert!(error.to_string().contains(node), "{error}");
        }
        assert_eq!(error.votes().unwrap().failures().count(), 3, "{error}");
        no_secret(&format!("{error} {error:?} {redlock:?} {:?}", redlock.nodes()));
    }
    let options = || NodeOptions::new(format!("redis://:{WRONG}@a")).password(WRONG).sentinel_password(WRONG);
    let builder = builder(with_credentials(&cluster, &format!(":{WRONG}")));
    let builder = builder.password(WRONG).sentinel_username("a").sentinel_password(WRONG);
    no_secret(&format!("{:?} {builder:?} {:?}", options(), builder.clone().nodes([options()]).settings()));
}

/// Servers repeat the arguments of an unknown command, which for `AUTH` and `HELLO` include the password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_know_auth_shows_no_password() {
    let cluster = LocalCluster::builder()
        .directive("rename-command", "AUTH \"\"")
        .directive("rename-command", "HELLO \"\"")
        .start()
        .unwrap();
    for credentials in [&format!(":{WRONG}"), &format!("nobody:{WRONG}")] {
        let redlock = client(with_credentials(&cluster, credentials)).await;
        let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
        assert_eq!(error.votes().unwrap().failures().count(), 3, "{error}");
        no_secret(&format!("{error} {error:?} {redlock:?} {:?}", redlock.nodes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_that_refuses_is_a_lost_vote() {
    let cluster = LocalCluster::builder().directive("requirepass", PASSWORD).start().unwrap();
    let mut urls = with_credentials(&cluster, &format!(":{PASSWORD_IN_URL}"));
    urls[0] = with_credentials(&cluster, &format!(":{WRONG}")).swap_remove(0);
    let redlock = client(urls).await;
    assert!(matches!(redlock.nodes()[0].failure(), Some(NodeFailure::Authentication { .. })));
    let mut guard = redlock.mutex(KEY).unwrap().try_lock().await.unwrap();
    guard.extend(LONG * 2).await.unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
}

#[tokio::test]
async fn a_wrong_url_is_told_without_its_password() {
    for url in [
        format!("redis://user:{WRONG}@127.0.0.1:notaport"),
        format!("redis://user:{WRONG}@127.0.0.1/notadatabase"),
        format!("http://user:{WRONG}@127.0.0.1"),
        format!("redis://user:{WRONG}@127.0.0.1?password={WRONG}"),
        format!("user:{WRONG}@127.0.0.1"),
        format!("redis://user:{WRONG}@"),
        format!("redis://user:{WRONG}"),
        WRONG.to_owned(),
    ] {
        let error = Redlock::connect([url]).await.unwrap_err();
        assert!(matches!(error, SettingsError::NodeUrl { .. }), "{error:?}");
        no_secret(&format!("{error} {error:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named() {
    let cluster = LocalCluster::start(3).unwrap();
    let user = |name: &str, rules: &[&str]| {
        let password = format!(">{PASSWORD}");
        let command = [&["ACL", "SETUSER", name, "on", &password], rules].concat();
        for node in 0..3 {
            assert_eq!(cluster.command(node, &command).unwrap().text(), Some("OK"));
        }
        with_credentials(&cluster, &format!("{name}:{PASSWORD_IN_URL}"))
    };
    let permission = |failures: Vec<(&str, &NodeFailure)>| {
        assert!(failures.len() >= 2, "{failures:?}");
        for (node, failure) in failures {
            assert!(matches!(failure, NodeFailure::Permission { .. }), "{node}: {failure:?}");
            no_secret(&format!("{failure} {failure:?}"));
        }
    };

    for (name, rules, told_at_connect) in [
        ("no-set", &["~*", "+@all", "-set"][..], None),
        ("no-scripts", &["~*", "+@all", "-script"], Some("'script")),
        ("other-keys", &["~other:*", "+@all"], Some("key")),
        // Required at connect, although first needed when a node has lost its scripts, or a lock is renewed or
        // released. By then the lock would be lost.
        ("no-eval", &["~*", "+@all", "-eval"], Some("'eval'")),
        ("no-get", &["~*", "+@all", "-get"], Some("GET")),
        ("no-mget", &["~*", "+@all", "-mget"], Some("MGET")),
        ("no-del", &["~*", "+@all", "-del"], Some("DEL")),
        ("no-pttl", &["~*", "+@all", "-pttl"], Some("PTTL")),
        ("no-expiry", &["~*", "+@all", "-pexpire", "-pttl"], Some("PTTL PEXPIRE")),
    ] {
        let redlock = client(user(name, rules)).await;
        let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
        permission(error.votes().unwrap().failures().collect());
        for node in redlock.nodes() {
            let told = node.failure().map(ToString::to_string);
            match told_at_connect {
                Some(missing) => {
                    assert!(told.as_ref().is_some_and(|told| told.contains(missing)), "{name}: {told:?}");
                }
                None => assert_eq!(told, None, "{name}"),
            }
        }
    }

    // Redis reports a refusal within a script as an error of the script.
    let redlock = client(user("lost-pttl", &["~*", "+@all"])).await;
    user("lost-pttl", &["-pttl"]);
    let mut guard = redlock.mutex("scripted").unwrap().try_lock().await.unwrap();
    let error = guard.extend(LONG).await.unwrap_err();
    let ExtendError::NoQuorum { votes, .. } = &error else { panic!("{error:?}") };
    permission(votes.failures().collect());
    assert_eq!(guard.release().await, Ok(Released::InTime));

    let redlock = client(user("no-evalsha", &["~*", "+@all"])).await;
    user("no-evalsha", &["-evalsha"]);
    let ttl = Duration::from_secs(6);
    let mut guard = redlock.mutex(KEY).unwrap().ttl(ttl).lock().await.unwrap();
    let error = guard.extend(LONG).await.unwrap_err();
    let ExtendError::NoQuorum { votes, .. } = &error else { panic!("{error:?}") };
    permission(votes.failures().collect());
    assert!(guard.remaining() < ttl);
    let error = guard.release().await.unwrap_err();
    let ReleaseError::Unconfirmed { votes, .. } = &error else { panic!("{error:?}") };
    permission(votes.failures().collect());
    // The key expires with its TTL, and the release is no longer repeated.
    let gone = || (0..3).all(|node| value(&cluster, node, KEY).is_none());
    eventually(ttl + SLACK, "it has expired", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_memory_refuses_new_locks_and_lets_old_ones_go() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let mut guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    let limit = |bytes| {
        for node in 0..3 {
            let reply = cluster.command(node, &["CONFIG", "SET", "maxmemory", bytes]).unwrap();
            assert_eq!(reply.text(), Some("OK"));
        }
    };
    limit("1");
    let error = no_quorum(redlock.mutex("other").unwrap().try_lock().await);
    let failures: Vec<_> = error.votes().unwrap().failures().collect();
    assert!(failures.len() >= 2 && failures.iter().all(|(_, f)| **f == NodeFailure::OutOfMemory), "{error}");
    guard.extend(LONG * 2).await.unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    limit("0");
    assert_eq!(
        redlock.mutex("other").unwrap().try_lock().await.unwrap().release().await,
        Ok(Released::InTime)
    );
    let gone = || (0..3).all(|node| cluster.keys(node).unwrap().is_empty());
    eventually(SLACK, "nothing is left", gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_has_no_vote() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let port = cluster.port(0).to_string();
    let follow = |node, host: &str, port: &str| {
        assert_eq!(cluster.command(node, &["REPLICAOF", host, port]).unwrap().text(), Some("OK"));
    };
    follow(2, "127.0.0.1", &port);
    let guard = redlock.mutex(KEY).unwrap().try_lock().await.unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));

    follow(1, "127.0.0.1", &port);
    let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
    let failures: Vec<_> = error.votes().unwrap().failures().map(|(_, failure)| failure).collect();
    // Connections that have noticed the change observe the node again, and find out its role.
    let told = |failure: &NodeFailure| {
        matches!(
            failure,
            NodeFailure::ReadOnly { .. } | NodeFailure::NotMaster { .. } | NodeFailure::ConnectionLost { .. }
        )
    };
    assert!(failures.len() == 2 && failures.into_iter().all(told), "{error}");
    let seen = || matches!(redlock.nodes()[1].failure(), Some(NodeFailure::NotMaster { .. }));
    eventually(SLACK, "it is known for a replica", seen).await;

    for node in [1, 2] {
        follow(node, "NO", "ONE");
    }
    // The replicas may have copied the key of the failed attempt. Their own releases were refused meanwhile, and are
    // repeated.
    let gone = || (0..3).all(|node| cluster.keys(node).unwrap().is_empty());
    eventually(SLACK, "nothing is left", gone).await;
    // Replication is asynchronous, so the master's last grants may be missing.
    let promoted = |failure: Option<&NodeFailure>| {
        matches!(failure, Some(NodeFailure::Quarantined { cause: QuarantineCause::Promoted, .. }))
    };
    let quarantined = || [1, 2].into_iter().all(|node| promoted(redlock.nodes()[node].failure()));
    eventually(SLACK, "they are masters again", quarantined).await;
    no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
}

/// rslock: `["ab", "c"]` and `["a", "bc"]` share one key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_the_key_whatever_it_contains() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let longest = "x".repeat(512);
    let names = [
        "a",
        " ",
        "a b",
        "größe/7",
        "ключ",
        "🔒",
        "\u{202e}rtl",
        "a*b?[c]{d}",
        "\"quoted\" 'too'",
        "%s%n%00",
        "\\",
        "\\r\\n",
        "$5",
        "-1",
        "*",
        "Redlock:x",
        "redlock",
        "KEYS[1]",
        "'; return 1 --",
        "{tag}:1",
        &longest,
    ];
    let mut guards = Vec::new();
    for name in names {
        let mut guard = redlock.mutex(name).unwrap().try_lock().await.unwrap();
        guard.extend(LONG * 2).await.unwrap();
        let holders = (0..3).filter(|node| value(&cluster, *node, name).as_deref() == Some(guard.token()));
        assert!(holders.count() >= 2, "{name:?}");
        assert_eq!(guard.resource(), name);
        guards.push(guard);
    }
    // All guards are valid at once, because all names are different locks.
    assert!(guards.iter().all(|guard| guard.is_valid()));
    for guard in guards {
        assert_eq!(guard.release().await, Ok(Released::InTime));
    }
    let gone = || (0..3).all(|node| cluster.keys(node).unwrap().is_empty());
    eventually(SLACK, "nothing is left", gone).await;

    let too_long = "x".repeat(513);
    for name in ["", "a\nb", "a\r\nDEL job", "\0", "\u{7f}", "redlock-quorum:node", &too_long] {
        assert!(matches!(redlock.mutex(name), Err(SettingsError::Resource { .. })), "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_its_own_is_a_name_space_of_its_own() {
    let cluster = LocalCluster::start(3).unwrap();
    let urls = |db: u8| cluster.urls().into_iter().map(move |url| format!("{url}/{db}"));
    // A declaration concerns a database, because the record is stored there.
    for node in client(urls(3)).await.dangerous_declare_new().await {
        assert_eq!(node.result(), Ok(&Declared::Now), "{node:?}");
    }
    let (first, second) = (client(urls(0)).await, client(urls(3)).await);
    let one = first.mutex(KEY).unwrap().try_lock().await.unwrap();
    let other = second.mutex(KEY).unwrap().try_lock().await.unwrap();
    assert_eq!(one.release().await, Ok(Released::InTime));
    assert_eq!(other.release().await, Ok(Released::InTime));
    // The database is selected again on each connection.
    cluster.restart(0, Data::Kept).unwrap();
    eventually(SLACK, "it is connected", || second.nodes()[0].failure().is_none()).await;
    cluster.kill(1).unwrap();
    let guard = second.mutex(KEY).unwrap().try_lock().await.unwrap();
    assert_eq!(value(&cluster, 0, KEY), None);
    assert_eq!(guard.release().await, Ok(Released::InTime));
    let error = no_quorum({
        cluster.kill(0).unwrap();
        second.mutex(KEY).unwrap().try_lock().await
    });
    assert!(error.to_string().contains(&format!("127.0.0.1:{}/3", cluster.port(0))), "{error}");
    assert!(matches!(error, LockError::NoQuorum { .. }));
}

/// redlock-rs and rslock write 20 random bytes. The bug: a person who inspected such a lock read that the node did not
/// answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_no_text_are_shown_and_removed() {
    let cluster = LocalCluster::start(3).unwrap();
    let plant = |node, value| {
        let script = format!("return redis.call('SET', KEYS[1], '{value}', 'PX', 60000)");
        assert_eq!(cluster.command(node, &["EVAL", &script, "1", KEY]).unwrap().text(), Some("OK"));
    };
    let redlock = client(cluster.urls()).await;
    plant(0, r"\255\0job\27[2J");
    plant(1, r"\255\0job\27[2J");
    contended(redlock.mutex(KEY).unwrap().try_lock().await);
    let LockState::Held(holder) = redlock.inspect(KEY).await.unwrap().state() else { panic!("not held") };
    assert_eq!(holder.owner(), r"\xff\0job\u{1b}[2J");
    assert!(holder.remaining().is_some_and(|left| left <= Duration::from_secs(60)));
    // Owners that look the same may be different.
    plant(1, r"\254\0job\27[2J");
    let inspection = redlock.inspect(KEY).await.unwrap();
    assert_eq!(inspection.state(), LockState::NotHeld);
    let owners: Vec<_> = inspection.nodes().map(|node| node.content().unwrap()).collect();
    assert!(
        matches!(&owners[1], KeyContent::Lock(holder) if holder.owner().starts_with(r"\xfe")),
        "{owners:?}"
    );
    assert_eq!(owners[2], KeyContent::Nothing);

    let broken = redlock.dangerous_break(KEY).await.unwrap();
    let removals: Vec<_> = broken.iter().map(|node| *node.result().unwrap()).collect();
    assert_eq!(removals, [Removal::Removed, Removal::Removed, Removal::Absent]);
    redlock.mutex(KEY).unwrap().try_lock().await.unwrap().release().await.unwrap();
}

fn with_credentials(cluster: &LocalCluster, credentials: &str) -> Vec<String> {
    let at = if credentials.is_empty() { "" } else { "@" };
    (0..cluster.len())
        .map(|node| format!("redis://{credentials}{at}127.0.0.1:{}", cluster.port(node)))
        .collect()
}

#[track_caller]
fn no_secret(text: &str) {
    for secret in [PASSWORD, PASSWORD_IN_URL, WRONG] {
        assert!(!text.contains(secret), "a password is shown: {text}");
    }
}
