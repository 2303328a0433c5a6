//! The scripts that make keys which expire, on a real server.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use crate::node::scripts::REGISTER_TEXT;
use crate::testing::{LocalCluster, Reply};

/// The bug: PEXPIRE came after the write. Where it was not permitted any more, a reader's key, an intent or a queue stayed
/// for good, and a reader's key keeps everybody from writing.
#[test]
fn no_key_is_made_that_cannot_expire() {
    let cluster = LocalCluster::start(1).unwrap();
    let run = |script: &str, keys: &[&str], arguments: &[&str]| {
        let count = keys.len().to_string();
        cluster.command(0, &[&["EVAL", script, &count], keys, arguments].concat()).unwrap()
    };
    let key = "redlock-quorum:test";
    let (acquire, extend) =
        (include_str!("scripts/acquire_shared.lua"), include_str!("scripts/extend_shared.lua"));
    let made = [
        (acquire, vec![key], vec!["token", "1000", "none"]),
        (include_str!("scripts/intend.lua"), vec![key], vec!["token", "1000"]),
        (REGISTER_TEXT, vec!["lock", key], vec!["channel", "", "eager", "250", "10000"]),
        (extend, vec!["written"], vec!["token", "1000"]),
    ];
    cluster.command(0, &["SET", "written", "token", "PX", "600000"]).unwrap();
    cluster.command(0, &["ACL", "SETUSER", "default", "-pexpire"]).unwrap();
    for (script, keys, arguments) in &made {
        let refused = run(script, keys, arguments);
        assert!(matches!(refused, Reply::Error(_)), "{refused:?} of {script}");
        assert_eq!(cluster.command(0, &["EXISTS", key]).unwrap().int(), Some(0), "{script}");
    }
    assert!(cluster.command(0, &["PTTL", "written"]).unwrap().int() > Some(0));
}

/// The bug: the field of a writer that had died lived on for as long as other writers came, and kept readers out in
/// between.
#[test]
fn a_dead_writers_intent_does_not_live_on_with_the_others() {
    let cluster = LocalCluster::start(1).unwrap();
    let key = "redlock-quorum:test";
    let intend = |wait: &str, lasts: &str| {
        let script = include_str!("scripts/intend.lua");
        let done = cluster.command(0, &["EVAL", script, "1", key, wait, lasts]).unwrap();
        assert_eq!(done.int(), Some(1), "{done:?}");
    };
    let waits = || cluster.command(0, &["HLEN", key]).unwrap().int();
    intend("alive", "600000");
    intend("dies", "50");
    assert_eq!(waits(), Some(1), "more was left than the second asks for, as after a clock was set back");
    intend("dies", "600000");
    cluster.command(0, &["HSET", key, "dead", "1"]).unwrap();
    intend("alive", "600000");
    assert_eq!(waits(), Some(2));
    cluster.command(0, &["HDEL", key, "alive", "dies"]).unwrap();
    assert_eq!(waits(), Some(0), "readers are let in");
}
