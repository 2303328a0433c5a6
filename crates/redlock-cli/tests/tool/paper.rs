//! Texts that the tool generates: completions, manual pages, help. The README must agree with them.

use std::fs;

use crate::support::redlock;

const SUBCOMMANDS: [&str; 15] = [
    "bench",
    "break",
    "chaos",
    "completions",
    "config",
    "demo",
    "dev",
    "doctor",
    "elect",
    "init",
    "inspect",
    "leader",
    "man",
    "nodes",
    "run",
];

fn output(arguments: &[&str]) -> String {
    // Without a terminal COLUMNS decides the width: wide enough not to wrap anything.
    let output = redlock().args(arguments).env("COLUMNS", "1000").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Subcommands that the tool calls itself by.
const HIDDEN: [&str; 3] = ["chaos-client", "run-exec", "run-guardian"];

#[test]
fn completions_know_every_subcommand_and_nothing_that_is_hidden() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = output(&["completions", shell]);
        for subcommand in SUBCOMMANDS {
            assert!(script.contains(subcommand), "{shell} {subcommand}");
        }
        assert!(HIDDEN.iter().all(|hidden| !script.contains(hidden)), "{shell}");
    }
    assert!(output(&["completions", "bash"]).contains("--no-wait"));
}

#[test]
fn there_is_a_manual_page_of_each_subcommand() {
    let page = output(&["man"]);
    assert!(page.contains(".TH redlock 1") && page.contains("Exit codes"), "{page}");
    assert!(HIDDEN.iter().all(|hidden| !page.contains(&hidden.replace('-', "\\-"))), "{page}");
    assert!(!page.contains("redlock\\-help"), "{page}");
    assert!(output(&["man", "config", "show"]).contains(".TH redlock-config-show 1"));
    for subcommand in SUBCOMMANDS {
        assert!(page.contains(&format!("redlock\\-{subcommand}(1)")), "{subcommand}: {page}");
        assert!(output(&["man", subcommand]).contains(".SH SYNOPSIS"), "{subcommand}");
    }
    let directory = tempfile::tempdir().unwrap();
    output(&["man", "--directory", directory.path().to_str().unwrap()]);
    for subcommand in SUBCOMMANDS {
        assert!(directory.path().join(format!("redlock-{subcommand}.1")).exists(), "{subcommand}");
    }
    for hidden in HIDDEN {
        assert!(!directory.path().join(format!("redlock-{hidden}.1")).exists(), "{hidden}");
        let ended = redlock().args(["man", hidden]).output().unwrap();
        assert_eq!(ended.status.code(), Some(64), "{ended:?}");
    }
}

#[test]
fn the_help_of_every_subcommand_has_examples() {
    for subcommand in SUBCOMMANDS.into_iter().chain(["config check", "config show", "nodes forget"]) {
        let arguments: Vec<_> = subcommand.split(' ').chain(["--help"]).collect();
        let help = output(&arguments);
        let examples = help.split("Examples:\n").nth(1).unwrap_or_default();
        assert!(examples.contains(&format!("  redlock {subcommand}")), "{help}");
        // Lines arranged by hand must fit on any terminal and manual page; prose is wrapped to fit.
        let arranged = examples.lines().filter(|line| line.starts_with("  "));
        arranged.for_each(|line| assert!(line.len() <= 72, "{subcommand}: {line}"));
    }
}

#[test]
fn what_a_script_may_want_to_read_there_is_as_json() {
    for subcommand in [
        "bench",
        "break",
        "config check",
        "config show",
        "demo",
        "dev",
        "doctor",
        "init",
        "inspect",
        "leader",
        "nodes forget",
    ] {
        let arguments: Vec<_> = subcommand.split(' ').chain(["--help"]).collect();
        assert!(output(&arguments).contains("--json"), "{subcommand}");
    }
}

#[test]
fn the_readme_has_the_exit_codes_that_the_tool_has() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let help = output(&["--help"]);
    let table = help.split("Exit codes:\n").nth(1).unwrap().trim_end();
    assert!(table.lines().count() > 10, "{help}");
    assert!(readme.contains(table), "not in README.md:\n{table}");
}
