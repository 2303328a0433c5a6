//! Guards the layout: which part may name which, and how long a file may be.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The parts of the library that each part may name. `client` and `lib` wire everything together. Other crates see what
/// users see, because they are other crates.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("protocol", &["planted", "types"]),
    ("error", &["protocol", "types"]),
    ("config", &["error", "protocol", "types"]),
    ("node", &["error", "planted", "protocol", "types"]),
    ("planted", &[]),
    ("coordinator", &["config", "error", "node", "planted", "protocol", "types"]),
    ("lock", &["config", "coordinator", "error", "protocol", "types"]),
];

/// Names that only one part may use, because that part hides them.
const FOREIGN: &[(&str, &str)] =
    &[("redis::", "node"), ("getrandom::", "coordinator"), ("clock_gettime", "coordinator")];

/// A longer file should be split.
const LINES_MAX: usize = 420;

#[test]
fn parts_name_only_what_they_may() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ARROWS.iter().map(|(part, others)| (*part, others.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for file in sources() {
        let part = part_of(&file);
        let Some(allowed) = allowed.get(part.as_str()) else { continue };
        if file.to_string_lossy().ends_with("_tests.rs") {
            // Tests beside the code use the testing kit.
            continue;
        }
        for named in named_parts(&fs::read_to_string(&file).unwrap()) {
            if named != part && !allowed.contains(named.as_str()) {
                wrong.push(format!("{}: {part} must not name {named}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn foreign_words_stay_where_they_are_hidden() {
    let mut wrong = Vec::new();
    for file in sources() {
        let part = part_of(&file);
        let text = fs::read_to_string(&file).unwrap();
        for (word, home) in FOREIGN {
            if part != *home && code_lines(&text).any(|line| line.contains(word)) {
                wrong.push(format!("{}: only {home} names {word}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The manifests decide what crates may name of each other. The testing kit does not depend on the library, and only
/// the library and the benchmarks use redis-rs.
#[test]
fn crates_depend_only_on_what_they_may() {
    for member in ["crates/redlock-cli", "crates/redlock-sim", "crates/redlock-testing", "examples"] {
        assert!(!names(&manifest(member), "redis"), "{member} does not talk to redis-rs");
    }
    let testing = manifest("crates/redlock-testing");
    let (shipped, tests) = testing.split_once("[dev-dependencies]").unwrap();
    assert!(!names(shipped, "redlock-quorum"), "it looks at servers independently of what it tests");
    let sim = manifest("crates/redlock-sim");
    let (simulated, _) = sim.split_once("[dev-dependencies]").unwrap();
    assert!(!names(simulated, "redlock-quorum"), "it is one of those servers");
    assert!(names(tests, "redlock-quorum") && names(&manifest("benches"), "redis"), "the check can fail");
}

#[test]
fn files_are_short_enough_to_be_read() {
    let members = [
        "src",
        "crates/redlock-cli/src",
        "crates/redlock-sim/src",
        "crates/redlock-testing/src",
        "benches/src",
        "examples",
    ];
    let too_long: Vec<_> = members
        .into_iter()
        .flat_map(sources_of)
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(too_long.is_empty(), "{too_long:#?}");
}

#[test]
fn the_arrow_check_can_fail() {
    assert_eq!(
        named_parts("use crate::{node::Node, types::Ttl};\nuse crate::lock::Guard;"),
        ["node", "types", "lock"]
    );
    assert_eq!(named_parts("// crate::node is not named in a comment"), Vec::<String>::new());
}

/// The parts named after `crate::` in code, including those in braces.
fn named_parts(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for line in code_lines(text) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let names = match rest.strip_prefix('{') {
                Some(list) => top_level(list),
                None => vec![rest],
            };
            parts.extend(names.into_iter().map(first_word).filter(|word| !word.is_empty()));
        }
    }
    parts
}

/// Splits a brace list at its top-level commas.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..i]);
                return items;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start..]);
    items
}

fn first_word(text: &str) -> String {
    let word: String = text.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    // Re-exports at the root are types, which begin with a capital, so that nothing is left of them here.
    word
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn part_of(file: &Path) -> String {
    let inside = file.strip_prefix(source_dir()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn manifest(member: &str) -> String {
    fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap()
}

/// Whether a manifest, or a part of one, names the dependency.
fn names(manifest: &str, dependency: &str) -> bool {
    manifest.lines().any(|line| line.split(['.', ' ']).next() == Some(dependency))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source_dir() -> PathBuf {
    root().join("src")
}

fn sources() -> Vec<PathBuf> {
    sources_of("src")
}

fn sources_of(directory: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join(directory), &mut files);
    assert!(files.len() > 4, "the sources are where the test looks");
    files.sort();
    files
}
