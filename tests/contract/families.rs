//! Differences in the words of servers of different makes and versions, which must make no difference in the result.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use redlock_quorum::testing::{LocalCluster, LocalClusterBuilder};
use redlock_quorum::{NodeFailure, Redlock, Released};

use crate::support::{SLACK, builder, client, eventually, no_quorum, software};

const KEY: &str = "job";

/// Valkey 8 and 9. The bug: `INFO` contains `server_mode` there, and no node ever voted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_votes_and_is_called_by_its_name() {
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = client(cluster.urls()).await;
    let (name, version) = software(&cluster);
    for node in redlock.nodes() {
        let facts = node.facts().unwrap();
        assert_eq!((facts.software(), facts.version(), facts.role()), (&*name, &*version, "master"));
    }
    let guard = redlock.mutex(KEY).unwrap().try_lock().await.unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
}

/// Settings that change a server's description of itself, each with what the server needs to support it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_more_of_itself_votes_as_well() {
    for (key, value) in [
        ("extended-redis-compatibility", "yes"),
        ("availability-zone", "eu-1a:redis_mode:cluster"),
        ("hide-user-data-from-log", "yes"),
    ] {
        let Some(cluster) = known(LocalCluster::builder().directive(key, value)) else {
            println!("SKIPPED {key}: this server does not know it");
            continue;
        };
        let redlock = client(cluster.urls()).await;
        let guard = redlock.mutex(KEY).unwrap().try_lock().await.unwrap();
        assert_eq!(guard.release().await, Ok(Released::InTime), "{key}");
    }
}

/// The errors of servers that do not know a directive; the second is for directives that might belong to a module.
const UNKNOWN: [&str; 2] = ["Bad directive", "Module Configuration detected"];

/// `None` for a server that does not know a directive.
fn known(builder: LocalClusterBuilder) -> Option<LocalCluster> {
    match builder.start() {
        Ok(cluster) => Some(cluster),
        Err(error) if UNKNOWN.iter().any(|said| error.to_string().contains(said)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_cluster_has_no_vote() {
    let cluster =
        LocalCluster::builder().nodes(1).directive("cluster-enabled", "yes").undeclared().start().unwrap();
    let error = no_quorum(client(cluster.urls()).await.mutex(KEY).unwrap().try_lock().await);
    let expected = NodeFailure::NotStandalone { mode: "cluster".into() };
    assert_eq!(
        error.votes().unwrap().failures().map(|(_, failure)| failure).collect::<Vec<_>>(),
        [&expected]
    );
}

/// The bug: reported as "unreachable", with advice about address, port and firewall.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_too_many_clients_is_told_as_that() {
    let cluster = LocalCluster::start(1).unwrap();
    assert_eq!(cluster.command(0, &["CONFIG", "SET", "maxclients", "1"]).unwrap().text(), Some("OK"));
    let occupant = occupant(cluster.port(0)).await;
    // Several rounds, because the server's last words before it closes must never get lost.
    for round in 0..20 {
        let redlock = client(cluster.urls()).await;
        let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
        let failures: Vec<_> = error.votes().unwrap().failures().map(|(_, failure)| failure).collect();
        assert_eq!(failures, [&NodeFailure::TooManyClients], "round {round}");
        assert!(error.to_string().contains("maxclients"), "{error}");
    }
    let redlock: Redlock =
        builder(cluster.urls()).username("default").password("any").connect().await.unwrap();
    let told = || redlock.nodes()[0].failure() == Some(&NodeFailure::TooManyClients);
    eventually(SLACK, "the password is not asked for", told).await;

    drop(occupant);
    let redlock = client(cluster.urls()).await;
    eventually(SLACK, "it has room again", || redlock.nodes()[0].failure().is_none()).await;
}

/// Occupies the only free connection, as soon as the server has noticed that the previous client has left.
async fn occupant(port: u16) -> TcpStream {
    let mut occupant = None;
    let enters = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(SLACK)).unwrap();
        let mut first = [0];
        let is_in = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut first)).is_ok()
            && first == *b"+";
        occupant = Some(stream);
        is_in
    };
    eventually(SLACK, "there is room for one", enters).await;
    occupant.unwrap()
}
