//! Passwords and certificates that change while locks are held.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Guard, Login, NodeFailure, Redlock, RedlockBuilder, Released};

#[cfg(feature = "tls")]
use crate::certificates::{Authority, Validity};
use crate::storms::kill_connections;
use crate::support::{SLACK, eventually, now};

const KEY: &str = "job";
/// Longer than all nodes together are out of reach here, also if the machine stands still for a while.
const TTL: Duration = Duration::from_secs(12);
/// How long a node, and a source of credentials, may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
const NODES: usize = 3;

fn cluster() -> LocalCluster {
    LocalCluster::builder().nodes(NODES).directive("user", "locks on >one ~* &* +@all").start().unwrap()
}

fn builder(cluster: &LocalCluster) -> RedlockBuilder {
    Redlock::builder()
        .nodes(cluster.urls())
        .ttl(TTL)
        .max_ttl(TTL)
        .node_timeout(PATIENCE)
        .connect_timeout(PATIENCE)
}

/// Sets the password on all nodes, and closes the connections that used the old one.
fn set_password(cluster: &LocalCluster, password: &str) {
    for node in 0..NODES {
        let rule = ["ACL", "SETUSER", "locks", "resetpass", &format!(">{password}")];
        assert_eq!(cluster.command(node, &rule).unwrap().text(), Some("OK"));
        kill_connections(cluster, node);
    }
}

async fn is_down(redlock: &Redlock, is_it: impl Fn(&NodeFailure) -> bool) {
    let failed = || redlock.nodes().iter().all(|node| node.failure().is_some_and(&is_it));
    eventually(SLACK, "all nodes have failed", failed).await;
}

/// Checks that a lease acquired on the first connections is renewed on later ones.
async fn outlives_its_ttl(redlock: &Redlock, guard: Guard) {
    let up = || redlock.nodes().iter().all(|node| node.failure().is_none());
    eventually(SLACK, "all nodes are connected", up).await;
    let rotated = now();
    eventually(TTL * 2, "a TTL is over", || {
        assert!(guard.is_valid(), "lost {:?} after the rotation", rotated.elapsed());
        rotated.elapsed() > TTL
    })
    .await;
    assert_eq!(guard.release().await, Ok(Released::InTime));
}

/// The bug: the file was read only once, with the settings.
#[cfg(feature = "config")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_in_its_file_keeps_what_is_held() {
    let cluster = cluster();
    let directory = tempfile::tempdir().unwrap();
    let (settings, password) = (directory.path().join("redlock.toml"), directory.path().join("password"));
    std::fs::write(&settings, "username = \"locks\"\npassword_file = \"password\"\n").unwrap();
    std::fs::write(&password, "one\n").unwrap();
    let redlock = builder(&cluster).file(&settings).connect().await.unwrap();
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();

    // The file changes first, as it should.
    std::fs::write(&password, "two\n").unwrap();
    set_password(&cluster, "two");
    eventually(SLACK, "they are connected again", || {
        redlock.nodes().iter().all(|node| node.failure().is_none())
    })
    .await;
    // Here the servers change first, and for a moment there is no file.
    std::fs::remove_file(&password).unwrap();
    set_password(&cluster, "three");
    is_down(&redlock, |failure| {
        let text = failure.to_string();
        let named = text.starts_with("password_file: cannot read password: No such file");
        matches!(failure, NodeFailure::File { .. }) && named && failure.kind() == "file unusable"
    })
    .await;
    std::fs::write(&password, [0xff, 0xfe]).unwrap();
    is_down(&redlock, |failure| failure.to_string() == "password_file: cannot read password: not UTF-8")
        .await;
    std::fs::write(&password, "three").unwrap();
    outlives_its_ttl(&redlock, guard).await;
}

/// A file that is wrong at the start is a mistake in the settings.
#[cfg(feature = "config")]
#[test]
fn a_file_that_is_missing_at_the_start_is_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("redlock.toml");
    std::fs::write(&settings, "nodes = [\"redis://a\"]\npassword_file = \"nothing\"\n").unwrap();
    let mistakes = Redlock::builder().file(&settings).settings().unwrap_err();
    assert!(
        mistakes[0].to_string().contains("password_file: cannot read nothing: No such file"),
        "{mistakes:?}"
    );
}

/// A source that can be read only once, such as the shell's `<(pass show redis)`, is read once.
#[cfg(all(feature = "config", target_os = "linux"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_from_a_pipe_is_kept() {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    let cluster = cluster();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"one\n").unwrap();
    drop(writer);
    let path = format!("/dev/fd/{}", reader.as_raw_fd());
    let builder = builder(&cluster).username("locks").flag("--password-file", "password_file", &path);
    let redlock = builder.connect().await.unwrap();
    drop(reader);
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    for node in 0..NODES {
        kill_connections(&cluster, node);
    }
    outlives_its_ttl(&redlock, guard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_asked_for_every_connection() {
    let cluster = cluster();
    let (password, asked) = (Arc::new(Mutex::new(Ok("one"))), Arc::new(AtomicUsize::new(0)));
    let provider = {
        let (password, asked) = (Arc::clone(&password), Arc::clone(&asked));
        move |node: Arc<str>| {
            let (password, asked) = (Arc::clone(&password), Arc::clone(&asked));
            async move {
                assert!(node.starts_with("127.0.0.1:"), "{node}");
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                let answer: Result<&str, &str> = *password.lock().unwrap();
                match answer {
                    Ok("slow") => std::future::pending().await,
                    Ok("panic") => panic!("a bug of the program"),
                    answer => answer.map(|password| Login::new(password).username("locks")),
                }
            }
        }
    };
    let builder = builder(&cluster).credentials(provider);
    assert!(format!("{builder:?}").contains("password: Some(Provided(Provider))"), "{builder:?}");
    let redlock = builder.connect().await.unwrap();
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), NODES, "once for each connection");

    *password.lock().unwrap() = Ok("two");
    set_password(&cluster, "two");
    eventually(SLACK, "they are connected again", || {
        redlock.nodes().iter().all(|node| node.failure().is_none())
    })
    .await;
    *password.lock().unwrap() = Err("the vault is sealed");
    set_password(&cluster, "three");
    let failed = |text: &'static str| {
        move |failure: &NodeFailure| {
            matches!(failure, NodeFailure::Credentials { .. })
                && failure.to_string() == format!("no credentials: {text}")
        }
    };
    is_down(&redlock, failed("the vault is sealed")).await;
    *password.lock().unwrap() = Ok("three");
    outlives_its_ttl(&redlock, guard).await;

    *password.lock().unwrap() = Ok("slow");
    set_password(&cluster, "three");
    is_down(&redlock, failed("none within 3s")).await;
    // A panic must not end the node's task.
    *password.lock().unwrap() = Ok("panic");
    is_down(&redlock, failed("the provider panicked")).await;
    *password.lock().unwrap() = Ok("three");
    let up = || redlock.nodes().iter().all(|node| node.failure().is_none());
    eventually(SLACK, "all nodes are connected", up).await;
}

/// The bug: the files for TLS were read only once. Here a new CA issues new certificates for both sides.
#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_in_their_files_keep_what_is_held() {
    use redlock_quorum::testing::TlsFiles;

    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let cluster =
        LocalCluster::builder().nodes(NODES).tls(old.issue("127.0.0.1", Validity::Now)).start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = ["ca", "certificate", "key"].map(|name| directory.path().join(name));
    let install = |authority: &Authority| {
        let files = authority.issue("client", Validity::Now);
        for (from, to) in [(files.ca, &ca), (files.certificate, &certificate), (files.key, &key)] {
            std::fs::copy(from, to).unwrap();
        }
    };
    install(&old);
    let builder = builder(&cluster).tls_ca_file(&ca).tls_cert_file(&certificate).tls_key_file(&key);
    let redlock = builder.connect().await.unwrap();
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();

    let TlsFiles { certificate: theirs, key: their_key, ca: their_ca } =
        new.issue("127.0.0.1", Validity::Now);
    for node in 0..NODES {
        // All in one command, because a new certificate does not fit to the old key.
        let [theirs, their_key, their_ca] =
            [&theirs, &their_key, &their_ca].map(|path| path.to_str().unwrap());
        let files = ["tls-cert-file", theirs, "tls-key-file", their_key, "tls-ca-cert-file", their_ca];
        let set = [&["CONFIG", "SET"], &files[..]].concat();
        let reply = cluster.command(node, &set).unwrap();
        if reply.text() != Some("OK") && node == 0 {
            // Before Redis 7 these can only be set one at a time, so such a server has to be restarted.
            return println!("left out: {reply:?}");
        }
        kill_connections(&cluster, node);
    }
    // Half way: the key does not belong to the certificate.
    std::fs::copy(new.issue("other", Validity::Now).key, &key).unwrap();
    is_down(&redlock, |failure| {
        let text = failure.to_string();
        text.contains("tls_key_file: cannot read") && text.contains("not the key of the certificate")
    })
    .await;
    install(&new);
    outlives_its_ttl(&redlock, guard).await;
}
