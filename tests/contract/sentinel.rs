//! A node that is the master of a service watched by Sentinels, and real failovers of that service.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cfg(feature = "tls")]
use redlock_quorum::testing::TlsFiles;
use redlock_quorum::testing::{Data, LocalCluster, LocalClusterBuilder, Reply};
use redlock_quorum::{Login, NodeFailure, NodeOptions, QuarantineCause, Redlock, RedlockBuilder, Released};
use tempfile::TempDir;

use crate::support::{SLACK, eventually, no_quorum, now, value};

const KEY: &str = "job";
/// Short, so that the quarantine is short: 6 s.
const MAX_TTL: Duration = Duration::from_secs(4);
/// How long sentinels may take on a busy machine to agree, elect a leader, and promote a replica. Those before Redis 7 do
/// nothing for thirty seconds after the machine stood still for two.
const FAILOVER: Duration = Duration::from_secs(90);

/// The sentinels' own user, so that servers can be made to look dead to the sentinels alone.
const WATCHER: &str = "watcher on >watching ~* &* +@all";

/// A master, its replica, and three sentinels.
struct Service {
    servers: LocalCluster,
    sentinels: LocalCluster,
    _program: TempDir,
}

impl Service {
    fn start() -> Self {
        Self::with(|servers| servers, |sentinels| sentinels)
    }

    fn with(
        servers: impl FnOnce(LocalClusterBuilder) -> LocalClusterBuilder,
        sentinels: impl FnOnce(LocalClusterBuilder) -> LocalClusterBuilder,
    ) -> Self {
        let builder = LocalCluster::builder().nodes(2).directive("user", WATCHER);
        let servers = servers(builder).start().unwrap();
        let follow = ["REPLICAOF", "127.0.0.1", &servers.port(0).to_string()];
        assert_eq!(servers.command(1, &follow).unwrap().text(), Some("OK"));

        let program = tempfile::tempdir().unwrap();
        let path = program.path().join("sentinel");
        let server = "${REDIS_SERVER:-$(command -v redis-server || command -v valkey-server)}";
        fs::write(&path, format!("#!/bin/sh\nexec \"{server}\" \"$@\" --sentinel\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let builder = LocalCluster::builder()
            .server(path)
            .directive("sentinel", format!("monitor locks-a 127.0.0.1 {} 2", servers.port(0)))
            .directive("sentinel", "down-after-milliseconds locks-a 3000")
            .directive("sentinel", "failover-timeout locks-a 3000")
            .directive("sentinel", "auth-user locks-a watcher")
            .directive("sentinel", "auth-pass locks-a watching");
        let sentinels = sentinels(builder).start().unwrap();
        for sentinel in 0..3 {
            // Refused by older servers, and where the test demands a login or a user's rule.
            let _ = sentinels.command(sentinel, &["SENTINEL", "DEBUG", "tilt-trigger", "60000"]);
        }
        Self { servers, sentinels, _program: program }
    }

    fn url(&self) -> String {
        let hosts = (0..3).map(|sentinel| format!("127.0.0.1:{}", self.sentinels.port(sentinel)));
        format!("redis+sentinel://{}/locks-a", hosts.collect::<Vec<_>>().join(","))
    }

    /// A client of the service and of two servers with fixed addresses. The client needs all three nodes.
    fn client(&self, others: &LocalCluster) -> RedlockBuilder {
        let nodes = [self.url()].into_iter().chain(others.urls()).map(NodeOptions::new);
        Redlock::builder()
            .nodes(nodes)
            .quorum(3)
            .ttl(MAX_TTL)
            .max_ttl(MAX_TTL)
            .node_timeout(MAX_TTL * 3 / 4)
            .keep_alive(false)
    }

    /// Waits until the sentinels know each other and the replica.
    async fn is_watched(&self) {
        let knows = |sentinel| {
            let quorum = self.sentinels.command(sentinel, &["SENTINEL", "CKQUORUM", "locks-a"]).unwrap();
            let Ok(Reply::Array(replicas)) =
                self.sentinels.command(sentinel, &["SENTINEL", "REPLICAS", "locks-a"])
            else {
                return false;
            };
            quorum.text().is_some_and(|text| text.starts_with("OK 3")) && replicas.len() == 1
        };
        eventually(FAILOVER, "the sentinels know all", || (0..3).all(knows)).await;
    }

    fn role(&self, server: usize) -> Option<String> {
        let Ok(Reply::Array(role)) = self.servers.command(server, &["ROLE"]) else { return None };
        Some(role[0].text().unwrap().to_owned())
    }
}

/// The node votes at once, because it was declared new.
async fn it_votes(redlock: &Redlock) {
    eventually(FAILOVER, "the node votes", || redlock.nodes()[0].failure().is_none()).await;
}

/// Waits until the node's quarantine is over. Fails if there was none.
async fn out_of_quarantine(redlock: &Redlock) {
    let failure = || redlock.nodes()[0].failure().cloned();
    let promoted =
        || matches!(failure(), Some(NodeFailure::Quarantined { cause: QuarantineCause::Promoted, .. }));
    eventually(FAILOVER, "the node is in quarantine", promoted).await;
    let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
    assert!(error.to_string().contains("in quarantine"), "{error}");
    eventually(SLACK * 2, "the quarantine is over", || failure().is_none()).await;
}

/// Acquires the lock, and checks that the key was set on that server.
async fn locks_on(redlock: &Redlock, cluster: &LocalCluster, server: usize) {
    // Waits, because a client that stood still for a while asks the sentinels first.
    let guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    assert_eq!(value(cluster, server, KEY).as_deref(), Some(guard.token()));
    assert_eq!(guard.release().await, Ok(Released::InTime));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed_and_the_new_master_is_in_quarantine() {
    let (service, others) = (Service::start(), LocalCluster::builder().nodes(2).start().unwrap());
    let redlock = service.client(&others).connect().await.unwrap();
    assert_eq!(redlock.nodes()[0].name(), format!("locks-a@127.0.0.1:{}", service.sentinels.port(0)));
    it_votes(&redlock).await;
    locks_on(&redlock, &service.servers, 0).await;

    service.is_watched().await;
    service.servers.kill(0).unwrap();
    eventually(FAILOVER, "the replica is the master", || service.role(1).as_deref() == Some("master")).await;
    out_of_quarantine(&redlock).await;
    locks_on(&redlock, &service.servers, 1).await;

    // The server returns as a master until the sentinels make it a replica. No client sends it locks.
    service.servers.restart(0, Data::Kept).unwrap();
    eventually(FAILOVER, "it is a replica", || service.role(0).as_deref() == Some("slave")).await;
    it_votes(&redlock).await;
    locks_on(&redlock, &service.servers, 1).await;
}

/// The old master is alive and believes itself to be the master, but the sentinels get no answer from it and have
/// promoted another server. Our connection still works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_replaced_is_left_although_it_answers() {
    let (service, others) = (Service::start(), LocalCluster::builder().nodes(2).start().unwrap());
    let redlock = service.client(&others).connect().await.unwrap();
    it_votes(&redlock).await;
    service.is_watched().await;
    let cut_off = ["ACL", "SETUSER", "watcher", "-ping", "-slaveof", "-replicaof"];
    assert_eq!(service.servers.command(0, &cut_off).unwrap().text(), Some("OK"));
    eventually(FAILOVER, "the replica is the master", || service.role(1).as_deref() == Some("master")).await;
    out_of_quarantine(&redlock).await;
    assert_eq!(service.role(0).as_deref(), Some("master"), "it does not know");
    locks_on(&redlock, &service.servers, 1).await;
    assert_eq!(value(&service.servers, 0, KEY), None);
}

/// A client that is cut off from most sentinels may be cut off together with a replaced master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_of_the_sentinels_has_to_answer() {
    let (service, others) = (Service::start(), LocalCluster::builder().nodes(2).start().unwrap());
    let redlock = service.client(&others).connect().await.unwrap();
    it_votes(&redlock).await;
    service.sentinels.kill(0).unwrap();
    // The sentinels are asked once a second, and two of three are enough.
    let killed = now();
    while killed.elapsed() < Duration::from_secs(3) {
        locks_on(&redlock, &service.servers, 0).await;
    }
    service.sentinels.kill(1).unwrap();
    let silent = || matches!(redlock.nodes()[0].failure(), Some(NodeFailure::Sentinel { .. }));
    eventually(SLACK, "the master is not trusted any more", silent).await;
    let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await).to_string();
    for part in ["sentinels: 1 of 3 know \"locks-a\", 2 have to", &service.sentinels.port(1).to_string()] {
        assert!(error.contains(part), "{part}: {error}");
    }
    service.sentinels.restart(0, Data::Kept).unwrap();
    eventually(SLACK, "it is used again", || redlock.nodes()[0].failure().is_none()).await;
}

/// TLS to the sentinels and to the masters, with different credentials for each.
#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_masters_are_reached_over_tls_with_credentials_of_their_own() {
    use crate::certificates::{Authority, Validity};
    let authority = Authority::new("ours");
    let files = || authority.issue("127.0.0.1", Validity::Now);
    let service = Service::with(
        |servers| {
            let servers = servers.tls(files()).directive("tls-replication", "yes");
            servers.directive("user", "locks on >for-the-master ~* +@all")
        },
        |sentinels| {
            let sentinels = sentinels.tls(files()).directive("tls-replication", "yes");
            // The smallest rule that works. The README has the same rule.
            sentinels.directive("user", "asker on >for-sentinels -@all +sentinel|master")
        },
    );
    let TlsFiles { certificate, key, ca } = authority.issue("client", Validity::Now);
    let url = service.url().replace("redis+sentinel://", "rediss+sentinel://locks:for-the-master@");
    let redlock = Redlock::builder().nodes([url]).max_ttl(MAX_TTL).ttl(MAX_TTL).node_timeout(MAX_TTL * 3 / 4);
    let redlock = redlock.sentinel_username("asker").sentinel_password("for-sentinels");
    let redlock =
        redlock.tls_ca_file(ca).tls_cert_file(certificate).tls_key_file(key).connect().await.unwrap();
    it_votes(&redlock).await;
    locks_on(&redlock, &service.servers, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sentinels_refuse_is_told() {
    let service =
        Service::with(|servers| servers, |sentinels| sentinels.directive("requirepass", "for-sentinels"));
    let connect = async |options: NodeOptions| {
        let builder =
            Redlock::builder().nodes([options]).max_ttl(MAX_TTL).ttl(MAX_TTL).node_timeout(MAX_TTL * 3 / 4);
        builder.connect().await.unwrap()
    };
    let options = || NodeOptions::new(service.url());
    let unknown = NodeOptions::new(service.url().replace("locks-a", "locks-b"));
    let table = [
        (options(), "authentication failed"),
        (options().sentinel_password("wrong"), "authentication failed"),
        (options().password("for-sentinels"), "authentication failed"),
        (unknown.sentinel_password("for-sentinels"), "No such master with that name"),
    ];
    for (options, text) in table {
        let redlock = connect(options).await;
        let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await).to_string();
        assert!(error.contains("sentinels: 0 of 3 know") && error.contains(text), "{text}: {error}");
    }
    let redlock = connect(options().sentinel_password("for-sentinels")).await;
    let met = || matches!(redlock.nodes()[0].failure(), None | Some(NodeFailure::Quarantined { .. }));
    eventually(SLACK, "with the right password it is met", met).await;
}

/// The sentinels are listed as nodes. The bug: reported as an "unexpected answer", perhaps from a proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_itself_is_no_node() {
    let service = Service::start();
    let redlock = Redlock::builder().nodes(service.sentinels.urls()).connect().await.unwrap();
    let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
    let expected = NodeFailure::NotStandalone { mode: "sentinel".into() };
    assert_eq!(
        error.votes().unwrap().failures().map(|(_, failure)| failure).collect::<Vec<_>>(),
        [&expected; 3]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_of_the_sentinels_is_asked_for() {
    let rule = "asker on >one -@all +sentinel|master";
    let service = Service::with(|servers| servers, |sentinels| sentinels.directive("user", rule));
    let password = Arc::new(Mutex::new("one"));
    let provider = {
        let password = Arc::clone(&password);
        move |node: Arc<str>| {
            assert!(node.starts_with("locks-a@"), "{node}");
            let password = *password.lock().unwrap();
            async move { Ok::<_, NodeFailure>(Login::new(password)) }
        }
    };
    let redlock = Redlock::builder().nodes([service.url()]).max_ttl(MAX_TTL).ttl(MAX_TTL);
    let redlock =
        redlock.node_timeout(MAX_TTL * 3 / 4).sentinel_username("asker").sentinel_credentials(provider);
    let redlock = redlock.connect().await.unwrap();
    it_votes(&redlock).await;
    *password.lock().unwrap() = "two";
    for sentinel in 0..3 {
        let rule = ["ACL", "SETUSER", "asker", "resetpass", ">two"];
        assert_eq!(service.sentinels.command(sentinel, &rule).unwrap().text(), Some("OK"));
        service.sentinels.command(sentinel, &["CLIENT", "KILL", "USER", "asker"]).unwrap();
    }
    let asked = || {
        (0..3).all(|sentinel| {
            let clients = service.sentinels.command(sentinel, &["CLIENT", "LIST"]).unwrap();
            clients.text().unwrap().contains("user=asker")
        })
    };
    eventually(SLACK, "they are asked again", asked).await;
    eventually(SLACK, "the node votes", || redlock.nodes()[0].failure().is_none()).await;
    locks_on(&redlock, &service.servers, 0).await;
}
