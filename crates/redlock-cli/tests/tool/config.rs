//! `redlock config` reports all mistakes at once, and explains the settings.

use std::fs;
use std::path::Path;

use crate::support::{Scene, redlock};

fn run(directory: &Path, settings: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    fs::write(directory.join("r.toml"), settings).unwrap();
    let mut command = redlock();
    let output = command.arg("config").args(arguments).current_dir(directory).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), stdout, stderr)
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "nodes = [\"redis://a\", \"redis://b:x\", \"rediss://c\"]\ntll = \"5s\"\n\
                    tls_ca_file = \"nowhere.pem\"\nmax_wait = \"30\"\n[retry]\nfrist = \"1ms\"\n";
    let (code, stdout, stderr) = run(directory.path(), settings, &["check", "r.toml"]);
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    let lines: Vec<_> = stderr.lines().collect();
    let [head, mistakes @ ..] = &lines[..] else { panic!("{stderr}") };
    assert_eq!(*head, "redlock: 5 mistakes in the settings:");
    let expected = [
        "  r.toml:1:23: nodes: URL number 2: invalid port number; expected redis://",
        "  r.toml:2:1: tll: no such setting; did you mean ttl?",
        "  r.toml:3:15: tls_ca_file: cannot read nowhere.pem: No such file",
        "  r.toml:4:12: max_wait: \"30\"; must be a duration with its unit",
        "  r.toml:6:1: retry.frist: no such setting; did you mean retry.first?",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{stderr}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{mistake} should begin with {expected}");
    }
    let (code, stdout, _) = run(directory.path(), settings, &["check", "--json", "r.toml"]);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, Some(78));
    assert_eq!(
        json["mistakes"][1]["origin"],
        serde_json::json!({ "file": "r.toml", "line": 2, "column": 1 })
    );
}

#[test]
fn settings_are_shown_with_their_places_and_what_they_mean() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "nodes = [\"redis://a\", \"redis+sentinel://s1,s2,s3/b\", \"redis://10.0.0.3\"]\n\
                    password = \"secret\"\nttl = \"5s\"\ndangerous_no_restart_guard = true\n\
                    owner = \"the-billing\"\n";
    let show = ["show", "--config", "r.toml", "--set", "quorum=3"];
    let (code, stdout, stderr) = run(directory.path(), settings, &show);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for part in [
        "nodes\tredis://:***@a:6379\tr.toml:1:9\n",
        "nodes\tredis+sentinel://:***@s1:26379,s2:26379,s3:26379/b\tr.toml:1:9\n",
        "quorum\t3\t--set quorum\n",
        "max_ttl\t20s\tdefault\n",
        "3 of 3 nodes have to agree, none may be lost.",
        "A lease of 5s is good for 4.948s after drift;",
        "4.848s are left when the answers take 100ms (between continents);",
        "A crashed holder keeps others out for at most 5.05s; for 20.2s if its lock asked for max_ttl.",
        "warning: dangerous_no_restart_guard: two clients can hold one lock",
        "warning: b@s1:26379: a failover may forget locks",
        "warning: 10.0.0.3:6379: the password is sent unencrypted; rediss:// encrypts it",
    ] {
        assert!(stdout.contains(part), "{part:?} is not in:\n{stdout}");
    }
    assert!(!stdout.contains("has no vote for"), "there is no quarantine:\n{stdout}");
    let (_, stdout, _) = run(directory.path(), settings, &["show", "--json", "--config", "r.toml"]);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["means"]["tolerated_failures"], 1);
    assert_eq!(json["means"]["validity_by_round_trip"][1]["validity_ms"], 4848.0);
    assert_eq!(json["means"]["outage_after_crash_ms"], 5050.0);
}

#[test]
fn on_a_terminal_they_are_a_table_that_fits() {
    let (code, shown) = Scene::new(3).type_at(&["config", "show", "--set=ttl=5s"], "");
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains('\t') && shown.contains('\u{1b}'), "{shown}");
    let row = shown.lines().find(|line| line.starts_with("ttl ")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["ttl", "5s", "--set", "ttl"]);
    let places: Vec<_> = shown.lines().filter_map(|line| line.find("REDLOCK_NODES")).collect();
    assert_eq!(places, [row.find("--set").unwrap(); 3], "one below the other:\n{shown}");
}
