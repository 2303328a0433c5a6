//! No secret appears in the tool's output: settings shown and checked, errors, logs in full detail.

use std::fs;
use std::path::Path;
use std::process::Output;

use redlock_testing::LocalCluster;

use crate::certificates::{Authority, Validity};
use crate::support::redlock;

/// Each secret is given in another way. No secret is part of another one or of any other text.
const SECRETS: [&str; 9] = [
    "in-the-url@plain",
    "in-the-url%40plain",
    "in-the-file",
    "in-a-secret-file",
    "in-a-variable",
    "in-a-flag",
    "of-sentinels-in-the-file",
    "of-sentinels-in-a-secret-file",
    "of-sentinels-in-a-variable",
];

#[track_caller]
fn says_no_secret(output: &Output, key: &str) -> String {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret:?} is in:\n{text}");
    }
    for line in key.lines() {
        assert!(!text.contains(line), "the key is in:\n{text}");
    }
    text
}

/// Runs the tool in `directory` with `settings` as its file.
fn run(directory: &Path, settings: &str, arguments: &[&str]) -> Output {
    fs::write(directory.join("redlock.toml"), settings).unwrap();
    let mut command = redlock();
    command.args(arguments).current_dir(directory).env("A_PASSWORD", "in-a-variable");
    command.env("A_SENTINEL_PASSWORD", "of-sentinels-in-a-variable").env("REDLOCK_CONFIG", "redlock.toml");
    command.output().unwrap()
}

#[test]
fn no_secret_is_shown_whatever_is_said() {
    let authority = Authority::new("ours");
    let files = authority.issue("127.0.0.1", Validity::Now);
    let key = fs::read_to_string(&files.key).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("password", "in-a-secret-file\n");
    write("sentinel-password", "of-sentinels-in-a-secret-file\n");
    write("ca.pem", &fs::read_to_string(&files.ca).unwrap());
    write("client.pem", &fs::read_to_string(&files.certificate).unwrap());
    write("client.key", &key);

    let everything = "\
        password = \"in-the-file\"\nsentinel_password = \"of-sentinels-in-the-file\"\n\
        tls_ca_file = \"ca.pem\"\ntls_cert_file = \"client.pem\"\ntls_key_file = \"client.key\"\n\
        [[nodes]]\nurl = \"rediss://user:in-the-url%40plain@127.0.0.1:1\"\n\
        [[nodes]]\nurl = \"redis://127.0.0.1:2\"\npassword_file = \"password\"\n\
        [[nodes]]\nurl = \"redis://127.0.0.1:3\"\npassword_env = \"A_PASSWORD\"\n\
        [[nodes]]\nurl = \"redis+sentinel://127.0.0.1:4/service\"\n\
        sentinel_password_file = \"sentinel-password\"\n\
        [[nodes]]\nurl = \"redis+sentinel://127.0.0.1:5/service\"\nname = \"e\"\n\
        sentinel_password_env = \"A_SENTINEL_PASSWORD\"\n";
    for (arguments, code, part) in [
        (&["config", "show"][..], 0, "***"),
        (&["config", "show", "--json"], 0, "***"),
        (&["config", "check"], 0, "no mistakes"),
        (&["config", "show", "--set", "password=in-a-flag"], 0, "--set password"),
        (&["-vv", "run", "--no-wait", "job", "--", "true"], 69, "redlock_quorum"),
        (
            &["-vv", "run", "--no-wait", "--set", "password=in-a-flag", "job", "--", "true"],
            69,
            "redlock_quorum",
        ),
    ] {
        let output = run(directory.path(), everything, arguments);
        let text = says_no_secret(&output, &key);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }

    let nodes = "nodes = [\"redis://a\"]\n";
    for mistakes in [
        // Settings in which a secret is wrong, or stands beside a mistake.
        "nodes = [\"redis://user:in-the-url%40plain@h:x\", \"redis://user:in-the-url@plain@h/x\"]",
        "nodes = [\"in-the-url@plain\", \"http://:in-the-url%40plain@h\", \"redis://:in-the-url@plain\"]",
        "nodes = [\"redis+sentinel://u:in-the-url@plain/s\", \"redis+sentinel://u:in-the-url/plain@h/s\"]",
        "nodes = [\"redis://:in-the-url%40plain@a\", \"redis://:in-the-url%40plain@a\"]",
        "[[nodes]]\nurl = \"redis://:in-the-url%40plain@a\"\npassword = \"in-the-file\"",
        "[[nodes]]\nurl = \"redis://:in-the-url%40plain@a\"\ntls_ca_file = \"x\"",
        "[[nodes]]\nurl = [\"redis://:in-the-url%40plain@a\"]",
        &format!("{nodes}password = [\"in-the-file\"]"),
        &format!("{nodes}password = \"in-the-file\"\npassword_file = \"password\""),
        &format!("{nodes}password = \"in-the-file"),
        &format!("{nodes}password = in-the-file"),
        &format!("{nodes}sentinel_password = \"of-sentinels-in-the-file\""),
        &format!("{nodes}tls_key_file = \"client.key\""),
        "nodes = [\"rediss://a\"]\ntls_ca_file = \"client.key\"",
        "nodes = [\"rediss://a\"]\ntls_cert_file = \"client.key\"\ntls_key_file = \"client.pem\"",
        "nodes = [\"rediss://a\"]\ntls_cert_file = \"client.pem\"\ntls_key_file = \"password\"",
    ] {
        for arguments in [&["config", "check"][..], &["config", "check", "--json"], &["config", "show"]] {
            let output = run(directory.path(), mistakes, arguments);
            let text = says_no_secret(&output, &key);
            assert_eq!(output.status.code(), Some(78), "{mistakes}: {text}");
        }
    }
}

/// The full log with real servers, which accept a secret or refuse it.
#[test]
fn no_secret_is_logged() {
    let authority = Authority::new("ours");
    let files = authority.issue("127.0.0.1", Validity::Now);
    let key = fs::read_to_string(&files.key).unwrap();
    let cluster = LocalCluster::builder()
        .nodes(3)
        .tls(files.clone())
        .directive("requirepass", "in-the-file")
        .start()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    for (password, code) in [("in-the-file", 0), ("in-a-variable", 69)] {
        let settings = format!(
            "nodes = {:?}\npassword = {password:?}\ntls_ca_file = {:?}\ntls_cert_file = {:?}\ntls_key_file = {:?}\n",
            cluster.urls(),
            files.ca,
            files.certificate,
            files.key
        );
        let arguments = ["-vv", "run", "--no-wait", "job", "--", "true"];
        let output = run(directory.path(), &settings, &arguments);
        let text = says_no_secret(&output, &key);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("node is up") || text.contains("authentication failed"), "{text}");
    }
}
