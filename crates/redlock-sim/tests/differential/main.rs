//! The simulated server beside a real one: both are asked the same at random, and answer the same.
//!
//! `SIM_SEED` and `SIM_STEPS` choose another sequence; `REDIS_SERVER` names another server, as everywhere.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod pair;
mod random;
mod scripts;
mod steps;
mod wire;

use pair::{ALL, Difference, Pair, Who};
use random::Random;
use scripts::Script;
use steps::{Step, step};
use wire::{Wire, words};

/// As many seeds, each on empty servers.
const SEEDS: u64 = 10;
const STEPS: usize = 2_000;
/// How often a sequence is played again because the machine stood still meanwhile.
const AGAIN_MAX: u32 = 20;

#[test]
fn both_servers_answer_the_same() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    let steps = number("SIM_STEPS").map_or(STEPS, |steps| steps as usize);
    let mut pair = Pair::start();
    for seed in seeds {
        let mut random = Random(seed);
        let all: Vec<Step> = (0..steps).map(|_| step(&mut random)).collect();
        let mut played = run(&mut pair, &all);
        for _ in 0..AGAIN_MAX {
            if played.is_ok() || !pair.stood_still {
                break;
            }
            played = run(&mut pair, &all);
        }
        if let Err((failed, Difference(difference))) = played {
            let shrunk = match shrink(&mut pair, &all[..=failed]) {
                Some(shrunk) => shrunk.iter().map(|step| format!("  {}\n", shown(step))).collect(),
                None => "  none; it was a matter of time".to_owned(),
            };
            panic!(
                "step {failed} of seed {seed} (SIM_SEED={seed}): {difference}\n\nEnough to fail again:\n{shrunk}"
            );
        }
    }
}

fn run(pair: &mut Pair, steps: &[Step]) -> Result<(), (usize, Difference)> {
    pair.reset().map_err(|difference| (0, difference))?;
    let played = steps
        .iter()
        .enumerate()
        .try_for_each(|(index, step)| pair.step(step).map_err(|found| (index, found)));
    pair.go_on();
    played
}

/// The shortest end of a sequence that still fails, with what does not matter left out.
fn shrink(pair: &mut Pair, steps: &[Step]) -> Option<Vec<Step>> {
    let lengths = std::iter::successors(Some(1), |length| Some(length * 2));
    let lengths = lengths.take_while(|length| *length < steps.len()).chain([steps.len()]);
    let mut ends = lengths.map(|length| &steps[steps.len() - length..]);
    let mut shortest = ends.find(|end| run(pair, end).is_err())?.to_vec();
    let mut index = 0;
    while index < shortest.len() {
        let removed = shortest.remove(index);
        if run(pair, &shortest).is_ok() {
            shortest.insert(index, removed);
            index += 1;
        }
    }
    Some(shortest)
}

fn shown(step: &Step) -> String {
    match step {
        Step::Act(act) => format!("{act:?}"),
        Step::Ask(who, request) => {
            let named = |word: &[u8]| Script::named(word).map(|script| format!("<{script:?}>"));
            let words = request
                .iter()
                .map(|word| named(word).unwrap_or_else(|| format!("{:?}", String::from_utf8_lossy(word))));
            format!("{who:?} {}", words.collect::<Vec<_>>().join(" "))
        }
    }
}

/// The greeting, as far as it names neither the connection nor what a server brings along.
#[test]
fn both_servers_greet_the_same() {
    let mut pair = Pair::start();
    for who in ALL {
        let [real, simulated] = pair.exchange(who, &words(&["HELLO", "3"]));
        let known = |reply: &Wire| {
            let fields: Vec<_> = reply.items().chunks(2).map(<[Wire]>::to_vec).collect();
            let is_told = |name: &[u8]| ![&b"id"[..], b"modules", b"version"].contains(&name);
            fields.into_iter().filter(|field| is_told(field[0].bulk().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(known(&real), known(&simulated), "{who:?}");
        assert_eq!(known(&real).len(), 4);
    }
    for wrong in
        [&["HELLO", "4"][..], &["HELLO", "x"], &["HELLO", "3", "AUTH", "few", "x"], &["HELLO", "3", "x"]]
    {
        let [real, simulated] = pair.exchange(Who::Resp2, &words(wrong));
        assert_eq!(real, simulated, "{wrong:?}");
    }
}

/// Every field that the simulated server tells is told by a real one as well, and as many say the same on a new server.
#[test]
fn both_servers_describe_themselves_in_the_same_words() {
    let mut pair = Pair::start();
    let [real, simulated] = pair.exchange(Who::Resp2, &words(&["INFO"]));
    let text = |reply: &Wire| String::from_utf8(reply.bulk().unwrap().to_vec()).unwrap();
    let (real, simulated) = (text(&real), text(&simulated));
    let field = |of: &str, name: &str| {
        of.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
    };
    for line in simulated.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, _) = line.split_once(':').unwrap();
        assert!(field(&real, name).is_some(), "{name} is told by no real server");
    }
    for name in
        ["redis_mode", "server_mode", "role", "connected_slaves", "evicted_keys", "maxmemory", "loading"]
    {
        assert_eq!(field(&real, name), field(&simulated, name), "{name}");
    }
}
