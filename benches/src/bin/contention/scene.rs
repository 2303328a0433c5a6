//! The runs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use redlock_quorum::Redlock;
use redlock_quorum::testing::history::{Section, check};
use redlock_quorum::testing::{LocalCluster, Reply};
use tokio::task::JoinSet;

use crate::crew::{Crew, HOLDER, Member};
use crate::report::{Bar, Report};
use crate::section::{self, Failure, RESOURCE, clock};

const NODES: usize = 5;
const CONTENDERS: usize = 16;
const SECTIONS: usize = 2000;
const WAITERS: usize = 1000;
/// TTL of the locks, far longer than all measured times. Only where a holder is killed, the TTL is [`KILLED_TTL`].
const TTL: Duration = Duration::from_secs(10);
const KILLED_TTL: Duration = Duration::from_millis(500);
const KILLS: u32 = 5;
/// Time for which the waiters are watched while nothing happens.
const QUIET: Duration = Duration::from_secs(5);
/// Time within which all keys are removed from the nodes, far earlier than they would expire.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// The same for queues on nodes that were paused until clients closed their connections: these queues have to expire.
const QUEUES_EXPIRE_WITHIN: Duration = Duration::from_secs(11);

/// Plays all runs, or only the named ones.
pub(crate) async fn play(only: &[String]) -> Result<ExitCode, Failure> {
    let cluster = LocalCluster::start(NODES)?;
    let mut stage = Stage { cluster, report: Report::default() };
    println!("{NODES} local masters, {CONTENDERS} contenders, sections of 1 ms, all for one lock");
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    if wanted("tasks") {
        stage.tasks().await?;
    }
    if wanted("processes") {
        stage.processes().await?;
    }
    if wanted("paused") {
        stage.paused().await?;
    }
    if wanted("killed") {
        stage.killed().await?;
    }
    if wanted("waiting") {
        stage.waiting().await?;
    }
    if wanted("clients") {
        crate::clients::wait(&mut stage.report).await?;
    }
    let passes = stage.report.passes();
    println!("\n{}", if passes { "All bars are met." } else { "Not all bars are met." });
    Ok(ExitCode::from(u8::from(!passes)))
}

struct Stage {
    cluster: LocalCluster,
    report: Report,
}

impl Stage {
    async fn tasks(&mut self) -> Result<(), Failure> {
        Report::heading(&format!("{CONTENDERS} tasks of one process, {SECTIONS} sections"));
        let redlock = Redlock::connect(self.cluster.urls()).await?;
        let mut round_trips = round_trips(&redlock).await?;
        let before = self.commands()?;
        let mut tasks = JoinSet::new();
        for task in 0..CONTENDERS {
            let mutex = redlock.mutex(RESOURCE)?.ttl(TTL);
            tasks.spawn(async move {
                let name = format!("task {task}");
                let mut sections = Vec::new();
                for _ in 0..SECTIONS / CONTENDERS {
                    sections.push(section::run(&name, &mutex).await?);
                }
                Ok::<_, Failure>(sections)
            });
        }
        let mut sections = Vec::new();
        while let Some(done) = tasks.join_next().await {
            sections.extend(done??);
        }
        let commands = per_section(self.commands()? - before, &sections);
        round_trips.extend(self::round_trips(&redlock).await?);
        redlock.shutdown().await;
        self.rate(&sections, median(round_trips), 0.85);
        Report::note("commands a section", &format!("{commands:.2}"));
        self.judge(&sections, SETTLED_WITHIN).await
    }

    async fn processes(&mut self) -> Result<(), Failure> {
        Report::heading(&format!("{CONTENDERS} processes, {SECTIONS} sections"));
        let redlock = Redlock::connect(self.cluster.urls()).await?;
        let mut round_trips = round_trips(&redlock).await?;
        let before = self.commands()?;
        let mut crew = Crew::start(CONTENDERS, TTL, &self.cluster.urls()).await?;
        let mut sections = crew.sections(SECTIONS).await?;
        let (measured, last) = (sections.len(), crew.stop().await?);
        sections.extend(last);
        let commands = per_section(self.commands()? - before, &sections);
        round_trips.extend(self::round_trips(&redlock).await?);
        self.rate(&sections[..measured], median(round_trips), 0.5);
        self.shares(&sections[..measured]);
        #[expect(clippy::cast_precision_loss, reason = "there are five")]
        let bar = 3.0 * NODES as f64 + 5.0;
        self.report.figure("commands a section", commands, "", Bar::AtMost(bar));
        self.judge(&sections, SETTLED_WITHIN).await
    }

    async fn paused(&mut self) -> Result<(), Failure> {
        Report::heading(&format!("{CONTENDERS} processes, while two of {NODES} nodes are paused"));
        let mut crew = Crew::start(CONTENDERS, TTL, &self.cluster.urls()).await?;
        let mut sections = crew.sections(SECTIONS / 2).await?;
        let healthy = rate(&sections);
        // The node that keeps the queue, and the next node.
        let queue = self.queue_node()?.unwrap_or(0);
        for node in [queue, (queue + 1) % NODES] {
            self.cluster.pause(node)?;
        }
        // Some of these sections ended before the pause.
        let paused_at = clock();
        let mut later = crew.sections(SECTIONS).await?;
        later.retain(|section| section.acquired_at > paused_at);
        for node in [queue, (queue + 1) % NODES] {
            self.cluster.resume(node)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "there are some thousand")]
        let paused = later.len() as f64 / seconds(paused_at, last_end(&later));
        Report::note("healthy, sections a second", &format!("{healthy:.0}"));
        Report::note("paused, sections a second, from the pause on", &format!("{paused:.0}"));
        self.report.figure("of the healthy rate", paused / healthy, "", Bar::AtLeast(0.5));
        let longest = longest_gap(paused_at, &later);
        Report::note("longest time without a hand-over", &format!("{:.0} ms", longest * 1000.0));
        sections.extend(later);
        sections.extend(crew.stop().await?);
        self.judge(&sections, QUEUES_EXPIRE_WITHIN).await
    }

    async fn killed(&mut self) -> Result<(), Failure> {
        let ttl = KILLED_TTL.as_millis();
        Report::heading(&format!("the holder is killed (SIGKILL), {KILLS} times; its TTL is {ttl} ms"));
        let redlock = Redlock::connect(self.cluster.urls()).await?;
        let (mut sections, mut worst) = (Vec::new(), 0.0_f64);
        for kill in 0..KILLS {
            let mut holder =
                Member::start(HOLDER, format!("holder {kill}"), KILLED_TTL, &self.cluster.urls()).await?;
            let mut held = holder.section().await?.ok_or("the holder tells what it has")?;
            let mutex = redlock.mutex(RESOURCE)?.ttl(TTL);
            let waiter = tokio::spawn(async move { section::run("waiter", &mutex).await });
            // Each kill comes at another moment between two renewals.
            tokio::time::sleep(KILLED_TTL / 2 + KILLED_TTL / 16 * kill).await;
            holder.kill().await?;
            let killed_at = clock();
            let waited = waiter.await??;
            worst = worst.max(seconds(killed_at, waited.acquired_at));
            // The lease was renewed until the kill.
            held.deadline = killed_at;
            held.ended_at = Some(killed_at);
            sections.extend([held, waited]);
        }
        let bar = KILLED_TTL + Duration::from_millis(50);
        let bar = Bar::AtMost(bar.as_secs_f64() * 1000.0);
        self.report.figure("longest wait after the kill", worst * 1000.0, "ms", bar);
        self.judge(&sections, SETTLED_WITHIN).await
    }

    async fn waiting(&mut self) -> Result<(), Failure> {
        Report::heading(&format!("{WAITERS} tasks of one process wait, and nothing happens"));
        let redlock = Redlock::connect(self.cluster.urls()).await?;
        let holder = Redlock::connect(self.cluster.urls()).await?;
        let guard = holder.mutex(RESOURCE)?.keep_alive(false).ttl(TTL * 2).lock().await?;
        let before = resident_kilobytes();
        let mut waiters = JoinSet::new();
        for _ in 0..WAITERS {
            let mutex = redlock.mutex(RESOURCE)?.ttl(TTL);
            waiters.spawn(async move { mutex.lock().await });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (commands, memory) = (self.commands_of_nodes()?, resident_kilobytes());
        tokio::time::sleep(QUIET).await;
        let sent = self.commands_of_nodes()?.into_iter().zip(commands).map(|(after, before)| after - before);
        #[expect(clippy::cast_precision_loss, reason = "there are a few")]
        let most = sent.max().unwrap_or(0) as f64 / QUIET.as_secs_f64();
        self.report.figure("commands a second to the node with most", most, "", Bar::Below(5.0));
        Report::note(
            "memory of a waiter",
            &format!("{} B", (memory.saturating_sub(before)) * 1024 / WAITERS),
        );
        let growth = resident_kilobytes().saturating_sub(memory);
        #[expect(clippy::cast_precision_loss, reason = "there are a few")]
        self.report.figure("memory that came while they waited", growth as f64, "kB", Bar::AtMost(256.0));
        // All waiters are cancelled at the same time, each in its place of the queue.
        waiters.abort_all();
        while waiters.join_next().await.is_some() {}
        guard.release().await?;
        self.judge(&[], SETTLED_WITHIN).await
    }

    fn rate(&mut self, sections: &[Section], round_trip: f64, bar: f64) {
        let held = |section: &Section| seconds(section.acquired_at, section.ended_at.unwrap_or(0));
        #[expect(clippy::cast_precision_loss, reason = "there are some thousand")]
        let section = sections.iter().map(held).sum::<f64>() / sections.len() as f64;
        let (ideal, ours) = (1.0 / (section + round_trip), rate(sections));
        let micros = |seconds: f64| format!("{:.0} us", seconds * 1e6);
        Report::note("section", &micros(section));
        Report::note("quorum round trip", &micros(round_trip));
        Report::note("ideal, sections a second", &format!("{ideal:.0}"));
        Report::note("ours, sections a second", &format!("{ours:.0}"));
        Report::note("hand-over, from the end of a section to the next one", &micros(1.0 / ours - section));
        self.report.figure("of the ideal rate", ours / ideal, "", Bar::AtLeast(bar));
    }

    fn shares(&mut self, sections: &[Section]) {
        let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
        for section in sections {
            *shares.entry(&section.client).or_default() += 1;
        }
        let least = if shares.len() == CONTENDERS { *shares.values().min().unwrap_or(&0) } else { 0 };
        let mean = SECTIONS / CONTENDERS;
        #[expect(clippy::cast_precision_loss, reason = "there are some thousand")]
        let share = least as f64 / mean as f64;
        self.report.figure("least share of a process, of the mean", share, "", Bar::AtLeast(1.0 / 3.0));
    }

    async fn judge(&mut self, sections: &[Section], queues_within: Duration) -> Result<(), Failure> {
        self.report.verdict(&check(sections));
        self.settles(SETTLED_WITHIN, Self::locks, "locks").await?;
        self.settles(queues_within, Self::queues, "queues").await
    }

    async fn settles(
        &mut self,
        within: Duration,
        kept: fn(&Self) -> Result<Vec<String>, Failure>,
        what: &str,
    ) -> Result<(), Failure> {
        let deadline = clock() + u64::try_from(within.as_nanos())?;
        let mut left = kept(self)?;
        while !left.is_empty() && clock() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
            left = kept(self)?;
        }
        self.report.holds(&format!("{what} left after {within:?}: {left:?}"), left.is_empty());
        Ok(())
    }

    fn locks(&self) -> Result<Vec<String>, Failure> {
        let mut locks = Vec::new();
        for node in 0..NODES {
            locks.extend(self.cluster.keys(node)?);
        }
        Ok(locks)
    }

    fn queues(&self) -> Result<Vec<String>, Failure> {
        let mut queues = Vec::new();
        for node in 0..NODES {
            queues.extend(self.queues_of(node)?);
        }
        Ok(queues)
    }

    fn queues_of(&self, node: usize) -> Result<Vec<String>, Failure> {
        let Reply::Array(keys) = self.cluster.command(node, &["KEYS", "redlock-quorum:queue:*"])? else {
            return Err("KEYS answers a list".into());
        };
        Ok(keys.iter().filter_map(Reply::text).map(str::to_owned).collect())
    }

    fn queue_node(&self) -> Result<Option<usize>, Failure> {
        for node in 0..NODES {
            if !self.queues_of(node)?.is_empty() {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    fn commands(&self) -> Result<u64, Failure> {
        Ok(self.commands_of_nodes()?.iter().sum())
    }

    /// The number of commands that clients have sent to each node. INFO also counts calls inside of scripts, so only
    /// commands that scripts never call are added up. Each SET is sent with a ZADD, and so is each ZSCORE, which is
    /// sent when a fencing token was not the highest.
    fn commands_of_nodes(&self) -> Result<Vec<u64>, Failure> {
        (0..NODES)
            .map(|node| {
                let Reply::Bulk(text) = self.cluster.command(node, &["INFO", "commandstats"])? else {
                    return Err("INFO answers a text".into());
                };
                let calls = |command: &str| {
                    let prefix = format!("cmdstat_{command}:calls=");
                    let line = text.lines().find_map(|line| line.strip_prefix(&prefix))?;
                    line.split(',').next()?.parse::<u64>().ok()
                };
                let calls = |command: &str| calls(command).unwrap_or(0);
                Ok(2 * calls("set") + 2 * calls("zscore") + calls("evalsha") + calls("eval"))
            })
            .collect()
    }
}

/// Times to acquire a lock that nobody else wants. They are measured before and after each run, because the load of the
/// machine may change meanwhile.
async fn round_trips(redlock: &Redlock) -> Result<Vec<f64>, Failure> {
    let mut times = Vec::new();
    for i in 0..200 {
        let mutex = redlock.mutex(format!("nobody else wants {i}"))?;
        let started = clock();
        let guard = mutex.try_lock().await?;
        times.push(seconds(started, clock()));
        guard.release().await?;
    }
    Ok(times)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "there are some thousand")]
fn per_section(commands: u64, sections: &[Section]) -> f64 {
    commands as f64 / sections.len() as f64
}

/// Sections a second, from the first to the last.
#[expect(clippy::cast_precision_loss, reason = "there are some thousand")]
fn rate(sections: &[Section]) -> f64 {
    let first = sections.iter().map(|section| section.acquired_at).min().unwrap_or(0);
    sections.len() as f64 / seconds(first, last_end(sections))
}

fn last_end(sections: &[Section]) -> u64 {
    sections.iter().filter_map(|section| section.ended_at).max().unwrap_or(0)
}

fn longest_gap(since: u64, sections: &[Section]) -> f64 {
    let mut begun: Vec<u64> = sections.iter().map(|section| section.acquired_at).chain([since]).collect();
    begun.sort_unstable();
    begun.windows(2).map(|pair| seconds(pair[0], pair[1])).fold(0.0, f64::max)
}

fn seconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
}

/// Resident memory of this process; 0 where the system does not report it.
fn resident_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
