//! Wrong settings, URLs and names. Each mistake has its kind of error, and a message that names setting, value and
//! bound.

#![cfg(feature = "config")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::time::Duration;

use redlock_quorum::{LockError, NodeOptions, Redlock, RedlockBuilder, SettingsError};

const THREE: &str = "nodes = [\"redis://a\", \"redis://b\", \"redis://c\"]\n";

/// The expected mistake: its kind, its setting, and the parts of the message that name value and bound.
type Expected<'a> = (&'a str, &'a str, &'a [&'a str]);

#[track_caller]
fn is_mistake(error: &SettingsError, input: &str, (kind, setting, parts): Expected<'_>) {
    let variant = format!("{:?}", error.reason());
    assert_eq!(variant.split([' ', '(']).next().unwrap(), kind, "{input}: {error}");
    assert_eq!(error.setting(), setting, "{input}: {error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{input}: {part:?} is not in: {error}");
    }
}

/// Returns the only mistake of these settings.
#[track_caller]
fn only(builder: RedlockBuilder, input: &str) -> SettingsError {
    let mistakes = builder.settings().map(drop).expect_err(input);
    let Ok([mistake]) = <[SettingsError; 1]>::try_from(mistakes.clone()) else {
        panic!("{input}: one mistake expected: {mistakes:?}");
    };
    mistake
}

/// A line of a settings file after three nodes. The message begins with file, line and column.
const LINES: &[(&str, Expected<'static>)] = &[
    // Wrong types.
    (
        "ttl = 10",
        ("Malformed", "ttl", &["r.toml:2:7: ttl: 10; must be a duration with its unit, such as 10s"]),
    ),
    ("ttl = \"10\"", ("Malformed", "ttl", &["\"10\"", "a duration with its unit"])),
    ("ttl = \"-1s\"", ("Malformed", "ttl", &["\"-1s\"", "a duration"])),
    ("ttl = \"\"", ("Malformed", "ttl", &["\"\"", "a duration"])),
    ("ttl = \"1 parsec\"", ("Malformed", "ttl", &["\"1 parsec\"", "a duration"])),
    ("ttl = \"99999999999999999999s\"", ("Malformed", "ttl", &["\"99999999999999999999s\"", "a duration"])),
    ("ttl = \"1e3s\"", ("Malformed", "ttl", &["\"1e3s\"", "a duration"])),
    ("ttl = 1.5", ("Malformed", "ttl", &["1.5", "a duration"])),
    ("ttl = true", ("Malformed", "ttl", &["true", "a duration"])),
    ("ttl = [\"10s\"]", ("Malformed", "ttl", &["a list", "a duration"])),
    ("ttl = { s = 10 }", ("Malformed", "ttl", &["a table", "a duration"])),
    ("ttl = 2026-01-01", ("Malformed", "ttl", &["a date", "a duration"])),
    ("max_ttl = \"1 d 1\"", ("Malformed", "max_ttl", &["\"1 d 1\"", "a duration"])),
    ("max_wait = 30", ("Malformed", "max_wait", &["30", "a duration"])),
    ("max_hold = false", ("Malformed", "max_hold", &["false", "a duration"])),
    ("quorum = \"2\"", ("Malformed", "quorum", &["\"2\"", "a whole number"])),
    ("quorum = 2.0", ("Malformed", "quorum", &["2", "a whole number"])),
    ("quorum = -2", ("Malformed", "quorum", &["-2", "a whole number"])),
    (
        "quorum = 99999999999999999999",
        ("Malformed", "quorum", &["not a number of 64 bits", "a whole number"]),
    ),
    (
        "clock_drift_factor = \"0.01\"",
        ("Malformed", "clock_drift_factor", &["\"0.01\"", "a number, such as 0.01"]),
    ),
    ("keep_alive = \"yes\"", ("Malformed", "keep_alive", &["\"yes\"", "true or false"])),
    ("keep_alive = 1", ("Malformed", "keep_alive", &["1", "true or false"])),
    ("fencing = \"on\"", ("Malformed", "fencing", &["\"on\"", "true or false"])),
    ("owner = 7", ("Malformed", "owner", &["7", "a text"])),
    ("key_prefix = 7", ("Malformed", "key_prefix", &["7", "a text"])),
    ("password = 7", ("Malformed", "password", &["***", "a text"])),
    ("sentinel_password = [\"x\"]", ("Malformed", "sentinel_password", &["***", "a text"])),
    ("tls_ca_file = 7", ("Malformed", "tls_ca_file", &["7", "a text"])),
    (
        "retry.strategy = \"linear\"",
        ("Malformed", "retry.strategy", &["\"linear\"", "\"exponential\" or \"fixed\""]),
    ),
    (
        "retry.strategy = \"fixed\"\nretry.attempts = 0",
        ("Malformed", "retry.attempts", &["0", "1 to 4294967295"]),
    ),
    (
        "retry.strategy = \"fixed\"\nretry.attempts = 4294967296",
        ("Malformed", "retry.attempts", &["4294967296", "1 to"]),
    ),
    // Out of bounds.
    (
        "ttl = \"9ms\"",
        ("OutOfRange", "ttl", &["r.toml:2:7: ttl: 9ms; must be between 10ms and max_ttl = 20s"]),
    ),
    ("ttl = \"20001ms\"", ("OutOfRange", "ttl", &["20.001s", "between 10ms and max_ttl = 20s"])),
    ("ttl = \"0s\"", ("OutOfRange", "ttl", &["0ns", "between 10ms and"])),
    ("max_ttl = \"9ms\"", ("OutOfRange", "max_ttl", &["9ms", "between 10ms and 86400s"])),
    ("max_ttl = \"25h\"", ("OutOfRange", "max_ttl", &["90000s", "between 10ms and 86400s"])),
    ("ttl = \"1s\"\nnode_timeout = \"1s\"", ("OutOfRange", "node_timeout", &["1s", "below the ttl of 1s"])),
    (
        "node_timeout = \"0s\"",
        ("OutOfRange", "node_timeout", &["0ns", "above zero and below the ttl of 10s"]),
    ),
    ("node_timeout = \"10s\"", ("OutOfRange", "node_timeout", &["10s", "below the ttl of 10s"])),
    (
        "ttl = \"200ms\"",
        ("OutOfRange", "node_timeout", &["r.toml:2:7", "250ms (the default)", "below the ttl of 200ms"]),
    ),
    ("connect_timeout = \"0s\"", ("OutOfRange", "connect_timeout", &["0ns", "above zero"])),
    (
        "min_validity = \"10s\"",
        ("OutOfRange", "min_validity", &["10s", "below 9.898s, what the drift leaves"]),
    ),
    ("min_validity = \"9898ms\"", ("OutOfRange", "min_validity", &["9.898s", "below 9.898s"])),
    ("clock_drift_factor = 0.1", ("OutOfRange", "clock_drift_factor", &["0.1", "at least 0 and below 0.1"])),
    ("clock_drift_factor = -0.01", ("OutOfRange", "clock_drift_factor", &["-0.01", "at least 0"])),
    ("clock_drift_factor = nan", ("OutOfRange", "clock_drift_factor", &["NaN", "at least 0"])),
    ("clock_drift_factor = inf", ("OutOfRange", "clock_drift_factor", &["inf", "below 0.1"])),
    (
        "clock_drift_floor = \"9900ms\"",
        ("OutOfRange", "clock_drift_floor", &["9.9s", "leaves of the ttl of 10s"]),
    ),
    ("max_hold = \"9ms\"", ("OutOfRange", "max_hold", &["9ms", "at least 10ms"])),
    ("max_clock_skew = \"0s\"", ("OutOfRange", "max_clock_skew", &["0ns", "above zero"])),
    (
        "fence_retention = \"1h\"",
        ("OutOfRange", "fence_retention", &["3600s", "between 3780s (three times max_clock_skew"]),
    ),
    ("fence_retention = \"3651days\"", ("OutOfRange", "fence_retention", &["and 315360000s"])),
    (
        "max_clock_skew = \"2h\"\nfence_retention = \"6h\"",
        ("OutOfRange", "fence_retention", &["21600s", "between 25200s"]),
    ),
    ("owner = \"\"", ("OutOfRange", "owner", &["\"\"", "1 to 128 bytes"])),
    ("owner = \"a\\nb\"", ("OutOfRange", "owner", &["\"a\\nb\"", "without control characters"])),
    (
        "owner = \"leader:7:0:me\"",
        ("OutOfRange", "owner", &["\"leader:7:0:me\"", "by which leaders are known"]),
    ),
    (
        "key_prefix = \"redlock-quorum:\"",
        ("OutOfRange", "key_prefix", &["\"redlock-quorum:\"", "not beginning with `redlock-quorum:`"]),
    ),
    (
        "key_prefix = \"a\\u0000\"",
        ("OutOfRange", "key_prefix", &["\"a\\0\"", "at most 64 bytes without control"]),
    ),
    (
        "retry.attempts = 3",
        ("OutOfRange", "retry.attempts", &["given", "left out unless retry.strategy is \"fixed\""]),
    ),
    (
        "retry.strategy = \"fixed\"\nretry.first = \"1ms\"",
        ("OutOfRange", "retry.first", &["left out unless", "\"exponential\""]),
    ),
    // Wrong quorums.
    (
        "quorum = 0",
        ("Quorum", "quorum", &["r.toml:2:10: quorum: 0 of 3 nodes; must be between 2 (the majority) and 3"]),
    ),
    ("quorum = 1", ("Quorum", "quorum", &["1 of 3 nodes", "between 2"])),
    // The next node list.
    (
        "next_quorum = 2",
        (
            "Malformed",
            "next_quorum",
            &["r.toml:2:15: next_quorum: 2; must be given together with next_nodes"],
        ),
    ),
    (
        "next_nodes = [\"redis://c\", \"redis://d\"]\nnext_quorum = 1",
        ("OutOfRange", "next_quorum", &["1 of 2 nodes; must be between 2 (the majority) and 2"]),
    ),
    ("next_nodes = \"redis://d\"", ("Malformed", "next_nodes", &["must be a list of URLs or of tables"])),
    (
        "next_nodes = [\"http://d\"]",
        ("NodeUrl", "nodes", &["r.toml:2:15", "scheme \"http\" is not supported"]),
    ),
    ("next_nodes = [\"redis://d\", \"redis://d\"]", ("DuplicateNode", "nodes", &["d:6379 is listed twice"])),
    ("next_nodes = [\"redis://c/1\"]", ("DuplicateNode", "nodes", &["c:6379 is listed twice"])),
    (
        "next_nodes = [\"redis://c\", \"redis://b\", \"redis://a\"]",
        ("OutOfRange", "next_nodes", &["the same as nodes; must be other nodes, or another next_quorum"]),
    ),
    ("quorum = 4", ("Quorum", "quorum", &["4 of 3 nodes", "and 3"])),
    // Unknown settings.
    ("tll = \"5s\"", ("Unknown", "tll", &["r.toml:2:1: tll: no such setting; did you mean ttl?"])),
    ("TTL = \"5s\"", ("Unknown", "TTL", &["did you mean ttl?"])),
    ("node = []", ("Unknown", "node", &["did you mean nodes?"])),
    ("retry.frist = \"5s\"", ("Unknown", "retry.frist", &["did you mean retry.first?"])),
    ("[retries]\nfirst = \"5s\"", ("Unknown", "retries", &["no such setting"])),
    ("nothing_like_it = 1", ("Unknown", "nothing_like_it", &["nothing_like_it: no such setting"])),
    ("tls_insecure = true", ("Unknown", "tls_insecure", &["no such setting"])),
    (
        "dangerous_no_restart_gard = true",
        ("Unknown", "dangerous_no_restart_gard", &["did you mean dangerous_no_restart_guard?"]),
    ),
    // Settings that exclude each other.
    (
        "password = \"x\"\npassword_file = \"/dev/null\"",
        ("Conflict", "password_file", &["given together with password; must be one"]),
    ),
    (
        "username = \"u\"",
        ("Malformed", "username", &["r.toml:2:12", "u; must be given together with a password"]),
    ),
    (
        "sentinel_username = \"u\"",
        ("Malformed", "sentinel_username", &["u; must be given for redis+sentinel:// URLs only"]),
    ),
    (
        "sentinel_password = \"x\"",
        ("Malformed", "sentinel_password", &["***; must be given for redis+sentinel://"]),
    ),
    (
        "tls_server_name = \"a\"",
        ("Malformed", "tls_server_name", &["a; must be given for rediss:// URLs only"]),
    ),
    // Missing files that the settings name.
    (
        "password_file = \"nowhere\"",
        ("File", "password_file", &["r.toml:2:17", "cannot read nowhere: No such file"]),
    ),
    ("password_file = \".\"", ("File", "password_file", &["cannot read .: Is a directory"])),
    ("password_file = \"/dev/zero\"", ("File", "password_file", &["/dev/zero: longer than 4096 bytes"])),
    ("password_file = \"binary\"", ("File", "password_file", &["binary: not UTF-8"])),
    ("password_env = \"NO_SUCH_VARIABLE\"", ("Variable", "password_env", &["NO_SUCH_VARIABLE is not set"])),
    ("sentinel_password_env = \"\"", ("Variable", "sentinel_password_env", &["is not set"])),
    // Not TOML.
    ("ttl = ", ("Syntax", "", &["r.toml:2:", "not TOML"])),
    ("ttl 10", ("Syntax", "", &["not TOML"])),
    ("ttl = \"1s\"\nttl = \"2s\"", ("Syntax", "", &["r.toml:3:1", "duplicate key"])),
    ("[retry", ("Syntax", "", &["not TOML"])),
    ("quorum = 0x", ("Malformed", "quorum", &["not a number of 64 bits", "a whole number"])),
];

#[test]
fn wrong_lines_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("binary"), b"\xff\xfe").unwrap();
    for (lines, expected) in LINES {
        let file = directory.path().join("r.toml");
        fs::write(&file, format!("{THREE}{lines}\n")).unwrap();
        let error = only(Redlock::builder().file(&file), lines);
        is_mistake(&error, lines, *expected);
        let (text, path) = (error.to_string(), file.display().to_string());
        assert!(text.starts_with(&format!("{path}:")), "{lines}: where it is: {text}");
    }
}

/// Node lists, as a settings file contains them.
const NODES: &[(&str, Expected<'static>)] = &[
    ("", ("NoNodes", "nodes", &["none given; name at least one Redis master"])),
    (
        "\"\"",
        (
            "NodeUrl",
            "nodes",
            &["URL number 1: relative URL without a base; expected redis://[user:password@]host"],
        ),
    ),
    ("\"10.0.0.1\"", ("NodeUrl", "nodes", &["URL number 1: relative URL"])),
    ("\"10.0.0.1:6379\"", ("NodeUrl", "nodes", &["URL number 1"])),
    (
        "\"redis://a\", \"http://b\"",
        ("NodeUrl", "nodes", &["URL number 2 (http://b): scheme \"http\" is not supported"]),
    ),
    ("\"redis+unix://a\"", ("NodeUrl", "nodes", &["scheme \"redis+unix\" is not supported"])),
    ("\"redis:a\"", ("NodeUrl", "nodes", &["the host is missing"])),
    ("\"redis://\"", ("NodeUrl", "nodes", &["the host is missing"])),
    ("\"redis://a b\"", ("NodeUrl", "nodes", &["URL number 1: invalid"])),
    ("\"redis://a,b\"", ("NodeUrl", "nodes", &["the host has a comma in it; each URL is one server"])),
    ("\"redis://a:0\"", ("NodeUrl", "nodes", &["port 0 cannot be connected to"])),
    ("\"redis://a:65536\"", ("NodeUrl", "nodes", &["invalid port number"])),
    ("\"redis://a:x\"", ("NodeUrl", "nodes", &["invalid port number"])),
    ("\"redis://[::1\"", ("NodeUrl", "nodes", &["invalid IPv6 address"])),
    ("\"redis://a/x\"", ("NodeUrl", "nodes", &["the database at the end must be a number from 0"])),
    ("\"redis://a/-1\"", ("NodeUrl", "nodes", &["number from 0"])),
    ("\"redis://a/1/2\"", ("NodeUrl", "nodes", &["number from 0"])),
    ("\"redis://a?db=1\"", ("NodeUrl", "nodes", &["parameters are not supported"])),
    ("\"redis://a#1\"", ("NodeUrl", "nodes", &["parameters are not supported"])),
    ("\"redis://user@a\"", ("NodeUrl", "nodes", &["URL number 1 (redis://a:6379): a user needs a password"])),
    ("\"redis://:%ff@a\"", ("NodeUrl", "nodes", &["user and password must be UTF-8"])),
    ("\"redis://a\", \"redis://A:6379/1\"", ("DuplicateNode", "nodes", &["a:6379 is listed twice"])),
    (
        "\"redis+sentinel://a\"",
        ("NodeUrl", "nodes", &["the service's name is missing", "expected redis+sentinel://"]),
    ),
    ("\"redis+sentinel://a/\"", ("NodeUrl", "nodes", &["1 to 64 of A-Z, a-z, 0-9, and .-_"])),
    ("\"redis+sentinel://a/b c\"", ("NodeUrl", "nodes", &["1 to 64 of A-Z"])),
    ("\"redis+sentinel:///s\"", ("NodeUrl", "nodes", &["the host is missing"])),
    ("\"redis+sentinel://a,,b/s\"", ("NodeUrl", "nodes", &["the host is missing"])),
    ("\"redis+sentinel://a:x/s\"", ("NodeUrl", "nodes", &["a sentinel's host or port is wrong"])),
    ("\"redis+sentinel://a,a/s\"", ("NodeUrl", "nodes", &["a sentinel is listed twice"])),
    ("\"redis+sentinel://a/s/x\"", ("NodeUrl", "nodes", &["number from 0"])),
    ("\"http+sentinel://a/s\"", ("NodeUrl", "nodes", &["redis+sentinel or rediss+sentinel"])),
    (
        "\"redis+sentinel://a,b/s\", \"redis+sentinel://b,c/s\"",
        ("DuplicateNode", "nodes", &["s@b:26379 is listed twice"]),
    ),
    ("1", ("Malformed", "nodes", &["1; must be a list of URLs or of tables with a url"])),
    ("[\"redis://a\"]", ("Malformed", "nodes", &["a list; must be a list of URLs or of tables"])),
    (
        "{ name = \"a\" }",
        ("Malformed", "nodes", &["a table; must be a list of URLs or of tables with a url"]),
    ),
    ("{ url = 7 }", ("Malformed", "nodes.url", &["***; must be a text"])),
    ("{ url = \"redis://a\", port = 1 }", ("Unknown", "nodes.port", &["no such setting"])),
    ("{ url = \"redis://a\", nme = \"a\" }", ("Unknown", "nodes.nme", &["did you mean nodes.name?"])),
    ("{ url = \"redis://a\", name = \"\" }", ("OutOfRange", "nodes.name", &["\"\"; must be 1 to 64 bytes"])),
    (
        "{ url = \"redis://a\", name = \"a\\tb\" }",
        ("OutOfRange", "nodes.name", &["without control characters"]),
    ),
    (
        "{ url = \"redis://:x@a\", password = \"y\" }",
        ("NodeUrl", "nodes", &["the password is given both in the URL and"]),
    ),
    (
        "{ url = \"redis://u:x@a\", username = \"v\" }",
        ("NodeUrl", "nodes", &["the user is given both in the URL and"]),
    ),
    (
        "{ url = \"redis://a\", password_file = \"nowhere\" }",
        ("File", "nodes.password_file", &["cannot read", "nowhere"]),
    ),
    (
        "{ url = \"redis://a\", password = \"x\", password_env = \"PATH\" }",
        ("Conflict", "password_env", &["given together with password"]),
    ),
    (
        "{ url = \"redis+sentinel://a/s\", sentinel_password_env = \"PATH\", sentinel_password = \"x\" }",
        (
            "Conflict",
            "sentinel_password_env",
            &["given together with sentinel_password; must be one of them"],
        ),
    ),
    (
        "{ url = \"redis://a\", tls_ca_file = \"x\" }",
        ("Malformed", "nodes.tls_ca_file", &["for rediss:// URLs only"]),
    ),
    (
        "{ url = \"redis://a\", sentinel_password = \"x\" }",
        ("Malformed", "nodes.sentinel_password", &["***; must be given for redis+sentinel:// URLs only"]),
    ),
    (
        "{ url = \"redis+sentinel://a/s\", sentinel_username = \"x\" }",
        ("Malformed", "nodes.sentinel_username", &["x; must be given together with a password"]),
    ),
    (
        "{ url = \"redis://a\", name = \"n\" }, { url = \"redis://b\", name = \"n\" }",
        ("DuplicateNode", "nodes", &["n is listed twice"]),
    ),
];

#[test]
fn wrong_nodes() {
    let directory = tempfile::tempdir().unwrap();
    for (nodes, expected) in NODES {
        let file = directory.path().join("r.toml");
        fs::write(&file, format!("nodes = [{nodes}]\n")).unwrap();
        let error = only(Redlock::builder().file(&file), nodes);
        is_mistake(&error, nodes, *expected);
    }
    let many = (0..32).map(|i| format!("redis://h{i}"));
    let error = only(Redlock::builder().nodes(many), "32 nodes");
    is_mistake(&error, "32 nodes", ("TooManyNodes", "nodes", &["32 given, at most 31 are supported"]));
    let sentinels = (0..16).map(|i| format!("h{i}")).collect::<Vec<_>>().join(",");
    let error = only(Redlock::builder().nodes([format!("redis+sentinel://{sentinels}/s")]), "16 sentinels");
    is_mistake(&error, "16 sentinels", ("NodeUrl", "nodes", &["more than 15 sentinels"]));
    let error =
        only(Redlock::builder().nodes([NodeOptions::new("redis://a").name("n".repeat(65))]), "a long name");
    is_mistake(&error, "a long name", ("OutOfRange", "nodes.name", &["1 to 64 bytes"]));
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_without_its_feature() {
    for url in ["rediss://a", "rediss+sentinel://a/s"] {
        let error = only(Redlock::builder().nodes([url]), url);
        is_mistake(&error, url, ("FeatureMissing", "nodes", &["URL number 1", "needs the feature `tls`"]));
    }
}

#[test]
fn wrong_flags_and_files() {
    let three = || Redlock::builder().nodes(["redis://a", "redis://b", "redis://c"]);
    let flags: &[(&str, &str, Expected<'_>)] = &[
        ("ttl", "x", ("Malformed", "ttl", &["--flag: ttl: \"x\"; must be a duration"])),
        ("quorum", "two", ("Malformed", "quorum", &["\"two\"", "a whole number"])),
        ("keep_alive", "yes", ("Malformed", "keep_alive", &["\"yes\"", "true or false"])),
        ("clock_drift_factor", "1%", ("Malformed", "clock_drift_factor", &["\"1%\"", "a number"])),
        ("clock_drift_factor", "1", ("OutOfRange", "clock_drift_factor", &["1", "below 0.1"])),
        ("retry", "x", ("Unknown", "retry", &["--flag: retry: no such setting"])),
        ("", "x", ("Unknown", "", &["no such setting"])),
        ("nodes", "redis://a,b", ("NodeUrl", "nodes", &["--flag: nodes: URL number 1", "has a comma in it"])),
        ("nodes", "redis://a,redis://a", ("DuplicateNode", "nodes", &["a:6379 is listed twice"])),
        (
            "next_nodes",
            "redis://c,redis://c",
            ("DuplicateNode", "nodes", &["--flag", "c:6379 is listed twice"]),
        ),
        ("nodes", ",redis://a", ("NodeUrl", "nodes", &["URL number 1: relative URL"])),
    ];
    for (setting, value, expected) in flags {
        let error = only(three().flag("--flag", setting, value), setting);
        is_mistake(&error, setting, *expected);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
    fs::write(path("binary"), b"ttl = \"\xff\"").unwrap();
    for (name, part) in [
        ("nowhere", "No such file"),
        ("", "Is a directory"),
        ("large", "longer than 1048576 bytes"),
        ("binary", "not UTF-8"),
    ] {
        let error = only(Redlock::builder().file(path(name)), name);
        is_mistake(&error, name, ("File", "file", &["cannot read", part]));
    }
}

/// Wrong names of locks and wrong settings of a single lock are rejected before anything is sent.
#[tokio::test]
async fn wrong_names_and_settings_of_a_lock() {
    let redlock = Redlock::builder().nodes(["redis://127.0.0.1:1"]).connect().await.unwrap();
    let (long, umlauts) = ("x".repeat(513), "ü".repeat(257));
    for (name, rule) in [
        ("", "must not be empty"),
        ("a\nb", "must not contain control characters"),
        ("\0", "must not contain control characters"),
        ("a\u{7f}", "must not contain control characters"),
        ("\u{85}", "must not contain control characters"),
        ("redlock-quorum:", "must not begin with `redlock-quorum:`"),
        ("redlock-quorum:node", "must not begin with `redlock-quorum:`"),
        (&long, "must be at most 512 bytes long"),
        (&umlauts, "must be at most 512 bytes long"),
    ] {
        let error = redlock.mutex(name).unwrap_err();
        let shown = format!("{:?}", name.chars().take(64).collect::<String>());
        is_mistake(&error, name, ("Resource", "resource", &[rule, &shown]));
        assert!(error.to_string().len() < 600, "a long name is not repeated: {error}");
    }
    // The prefixes that other implementations put before the names of their locks are allowed.
    for name in ["redlock:", "redlock:job", "redlock-quorum", "app:redlock:fences"] {
        assert!(redlock.mutex(name).is_ok(), "{name:?}");
    }
    let mutex = || redlock.mutex("job").unwrap();
    let ms = Duration::from_millis;
    let table: [(redlock_quorum::Mutex, Expected<'_>); 6] = [
        (mutex().ttl(ms(9)), ("OutOfRange", "ttl", &["9ms", "between 10ms and max_ttl = 20s"])),
        (mutex().ttl(ms(20_001)), ("OutOfRange", "ttl", &["20.001s", "max_ttl = 20s"])),
        (mutex().ttl(Duration::MAX), ("OutOfRange", "ttl", &["max_ttl = 20s"])),
        (mutex().min_validity(ms(9_898)), ("OutOfRange", "min_validity", &["9.898s", "below 9.898s"])),
        (mutex().ttl(ms(10)).min_validity(ms(8)), ("OutOfRange", "min_validity", &["8ms", "below"])),
        (mutex().max_hold(ms(9)), ("OutOfRange", "max_hold", &["9ms", "at least 10ms"])),
    ];
    for (mutex, expected) in table {
        for result in [mutex.try_lock().await, mutex.lock().await] {
            let Err(LockError::Invalid(error)) = result else { panic!("{expected:?}: {result:?}") };
            is_mistake(&error, "a lock", expected);
        }
    }
}
