//! Access of clients to the nodes: without restrictions, or as the README advises.

use std::time::Duration;

use redlock_quorum::RedlockBuilder;
use redlock_quorum::testing::{LocalCluster, Reply};

#[cfg(feature = "tls")]
use crate::certificates::{Authority, Validity};
use crate::support::{LONG, SLACK, builder, calls, eventually, queues};

const PASSWORD: &str = "s3cret";

/// The demands of a cluster on its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Open,
    /// A user with the permissions that the README grants, and TLS where it is compiled in.
    Guarded,
}

/// The same demands, with what a client needs to meet them.
pub(crate) enum Gate {
    Open,
    Guarded {
        #[cfg(feature = "tls")]
        authority: Box<Authority>,
    },
}

impl Gate {
    pub(crate) fn new(access: Access) -> Self {
        match access {
            Access::Open => Self::Open,
            Access::Guarded => Self::Guarded {
                #[cfg(feature = "tls")]
                authority: Box::new(Authority::new("a CA")),
            },
        }
    }

    pub(crate) fn start(&self, nodes: usize) -> LocalCluster {
        let cluster = LocalCluster::builder().nodes(nodes);
        let cluster = match self {
            Self::Open => cluster,
            Self::Guarded { .. } => cluster.directive("user", rule()),
        };
        #[cfg(feature = "tls")]
        let cluster = match self {
            Self::Open => cluster,
            Self::Guarded { authority } => cluster.tls(authority.issue("127.0.0.1", Validity::Now)),
        };
        cluster.start().unwrap()
    }

    pub(crate) fn builder(&self, cluster: &LocalCluster) -> RedlockBuilder {
        let builder = builder(cluster.urls());
        match self {
            Self::Open => builder,
            #[cfg(not(feature = "tls"))]
            Self::Guarded {} => builder.username("locks").password(PASSWORD),
            #[cfg(feature = "tls")]
            Self::Guarded { authority } => {
                let files = authority.issue("client", Validity::Now);
                let builder = builder.username("locks").password(PASSWORD).tls_ca_file(files.ca);
                builder.tls_cert_file(files.certificate).tls_key_file(files.key)
            }
        }
    }
}

/// The ACL rule of the README. A `user` directive of redis.conf begins with the user's name.
fn rule() -> String {
    let readme = include_str!("../../README.md");
    let lines: Vec<_> = readme.lines().filter_map(|line| line.strip_prefix("user locks ")).collect();
    let [rule] = lines[..] else { panic!("the README has one line with the rule: {lines:?}") };
    assert!(rule.contains(">PASSWORD "), "{rule}");
    format!("locks {}", rule.replace("PASSWORD", PASSWORD))
}

/// Fails if a node has refused anything to our user, even if no error was reported because it happened in the
/// background.
#[track_caller]
pub(crate) fn assert_nothing_was_refused(cluster: &LocalCluster, node: usize) {
    // A node that the case has killed cannot be asked.
    let Ok(Reply::Array(entries)) = cluster.command(node, &["ACL", "LOG"]) else { return };
    let refused: Vec<_> =
        entries.iter().map(|entry| (field(entry, "reason"), field(entry, "object"))).collect();
    assert!(refused.is_empty(), "the rule in the README lacks permissions: {refused:?}");
}

fn field(entry: &Reply, name: &str) -> String {
    let Reply::Array(fields) = entry else { panic!("{entry:?}") };
    let at = fields.iter().position(|field| field.text() == Some(name)).unwrap();
    fields[at + 1].text().unwrap().to_owned()
}

/// The rule is minimal: a permission that no command of this test uses is superfluous. A command that is added to the
/// rule needs a use here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_permission_is_used() {
    let gate = Gate::new(Access::Guarded);
    let cluster = gate.start(1);
    cluster.command(0, &["ZADD", "redlock-quorum:fences", "1", "a name of long ago"]).unwrap();
    let redlock = gate.builder(&cluster).node_timeout(Duration::from_secs(3)).connect().await.unwrap();
    // Ahead of our clock, so that the token has to be read and raised again.
    let ahead =
        cluster.command(0, &["EVAL", "return redis.call('TIME')[1] + 5", "0"]).unwrap().int().unwrap();
    cluster.command(0, &["ZADD", "redlock-quorum:fences", &format!("{ahead}000000"), "job"]).unwrap();
    let mut guard = redlock.mutex("job").unwrap().lock().await.unwrap();
    guard.extend(LONG * 2).await.unwrap();
    cluster.command(0, &["SCRIPT", "FLUSH"]).unwrap();
    guard.extend(LONG * 2).await.unwrap();
    // Two clients queue up, the second looks whether it is still behind the first, and both acquire the lock when they are
    // notified.
    let mutex = redlock.mutex("job").unwrap();
    let second = gate.builder(&cluster).node_timeout(Duration::from_secs(3)).connect().await.unwrap();
    let wait = || async { mutex.lock().await.unwrap().release().await.unwrap() };
    let wait_behind = async {
        eventually(SLACK, "the first is in the queue", || !queues(&cluster, 0).is_empty()).await;
        second.mutex("job").unwrap().lock().await.unwrap().release().await.unwrap();
    };
    let release = async {
        eventually(SLACK, "the second has looked", || calls(&cluster, 0, "zrank") > 0).await;
        guard.release().await.unwrap();
    };
    tokio::join!(wait(), wait_behind, release);
    mutex.lock().await.unwrap().release().await.unwrap();
    // A release while the node hangs, which is repeated when the node resumes.
    let guards = [mutex.lock().await.unwrap(), redlock.mutex("other").unwrap().lock().await.unwrap()];
    cluster.pause(0).unwrap();
    drop(guards);
    let is_up = || redlock.nodes()[0].failure().is_none();
    eventually(SLACK * 2, "it is given up", || !is_up()).await;
    cluster.resume(0).unwrap();
    eventually(SLACK, "they are released", || calls(&cluster, 0, "mget") > 0).await;

    let rule = rule();
    let granted = rule.split_whitespace().filter_map(|word| word.strip_prefix('+'));
    let trimmed = || {
        assert_nothing_was_refused(&cluster, 0);
        calls(&cluster, 0, "zrem") > 0
    };
    eventually(SLACK, "the token of long ago is forgotten", trimmed).await;
    eventually(SLACK, "it is up again", is_up).await;
    let forgotten = redlock.dangerous_forget_clients().await;
    assert!(forgotten.iter().all(|node| node.result().is_ok()), "{forgotten:?}");
    let unused: Vec<_> = granted.filter(|command| calls(&cluster, 0, command) == 0).collect();
    assert!(unused.is_empty(), "granted by the rule, and not used by anything here: {unused:?}");
}

/// The bug: a client that had connected while it could not subscribe was never notified by that node, and waited for up
/// to a second beside a free lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_to_subscribe_that_comes_later_is_used() {
    let cluster = LocalCluster::start(1).unwrap();
    let user = |permission: &str| {
        let rule = ["ACL", "SETUSER", "locks", "on", "nopass", "~*", "&*", "+@all", permission];
        cluster.command(0, &rule).unwrap();
    };
    for command in ["subscribe", "publish"] {
        user(&format!("-{command}"));
        let redlock = builder(cluster.urls()).username("locks").password("any").connect().await.unwrap();
        let mutex = redlock.mutex("job").unwrap();
        let guard = mutex.lock().await.unwrap();
        let is_in_the_queue = || !queues(&cluster, 0).is_empty();
        let waiting = tokio::spawn(async move { mutex.max_wait(LONG).lock().await.unwrap().release().await });
        assert!(!is_in_the_queue(), "{command}");
        user(&format!("+{command}"));
        // Only a client that is subscribed waits in the queue.
        eventually(SLACK, "it waits to be notified", is_in_the_queue).await;
        guard.release().await.unwrap();
        waiting.await.unwrap().unwrap();
    }
}
