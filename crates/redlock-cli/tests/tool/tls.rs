//! TLS settings that only a process of its own can be given.

use redlock_testing::LocalCluster;

use crate::certificates::{Authority, Validity};
use crate::support::redlock;

/// This variable decides which CAs the system trusts. A test cannot change it for its own process.
#[test]
fn the_cas_that_the_system_trusts_are_trusted() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = ours.issue("127.0.0.1", Validity::Now);
    let cluster =
        LocalCluster::builder().nodes(1).tls(files).directive("tls-auth-clients", "no").start().unwrap();
    for (authority, code) in [(&ours, 0), (&theirs, 69)] {
        let mut command = redlock();
        command.args(["run", "--no-wait", "--node", &cluster.url(0), "job", "--", "true"]);
        let output = command.env("SSL_CERT_FILE", authority.ca()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(code == 0 || said.contains("not signed by a CA that we trust"), "{said}");
    }
}

#[test]
fn a_system_that_trusts_nobody_is_a_mistake_in_the_settings() {
    let mut command = redlock();
    command.args(["config", "check", "--node", "rediss://a", "--node", "rediss://b"]);
    let output = command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nowhere").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.lines().count() == 1 && said.contains("tls_ca_file: cannot read the certificates that"),
        "{said}"
    );
}
