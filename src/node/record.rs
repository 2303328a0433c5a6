//! The node's record as Redis keeps it: a hash, which only a client that has read the latest version may change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use redis::{Cmd, Value};

use super::commands::{Command, ScriptCall, single};
use super::failure;
use super::scripts::WRITE_RECORD;
use super::wire::Wire;
use crate::error::NodeFailure;
use crate::protocol::{Change, ChangeProgress, ListUse, MemoryBreak, MetNode, PeerClock, Record, Span};
use crate::types::internal_key;

/// The record's internal key.
pub(super) const RECORD: &str = "node";

/// How often a change is tried again because another client was faster. Each failed try means that some other client
/// has written, so of many clients that connect at once all but a few soon find nothing left to write.
pub(super) const TRIES: usize = 32;

const TTL: &str = "ttl:";
const LIST: &str = "list:";
const MET: &str = "met:";
const CLOCK: &str = "clock:";
const LEFT: &str = "left";
const CLOSED: &str = "closed";
const DONE: &str = "done";

/// A record as it was read, with its raw fields.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    /// The id and the sequence; empty strings where the hash has none.
    version: [String; 2],
    /// `None` where there is no record or an incomplete one, which proves nothing.
    pub(super) record: Option<Record>,
    /// Whether an operator declared the node new; true even before there is a record.
    pub(super) is_declared: bool,
    fields: HashMap<String, String>,
}

pub(super) fn read() -> Cmd {
    let mut cmd = redis::cmd("HGETALL");
    cmd.arg(internal_key(RECORD));
    cmd
}

impl Stored {
    pub(super) fn parse(reply: &Value) -> Result<Self, NodeFailure> {
        let fields: HashMap<String, String> =
            redis::from_redis_value_ref(reply).map_err(|_| failure::of_reply("HGETALL", reply))?;
        let version = ["id", "sequence"].map(|name| fields.get(name).cloned().unwrap_or_default());
        let is_declared = fields.contains_key("declared");
        Ok(Self { version, record: record(&fields), is_declared, fields })
    }
}

fn record(fields: &HashMap<String, String>) -> Option<Record> {
    let text = |name: &str| fields.get(name).filter(|text| !text.is_empty()).cloned();
    let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
    let broken_by = match fields.get("broken_by")?.as_str() {
        "made" => MemoryBreak::Made,
        "restarted" => MemoryBreak::Restarted,
        "promoted" => MemoryBreak::Promoted,
        "rolled back" => MemoryBreak::RolledBack,
        _ => return None,
    };
    let kind = |kind: &'static str| {
        fields.iter().filter_map(move |(name, value)| Some((name.strip_prefix(kind)?, value)))
    };
    let announced = kind(TTL).filter_map(|(ttl, value)| Some((ttl.parse().ok()?, span(value)?)));
    let lists = kind(LIST).filter_map(|(list, value)| {
        let Span { first, last } = span(value)?;
        let has = |mark: &str| value.split(' ').skip(2).any(|word| word == mark);
        let progress = match () {
            () if has(DONE) => ChangeProgress::Done,
            () if has(CLOSED) => ChangeProgress::Closed,
            () => ChangeProgress::Begun,
        };
        Some((list.to_owned(), ListUse { first, last, is_left: has(LEFT), progress }))
    });
    let met = kind(MET).filter_map(|(id, value)| {
        let (first, latest) = value.split_once(' ')?;
        Some((id.to_owned(), MetNode { first: first.parse().ok()?, change: change(latest)? }))
    });
    let clocks = kind(CLOCK).filter_map(|(id, value)| Some((id.to_owned(), peer_clock(value)?)));
    Some(Record {
        id: text("id")?,
        sequence: number("sequence")?,
        run: text("run")?,
        past: fields.get("past").map_or_else(Vec::new, |past| past.split(' ').filter_map(change).collect()),
        replication_id: text("replication_id")?,
        is_durable: fields.contains_key("durable"),
        made: number("made")?,
        whole: number("whole")?,
        broken_by,
        is_declared: fields.contains_key("declared"),
        evicted_keys: number("evicted_keys")?,
        evicted: number("evicted"),
        announced: announced.collect(),
        lists: lists.collect(),
        met: met.collect(),
        clocks: clocks.collect(),
        stepped: number("stepped"),
    })
}

/// Parses `RUN:SEQUENCE`.
fn change(text: &str) -> Option<Change> {
    let (run, sequence) = text.split_once(':')?;
    Some(Change { run: run.to_owned(), sequence: sequence.parse().ok()? })
}

fn written(Change { run, sequence }: &Change) -> String {
    format!("{run}:{sequence}")
}

/// Parses two numbers, `FIRST LAST`.
fn span(text: &str) -> Option<Span> {
    let mut numbers = text.split(' ').map(str::parse);
    Some(Span { first: numbers.next()?.ok()?, last: numbers.next()?.ok()? })
}

/// Parses `AT LEAST MOST`.
fn peer_clock(text: &str) -> Option<PeerClock> {
    let mut numbers = text.split(' ');
    let mut next = || numbers.next();
    Some(PeerClock { at: next()?.parse().ok()?, least: next()?.parse().ok()?, most: next()?.parse().ok()? })
}

/// The fields of the hash.
fn fields(record: &Record) -> BTreeMap<String, String> {
    let Record {
        id,
        sequence,
        run,
        past,
        replication_id,
        is_durable,
        made,
        whole,
        broken_by,
        is_declared,
        evicted_keys,
        evicted,
        announced,
        lists,
        met,
        clocks,
        stepped,
    } = record;
    let broken_by = match broken_by {
        MemoryBreak::Made => "made",
        MemoryBreak::Restarted => "restarted",
        MemoryBreak::Promoted => "promoted",
        MemoryBreak::RolledBack => "rolled back",
    };
    let mut fields = BTreeMap::from(
        [
            ("id", id.clone()),
            ("sequence", sequence.to_string()),
            ("run", run.clone()),
            ("past", past.iter().map(written).collect::<Vec<_>>().join(" ")),
            ("replication_id", replication_id.clone()),
            ("made", made.to_string()),
            ("whole", whole.to_string()),
            ("broken_by", broken_by.to_owned()),
            ("evicted_keys", evicted_keys.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let marks = [("durable", *is_durable), ("declared", *is_declared)];
    fields.extend(marks.into_iter().filter(|(_, is)| *is).map(|(name, _)| (name.to_owned(), "1".to_owned())));
    fields.extend(evicted.map(|at| ("evicted".to_owned(), at.to_string())));
    fields.extend(stepped.map(|until| ("stepped".to_owned(), until.to_string())));
    fields.extend(
        clocks.iter().map(|(id, PeerClock { at, least, most })| {
            (format!("{CLOCK}{id}"), format!("{at} {least} {most}"))
        }),
    );
    fields.extend(
        announced
            .iter()
            .map(|(ttl, Span { first, last })| (format!("{TTL}{ttl}"), format!("{first} {last}"))),
    );
    fields.extend(lists.iter().map(|(list, ListUse { first, last, is_left, progress })| {
        let progress = match progress {
            ChangeProgress::Begun => None,
            ChangeProgress::Closed => Some(CLOSED),
            ChangeProgress::Done => Some(DONE),
        };
        let marks: String =
            is_left.then_some(LEFT).into_iter().chain(progress).map(|mark| format!(" {mark}")).collect();
        (format!("{LIST}{list}"), format!("{first} {last}{marks}"))
    }));
    fields.extend(met.iter().map(|(id, MetNode { first, change })| {
        (format!("{MET}{id}"), format!("{first} {}", written(change)))
    }));
    fields
}

/// Writes a record, unless the stored one has changed since it was read.
#[derive(Clone)]
pub(super) struct WriteRecord(Arc<ScriptCall>);

/// Whether the record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordWrite {
    Written,
    /// Another client was faster, so nothing was written.
    Outdated,
}

impl WriteRecord {
    pub(super) fn new(stored: &Stored, record: &Record) -> Self {
        let fields = fields(record);
        let is_ours = |name: &str| {
            [TTL, LIST, MET, CLOCK].iter().any(|kind| name.starts_with(kind))
                || ["durable", "declared", "evicted", "stepped"].contains(&name)
        };
        // Fields of later versions of this library stay.
        let gone = stored.fields.keys().filter(|name| is_ours(name) && !fields.contains_key(*name));
        let mut gone: Vec<_> = gone.collect();
        // The order of a hash map differs between runs, and a simulation must send the same bytes.
        gone.sort_unstable();
        let mut by_hash = WRITE_RECORD.by_hash(1);
        by_hash.arg(internal_key(RECORD)).arg(&stored.version);
        by_hash.arg(gone.len()).arg(gone);
        for (name, value) in fields.iter().filter(|(name, value)| stored.fields.get(*name) != Some(value)) {
            by_hash.arg(name).arg(value);
        }
        Self(Arc::new(ScriptCall::new(&WRITE_RECORD, by_hash)))
    }
}

impl Command for WriteRecord {
    type Reply = RecordWrite;

    async fn send(self, connection: Wire) -> Result<RecordWrite, NodeFailure> {
        match self.0.run(connection).await {
            Ok(Value::Int(1)) => Ok(RecordWrite::Written),
            Ok(Value::Int(0)) => Ok(RecordWrite::Outdated),
            Ok(other) => Err(failure::of_reply("EVALSHA", &other)),
            Err(error) => Err(failure::of_command(&error)),
        }
    }
}

/// Removes the announcements of clients from the record: their node lists and their `max_ttl`s.
#[derive(Clone)]
pub(crate) struct Forget;

impl Command for Forget {
    type Reply = ();

    async fn send(self, connection: Wire) -> Result<(), NodeFailure> {
        for _ in 0..TRIES {
            let reply = single(&connection, &read()).await;
            let stored = Stored::parse(&reply.map_err(|error| failure::of_command(&error))?)?;
            let Some(record) = &stored.record else { return Ok(()) };
            let note = WriteRecord::new(&stored, &record.without_clients());
            match note.send(connection.clone()).await? {
                RecordWrite::Written => return Ok(()),
                RecordWrite::Outdated => {}
            }
        }
        Err(changes_all_the_time())
    }
}

pub(super) fn changes_all_the_time() -> NodeFailure {
    NodeFailure::Unexpected { detail: "its record changes all the time".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Record {
        Record {
            id: "aa".into(),
            sequence: 12,
            run: "r".into(),
            past: vec![Change { run: "q".into(), sequence: 9 }, Change { run: "p".into(), sequence: 4 }],
            replication_id: "p".into(),
            is_durable: true,
            made: 1,
            whole: 2,
            broken_by: MemoryBreak::RolledBack,
            is_declared: true,
            evicted_keys: 3,
            evicted: Some(4),
            announced: [(20_000, Span { first: 5, last: 6 })].into(),
            lists: [
                ("2 of aa bb cc", false, ChangeProgress::Begun),
                ("2 of aa bb cc > 2 of cc dd ee", false, ChangeProgress::Closed),
                ("2 of aa bb dd", true, ChangeProgress::Begun),
                ("2 of aa bb dd > 2 of cc dd ee", true, ChangeProgress::Done),
            ]
            .map(|(list, is_left, progress)| {
                (list.to_owned(), ListUse { first: 7, last: 8, is_left, progress })
            })
            .into(),
            met: [("bb".to_owned(), MetNode { first: 11, change: Change { run: "s".into(), sequence: 13 } })]
                .into(),
            clocks: [("bb".to_owned(), PeerClock { at: 14, least: -15, most: 16 })].into(),
            stepped: Some(17),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let plain = Record { is_durable: false, is_declared: false, evicted: None, stepped: None, ..full() };
        for written in [full(), plain] {
            let fields: HashMap<_, _> = fields(&written).into_iter().collect();
            assert_eq!(record(&fields), Some(written));
        }
    }

    #[test]
    fn half_a_record_is_none() {
        let fields: HashMap<_, _> = fields(&full()).into_iter().collect();
        for name in ["id", "sequence", "run", "replication_id", "made", "whole", "broken_by", "evicted_keys"]
        {
            let mut fields = fields.clone();
            fields.remove(name);
            assert_eq!(record(&fields), None, "{name}");
        }
        assert_eq!(record(&[("declared".to_owned(), "1".to_owned())].into()), None);
    }
}
