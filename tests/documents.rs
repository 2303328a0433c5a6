//! Compares events and dashboard in `docs/` with the sources. The table of metrics is compared beside the code, in
//! `coordinator/counts/meters.rs`.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const DOCUMENT: &str = include_str!("../docs/observability.md");
const DASHBOARD: &str = include_str!("../docs/grafana-dashboard.json");

/// Level and fields of each span or event, by its name or message.
type Events = BTreeMap<String, (String, BTreeSet<String>)>;

#[test]
fn every_event_and_span_is_documented_with_its_level_and_fields() {
    let (code, documented) = (events_of_the_library(), documented_events());
    assert!(code.len() > 15, "{code:#?}");
    for (name, event) in &code {
        assert_eq!(documented.get(name), Some(event), "{name:?}, in the code at the right");
    }
    let gone: Vec<_> = documented.keys().filter(|name| !code.contains_key(*name)).collect();
    assert!(gone.is_empty(), "documented, but not in the code: {gone:?}");
}

#[test]
fn events_are_read_as_they_are_written() {
    let text = r#"
        tracing::warn!(%error, left = ?a.b(c, "d"), "so {it:?} is");
        debug!(
            node,
            reason = %x, "two \
             lines"
        );
        // info!("a comment");
        let span = tracing::debug_span!("lock", resource = self.name());
    "#;
    let event =
        |level: &str, fields: &[&str]| (level.to_owned(), fields.iter().map(|f| (*f).to_owned()).collect());
    let expected: Events = [
        ("so … is".to_owned(), event("warn", &["error", "left"])),
        ("two lines".to_owned(), event("debug", &["node", "reason"])),
        ("lock".to_owned(), event("debug", &["resource"])),
    ]
    .into();
    assert_eq!(events_of(text), expected);
}

/// Checks that the dashboard has what Grafana needs to import and show it.
#[test]
fn the_dashboard_imports_cleanly() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(dashboard["title"].is_string() && dashboard["uid"].is_string(), "{dashboard}");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    // An id would be that of another dashboard where this one is imported.
    assert!(dashboard["id"].is_null());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!((&variables[0]["type"], &variables[0]["query"]), (&"datasource".into(), &"prometheus".into()));
    let variables: BTreeSet<&str> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();

    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels of one number: {panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "the grid has 24 columns: {panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "two panels in one place: {panel}");
        }
        let targets = panel["targets"].as_array().unwrap();
        let refs: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(refs.len(), targets.len(), "{panel}");
        for query in targets.iter().chain([panel]) {
            assert_eq!(query["datasource"]["uid"], "${datasource}", "{query}");
        }
        for target in targets {
            check_query(target["expr"].as_str().unwrap(), &variables);
        }
    }
    assert!(panels.len() > 10);
}

/// Checks that parentheses match, that variables exist, and that the labels are those of the document's table.
fn check_query(query: &str, variables: &BTreeSet<&str>) {
    for pair in ["()", "[]", "{}"] {
        let count = |side: usize| query.matches(&pair[side..=side]).count();
        assert_eq!(count(0), count(1), "{query}");
    }
    for word in query.split('$').skip(1) {
        let name: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        // Grafana's own variables begin with two underscores.
        assert!(name.starts_with("__") || variables.contains(name.as_str()), "{name} in {query}");
    }
    let metric = &query[query.find("redlock_").unwrap()..];
    let metric: String = metric.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let is_bucket = metric.ends_with("_bucket");
    let row =
        DOCUMENT.lines().find(|line| line.contains(&format!("`{}`", metric.trim_end_matches("_bucket"))));
    let allowed = row.unwrap().split('|').nth(3).unwrap();
    let grouped = query.split("by (").nth(1).map_or("", |rest| rest.split(')').next().unwrap());
    let selected = query.split('{').nth(1).unwrap().split('}').next().unwrap();
    let selected = selected.split(',').map(|matcher| matcher.trim().split(['=', '!']).next().unwrap());
    for label in grouped.split(", ").filter(|label| !label.is_empty()).chain(selected) {
        let known = label == "job" || (label == "le" && is_bucket) || allowed.contains(&format!("`{label}`"));
        assert!(known, "{metric} has no label {label}: {query}");
    }
    assert_eq!(is_bucket, query.starts_with("histogram_quantile("), "{query}");
}

/// The rows of the table of traces: level, name in backticks, fields in backticks.
fn documented_events() -> Events {
    let table = DOCUMENT.split("## Traces").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let level = cells[0].trim_start_matches("| ").to_owned();
        let name = if cells[1].starts_with("``") { "``" } else { "`" };
        let name = cells[1].split(name).nth(1).unwrap().trim().to_owned();
        let fields = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (name, (level, fields))
    })
    .collect()
}

fn events_of_the_library() -> Events {
    sources().iter().flat_map(|file| events_of(&fs::read_to_string(file).unwrap())).collect()
}

fn events_of(text: &str) -> Events {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut events = Events::new();
    for level in ["trace", "debug", "info", "warn", "error"] {
        for macro_name in [format!("{level}!("), format!("{level}_span!(")] {
            for (at, _) in code.match_indices(&macro_name) {
                let before = code[..at].chars().next_back().unwrap_or(' ');
                if before.is_alphanumeric() || before == '_' {
                    continue;
                }
                let (mut name, mut fields) = (None, BTreeSet::new());
                for argument in arguments(&code[at + macro_name.len()..]) {
                    match argument.strip_prefix('"') {
                        Some(literal) if name.is_none() => name = Some(message(literal)),
                        // A part of the message.
                        _ if name.is_some() && !macro_name.ends_with("span!(") => {}
                        _ => {
                            let field = argument.split(" = ").next().unwrap();
                            fields.insert(field.trim_start_matches(['%', '?']).to_owned());
                        }
                    }
                }
                events.insert(name.unwrap(), (level.to_owned(), fields));
            }
        }
    }
    events
}

/// The arguments of a macro, from behind its opening parenthesis.
fn arguments(text: &str) -> Vec<String> {
    let (mut all, mut current, mut depth, mut quoted, mut escaped) =
        (Vec::new(), String::new(), 0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(std::mem::take(&mut current).trim().to_owned());
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    all.push(current.trim().to_owned());
    all.retain(|argument| !argument.is_empty());
    all
}

/// A string literal as it is printed, without its variable parts.
fn message(literal: &str) -> String {
    let literal = literal.trim_end_matches('"').replace("\\\n", "");
    let (mut text, mut inside) = (String::new(), false);
    for c in literal.chars() {
        match c {
            '{' => inside = true,
            '}' => {
                inside = false;
                text.push('…');
            }
            _ if inside => {}
            _ => text.push(c),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The sources of the library. The tool and the testing kit are crates of their own, with their own log events.
fn sources() -> Vec<PathBuf> {
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
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files
}
