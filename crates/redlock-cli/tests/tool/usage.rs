//! Wrong command lines, and the tool's messages about them.

use crate::support::redlock;

#[test]
fn wrong_usage_is_64() {
    let cases: [(&[&str], &str); 9] = [
        (&[], "Usage: redlock"),
        (&["no-such-subcommand"], "unrecognized subcommand"),
        (&["run", "--no-such-option", "k", "--", "true"], "--no-such-option"),
        (&["run", "k"], "COMMAND"),
        (&["run", "k", "true"], "-- <COMMAND>"),
        (&["run", "--wait", "1s", "--no-wait", "k", "--", "true"], "cannot be used with"),
        (&["run", "--ttl", "10", "k", "--", "true"], "time unit needed"),
        (&["run", "k", "--", "true"], "no nodes given"),
        (&["dev", "--nodes", "0"], "1 to 64"),
    ];
    for (arguments, text) in cases {
        let (code, stdout, stderr) = run(arguments, None);
        assert_eq!((code, stdout.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
    }
}

#[test]
fn without_nodes_both_ways_to_name_them_are_told() {
    for variable in [None, Some("")] {
        let (code, _, stderr) = run(&["run", "k", "--", "true"], variable);
        assert_eq!(code, Some(64));
        for way in ["--node URL", "REDLOCK_NODES", "redlock dev"] {
            assert!(stderr.contains(way), "{stderr}");
        }
    }
}

#[test]
fn help_and_version_are_no_errors_and_show_no_password() {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["run", "-h"], &["dev", "--help"]]
    {
        let (code, stdout, stderr) = run(arguments, Some("redis://:hunter2@a"));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!stdout.contains("hunter2"), "{stdout}");
    }
    let (_, stdout, _) = run(&["run", "--help"], None);
    for part in ["Examples:", "REDLOCK_NODES", "REDLOCK_RESOURCE", "   75  another owner", "  128+n"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_78_and_show_no_password() {
    let cases: [(&[&str], &str); 6] = [
        (&["run", "--node", "http://u:hunter2@h", "k", "--", "true"], "scheme \"http\""),
        (&["run", "--node", "redis://:hunter2@h:x", "k", "--", "true"], "invalid port"),
        (&["run", "--node", "redis://127.0.0.1:1", "--ttl", "1ms", "k", "--", "true"], "ttl: 1ms"),
        (
            &["run", "--node", "redis://127.0.0.1:1", "--ttl", "1h", "k", "--", "true"],
            "ttl: 3600s; must be between 10ms and max_ttl = 20s; --max-ttl or --set max_ttl=... raises",
        ),
        (
            &["run", "--node", "redis://127.0.0.1:1", "--ttl", "1h", "--max-ttl", "30m", "k", "--", "true"],
            "max_ttl = 1800s",
        ),
        (
            &["run", "--node", "redis://127.0.0.1:1", "redlock-quorum:k", "--", "true"],
            "resource \"redlock-quorum:k\"",
        ),
    ];
    for (arguments, text) in cases {
        check_78(arguments, None, text);
    }
    check_78(&["run", "k", "--", "true"], Some("redis://a,redis://:hunter2@h:x"), "invalid port");
}

#[test]
fn a_forgotten_pair_of_dashes_is_pointed_out() {
    let cases: [(&[&str], &str); 4] = [
        (&["run", "key", "ls", "-l"], "redlock run key -- ls -l\n"),
        (
            &["run", "--ttl", "5s", "key", "sh", "-c", "echo $HOME"],
            "redlock run --ttl 5s key -- sh -c 'echo $HOME'\n",
        ),
        (&["run", "ls", "ls"], "redlock run ls -- ls\n"),
        (&["-q", "run", "key", "backup"], "redlock -q run key -- backup\n"),
    ];
    for (arguments, meant) in cases {
        let (code, _, stderr) = run(arguments, None);
        assert!(code == Some(64) && stderr.ends_with(meant), "{arguments:?}: {stderr}");
    }
    for arguments in
        [&["run", "key", "--", "ls", "--no-such"][..], &["run", "--no-such", "key"], &["inspect", "k", "run"]]
    {
        let (_, _, stderr) = run(arguments, None);
        assert!(!stderr.contains("did you mean\n"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn quiet_says_nothing() {
    let (code, stdout, stderr) =
        run(&["run", "-q", "--node", "redis://127.0.0.1:1", "--no-wait", "k", "--", "true"], None);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(69), "", ""));
}

fn check_78(arguments: &[&str], variable: Option<&str>, text: &str) {
    let (code, stdout, stderr) = run(arguments, variable);
    assert_eq!((code, stdout.as_str()), (Some(78), ""), "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("redlock: ") && stderr.contains(text), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

fn run(arguments: &[&str], variable: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = redlock();
    command.args(arguments);
    if let Some(nodes) = variable {
        command.env("REDLOCK_NODES", nodes);
    }
    let output = command.output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), stdout, stderr)
}
