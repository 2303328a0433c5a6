//! TLS, and each way in which it can fail.

use redlock_quorum::testing::{Data, LocalCluster, TlsFiles};
use redlock_quorum::{NodeFailure, RedlockBuilder, Released, SettingsError, TlsCause};

use crate::certificates::{Authority, Validity};
use crate::support::{LONG, NODE_TIMEOUT, SLACK, builder, eventually, no_quorum, value};

const KEY: &str = "job";
const ADDRESS: &str = "127.0.0.1";

fn cluster(nodes: usize, files: TlsFiles) -> LocalCluster {
    LocalCluster::builder().nodes(nodes).tls(files).start().unwrap()
}

/// A client that trusts this CA and has a certificate of it.
fn trusting(cluster: &LocalCluster, authority: &Authority) -> RedlockBuilder {
    let TlsFiles { certificate, key, ca } = authority.issue("client", Validity::Now);
    builder(cluster.urls()).tls_ca_file(ca).tls_cert_file(certificate).tls_key_file(key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_work_over_tls_and_outlive_faults_of_nodes() {
    let authority = Authority::new("ours");
    let cluster = cluster(3, authority.issue(ADDRESS, Validity::Now));
    // Shorter than usual, and so is the time after which a hung node is abandoned.
    let redlock = trusting(&cluster, &authority).node_timeout(NODE_TIMEOUT / 2).connect().await.unwrap();
    let mut guard = redlock.mutex(KEY).unwrap().lock().await.unwrap();
    guard.extend(LONG * 2).await.unwrap();
    cluster.restart(0, Data::Kept).unwrap();
    eventually(SLACK, "it is connected again", || redlock.nodes()[0].failure().is_none()).await;

    // Abandoned while it hangs. The release is repeated when the node resumes.
    cluster.pause(1).unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    eventually(SLACK * 2, "it is abandoned", || redlock.nodes()[1].failure().is_some()).await;
    cluster.resume(1).unwrap();
    let gone = || (0..3).all(|node| value(&cluster, node, KEY).is_none());
    eventually(SLACK, "nothing is left", gone).await;
}

/// The files can be set for each node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_may_have_a_ca_and_a_name_of_its_own() {
    let authorities = [(); 3].map(|()| Authority::new("ours"));
    let names = ["redis-a.internal", "redis-b.internal", ADDRESS];
    let servers = [0, 1, 2].map(|i| cluster(1, authorities[i].issue(names[i], Validity::Now)));
    let nodes = [0, 1, 2].map(|i| {
        let TlsFiles { certificate, key, ca } = authorities[i].issue("client", Validity::Now);
        let node = redlock_quorum::NodeOptions::new(servers[i].url(0)).tls_ca_file(ca);
        node.tls_cert_file(certificate).tls_key_file(key).tls_server_name(names[i])
    });
    let redlock = builder(nodes).quorum(3).connect().await.unwrap();
    assert_eq!(redlock.mutex(KEY).unwrap().lock().await.unwrap().release().await, Ok(Released::InTime));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_has_a_reason_of_its_own() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let impostor = Authority::new("ours");
    let fake = impostor.issue("client", Validity::Now);
    let good = cluster(1, authority.issue(ADDRESS, Validity::Now));
    let over = cluster(1, authority.issue(ADDRESS, Validity::Over));
    let to_come = cluster(1, authority.issue(ADDRESS, Validity::ToCome));
    let old = LocalCluster::builder()
        .nodes(1)
        .tls(authority.issue(ADDRESS, Validity::Now))
        .directive("tls-protocols", "TLSv1.2")
        .start()
        .unwrap();
    let theirs = stranger.issue("client", Validity::Now);
    let anonymous = |cluster: &LocalCluster| builder(cluster.urls()).tls_ca_file(authority.ca());
    let with = |files: &TlsFiles, cluster| {
        anonymous(cluster).tls_cert_file(&files.certificate).tls_key_file(&files.key)
    };
    let table = [
        ("the system's CAs", builder(good.urls()), TlsCause::UnknownIssuer),
        ("another CA", trusting(&good, &authority).tls_ca_file(stranger.ca()), TlsCause::UnknownIssuer),
        (
            "another CA of its name",
            trusting(&good, &authority).tls_ca_file(impostor.ca()),
            TlsCause::UnknownIssuer,
        ),
        ("expired", trusting(&over, &authority), TlsCause::Expired),
        ("not valid yet", trusting(&to_come, &authority), TlsCause::NotYetValid),
        ("another name", trusting(&good, &authority).tls_server_name("redis.internal"), TlsCause::WrongName),
        ("no certificate of ours", anonymous(&good), TlsCause::ClientCertificate),
        ("another CA's certificate of ours", with(&theirs, &good), TlsCause::ClientCertificate),
        ("one of another CA of its name", with(&fake, &good), TlsCause::ClientCertificate),
        ("no certificate of ours, TLS 1.2", anonymous(&old), TlsCause::Other),
        ("another CA's certificate of ours, TLS 1.2", with(&theirs, &old), TlsCause::ClientCertificate),
    ];
    for (what, builder, expected) in table {
        // Several rounds, because the server's last words before it closes must never get lost.
        for _ in 0..5 {
            let redlock = builder.clone().connect().await.unwrap();
            let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
            let Some((_, NodeFailure::Tls { cause, .. })) = error.votes().unwrap().failures().next() else {
                panic!("{what}: {error}");
            };
            assert_eq!(*cause, expected, "{what}: {error}");
            assert!(error.to_string().contains(&format!("TLS: {expected}")), "{what}: {error}");
        }
    }
    let redlock = trusting(&old, &authority).connect().await.unwrap();
    assert_eq!(redlock.mutex(KEY).unwrap().lock().await.unwrap().release().await, Ok(Released::InTime));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_and_permissions_are_told_apart_from_tls() {
    let authority = Authority::new("ours");
    let cluster = cluster(1, authority.issue(ADDRESS, Validity::Now));
    let user = ["ACL", "SETUSER", "locks", "on", ">right", "~*", "+@all", "-set"];
    assert_eq!(cluster.command(0, &user).unwrap().text(), Some("OK"));
    for (password, is_it) in
        [("wrong", is_authentication as fn(&NodeFailure) -> bool), ("right", is_permission)]
    {
        let builder = trusting(&cluster, &authority).username("locks").password(password);
        let redlock = builder.connect().await.unwrap();
        let error = no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
        assert!(error.votes().unwrap().failures().all(|(_, failure)| is_it(failure)), "{error}");
    }
}

fn is_authentication(failure: &NodeFailure) -> bool {
    matches!(failure, NodeFailure::Authentication { .. })
}

fn is_permission(failure: &NodeFailure) -> bool {
    matches!(failure, NodeFailure::Permission { .. })
}

/// Both mismatches: a client without TLS, and a server without TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_no_tls_do_not_meet() {
    let authority = Authority::new("ours");
    let secured = cluster(1, authority.issue(ADDRESS, Validity::Now));
    let plain = LocalCluster::start(1).unwrap();
    let guarded = LocalCluster::builder().nodes(1).directive("requirepass", "secret").start().unwrap();
    let without = || builder([secured.url(0).replace("rediss", "redis")]);
    let with = |cluster: &LocalCluster| {
        trusting(&plain, &authority).nodes([cluster.url(0).replace("redis", "rediss")])
    };
    let table = [
        ("a client without TLS", without(), TlsCause::TlsOnly, "use rediss://"),
        (
            "one with a password",
            without().username("locks").password("secret"),
            TlsCause::TlsOnly,
            "use rediss://",
        ),
        ("a server without TLS", with(&plain), TlsCause::NotTls, "or redis://"),
        ("one with a password", with(&guarded), TlsCause::NotTls, "or redis://"),
    ];
    for (what, builder, expected, advice) in table {
        let redlock = builder.connect().await.unwrap();
        // At the first connection, or at a later one if this machine was too busy to notice in time.
        let told = || {
            let nodes = redlock.nodes();
            let Some(failure @ NodeFailure::Tls { cause, .. }) = nodes[0].failure() else { return false };
            assert_eq!(*cause, expected, "{what}");
            assert!(failure.to_string().contains(advice), "{what}: {failure}");
            true
        };
        eventually(SLACK, what, told).await;
        no_quorum(redlock.mutex(KEY).unwrap().try_lock().await);
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_setting() {
    let authority = Authority::new("ours");
    let ours = authority.issue("client", Validity::Now);
    authority.issue("other", Validity::Now);
    std::fs::write(authority.file("empty"), "").unwrap();
    std::fs::write(authority.file("broken"), "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n")
        .unwrap();
    std::fs::write(authority.file("large"), vec![b'\n'; (1 << 20) + 1]).unwrap();
    let three = || builder(["rediss://a", "rediss://b", "rediss://c"]).tls_ca_file(&ours.ca);
    let pair = |certificate: &str, key: &str| {
        three().tls_cert_file(authority.file(certificate)).tls_key_file(authority.file(key))
    };
    let (certificate, key) = ("client-2020.pem", "client-2020.key");
    let table = [
        (three().tls_ca_file("/nowhere/ca"), "tls_ca_file", "/nowhere/ca: No such file"),
        (three().tls_ca_file(authority.file("empty")), "tls_ca_file", "no PEM certificate in it"),
        (three().tls_ca_file(authority.file("broken")), "tls_ca_file", "not PEM"),
        (three().tls_ca_file(authority.file("large")), "tls_ca_file", "longer than 1048576 bytes"),
        (three().tls_ca_file(&ours.key), "tls_ca_file", "no PEM certificate in it"),
        (pair("nothing", key), "tls_cert_file", "No such file"),
        (pair(key, key), "tls_cert_file", "no PEM certificate in it"),
        (pair(certificate, "nothing"), "tls_key_file", "No such file"),
        (pair(certificate, certificate), "tls_key_file", "no PEM private key in it"),
        (pair(certificate, "other-2020.key"), "tls_key_file", "not the key of the certificate"),
        (
            three().tls_cert_file(&ours.certificate),
            "tls_cert_file",
            "must be given together with tls_key_file",
        ),
        (three().tls_key_file(&ours.key), "tls_key_file", "must be given together with tls_cert_file"),
        (three().tls_server_name("two words"), "tls_server_name", "\"two words\"; must be a host name"),
        (
            builder(["redis://a"]).tls_ca_file(&ours.ca),
            "tls_ca_file",
            "must be given for rediss:// URLs only",
        ),
    ];
    for (builder, setting, text) in table {
        let mistakes = builder.settings().unwrap_err();
        let [mistake] = &mistakes[..] else { panic!("{setting}, {text}: {mistakes:?}") };
        assert_eq!(mistake.setting(), setting, "{mistake}");
        assert!(mistake.to_string().contains(text), "{text:?} is not in {mistake}");
        let key = std::fs::read_to_string(&ours.key).unwrap();
        assert!(key.lines().all(|line| !mistake.to_string().contains(line)), "{mistake}");
    }
    let node = redlock_quorum::NodeOptions::new("redis://a").tls_server_name("a");
    let mistakes = builder([node]).settings().unwrap_err();
    assert!(
        matches!(mistakes[0], SettingsError::Malformed { setting: "nodes.tls_server_name", .. }),
        "{mistakes:?}"
    );
}
