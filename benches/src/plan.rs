//! The batches and their order.
//!
//! There are two clusters of five masters: one is healthy, the other has a paused node. Each side has its own
//! connections to both. A round runs every cell once, in random order, but with the sides of one cell next to each
//! other. Noise of the machine therefore hits all sides alike, and each round gives a ratio of neighbours. Figures are
//! medians over rounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock_quorum::Fencing;
use redlock_quorum::testing::{Durability, LocalCluster};

use redlock_bench::Error;
use crate::batch::{Batch, Sample};
use redlock_bench::sides::{Floor, Ours, Rslock};

pub(crate) const NODES: usize = 5;
const PAUSED_NODE: usize = 2;

/// Length of one batch, some hundred cycles of one task. Batches are short, so that neighbours see the same noise.
const BATCH: Duration = Duration::from_millis(100);
/// Pause between batches, in which late answers to the last batch arrive.
const BREATHER: Duration = Duration::from_millis(3);
/// Number of batches of rslock with a paused node, where each cycle takes a second.
const RSLOCK_PAUSED_BATCHES: usize = 3;
/// Number of batches in the first moments of a pause. All together take less time than this library takes to stop
/// sending to the paused node.
const ONSET_BATCHES: usize = 8;
/// Longest time until this library must have stopped sending to the paused node.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(10);
/// Time after the last batch within which all releases have run, far below any TTL.
const SETTLED_WITHIN: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SideName {
    Ours,
    /// Ours with fencing tokens.
    Fenced,
    Floor,
    Rslock,
}

impl SideName {
    pub(crate) const ALL: [Self; 4] = [Self::Ours, Self::Fenced, Self::Floor, Self::Rslock];
}

/// State of the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nodes {
    Healthy,
    /// One node has been paused for less than a second.
    JustPaused,
    OnePaused,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    OneTask,
    ManyTasks,
}

/// One batch: its cell, its round and its figures.
pub(crate) struct Record {
    pub(crate) round: usize,
    pub(crate) side: SideName,
    pub(crate) nodes: Nodes,
    pub(crate) load: Load,
    pub(crate) sample: Sample,
}

/// One cluster, and the connections of all sides to it.
pub(crate) struct Bed {
    pub(crate) cluster: LocalCluster,
    pub(crate) ours: Ours,
    pub(crate) fenced: Ours,
    pub(crate) floor: Floor,
    pub(crate) rslock: Rslock,
}

impl Bed {
    pub(crate) async fn make() -> Result<Self, Error> {
        let cluster = LocalCluster::builder().nodes(NODES).durability(Durability::Volatile).start()?;
        let urls = cluster.urls();
        let ours = Ours::connect(&urls, Fencing::Off).await?;
        let fenced = Ours::connect(&urls, Fencing::On).await?;
        let floor = Floor::connect(&urls).await?;
        Ok(Self { ours, fenced, floor, rslock: Rslock::new(&urls)?, cluster })
    }

    /// Name and version of the servers.
    pub(crate) fn server(&self) -> Result<String, Error> {
        let reply = self.cluster.command(0, &["INFO", "server"])?;
        let info = reply.text().unwrap_or_default();
        let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
        match (field("valkey_version:"), field("redis_version:")) {
            (Some(version), _) => Ok(format!("Valkey {version}")),
            (None, Some(version)) => Ok(format!("Redis {version}")),
            (None, None) => Err("the server does not say its version".into()),
        }
    }

    /// Checks that no key is left: a side that leaves keys behind has an unfair advantage.
    fn check_empty(&self) -> Result<(), Error> {
        for node in 0..NODES {
            let keys = self.cluster.keys(node)?;
            if !keys.is_empty() {
                return Err(format!("node {node} still has {} keys: {keys:?}", keys.len()).into());
            }
        }
        Ok(())
    }

    pub(crate) async fn run(&self, side: SideName, batch: &Batch) -> Result<Sample, Error> {
        match side {
            SideName::Ours => batch.run(&self.ours).await,
            SideName::Fenced => batch.run(&self.fenced).await,
            SideName::Floor => batch.run(&self.floor).await,
            SideName::Rslock => batch.run(&self.rslock).await,
        }
    }
}

pub(crate) struct Plan {
    pub(crate) length: Duration,
    pub(crate) tasks: usize,
    pub(crate) random: Random,
}

impl Plan {
    pub(crate) async fn run(mut self, healthy: &Bed, paused: &Bed) -> Result<Vec<Record>, Error> {
        let end = Instant::now() + self.length;
        // rslock connects to all nodes at its first lock.
        for bed in [healthy, paused] {
            for side in SideName::ALL {
                bed.run(side, &self.batch(side, Load::OneTask)).await?;
            }
        }
        let mut records = Vec::new();
        paused.cluster.pause(PAUSED_NODE)?;
        self.onset(healthy, paused, &mut records).await?;
        let mut round = ONSET_BATCHES;
        while Instant::now() < end || round == ONSET_BATCHES {
            for (nodes, load) in self.random.shuffled([
                (Nodes::Healthy, Load::OneTask),
                (Nodes::Healthy, Load::ManyTasks),
                (Nodes::OnePaused, Load::OneTask),
                (Nodes::OnePaused, Load::ManyTasks),
            ]) {
                for side in self.random.shuffled(SideName::ALL) {
                    if side == SideName::Fenced && nodes == Nodes::OnePaused {
                        continue;
                    }
                    let slow = side == SideName::Rslock && nodes == Nodes::OnePaused;
                    if slow && round >= ONSET_BATCHES + RSLOCK_PAUSED_BATCHES {
                        continue;
                    }
                    let bed = if nodes == Nodes::Healthy { healthy } else { paused };
                    tokio::time::sleep(BREATHER).await;
                    let sample = bed.run(side, &self.batch(side, load)).await?;
                    records.push(Record { round, side, nodes, load, sample });
                }
            }
            round += 1;
        }
        tokio::time::sleep(SETTLED_WITHIN).await;
        healthy.check_empty()?;
        Ok(records)
    }

    /// Measures the first moments of the pause, while this library still sends to the paused node. Then waits until the
    /// library has stopped sending to it.
    async fn onset(&mut self, healthy: &Bed, paused: &Bed, records: &mut Vec<Record>) -> Result<(), Error> {
        let batch = Batch { length: BATCH / 2, ..self.batch(SideName::Ours, Load::OneTask) };
        for round in 0..ONSET_BATCHES {
            for nodes in self.random.shuffled([Nodes::Healthy, Nodes::JustPaused]) {
                let bed = if nodes == Nodes::Healthy { healthy } else { paused };
                tokio::time::sleep(BREATHER).await;
                let sample = bed.run(SideName::Ours, &batch).await?;
                records.push(Record { round, side: SideName::Ours, nodes, load: Load::OneTask, sample });
            }
        }
        let limit = Instant::now() + GIVE_UP_LIMIT;
        while paused.ours.0.nodes()[PAUSED_NODE].failure().is_none() {
            if Instant::now() > limit {
                return Err("ours did not notice the paused node".into());
            }
            paused.run(SideName::Ours, &batch).await?;
        }
        Ok(())
    }

    fn batch(&self, side: SideName, load: Load) -> Batch {
        let tasks = match load {
            Load::OneTask => 1,
            Load::ManyTasks => self.tasks,
        };
        Batch { names: names(side, tasks), tasks, length: BATCH }
    }
}

/// Distinct names of equal length.
pub(crate) fn names(side: SideName, tasks: usize) -> Arc<[String]> {
    let side = match side {
        SideName::Ours => 'o',
        SideName::Fenced => 'e',
        SideName::Floor => 'f',
        SideName::Rslock => 'r',
    };
    (0..tasks).map(|task| format!("bench:{side}:{task:06}")).collect()
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

    fn shuffled<T, const N: usize>(&mut self, mut items: [T; N]) -> [T; N] {
        for i in (1..N).rev() {
            #[expect(clippy::cast_possible_truncation, reason = "at most i")]
            items.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
        items
    }
}
