//! The run: nodes, clients, faults, and the search for keys left behind.

mod faults;

use std::ffi::OsString;
use std::future::pending;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::arena::{self, Arena, Sight};
use super::crew::{Crew, News};
use super::keys;
use super::log::Log;
use super::plan::{Act, Planned, Until};
use crate::clock;
use crate::failure::Failure;
use crate::signals::Signals;

/// How often the plan and the display are updated.
const TICK: Duration = Duration::from_millis(20);
/// How often the keys are read while the clients work.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long clients may take to connect at the start.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How long clients may take to finish and to release what they hold.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Everything that defines the run.
pub(crate) struct Script {
    pub(crate) arena: Arc<Arena>,
    /// The operator's names for the nodes.
    pub(crate) nodes: Vec<String>,
    pub(crate) plan: Vec<Planned>,
    pub(crate) duration: Duration,
    /// The work that has to be done, in addition to the plan.
    pub(crate) goal: Goal,
    /// The keys of the locks.
    pub(crate) keys: Vec<String>,
    /// How long the votes of nodes may not count at the start.
    pub(crate) quarantine: Duration,
    pub(crate) ttl: Duration,
    /// How long some client may take to acquire a lock after everything is healed.
    pub(crate) bound: Duration,
    /// The arguments of each client, except its owner and seed.
    pub(crate) arguments: Vec<Vec<OsString>>,
    pub(crate) seed: u64,
    /// The file for the clients' events.
    pub(crate) history: Option<PathBuf>,
}

/// How often the shared number has to be incremented before the run ends, even beyond its duration; 0 without a shared
/// number.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Goal {
    pub(crate) sections: usize,
    /// How many of these sections have to follow the last healing.
    pub(crate) afterwards: usize,
}

/// The display of a run's progress.
pub(crate) trait Show {
    /// Time has passed.
    fn tick(&mut self, log: &Log);
    /// The fault with this number has taken effect.
    fn hit(&mut self, log: &Log, hit: usize);
    /// The fault with this number is healed.
    fn healed(&mut self, log: &Log, hit: usize);
    /// The display ends.
    fn end(&mut self, log: &Log);
}

/// The state of the run. Dropped, it ends all processes.
pub(crate) struct Stage<S> {
    script: Script,
    pub(crate) log: Log,
    show: S,
    crew: Option<Crew>,
    history: Option<std::io::BufWriter<std::fs::File>>,
    tasks: JoinSet<Done>,
    /// The lasting faults: the number of each, and when to heal it.
    healings: Vec<(usize, Duration)>,
    /// Faults that are due, and acts that have begun and are not over.
    due: Vec<Planned>,
    under_way: Vec<Act>,
    look: Look,
    /// Clients to be started again, each with the hit that killed it.
    killed: Vec<(usize, usize)>,
}

/// Why the faults have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The time has passed, or something went wrong that is in the log.
    Played,
    Interrupted(Signal),
}

/// The next event of the run.
enum Happened {
    News(News),
    Done(Done),
    Tick,
}

/// The state of the search for keys. One search follows the other.
enum Look {
    UnderWay,
    Over { since: u64 },
}

/// The result of a finished task.
enum Done {
    Hit {
        planned: Planned,
        at: u64,
        result: Result<(), String>,
    },
    Healed {
        hit: usize,
        result: Result<(), String>,
    },
    /// The keys found by a search that began at `began`. A node that did not answer has just been hit.
    Looked {
        began: u64,
        found: Result<Vec<Sight>, String>,
    },
    Panicked(String),
}

impl<S: Show> Stage<S> {
    pub(crate) fn new(script: Script, show: S) -> Self {
        Self {
            log: Log::new(script.arguments.len(), script.nodes.clone()),
            script,
            show,
            crew: None,
            history: None,
            tasks: JoinSet::new(),
            healings: Vec::new(),
            due: Vec::new(),
            under_way: Vec::new(),
            look: Look::Over { since: 0 },
            killed: Vec::new(),
        }
    }

    /// Plays the run from the first client to the end of the last fault, or until a signal. Failures are in the log.
    /// [`close`](Self::close) heals the faults that are left.
    pub(crate) async fn play(&mut self, signals: &mut Signals) -> Result<Ending, Failure> {
        let failed = |source| Failure::System { action: "write the history", source };
        if let Some(path) = &self.script.history {
            self.history = Some(std::io::BufWriter::new(std::fs::File::create(path).map_err(failed)?));
        }
        self.log.started_at = clock::now();
        self.crew = Some(Crew::start(std::mem::take(&mut self.script.arguments), self.script.seed)?);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut plan = std::mem::take(&mut self.script.plan).into_iter().peekable();
        loop {
            let happened = tokio::select! {
                happened = self.next(&mut ticks) => happened,
                signal = signals.next() => return Ok(Ending::Interrupted(signal)),
            };
            self.handle(happened).await;
            self.show.tick(&self.log);
            if self.log.began_at == 0 {
                // Nodes that nobody has declared new are in quarantine at first.
                let limit = READY_LIMIT + self.script.quarantine;
                if self.log.are_all_ready() && self.log.sections() > 0 {
                    self.log.began_at = clock::now();
                } else if clock::since(self.log.started_at) > limit {
                    let reason = format!("the faults never began: {} within {limit:?}", self.log.unready());
                    self.log.cut_short.push(reason);
                    return Ok(Ending::Played);
                } else if !self.log.troubles.is_empty() {
                    return Ok(Ending::Played);
                }
                continue;
            }
            let elapsed = clock::since(self.log.began_at);
            while let Some(planned) = plan.next_if(|planned| planned.at <= elapsed) {
                self.due.push(planned);
            }
            self.hit_due(elapsed);
            self.heal_due(elapsed);
            self.look_at_keys();
            let is_done = elapsed >= self.script.duration && self.log.counted >= self.script.goal.sections;
            if is_done || !self.log.troubles.is_empty() {
                return Ok(Ending::Played);
            }
        }
    }

    /// Heals the faults that are left, lets the clients work until all have acquired a lock again or the bound has
    /// passed, ends them, and searches for keys left behind.
    pub(crate) async fn close(&mut self) {
        let mut ticks = interval(TICK);
        self.heal_due(Duration::MAX);
        while !(self.tasks.is_empty() && self.killed.is_empty()) {
            self.step(&mut ticks).await;
            self.heal_due(Duration::MAX);
        }
        self.log.healed_at = clock::now();
        if self.log.began_at > 0 && self.log.troubles.is_empty() {
            self.recover(&mut ticks).await;
        }
        if self.log.began_at == 0 {
            self.log.began_at = self.log.started_at;
            if self.log.cut_short.is_empty() {
                self.log.cut_short.push("the faults never began: the run ended before".to_owned());
            }
        }
        self.log.ended_at = clock::now();
        self.dismiss(&mut ticks).await;
        if self.log.troubles.is_empty() && self.log.cut_short.is_empty() {
            let Script { arena, keys, ttl, .. } = &self.script;
            match keys::left(arena, keys, *ttl, &self.log).await {
                Ok(left) => self.log.left = left,
                Err(error) => self.log.troubles.push(format!("the keys could not be looked at: {error}")),
            }
        }
        if let Some(mut history) = self.history.take()
            && let Err(error) = history.flush()
        {
            self.log.troubles.push(format!("the history could not be written: {error}"));
        }
        self.show.end(&self.log);
    }

    /// Waits until all clients have reconnected to all nodes and have acquired a lock, and the goal is reached.
    async fn recover(&mut self, ticks: &mut tokio::time::Interval) {
        let (healed_at, goal, bound) = (self.log.healed_at, self.script.goal, self.script.bound);
        let counted = self.log.counted;
        let is_well = |log: &Log| {
            log.have_all_won_since(healed_at)
                && log.lonely().is_empty()
                && log.counted - counted >= goal.afterwards
        };
        while !is_well(&self.log) && clock::since(healed_at) <= bound {
            self.step(ticks).await;
        }
        let afterwards = self.log.counted - counted;
        if afterwards < goal.afterwards {
            let trouble = format!("only {afterwards} of {} sections were done afterwards", goal.afterwards);
            self.log.troubles.push(trouble);
        }
        // Missing progress is the verdict's matter; missing connections are recorded here.
        for client in self.log.lonely() {
            let lost = self.log.lost_by(client);
            self.log.troubles.push(format!("client {client} had not found {lost} again after {bound:?}"));
        }
    }

    async fn step(&mut self, ticks: &mut tokio::time::Interval) {
        let happened = self.next(ticks).await;
        self.handle(happened).await;
        self.show.tick(&self.log);
    }

    /// The next event. Cancel safe.
    async fn next(&mut self, ticks: &mut tokio::time::Interval) -> Happened {
        let news = async {
            match &mut self.crew {
                Some(crew) => crew.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(news) = news => Happened::News(news),
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => Happened::Done(done),
                Err(panic) => Happened::Done(Done::Panicked(panic.to_string())),
            },
            _ = ticks.tick() => Happened::Tick,
        }
    }

    async fn handle(&mut self, happened: Happened) {
        match happened {
            Happened::News(news) => self.handle_news(news).await,
            Happened::Done(done) => self.handle_done(done),
            Happened::Tick => {}
        }
    }

    async fn handle_news(&mut self, news: News) {
        let Some(crew) = &mut self.crew else { return };
        match news {
            News::Event { client, life, event } => {
                if let Some(history) = &mut self.history {
                    let line = serde_json::json!({ "client": client, "life": life, "event": &event });
                    // An error is found by the flush at the end.
                    let _ = writeln!(history, "{line}");
                }
                if let Some(answer) = self.log.handle_event(client, life, event, clock::now()) {
                    crew.answer(client, life, answer).await;
                }
            }
            News::Closed { client, life, complaint } => {
                self.log.handle_end(client, clock::now());
                let status = crew.bury(client).await;
                let was_killed = self.killed.iter().any(|(killed, _)| *killed == client);
                let is_ending = self.log.ended_at > 0;
                let ended_well = matches!(&status, Ok(Some(status)) if status.success());
                if !(was_killed || is_ending && ended_well) {
                    let status = status.ok().flatten().map(|status| status.to_string()).unwrap_or_default();
                    let trouble =
                        format!("client {client} ({life}) ended by itself with {status}: {complaint}");
                    self.log.troubles.push(trouble);
                }
            }
        }
    }

    fn handle_done(&mut self, done: Done) {
        let now = clock::now();
        match done {
            Done::Hit { planned, at, result: Ok(()) } => {
                let hit = self.log.handle_hit(&planned, at, now);
                self.show.hit(&self.log, hit);
                match planned.until {
                    Until::Momentary => {
                        self.log.handle_healed(hit, now);
                        self.is_over(&planned.act);
                    }
                    Until::Healed(until) => self.healings.push((hit, until)),
                }
            }
            Done::Hit { planned, result: Err(error), .. } => {
                let trouble = arena::describe(&self.log, &planned.act, planned.name);
                self.log.troubles.push(format!("{trouble}: {error}"));
            }
            Done::Healed { hit, result: Ok(()) } => {
                self.log.handle_healed(hit, now);
                self.is_over(&self.log.hits[hit].act.clone());
                self.show.healed(&self.log, hit);
            }
            Done::Looked { began, found } => {
                self.look = Look::Over { since: now };
                for Sight { node, key, value } in found.unwrap_or_default() {
                    self.log.handle_sight(node, self.script.keys[key].clone(), value, began);
                }
            }
            Done::Panicked(panic) => self.log.troubles.push(panic),
            Done::Healed { hit, result: Err(error) } => {
                let hit = &self.log.hits[hit];
                let act = arena::describe(&self.log, &hit.act, hit.name);
                self.log.troubles.push(format!("{act}, and could not be healed: {error}"));
            }
        }
    }

    /// Begins the next search for keys, if it is due. A key that stays without a holder is a leak.
    fn look_at_keys(&mut self) {
        match self.look {
            Look::Over { since } if clock::since(since) >= LOOK_INTERVAL => {}
            Look::Over { .. } | Look::UnderWay => return,
        }
        self.look = Look::UnderWay;
        let (arena, keys) = (Arc::clone(&self.script.arena), self.script.keys.clone());
        let nodes = self.log.quiet_nodes(arena.count());
        self.tasks.spawn(async move {
            let began = clock::now();
            Done::Looked { began, found: arena::values(&arena, nodes, keys).await }
        });
    }

    /// Lets the clients finish, and kills them if they do not.
    async fn dismiss(&mut self, ticks: &mut tokio::time::Interval) {
        let Some(crew) = &mut self.crew else { return };
        crew.stop();
        let all_ended = async {
            while self.crew.as_ref().is_some_and(Crew::is_anybody_left) {
                self.step(ticks).await;
            }
        };
        if timeout(STOP_LIMIT, all_ended).await.is_err() {
            self.log.troubles.push(format!("the clients did not finish within {STOP_LIMIT:?}"));
        }
        self.crew = None;
    }
}
