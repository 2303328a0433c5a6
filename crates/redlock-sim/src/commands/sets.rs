//! Sorted sets.

use crate::errors::{NOT_A_FLOAT, NOT_AN_INTEGER, SYNTAX, WRONG_TYPE, error, not_simulated};
use crate::keyspace::{Entry, Value};
use crate::reply::Reply;
use crate::request::number;
use crate::sorted_set::{Bound, Range, SortedSet, parse_score};
use crate::state::{Call, State};

#[derive(Default)]
struct Options {
    only_new: bool,
    only_known: bool,
    only_greater: bool,
    only_less: bool,
    counts_changed: bool,
}

pub(super) fn zadd(state: &mut State, call: &Call<'_>) -> Reply {
    let (options, first) = match options(call) {
        Ok(options) => options,
        Err(reply) => return reply,
    };
    let pairs = call.arguments[first..].chunks_exact(2);
    let mut scores = Vec::new();
    for pair in pairs {
        let Some(score) = parse_score(&pair[0]) else { return error(NOT_A_FLOAT) };
        scores.push((score, &pair[1]));
    }
    write(state, call, |set| {
        let (mut added, mut changed) = (0, 0);
        for (score, member) in scores {
            match set.score(member) {
                None if !options.only_known => added += 1,
                Some(old) if options.may_replace(old, score) => changed += 1,
                None | Some(_) => continue,
            }
            set.insert(member, score);
        }
        if options.counts_changed { added + changed } else { added }
    })
}

impl Options {
    fn may_replace(&self, old: f64, new: f64) -> bool {
        let Self { only_new, only_greater, only_less, .. } = self;
        #[expect(clippy::float_cmp, reason = "as the server compares them")]
        let differs = old != new;
        differs && !only_new && (!only_greater || new > old) && (!only_less || new < old)
    }
}

/// The options, and where the scores begin.
fn options(call: &Call<'_>) -> Result<(Options, usize), Reply> {
    let mut options = Options::default();
    let mut index = 2;
    loop {
        match call.word(index).as_str() {
            "nx" => options.only_new = true,
            "xx" => options.only_known = true,
            "gt" => options.only_greater = true,
            "lt" => options.only_less = true,
            "ch" => options.counts_changed = true,
            "incr" => return Err(not_simulated("ZADD with INCR")),
            _ => break,
        }
        index += 1;
    }
    let Options { only_new, only_known, only_greater, only_less, .. } = options;
    let rest = call.arguments.len() - index;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(error(SYNTAX));
    }
    if only_new && only_known {
        return Err(error("ERR XX and NX options at the same time are not compatible"));
    }
    if (only_greater && (only_new || only_less)) || (only_less && only_new) {
        return Err(error("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    Ok((options, index))
}

pub(super) fn zrem(state: &mut State, call: &Call<'_>) -> Reply {
    write(state, call, |set| call.arguments[2..].iter().filter(|member| set.remove(member)).count())
}

pub(super) fn zremrangebyscore(state: &mut State, call: &Call<'_>) -> Reply {
    let Some(range) = range(call) else { return error(NOT_A_RANGE) };
    write(state, call, |set| {
        let within = set.iter().filter(|(_, score)| range.contains(*score));
        let within: Vec<_> = within.map(|(member, _)| member.to_vec()).collect();
        within.iter().filter(|member| set.remove(member)).count()
    })
}

pub(super) fn zscore(state: &mut State, call: &Call<'_>) -> Reply {
    read(state, call, |set| set.score(call.argument(2)).map_or(Reply::Nil, Reply::Double))
}

pub(super) fn zcard(state: &mut State, call: &Call<'_>) -> Reply {
    read(state, call, |set| Reply::count(set.len()))
}

pub(super) fn zcount(state: &mut State, call: &Call<'_>) -> Reply {
    let Some(range) = range(call) else { return error(NOT_A_RANGE) };
    read(state, call, |set| Reply::count(set.iter().filter(|(_, score)| range.contains(*score)).count()))
}

pub(super) fn zrank(state: &mut State, call: &Call<'_>) -> Reply {
    if call.arguments.len() > 3 {
        return not_simulated("ZRANK with options");
    }
    read(state, call, |set| {
        let rank = set.iter().position(|(member, _)| member == call.argument(2));
        rank.map_or(Reply::Nil, Reply::count)
    })
}

pub(super) fn zrange(state: &mut State, call: &Call<'_>) -> Reply {
    by_rank(state, call, |set| set.iter().map(owned).collect())
}

pub(super) fn zrevrange(state: &mut State, call: &Call<'_>) -> Reply {
    by_rank(state, call, |set| set.iter().rev().map(owned).collect())
}

pub(super) fn zrangebyscore(state: &mut State, call: &Call<'_>) -> Reply {
    let (mut has_scores, mut offset, mut limit) = (false, 0, -1);
    let mut index = 4;
    while index < call.arguments.len() {
        match call.word(index).as_str() {
            "withscores" => has_scores = true,
            "limit" if index + 2 < call.arguments.len() => {
                let numbers = [index + 1, index + 2].map(|index| number(call.argument(index)));
                let [Some(first), Some(second)] = numbers else { return error(NOT_AN_INTEGER) };
                (offset, limit) = (first, second);
                index += 2;
            }
            _ => return error(SYNTAX),
        }
        index += 1;
    }
    let Some(range) = range(call) else { return error(NOT_A_RANGE) };
    read(state, call, |set| {
        let within = set.iter().filter(|(_, score)| range.contains(*score));
        // A negative offset finds nothing, a negative limit is none.
        let Ok(offset) = usize::try_from(offset) else { return members(vec![], has_scores) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        members(within.skip(offset).take(limit).map(owned).collect(), has_scores)
    })
}

const NOT_A_RANGE: &str = "ERR min or max is not a float";

fn range(call: &Call<'_>) -> Option<Range> {
    Some(Range { min: Bound::parse(call.argument(2))?, max: Bound::parse(call.argument(3))? })
}

fn by_rank(
    state: &mut State,
    call: &Call<'_>,
    list: impl FnOnce(&SortedSet) -> Vec<(Vec<u8>, f64)>,
) -> Reply {
    let has_scores = match call.arguments.len() {
        4 => false,
        5 if call.word(4) == "withscores" => true,
        _ => return not_simulated("ZRANGE with other options than WITHSCORES"),
    };
    let ends = [2, 3].map(|index| number(call.argument(index)));
    let [Some(start), Some(stop)] = ends else { return error(NOT_AN_INTEGER) };
    read(state, call, |set| {
        let length = i64::try_from(set.len()).unwrap_or(i64::MAX);
        let from_end = |index: i64| if index < 0 { index + length } else { index };
        let (start, stop) = (from_end(start).max(0), from_end(stop).min(length - 1));
        let count = usize::try_from(stop - start + 1).unwrap_or(0);
        let skipped = usize::try_from(start).unwrap_or(0);
        members(list(set).into_iter().skip(skipped).take(count).collect(), has_scores)
    })
}

fn owned((member, score): (&[u8], f64)) -> (Vec<u8>, f64) {
    (member.to_vec(), score)
}

fn members(members: Vec<(Vec<u8>, f64)>, has_scores: bool) -> Reply {
    if has_scores {
        return Reply::Scored(members);
    }
    Reply::Array(members.into_iter().map(|(member, _)| Reply::Bulk(member)).collect())
}

fn read(state: &mut State, call: &Call<'_>, read: impl FnOnce(&SortedSet) -> Reply) -> Reply {
    let place = call.place(state, 1);
    match state.keyspace.get(&place, call.now).map(|entry| &entry.value) {
        // The reply of a key that is not there is that of an empty set, but for ranges: those are empty arrays.
        None => read(&SortedSet::default()),
        Some(Value::Sorted(set)) => read(set),
        Some(Value::Text(_) | Value::Hash(_)) => error(WRONG_TYPE),
    }
}

fn write(state: &mut State, call: &Call<'_>, write: impl FnOnce(&mut SortedSet) -> usize) -> Reply {
    let place = call.place(state, 1);
    state.keyspace.change(&place, call.now, |entry| {
        let entry =
            entry.get_or_insert_with(|| Entry { value: Value::Sorted(SortedSet::default()), expires: None });
        match &mut entry.value {
            Value::Sorted(set) => Reply::count(write(set)),
            Value::Text(_) | Value::Hash(_) => error(WRONG_TYPE),
        }
    })
}
