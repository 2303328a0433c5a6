//! `redlock demo-worker`: one of the demo's processes, with some of its clients. Each client does what a user's
//! program would: lock, read, compute, check, write, release.

use std::future::pending;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redlock_quorum::{Guard, LockError, Redlock, Retry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::counter::Counter;
use super::protocol::{Event, Outcome, RESOURCE, Visit};
use crate::clock;
use crate::dice::Dice;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::lost::Lost;

/// Long against a section, so that nothing but a lost release can leave a key behind for longer than the parent
/// looks for it.
const TTL: Duration = Duration::from_secs(6);
/// After it a client looks at who did not answer, says so, and waits again.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// Shorter than the library's default, for sections of a few milliseconds.
const RETRY: Retry = Retry::exponential(Duration::from_millis(2), Duration::from_millis(32));
/// Longest pretended computation between read and write. It is what makes a race without the lock likely.
const WORK_MAX_MICROS: u64 = 5_000;
/// Longest pause of a client between two sections.
const REST_MAX_MICROS: u64 = 5_000;
/// How often a client's view of the nodes is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Events that may wait for the pipe. Beyond it the clients wait, like any program that logs.
const EVENTS_WAITING: usize = 1024;

/// One process of `redlock demo`. Says what it does on stdout, as JSON lines, until stdin ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    pub(super) first: usize,
    #[arg(long)]
    pub(super) clients: usize,
    #[arg(long, value_delimiter = ',')]
    pub(super) nodes: Vec<String>,
    #[arg(long)]
    pub(super) file: PathBuf,
    #[arg(long)]
    pub(super) seed: u64,
    #[arg(long, value_enum)]
    pub(super) exclusion: Exclusion,
}

/// Whether the clients lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Exclusion {
    Lock,
    /// They do not, to show that the checks find what then goes wrong.
    None,
}

impl Args {
    fn numbers(&self) -> Range<usize> {
        self.first..self.first + self.clients
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let (stop, stopped) = watch::channel(());
    let (events, told) = mpsc::channel(EVENTS_WAITING);
    let telling = tokio::spawn(tell(told));
    let args = Arc::new(args);
    let mut clients = JoinSet::new();
    for number in args.numbers() {
        clients.spawn(serve(Arc::clone(&args), number, events.clone(), stopped.clone()));
    }
    drop((events, stopped));
    stdin_ended().await;
    drop(stop);
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|panic| Failure::Internal(panic.to_string()))?;
    }
    // Whoever read it may be gone; then there is nobody to tell.
    let _ = telling.await;
    Ok(Exit::SUCCESS)
}

/// One client from its connections to their end; a failure is told and ends the client.
async fn serve(
    args: Arc<Args>,
    number: usize,
    events: mpsc::Sender<Event>,
    mut stopped: watch::Receiver<()>,
) {
    let error = match Client::new(&args, number, events.clone()).await {
        Ok(mut client) => {
            let redlock = client.redlock.clone();
            let result = tokio::select! {
                result = client.work() => result.err(),
                () = watch_nodes(&redlock, number, events.clone()) => None,
                // Dropped half way, a lock that is waited for or held is released.
                () = until(&mut stopped) => None,
            };
            redlock.shutdown().await;
            result
        }
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        let _ = events.send(Event::Failed { client: number, error }).await;
    }
}

async fn until(stopped: &mut watch::Receiver<()>) {
    // Nothing is ever sent: its end is the word.
    let _ = stopped.changed().await;
}

struct Client {
    number: usize,
    redlock: Redlock,
    counter: Counter,
    dice: Dice,
    exclusion: Exclusion,
    events: mpsc::Sender<Event>,
}

impl Client {
    async fn new(args: &Args, number: usize, events: mpsc::Sender<Event>) -> Result<Self, String> {
        let redlock = Redlock::builder()
            .nodes(args.nodes.clone())
            .retry(RETRY)
            .max_wait(MAX_WAIT)
            .owner(format!("worker-{number}"))
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let counter = Counter::open(&args.file).map_err(|error| error.to_string())?;
        let dice = Dice::of_worker(args.seed, number);
        Ok(Self { number, redlock, counter, dice, exclusion: args.exclusion, events })
    }

    /// Section after section. Cancelled, it leaves no section half recorded: the write, its record and the wish to
    /// release follow each other without an await.
    async fn work(&mut self) -> Result<(), String> {
        self.tell(Event::Ready { client: self.number }).await;
        loop {
            match self.exclusion {
                Exclusion::Lock => self.locked_section().await?,
                Exclusion::None => self.unlocked_section().await?,
            }
            self.pause(REST_MAX_MICROS).await;
        }
    }

    async fn locked_section(&mut self) -> Result<(), String> {
        let requested_at = clock::now();
        let guard = self.lock().await?;
        // Before the question how much is left: the recorded deadline is then no later than the true one.
        let acquired_at = clock::now();
        let deadline = acquired_at + nanos(guard.remaining());
        let token = guard.token().to_owned();
        // A place in the queue for the record is taken before the write, so that no write is without one.
        let (events, number) = (self.events.clone(), self.number);
        let Ok(place) = events.reserve().await else { return pending().await };
        let _ = events.try_send(Event::Holding { client: number });

        let read = self.counter.read().map_err(|error| error.to_string())?;
        self.pause(WORK_MAX_MICROS).await;
        let outcome = if guard.is_valid() { self.write(read + 1)? } else { Outcome::LostLease };

        let ended_at = clock::now();
        let client = self.number;
        place.send(Event::Section(Visit {
            client,
            requested_at,
            acquired_at,
            deadline,
            ended_at,
            read,
            outcome,
            token,
        }));
        if let Err(error) = guard.release().await {
            let failures = match &error {
                redlock_quorum::ReleaseError::Unconfirmed { votes, .. } => Lost::of_votes(votes),
                other => return Err(other.to_string()),
            };
            self.tell(Event::Unconfirmed { client, failures }).await;
        }
        Ok(())
    }

    /// As a program without a lock would believe to be alone.
    async fn unlocked_section(&mut self) -> Result<(), String> {
        let acquired_at = clock::now();
        let (events, client) = (self.events.clone(), self.number);
        let Ok(place) = events.reserve().await else { return pending().await };
        let _ = events.try_send(Event::Holding { client });
        let read = self.counter.read().map_err(|error| error.to_string())?;
        self.pause(WORK_MAX_MICROS).await;
        let outcome = self.write(read + 1)?;
        place.send(Event::Section(Visit {
            client,
            requested_at: acquired_at,
            acquired_at,
            deadline: acquired_at + nanos(TTL),
            ended_at: clock::now(),
            read,
            outcome,
            token: String::new(),
        }));
        Ok(())
    }

    async fn lock(&mut self) -> Result<Guard, String> {
        let mutex = self.redlock.mutex(RESOURCE).map_err(|error| error.to_string())?.ttl(TTL);
        loop {
            match mutex.lock().await {
                Ok(guard) => return Ok(guard),
                Err(error @ (LockError::Timeout { .. } | LockError::TooLate { .. })) => {
                    let failures = error.votes().map(Lost::of_votes).unwrap_or_default();
                    self.tell(Event::Waited { client: self.number, failures }).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn write(&self, value: u64) -> Result<Outcome, String> {
        self.counter.write(value).map_err(|error| error.to_string())?;
        Ok(Outcome::Wrote { value })
    }

    async fn pause(&mut self, most_micros: u64) {
        tokio::time::sleep(Duration::from_micros(self.dice.below(most_micros))).await;
    }

    async fn tell(&self, event: Event) {
        // Without a reader the process is about to end.
        let _ = self.events.send(event).await;
    }
}

/// Writes the events to stdout, until there are no more or nobody reads them.
async fn tell(mut events: mpsc::Receiver<Event>) -> std::io::Result<()> {
    let mut stdout = tokio::io::stdout();
    while let Some(event) = events.recv().await {
        let mut lines = String::new();
        let mut next = Some(event);
        while let Some(event) = next {
            lines.push_str(&serde_json::to_string(&event)?);
            lines.push('\n');
            next = events.try_recv().ok();
        }
        stdout.write_all(lines.as_bytes()).await?;
        stdout.flush().await?;
    }
    Ok(())
}

/// Returns when whoever started this process has closed the pipe, or has ended in whatever way.
async fn stdin_ended() {
    let mut stdin = tokio::io::stdin();
    let mut ignored = [0; 64];
    while stdin.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Tells which nodes the client has lost, whenever that changes. Never returns.
async fn watch_nodes(redlock: &Redlock, client: usize, events: mpsc::Sender<Event>) {
    let mut known = Vec::new();
    loop {
        known = Lost::change(redlock, &known, LOOK_INTERVAL).await;
        let _ = events.send(Event::Nodes { client, lost: known.clone() }).await;
    }
}
