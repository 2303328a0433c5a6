//! What is measured, and in which order.
//!
//! A section compares sides under some conditions. A round of a section runs one batch for each condition and side, in
//! random order, but with the sides of one condition next to each other. Noise of the machine therefore hits all sides
//! alike, and each round gives a ratio of neighbours. Figures are medians over rounds.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock_bench::Error;
use redlock_bench::sides::Variant;

use crate::batch::{Batch, Sample};
use crate::bed::{Bed, GIVE_UP_LIMIT, Runtimes};

/// Length of one batch, some hundred cycles of one task. Batches are short, so that neighbours see the same noise.
const BATCH: Duration = Duration::from_millis(100);
/// The least length of a batch in round trips, over a slow link.
const ROUND_TRIPS_MIN: u32 = 12;
/// Pause between batches, in which late answers to the last batch arrive.
const BREATHER: Duration = Duration::from_millis(3);
/// A batch that takes so many times its length is slow: rslock takes a second for each cycle while a node hangs.
const SLOW: u32 = 8;
/// Number of batches that a slow cell gets.
const SLOW_BATCHES: usize = 3;
/// Number of batches in the first moments of a fault. All together take less time than this library takes to stop
/// sending to a node that hangs.
const ONSET_BATCHES: usize = 8;
/// Time after the last batch within which all releases have run, far below any TTL.
const SETTLED_WITHIN: Duration = Duration::from_millis(300);

/// Everything under which sides are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Condition {
    pub(crate) runtime: RuntimeName,
    pub(crate) tasks: usize,
    pub(crate) nodes: usize,
    /// The round trip of the links; zero for this machine's own network.
    pub(crate) round_trip: Duration,
    pub(crate) fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RuntimeName {
    MultiThread,
    CurrentThread,
}

/// The state of the last nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// Stopped by a signal: connections stay, nothing is answered.
    Hung {
        nodes: usize,
        since: Since,
    },
    /// Killed: connections are refused.
    Dead {
        nodes: usize,
        since: Since,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Since {
    /// The first moments.
    Onset,
    /// The clients have noticed.
    Long,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SideName {
    Ours(Variant),
    Floor,
    Rslock,
    Redlock2,
}

pub(crate) const DEFAULT: SideName = SideName::Ours(Variant::Default);
pub(crate) const NO_FENCING: SideName = SideName::Ours(Variant::NoFencing);
/// Tasks, at most, of the crate `redlock`, because each takes a thread and ten connections.
const REDLOCK_TASKS_MAX: usize = 64;
/// The plain condition, from which others differ.
pub(crate) const PLAIN: Condition = Condition {
    runtime: RuntimeName::MultiThread,
    tasks: 64,
    nodes: 5,
    round_trip: Duration::ZERO,
    fault: Fault::None,
};

pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) conditions: Vec<Condition>,
    sides: fn(&Condition) -> Vec<SideName>,
}

/// One batch: its condition, side, round and figures.
pub(crate) struct Record {
    pub(crate) section: &'static str,
    pub(crate) round: usize,
    pub(crate) condition: Condition,
    pub(crate) side: SideName,
    pub(crate) sample: Sample,
}

pub(crate) fn sections() -> Vec<Section> {
    use RuntimeName::{CurrentThread, MultiThread};
    let of_tasks = |runtime| [1, 8, 64, 512, 4096].map(|tasks| Condition { runtime, tasks, ..PLAIN });
    let few_and_many = |condition| [1, 64].map(|tasks| Condition { tasks, ..condition });
    let faults = [1, 2].map(|nodes| {
        let since = Since::Long;
        [Fault::Hung { nodes, since }, Fault::Dead { nodes, since }]
    });
    let faults = [Fault::None].into_iter().chain(faults.into_iter().flatten());
    vec![
        Section {
            name: "tasks",
            title: "Each task locks a name of its own",
            conditions: [MultiThread, CurrentThread].into_iter().flat_map(of_tasks).collect(),
            sides: |condition| {
                let mut sides = vec![DEFAULT, NO_FENCING, SideName::Floor, SideName::Rslock];
                sides.extend((condition.tasks <= REDLOCK_TASKS_MAX).then_some(SideName::Redlock2));
                sides
            },
        },
        Section {
            name: "nodes",
            title: "From one node to nine",
            conditions: [1, 3, 5, 7, 9]
                .into_iter()
                .flat_map(|nodes| few_and_many(Condition { nodes, ..PLAIN }))
                .collect(),
            sides: |_| vec![DEFAULT, SideName::Floor],
        },
        Section {
            name: "links",
            title: "Links of 1 ms and 20 ms",
            conditions: [1, 20]
                .into_iter()
                .flat_map(|ms| few_and_many(Condition { round_trip: Duration::from_millis(ms), ..PLAIN }))
                .collect(),
            sides: |_| vec![DEFAULT, SideName::Floor, SideName::Rslock],
        },
        Section {
            name: "faults",
            title: "One node or two nodes of five hang or are dead",
            conditions: faults.flat_map(|fault| few_and_many(Condition { fault, ..PLAIN })).collect(),
            sides: |_| vec![DEFAULT, SideName::Floor, SideName::Rslock],
        },
        Section {
            name: "guards",
            title: "Other locks, and guards switched off",
            conditions: few_and_many(PLAIN).into(),
            sides: |_| {
                use Variant::{Bare, Multi, NoClockGuard, NoKeepAlive, NoRestartGuard, Reader};
                let others =
                    [NoRestartGuard, NoClockGuard, NoKeepAlive, Bare, Multi, Reader].map(SideName::Ours);
                [DEFAULT, NO_FENCING].into_iter().chain(others).chain([SideName::Floor]).collect()
            },
        },
    ]
}

/// Measures one section.
pub(crate) struct Plan<'a> {
    pub(crate) section: &'a Section,
    pub(crate) runtimes: &'a Runtimes,
    pub(crate) length: Duration,
    pub(crate) random: &'a mut Random,
}

impl Plan<'_> {
    /// Runs rounds until the time is over, but at least one. Calls `progress` before each.
    pub(crate) async fn run(&mut self, progress: impl Fn(usize, Duration)) -> Result<Vec<Record>, Error> {
        let beds = self.beds().await?;
        let end = Instant::now() + self.length;
        let mut records = Vec::new();
        for bed in beds.iter().filter(|bed| bed.fault() != Fault::None) {
            self.onset(&beds, bed, &mut records).await?;
        }
        let mut round = ONSET_BATCHES;
        while Instant::now() < end || round == ONSET_BATCHES {
            progress(round - ONSET_BATCHES + 1, end.saturating_duration_since(Instant::now()));
            for condition in self.random.shuffled(self.section.conditions.clone()) {
                for side in self.random.shuffled((self.section.sides)(&condition)) {
                    if !is_too_slow(&records, &condition, side) {
                        records.push(self.record(&beds, round, condition, side, length(&condition)).await?);
                    }
                }
            }
            round += 1;
        }
        tokio::time::sleep(SETTLED_WITHIN).await;
        for bed in beds.iter().filter(|bed| bed.fault() == Fault::None) {
            bed.check_empty()?;
        }
        Ok(records)
    }

    /// Starts all nodes that the section needs, connects all sides, and lets each lock once: rslock connects then.
    async fn beds(&self) -> Result<Vec<Bed>, Error> {
        let mut beds: Vec<Bed> = Vec::new();
        for condition in &self.section.conditions {
            if !beds.iter().any(|bed| bed.serves(condition)) {
                beds.push(Bed::start(condition)?);
            }
            let bed = beds.iter_mut().find(|bed| bed.serves(condition)).ok_or("the bed was made")?;
            for side in (self.section.sides)(condition) {
                bed.connect(self.runtimes, condition.runtime, side).await?;
                let batch = batch(condition.runtime, side, 1, BATCH / 10);
                bed.run(self.runtimes, condition.runtime, side, batch).await?;
            }
        }
        Ok(beds)
    }

    /// Measures the first moments of a fault, while this library still sends to the broken nodes. Then waits until the
    /// library has stopped sending to them.
    async fn onset(&mut self, beds: &[Bed], bed: &Bed, records: &mut Vec<Record>) -> Result<(), Error> {
        let healthy = Condition { tasks: 1, ..PLAIN };
        let broken = Condition { fault: bed.fault().at(Since::Onset), ..healthy };
        bed.break_nodes()?;
        for round in 0..ONSET_BATCHES {
            for condition in self.random.shuffled(vec![healthy, broken]) {
                records.push(self.record(beds, round, condition, DEFAULT, BATCH / 2).await?);
            }
        }
        let limit = Instant::now() + GIVE_UP_LIMIT;
        while !bed.has_given_up() {
            if Instant::now() > limit {
                return Err("this library did not notice the broken nodes".into());
            }
            self.record(beds, 0, broken, DEFAULT, BATCH).await?;
        }
        Ok(())
    }

    async fn record(
        &self,
        beds: &[Bed],
        round: usize,
        condition: Condition,
        side: SideName,
        length: Duration,
    ) -> Result<Record, Error> {
        let bed = beds.iter().find(|bed| bed.serves(&condition)).ok_or("no nodes for a condition")?;
        tokio::time::sleep(BREATHER).await;
        let batch = batch(condition.runtime, side, condition.tasks, length);
        let sample = bed.run(self.runtimes, condition.runtime, side, batch).await?;
        Ok(Record { section: self.section.name, round, condition, side, sample })
    }
}

fn length(condition: &Condition) -> Duration {
    BATCH.max(condition.round_trip * ROUND_TRIPS_MIN)
}

fn is_too_slow(records: &[Record], condition: &Condition, side: SideName) -> bool {
    let slow = |record: &&Record| {
        (record.condition, record.side) == (*condition, side) && record.sample.took > length(condition) * SLOW
    };
    records.iter().filter(slow).count() >= SLOW_BATCHES
}

/// A batch with distinct names of equal length.
pub(crate) fn batch(runtime: RuntimeName, side: SideName, tasks: usize, length: Duration) -> Batch {
    let runtime = match runtime {
        RuntimeName::MultiThread => 'm',
        RuntimeName::CurrentThread => 'c',
    };
    let side = match side {
        SideName::Ours(variant) => variant as usize,
        SideName::Floor => 97,
        SideName::Rslock => 98,
        SideName::Redlock2 => 99,
    };
    let names: Arc<[String]> = (0..tasks).map(|task| format!("bench:{runtime}{side:02}:{task:06}")).collect();
    Batch { names, length }
}

impl Fault {
    pub(crate) fn nodes(self) -> usize {
        match self {
            Self::None => 0,
            Self::Hung { nodes, .. } | Self::Dead { nodes, .. } => nodes,
        }
    }

    pub(crate) fn at(self, since: Since) -> Self {
        match self {
            Self::None => Self::None,
            Self::Hung { nodes, .. } => Self::Hung { nodes, since },
            Self::Dead { nodes, .. } => Self::Dead { nodes, since },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, what, since) = match self {
            Self::None => return f.write_str("healthy"),
            Self::Hung { nodes, since } => (nodes, "hung", since),
            Self::Dead { nodes, since } => (nodes, "dead", since),
        };
        let since = match since {
            Since::Onset => ", first moments",
            Since::Long => "",
        };
        write!(f, "{nodes} {what}{since}")
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MultiThread => "multi-thread",
            Self::CurrentThread => "current-thread",
        })
    }
}

impl fmt::Display for SideName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours(Variant::Default) => "ours",
            Self::Ours(Variant::NoFencing) => "ours, no fencing",
            Self::Ours(Variant::NoRestartGuard) => "ours, no restart guard",
            Self::Ours(Variant::NoClockGuard) => "ours, no clock guard",
            Self::Ours(Variant::NoKeepAlive) => "ours, no renewals",
            Self::Ours(Variant::Bare) => "ours, none of the four",
            Self::Ours(Variant::Multi) => "ours, two resources",
            Self::Ours(Variant::Reader) => "ours, reader",
            Self::Floor => "floor",
            Self::Rslock => "rslock",
            Self::Redlock2 => "redlock",
        })
    }
}

/// Random numbers for the order of batches, by splitmix64: the same seed gives the same order.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffled<T>(&mut self, mut items: Vec<T>) -> Vec<T> {
        for i in (1..items.len()).rev() {
            #[expect(clippy::cast_possible_truncation, reason = "at most i")]
            items.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
        items
    }
}
