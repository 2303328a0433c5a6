//! `redlock chaos-client`: one client in a process of its own, on the public API. The client does what a user's program
//! would: lock, work, check the lease, write with the fencing token, release.

use std::future::pending;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use redlock_quorum::{CancellationToken, Guard, LockError, Loss, NodeOptions, Redlock, ReleaseError};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::counter::Counter;
use super::event::{Answer, Event, LEADER, Sharing, What, Why, resource_name};
use super::wish::Wish;
use crate::clock;
use crate::dice::Dice;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::lost::Lost;
use crate::nodes::{NodeArgs, assignment, checked};

/// How often a holder checks its deadline, and a client checks its connections.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// During a long hold a client writes at every tenth check: five times a second.
const LOOKS_PER_WRITE: u32 = 10;
/// How long a client that has lost its lease checks that the lease stays lost.
const WATCH_AFTER_LOSS: Duration = Duration::from_millis(60);
/// A deadline counts as renewed if it is later by more than this. Smaller differences come from reading it at another
/// moment. 1 ms, in nanoseconds.
const RENEWED_BY: u64 = 1_000_000;
/// Room for the store's answers; there is one write at a time.
const ANSWERS_WAITING: usize = 4;

/// One client of `redlock chaos`. Prints what it observes to stdout, as JSON lines, until stdin ends.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nodes: NodeArgs,
    /// The URL of each node, instead of those of the settings.
    #[arg(long)]
    url: Vec<String>,
    /// Settings that every other source overrides.
    #[arg(long, value_parser = assignment)]
    default: Vec<(String, String)>,
    /// Ignore all other settings, also those of the environment.
    #[arg(long)]
    defaults_alone: bool,
    /// Increment the number in this file instead of writing to the store.
    #[arg(long)]
    pub(super) counter: Option<PathBuf>,
    /// Do not lock, to show what then goes wrong.
    #[arg(long)]
    without_lock: bool,
    #[arg(long)]
    owner: String,
    #[arg(long)]
    seed: u64,
    /// Number of resources that are held briefly.
    #[arg(long)]
    pub(super) resources: u64,
    /// Number of resources that are held for long.
    #[arg(long)]
    pub(super) long_resources: u64,
    /// Longest hold, and longest pause between two holds, in microseconds.
    #[arg(long)]
    pub(super) hold: u64,
    #[arg(long)]
    rest: u64,
    /// Longest long hold, in microseconds, and how many holds there are for each long one.
    #[arg(long)]
    pub(super) long_hold: u64,
    #[arg(long)]
    pub(super) long_one_in: u64,
    /// How many locks there are for each that is shared, for each of two resources, for each of a slot, and for each
    /// leadership; 0 for none of them.
    #[arg(long)]
    pub(super) shared_one_in: u64,
    #[arg(long)]
    pub(super) multi_one_in: u64,
    #[arg(long)]
    pub(super) slot_one_in: u64,
    #[arg(long)]
    pub(super) lead_one_in: u64,
    /// Number of slots.
    #[arg(long)]
    pub(super) slots: usize,
    /// Shortest TTL, in microseconds; 0 for the setting.
    #[arg(long)]
    pub(super) shortest_ttl: u64,
}

impl Args {
    /// The settings that the client will use.
    fn settings(&mut self) -> Result<redlock_quorum::Settings, Failure> {
        let nodes = std::mem::take(&mut self.nodes);
        // The node names are the same for every client, whatever its proxies, because the names decide which node keeps
        // the wait queue.
        let urls = self.url.iter().enumerate();
        let named = urls.map(|(node, url)| NodeOptions::new(url).name(format!("node-{node}")));
        let defaults = self.default.iter();
        let defaults = defaults.map(|(setting, value)| ("--default", setting.as_str(), value.as_str()));
        let builder = if self.defaults_alone { below(defaults) } else { nodes.over(below(defaults)) };
        let builder = if self.url.is_empty() { builder } else { builder.nodes(named) };
        checked(builder.owner(&self.owner))
    }
}

/// A builder with the settings of a scenario, given as origin, name and value. The user's own settings override them.
pub(crate) fn below<'s>(
    settings: impl Iterator<Item = (&'s str, &'s str, &'s str)>,
) -> redlock_quorum::RedlockBuilder {
    settings.fold(Redlock::builder(), |builder, (spot, setting, value)| builder.flag(spot, setting, value))
}

/// The `--config` argument for the clients.
pub(crate) fn config_argument(config: Option<&PathBuf>) -> Vec<std::ffi::OsString> {
    config.map(|path| vec!["--config".into(), path.into()]).unwrap_or_default()
}

pub(crate) async fn run(mut args: Args) -> Result<Exit, Failure> {
    go_on_alone()?;
    let settings = args.settings()?;
    let ttl = settings.ttl();
    let redlock = settings.connect().await;
    let watches = args.lead_one_in > 0;
    let counter = args.counter.as_deref().map(Counter::open).transpose();
    let counter = counter.map_err(|source| Failure::System { action: "open the shared file", source })?;
    let stop = CancellationToken::new();
    let (sender, answers) = mpsc::channel(ANSWERS_WAITING);
    tokio::spawn(listen(sender, stop.clone()));
    let mut client =
        Client { redlock: redlock.clone(), ttl, dice: Dice::new(args.seed), answers, counter, args };
    tell(What::Ready);
    tokio::select! {
        () = client.work() => {}
        () = watch_nodes(&redlock) => {}
        () = watch_leader(&redlock), if watches => {}
        // Dropped half way, a wait is cancelled and a held lock is released.
        () = stop.cancelled() => {}
    }
    drop(client);
    redlock.shutdown().await;
    Ok(Exit::SUCCESS)
}

/// Lets the kernel send SIGCONT when the parent dies. A paused client then resumes and finds its stdin closed, instead
/// of staying stopped for ever. The kernel continues orphans of its own accord, but too early for a client that is
/// about to be stopped.
fn go_on_alone() -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::CONT)).map_err(
        |error| Failure::System { action: "be told of the end of its parent", source: error.into() },
    )?;
    Ok(())
}

struct Client {
    redlock: Redlock,
    ttl: Duration,
    dice: Dice,
    answers: mpsc::Receiver<Answer>,
    counter: Option<Counter>,
    args: Args,
}

impl Client {
    /// Runs one section after another until one fails.
    async fn work(&mut self) {
        loop {
            let wish = Wish::draw(&self.args, self.ttl, &mut self.dice);
            if self.args.without_lock {
                self.visit_unlocked(&wish).await;
            } else {
                self.visit(&wish).await;
            }
            sleep(Duration::from_micros(self.dice.below(self.args.rest.max(1)))).await;
        }
    }

    async fn visit(&mut self, wish: &Wish) {
        let (guard, slot) = loop {
            tell(wish.attempt());
            match wish.lock(&self.redlock).await {
                Ok(won) => break won,
                Err(error) => tell(missed(&error)),
            }
        };
        // Declared after the guard and so dropped before it: the end is reported before the lock is released.
        let mut seen = Seen::begin(&guard, slot);
        let worked = tokio::select! {
            biased;
            loss = guard.lost() => Err(loss),
            () = work_for(wish, &guard, &mut seen, &mut self.answers, self.counter.as_ref()) => Ok(()),
        };
        match worked {
            Ok(()) => {
                seen.look(&guard);
                if self.counter.is_none() && wish.sharing == Sharing::Exclusive {
                    write(&guard, &mut self.answers).await;
                }
                seen.end();
                release(guard).await;
            }
            Err(loss) => {
                seen.lose(&loss);
                sleep(WATCH_AFTER_LOSS).await;
                // The lease must not become valid again. The verdict reports it if it does.
                seen.look(&guard);
            }
        }
    }
}

impl Client {
    /// One section of a program that does not lock and believes to be alone.
    async fn visit_unlocked(&self, wish: &Wish) {
        let Some(counter) = &self.counter else { return };
        tell(wish.attempt());
        let (at, ttl) = (clock::now(), u64::try_from(self.ttl.as_nanos()).unwrap_or(u64::MAX));
        tell_at(
            at,
            What::Acquired { deadline: at + ttl, fencing_token: 0, token: String::new(), slot: None },
        );
        raise(counter, wish.hold, || true).await;
        tell(What::Released);
    }
}

/// Reads, computes and writes. The client cannot be stopped between the last check and the write, nor between the write
/// and its record. Every write therefore has its record.
async fn raise(counter: &Counter, hold: Duration, is_valid: impl Fn() -> bool) {
    let read = counter.read();
    sleep(hold).await;
    let raised = read.and_then(|read| {
        if !is_valid() {
            return Ok(None);
        }
        counter.write(read + 1).map(|()| Some(read))
    });
    match raised {
        Ok(Some(read)) => tell(What::Counted { read }),
        Ok(None) => {}
        Err(error) => tell(What::Failed { error: format!("the shared file: {error}") }),
    }
}

/// The reported state of a held lock. Dropped, it reports the end, wherever the client is stopped.
struct Seen {
    deadline: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Held,
    /// The guard's lease is over, and the guard has not announced a loss.
    Over,
    /// The end has been reported.
    Ended,
}

impl Seen {
    fn begin(guard: &Guard, slot: Option<usize>) -> Self {
        let (at, left) = look(guard);
        let (fencing_token, token) = (guard.fencing_token().get(), guard.token().to_owned());
        tell_at(at, What::Acquired { deadline: at + left, fencing_token, token, slot });
        Self { deadline: at + left, stage: Stage::Held }
    }

    /// Reports any change of the lease.
    fn look(&mut self, guard: &Guard) {
        let (at, left) = look(guard);
        match (self.stage, left) {
            (Stage::Held, 0) => {
                tell_at(at, What::Over);
                self.stage = Stage::Over;
            }
            (Stage::Over | Stage::Ended, 0) => {}
            (Stage::Held, left) if at + left <= self.deadline + RENEWED_BY => {}
            (Stage::Held | Stage::Over | Stage::Ended, left) => {
                self.deadline = at + left;
                tell_at(at, What::Renewed { deadline: self.deadline });
            }
        }
    }

    fn lose(&mut self, loss: &Loss) {
        tell(What::Lost { why: loss.to_string() });
        self.stage = Stage::Ended;
    }

    fn end(&mut self) {
        if self.stage != Stage::Ended {
            tell(What::Released);
            self.stage = Stage::Ended;
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.end();
    }
}

async fn release(guard: Guard) {
    match guard.release().await {
        Ok(_) => {}
        Err(ReleaseError::Unconfirmed { votes, .. }) => {
            tell(What::Unconfirmed { failures: Lost::of_votes(&votes) });
        }
        Err(error) => tell(What::Failed { error: error.to_string() }),
    }
}

/// The protected work: time passes and the client writes to the store, while the lease is renewed.
async fn work_for(
    wish: &Wish,
    guard: &Guard,
    seen: &mut Seen,
    answers: &mut mpsc::Receiver<Answer>,
    counter: Option<&Counter>,
) {
    if let Some(counter) = counter {
        return raise(counter, wish.hold, || guard.is_valid()).await;
    }
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = sleep(wish.hold);
    tokio::pin!(ended);
    for number in 1_u32.. {
        tokio::select! {
            () = &mut ended => return,
            _ = looks.tick() => {}
        }
        seen.look(guard);
        if number.is_multiple_of(LOOKS_PER_WRITE) && wish.sharing == Sharing::Exclusive {
            write(guard, answers).await;
        }
    }
}

/// Writes as a user's program would: the client checks its lease, and the store checks the token.
async fn write(guard: &Guard, answers: &mut mpsc::Receiver<Answer>) {
    if guard.is_valid() {
        // Answers to a write that was cut short by a loss.
        while answers.try_recv().is_ok() {}
        tell(What::Write);
        // No answer means that the parent has ended.
        let _ = answers.recv().await;
    }
}

/// The present, and how long the guard promises the lock from then on: 0 once the lease is over.
fn look(guard: &Guard) -> (u64, u64) {
    // Read before the remaining time, so that their sum is not later than the true deadline.
    let before = clock::now();
    (before, u64::try_from(guard.remaining().as_nanos()).unwrap_or(0))
}

fn missed(error: &LockError) -> What {
    let why = match error.reason() {
        LockError::Contended { .. } => Why::Contended,
        LockError::NoQuorum { .. } => Why::NoQuorum,
        LockError::TooLate { .. } => Why::TooLate,
        LockError::ClockSkew { .. } | LockError::FenceTooHigh { .. } => Why::NoToken,
        LockError::Invalid(_) | LockError::ShutDown => return What::Failed { error: error.to_string() },
        // The enum may grow.
        LockError::Timeout { .. } | _ => Why::Other,
    };
    What::Missed { why, failures: error.votes().map(Lost::of_votes).unwrap_or_default() }
}

/// Passes on the store's answers until the pipe from the parent is closed.
async fn listen(answers: mpsc::Sender<Answer>, stop: CancellationToken) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(answer) = serde_json::from_str(&line) else { break };
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    stop.cancel();
}

/// Reports the nodes without a connection, whenever they change. Never returns.
async fn watch_nodes(redlock: &Redlock) {
    let mut known = Vec::new();
    loop {
        known = Lost::change(redlock, &known, LOOK_INTERVAL).await;
        tell(What::Nodes { lost: known.clone() });
    }
}

/// Reports each change of the leader. Never returns, unless there can be no election.
async fn watch_leader(redlock: &Redlock) {
    let Ok(election) = redlock.election(resource_name(LEADER)) else { return pending().await };
    let mut watch = election.watch();
    loop {
        let leader = watch.changed().await;
        tell(What::Leader { term: leader.map(|leader| leader.term().get()) });
    }
}

fn tell(what: What) {
    tell_at(clock::now(), what);
}

/// Writes a line at once and in one piece, which blocks for microseconds. A line buffered in this process would be lost
/// with it.
fn tell_at(at: u64, what: What) {
    let Ok(mut line) = serde_json::to_string(&Event { at, what }) else { return };
    line.push('\n');
    // Without a reader the process is about to end.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}
