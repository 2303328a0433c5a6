//! The play: servers, workers, faults and the look behind the curtain.

use std::sync::Arc;
use std::time::Duration;

use redlock_testing::history::LeftKey;
use redlock_testing::{ClusterError, Data, LocalCluster};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::counter::Counter;
use super::crew::{Crew, News, Orders};
use super::plan::{self, Step, What};
use super::show::Show;
use super::tally::{Condition, Tally};
use super::worker::Exclusion;
use crate::clock;
use crate::failure::Failure;

/// How long a fault lasts at least: a client notices a hung peer within 2 s, and is to go on without it for a
/// while.
const FAULT_MIN: Duration = Duration::from_millis(2_500);
/// How often the plan and the picture are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long the workers may take to finish and to release what they hold.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long releases may take to arrive after the workers have ended; far below the locks' TTL, so that a key
/// that nobody released is seen.
const KEYS_LIMIT: Duration = Duration::from_secs(2);
const KEYS_INTERVAL: Duration = Duration::from_millis(50);
/// Of the wanted sections, how many more are done after all nodes are back: one in so many.
const AFTERWARDS: usize = 10;

/// What is to be played.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) nodes: usize,
    pub(super) workers: usize,
    pub(super) sections: usize,
    pub(super) seed: u64,
    pub(super) exclusion: Exclusion,
}

/// Everything that the play has and has seen; dropped, it ends all processes.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) script: Script,
    pub(super) tally: Tally,
    pub(super) left: Vec<LeftKey>,
    show: Show,
    began_at: u64,
    // Before the servers, for the workers use them.
    crew: Option<Crew>,
    counter: Option<Counter>,
    cluster: Option<Arc<LocalCluster>>,
}

impl Stage {
    pub(super) fn new(script: Script, show: Show) -> Self {
        Self {
            tally: Tally::new(script.sections, script.workers),
            left: Vec::new(),
            show,
            began_at: clock::now(),
            crew: None,
            counter: None,
            cluster: None,
            script,
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        clock::since(self.began_at)
    }

    /// The last picture; afterwards the terminal is as it was before.
    pub(super) fn end_show(&mut self) {
        self.show.end(&self.tally, self.began_at);
    }

    /// By how much the counter has grown until now; nothing before there is one.
    pub(super) fn growth(&self) -> Result<u64, Failure> {
        let read = self.counter.as_ref().map_or(Ok(0), Counter::read);
        read.map_err(|source| Failure::System { action: "read the shared file", source })
    }

    /// From the first server to the last key. What goes wrong with workers and faults is in the tally.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, `tally.awaited` says what was waited for.
    pub(super) async fn play(&mut self) -> Result<(), Failure> {
        self.open().await?;
        self.work().await;
        self.close().await;
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Failure> {
        let Script { nodes, workers, sections: _, seed, exclusion } = self.script;
        self.show.tick(&self.tally, self.began_at);
        let started = spawn_blocking(move || LocalCluster::start(nodes)).await;
        let cluster = started.map_err(|panic| Failure::Internal(panic.to_string()))??;
        let urls = cluster.urls();
        let file = cluster.directory().join("counter");
        let counter = Counter::create(&file)
            .map_err(|source| Failure::System { action: "create the shared file", source })?;
        self.tally.handle_nodes(&urls);
        self.cluster = Some(Arc::new(cluster));
        self.counter = Some(counter);
        let orders = Orders { workers, nodes: &urls, file: &file, seed, exclusion };
        self.crew = Some(Crew::start(&orders)?);
        "the workers to connect".clone_into(&mut self.tally.awaited);
        Ok(())
    }

    /// Sections and faults, until enough of both are done or something is wrong.
    async fn work(&mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut plan = Plan::new(plan::draw(self.script.nodes, self.script.seed), self.script.nodes);
        loop {
            tokio::select! {
                news = next_news(&mut self.crew) => match news {
                    Some(News::Event(event)) => self.tally.handle_event(event),
                    Some(News::Trouble(trouble)) => self.tally.troubles.push(trouble),
                    None => self.tally.troubles.push("all worker processes have ended early".into()),
                },
                done = plan.step_done() => {
                    let at = self.elapsed();
                    match done {
                        Ok(step) => {
                            self.tally.handle_step(step, at);
                            self.show.fault(&self.tally);
                        }
                        Err(trouble) => self.tally.troubles.push(trouble),
                    }
                }
                _ = ticks.tick() => {
                    if let Some(cluster) = &self.cluster && self.tally.are_all_ready() {
                        plan.advance(&mut self.tally, cluster);
                    }
                    self.show.tick(&self.tally, self.began_at);
                }
            }
            if !self.tally.troubles.is_empty() || (plan.is_over() && self.is_enough()) {
                return;
            }
        }
    }

    /// Whether all is done once the faults are over and healed.
    fn is_enough(&mut self) -> bool {
        if self.tally.missing_nodes() > 0 {
            return false;
        }
        let done = self.tally.done;
        self.tally.done_when_healed.get_or_insert(done);
        let afterwards = self.script.sections.div_ceil(AFTERWARDS);
        done >= self.script.sections && self.tally.done_since_healed() >= afterwards
    }

    /// Lets the workers finish, and ends them if they do not.
    pub(super) async fn dismiss(&mut self) {
        let Some(mut crew) = self.crew.take() else { return };
        crew.stop();
        if timeout(STOP_LIMIT, listen(&mut crew, &mut self.tally)).await.is_err() {
            self.tally.troubles.push(format!("the workers did not finish within {STOP_LIMIT:?}"));
        }
    }

    async fn close(&mut self) {
        "the workers to finish".clone_into(&mut self.tally.awaited);
        self.dismiss().await;
        "the last releases to arrive on all nodes".clone_into(&mut self.tally.awaited);
        if let Some(cluster) = &self.cluster {
            // After a trouble a node may still be away, and then cannot be asked.
            if self.tally.nodes.iter().all(|node| node.condition == Condition::Up) {
                match left_keys(cluster).await {
                    Ok(left) => self.left = left,
                    Err(trouble) => self.tally.troubles.push(trouble),
                }
            }
        }
        self.show.tick(&self.tally, self.began_at);
    }
}

async fn next_news(crew: &mut Option<Crew>) -> Option<News> {
    crew.as_mut()?.next().await
}

/// What the workers still have to say, until all have ended.
async fn listen(crew: &mut Crew, tally: &mut Tally) {
    while let Some(news) = crew.next().await {
        match news {
            News::Event(event) => tally.handle_event(event),
            News::Trouble(trouble) => tally.troubles.push(trouble),
        }
    }
}

/// The steps that are left, and the one that is being carried out.
struct Plan {
    steps: std::vec::IntoIter<Step>,
    next: Option<Step>,
    /// How many nodes may be away at once.
    spare: usize,
    /// When each harm was done, by its node.
    harmed_at: Vec<(usize, u64)>,
    under_way: Option<(Step, JoinHandle<Result<(), ClusterError>>)>,
}

impl Plan {
    fn new(steps: [Step; 4], nodes: usize) -> Self {
        let mut steps = Vec::from(steps).into_iter();
        let next = steps.next();
        Self { steps, next, spare: nodes - (nodes / 2 + 1), harmed_at: Vec::new(), under_way: None }
    }

    /// Whether every step has been carried out.
    fn is_over(&self) -> bool {
        self.next.is_none() && self.under_way.is_none()
    }

    /// Begins the next step if it is due, and says what is waited for.
    fn advance(&mut self, tally: &mut Tally, cluster: &Arc<LocalCluster>) {
        if let Some((step, _)) = &self.under_way {
            tally.awaited = format!("node {} to be {}", step.node, step.what.as_done());
            return;
        }
        let Some(step) = self.next else {
            tally.awaited = match tally.missing_nodes() {
                0 => format!("sections: {} of {} are done", tally.done, tally.wanted),
                _ => "every worker to find the nodes again".to_owned(),
            };
            return;
        };
        tally.awaited = format!("sections: {} of {} are done", tally.done, tally.wanted);
        if tally.share() < step.at || !self.is_possible(step, tally) {
            return;
        }
        let cluster = Arc::clone(cluster);
        self.under_way = Some((step, spawn_blocking(move || carry_out(step, &cluster))));
        self.next = self.steps.next();
    }

    fn is_possible(&self, step: Step, tally: &Tally) -> bool {
        if !step.what.is_healing() {
            return tally.missing_nodes() < self.spare;
        }
        let harmed = self.harmed_at.iter().find(|(node, _)| *node == step.node);
        harmed.is_some_and(|(_, at)| clock::since(*at) >= FAULT_MIN)
    }

    /// The step that has been carried out; waits for ever while there is none. Cancel safe.
    async fn step_done(&mut self) -> Result<Step, String> {
        let Some((step, under_way)) = &mut self.under_way else { return std::future::pending().await };
        let (step, result) = (*step, under_way.await);
        self.under_way = None;
        self.harmed_at.push((step.node, clock::now()));
        match result {
            Ok(Ok(())) => Ok(step),
            Ok(Err(error)) => {
                Err(format!("node {} could not be {}: {error}", step.node, step.what.as_done()))
            }
            Err(panic) => Err(format!("node {} could not be {}: {panic}", step.node, step.what.as_done())),
        }
    }
}

fn carry_out(step: Step, cluster: &LocalCluster) -> Result<(), ClusterError> {
    match step.what {
        What::Kill => cluster.kill(step.node),
        What::Restart => cluster.restart(step.node, Data::Kept),
        What::Pause => cluster.pause(step.node),
        What::Resume => cluster.resume(step.node),
    }
}

/// The keys that are on some node after the time that releases may take.
async fn left_keys(cluster: &Arc<LocalCluster>) -> Result<Vec<LeftKey>, String> {
    let began_at = clock::now();
    loop {
        let cluster = Arc::clone(cluster);
        let looked = spawn_blocking(move || look(&cluster)).await;
        let left = looked
            .map_err(|panic| panic.to_string())?
            .map_err(|error| format!("the keys could not be looked at: {error}"))?;
        if left.is_empty() || clock::since(began_at) >= KEYS_LIMIT {
            return Ok(left);
        }
        sleep(KEYS_INTERVAL).await;
    }
}

fn look(cluster: &LocalCluster) -> Result<Vec<LeftKey>, ClusterError> {
    let mut left = Vec::new();
    for node in 0..cluster.len() {
        let keys = cluster.keys(node)?.into_iter();
        left.extend(keys.map(|resource| LeftKey { node: format!("node {node}"), resource }));
    }
    Ok(left)
}
