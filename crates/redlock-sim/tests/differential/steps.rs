//! What is asked of both servers, at random.

use crate::pair::Who;
use crate::random::Random;
use crate::scripts::{SCRIPTS, Script};
use crate::wire::words;

/// All keys: locks, a queue, a hash, sorted sets, and one of any type.
pub(crate) const KEYS: [&str; 9] = ["k0", "k1", "k2", "q:k0", "q:k1", "h0", "z0", "z1", "x0"];

/// A user who may do less: name, password, and what an ACL says of it.
pub(crate) const FEW: [&str; 9] =
    ["few", "secret", "resetkeys", "~k*", "~q*", "resetchannels", "&c*", "+@all", "-pttl"];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// `NOW` in a word becomes the time.
    Ask(Who, Vec<Vec<u8>>),
    Act(Act),
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Full(bool),
    Replica(bool),
    /// The key is given a short time to live, which passes.
    Outlive(&'static str),
}

/// Times to live are long, so that none ends by itself, or end at once.
const TTLS: [&str; 5] = ["100000", "200000", "3000000", "0", "-5"];
const LONG: [&str; 3] = ["100000", "200000", "3000000"];
const SCORES: [&str; 13] =
    ["1", "2", "2", "2", "2.5", "-3", "0.1", "1e9", "1000000", "+inf", "NOW", "NOW-3600", "NOW+3600"];
const BOUNDS: [&str; 10] = ["-inf", "+inf", "0", "(0", "(2", "(2", "2", "(2.5", "NOW", "(NOW-1800"];
const MEMBERS: [&str; 5] = ["c0", "c1", "d0", "k0", "k1"];
const TOKENS: [&str; 3] = ["t0", "t1", "t2"];
const FIELDS: [&str; 5] = ["id", "sequence", "made", "whole", "declared"];
const CHANNELS: [&str; 4] = ["c0", "c1", "d0", "d1"];
const WRONG: [&str; 6] = ["", "x", "1.5", "01", "9223372036854775807", "-1"];

pub(crate) fn step(random: &mut Random) -> Step {
    match random.below(1000) {
        0..3 => return Step::Act(Act::Outlive(random.of(&KEYS))),
        3..9 => return Step::Act(Act::Full(random.below(3) == 0)),
        9..13 => return Step::Act(Act::Replica(random.below(3) == 0)),
        _ => {}
    }
    let who = match random.below(20) {
        0..9 => Who::Resp3,
        9..15 => Who::Resp2,
        15..18 => Who::Few,
        _ => Who::Listener,
    };
    let mut request = match random.below(10) {
        0..5 => command(random),
        _ => script(random),
    };
    if random.below(40) == 0 {
        spoil(random, &mut request);
    }
    if random.below(4) == 0 {
        request[0].make_ascii_lowercase();
    }
    // Without a channel it leaves all of them, in any order.
    if request.len() == 1 && request[0].eq_ignore_ascii_case(b"UNSUBSCRIBE") {
        request.push(b"d1".to_vec());
    }
    // Whoever listens in RESP2 may do nothing else.
    let listens = request[0].eq_ignore_ascii_case(b"SUBSCRIBE");
    Step::Ask(if who == Who::Resp2 && listens { Who::Listener } else { who }, request)
}

/// A mistake: a wrong word, one too many, or one too few.
fn spoil(random: &mut Random, request: &mut Vec<Vec<u8>>) {
    // The cursors of servers differ, and a very small skew is a matter of time.
    let has_trim = || request.iter().any(|word| Script::named(word) == Some(Script::Trim));
    if request[0] == b"SCAN" || has_trim() {
        return;
    }
    let index = random.below(request.len());
    match random.below(3) {
        0 => request[index] = random.of(&WRONG).as_bytes().to_vec(),
        1 => request.push(random.of(&WRONG).as_bytes().to_vec()),
        _ if request.len() > 1 => drop(request.pop()),
        _ => {}
    }
    // Options of later versions.
    if request[0].starts_with(b"PEXPIRE") {
        request.truncate(3);
    }
    // An empty name is shown in another way by each server, and means nothing.
    if request[0].is_empty() {
        request[0] = b"NONE".to_vec();
    }
}

/// A key that is probably of this type.
fn key(random: &mut Random, kind: &str) -> &'static str {
    let fitting: &[&str] = match kind {
        "text" => &["k0", "k1", "k2"],
        "hash" => &["h0"],
        "set" => &["z0", "z1", "q:k0", "q:k1"],
        _ => &KEYS,
    };
    if random.below(12) == 0 { random.of(&KEYS) } else { random.of(fitting) }
}

fn command(random: &mut Random) -> Vec<Vec<u8>> {
    let (text, hash, set, any) =
        (key(random, "text"), key(random, "hash"), key(random, "set"), key(random, "any"));
    let (other, ttl) = (key(random, "any"), random.of(&TTLS));
    let (score, member) = (random.of(&SCORES), random.of(&MEMBERS));
    let (token, field) = (random.of(&TOKENS), random.of(&FIELDS));
    let (min, max) = (random.of(&BOUNDS), random.of(&BOUNDS));
    let (channel, second) = (random.of(&CHANNELS), random.of(&CHANNELS));
    let (start, stop) = (random.of(&["0", "1", "-1", "-2"]), random.of(&["0", "1", "-1", "5"]));
    match random.below(46) {
        0..3 => words(&["SET", text, token, "NX", "PX", random.of(&LONG)]),
        3 => words(&["SET", any, token, random.of(&["NX", "XX", "KEEPTTL", "PX", "EX"]), ttl]),
        4 => words(&["SET", text, token, "PX", random.of(&LONG), random.of(&["NX", "XX"])]),
        5 => words(&["SET", any, token]),
        6 => words(&["GET", text]),
        7 => words(&["MGET", text, any, other]),
        8 => words(&["DEL", any, other]),
        9 => words(&["EXISTS", any, other, any]),
        10 => words(&["PTTL", any]),
        11 => words(&["PEXPIRE", any, ttl]),
        12 => words(&["PEXPIREAT", any, random.of(&["1", "0", "-7", "9999999999999"])]),
        13 => words(&["HSET", hash, field, token, random.of(&FIELDS), "7"]),
        14 => words(&["HDEL", hash, field, random.of(&FIELDS)]),
        15 => words(&["HGET", hash, field]),
        16 => words(&["HMGET", hash, field, random.of(&FIELDS)]),
        17 => words(&["HGETALL", hash]),
        18..21 => zadd(random, set, score, member),
        21 => words(&["ZSCORE", set, member]),
        22 => words(&["ZREM", set, member, random.of(&MEMBERS)]),
        23 => words(&["ZREMRANGEBYSCORE", set, min, max]),
        24 => words(&["ZCARD", set]),
        25 => words(&["ZRANGE", set, start, stop]),
        26 => words(&["ZREVRANGE", set, start, stop, "WITHSCORES"]),
        27 => words(&["ZRANGEBYSCORE", set, min, max]),
        28 => words(&["ZRANGEBYSCORE", set, min, max, "WITHSCORES", "LIMIT", start, stop]),
        29 => words(&["TYPE", any]),
        30 => words(&["PUBLISH", channel, token]),
        31 => words(&["SUBSCRIBE", channel, second]),
        32 => words(&[&["UNSUBSCRIBE", channel], &CHANNELS[..random.below(5)]].concat()),
        33 => words(&[random.of(&["PING", "DBSIZE", "MISSING"])]),
        34 => words(&["SELECT", random.of(&["0", "0", "1", "77", "x"])]),
        35 => words(&["SCRIPT", "EXISTS", random.of(&SCRIPTS).hash()]),
        36 => words(random.of(&[
            &["SCRIPT", "FLUSH"][..],
            &["SCRIPT", "LOAD", "return ("],
            &["SCRIPT", "NOTHING"],
            &["CONFIG", "GET", "*appendfsync*"],
            &["CONFIG", "NOTHING"],
            &["ACL", "WHOAMI"],
            &["AUTH", "few", "wrong"],
            &["AUTH", "wrong"],
            &["CLIENT", "SETINFO", "LIB-NAME", "x"],
        ])),
        37..40 => words(&["ZADD", set, "GT", "CH", random.of(&["1", "2", "2.5"]), member]),
        40..43 => {
            words(&["ZRANGEBYSCORE", set, random.of(&["(1", "(2", "2"]), random.of(&["(2.5", "2", "+inf"])])
        }
        43 => words(&["ZRANK", set, member]),
        44 => words(&["ZCOUNT", set, min, max]),
        _ => words(&["SCAN", "0", "COUNT", "1000"]),
    }
}

fn zadd(random: &mut Random, set: &str, score: &str, member: &str) -> Vec<Vec<u8>> {
    let mut request = words(&["ZADD", set]);
    for option in ["GT", "CH", "XX", "NX", "LT"] {
        if random.below(4) == 0 {
            request.extend(words(&[option]));
        }
    }
    request.extend(words(&[score, member]));
    if random.below(3) == 0 {
        request.extend(words(&[random.of(&SCORES), random.of(&MEMBERS)]));
    }
    request
}

fn script(random: &mut Random) -> Vec<Vec<u8>> {
    let script = random.of(&SCRIPTS);
    let (lock, other) = (key(random, "text"), key(random, "text"));
    let (token, second) = (random.of(&TOKENS), random.of(&TOKENS));
    let shared = random.of(&["k0", "k1", "z0", "z1"]);
    let queue = random.of(&["q:k0", "q:k0", "q:k1", "x0"]);
    let other_queue = random.of(&["q:k0", "q:k1", "z1"]);
    let (channel, grace) = (random.of(&CHANNELS), random.of(&["0", "60000", "600000"]));
    let ticket = random.of(&["", "", "", "5", "NOW-3600", "NOW+3600"]);
    let manner = random.of(&["eager", "eager", "patient"]);
    let (hash, set) = (key(random, "hash"), key(random, "set"));
    let (keys, rest) = match script {
        Script::AcquireMany => (vec![lock, other], vec![token, random.of(&LONG)]),
        Script::AcquireShared => {
            (vec![shared], vec![token, random.of(&LONG), random.of(&["k2", "none", "q:k1"])])
        }
        Script::AcquireSlot => {
            let keys = vec![key(random, "text"), lock, other, random.of(&["k0", "z0"])];
            (keys, vec![token, random.of(&LONG), random.of(&["1", "2", "3"])])
        }
        Script::ExtendShared => (vec![shared, lock], vec![token, random.of(&LONG), second, random.of(&LONG)]),
        Script::ReleaseShared => {
            (vec![shared, lock, shared], vec![grace, token, queue, second, other_queue, second, ""])
        }
        Script::Release if random.below(3) == 0 => (vec![lock], vec![token]),
        Script::Release => (vec![lock], vec![token, grace, queue]),
        Script::ReleaseMany => {
            (vec![lock, other, lock], vec![grace, token, queue, second, other_queue, second, queue])
        }
        Script::Register if random.below(3) == 0 => (
            vec![shared, queue],
            vec![channel, ticket, manner, grace, random.of(&LONG), random.of(&["k2", "none"])],
        ),
        Script::Register if random.below(3) == 0 => {
            (vec![lock, queue, shared, other], vec![channel, ticket, manner, grace, random.of(&LONG)])
        }
        Script::Register => (vec![lock, queue], vec![channel, ticket, manner, grace, random.of(&LONG)]),
        Script::Leave if random.below(3) == 0 => {
            (vec![shared, queue], vec![random.of(&["", channel]), grace, random.of(&["k2", "none"])])
        }
        Script::Leave if random.below(3) == 0 => {
            (vec![lock, queue, shared, other], vec![random.of(&["", channel]), grace])
        }
        Script::Leave => (vec![lock, queue], vec![random.of(&["", channel]), grace]),
        Script::Intend => (vec![other], vec![token, random.of(&LONG)]),
        Script::Extend => (vec![lock, other], vec![token, random.of(&LONG), second, random.of(&LONG)]),
        Script::Trim => {
            let skew = random.of(&["60000000", "-1"]);
            (vec![set], vec!["NOW", random.of(&["1000000000", "9000000000"]), skew, random.of(&["1", "200"])])
        }
        Script::WriteRecord => {
            let version = [random.of(&["", "t0", "7"]), random.of(&["", "7", "1"])];
            let gone = ["made", "whole"];
            let written = [random.of(&FIELDS), "7", random.of(&FIELDS), token];
            let rest = if random.below(2) == 0 {
                [&version[..], &["2"], &gone, &written].concat()
            } else {
                [&version[..], &["0"], &written].concat()
            };
            (vec![hash], rest)
        }
        Script::Declare => (vec![hash], vec![random.of(&["k", "q", "", "h"]), random.of(&["10000", "0"])]),
        Script::Permissions => (vec![random.of(&["none", "k9", "k0"])], vec![]),
        Script::Words => (vec![random.of(&KEYS), random.of(&KEYS)], vec![random.of(&SCORES), token]),
        Script::Mistake(_) => (vec![random.of(&KEYS)], vec![channel, token]),
    };
    let mut request = match random.below(10) {
        0 => return words(&["SCRIPT", "LOAD", script.text()]),
        1..6 => words(&["EVAL", script.text()]),
        _ => words(&["EVALSHA", script.hash()]),
    };
    request.push(keys.len().to_string().into_bytes());
    request.extend(words(&keys));
    request.extend(words(&rest));
    request
}
