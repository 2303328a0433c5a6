//! The worker processes, as their parent sees them.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::protocol::Event;
use super::worker::Exclusion;
use crate::complaint;
use crate::failure::Failure;

/// More than one, for the lock is to exclude processes, not tasks.
pub(super) const PROCESSES: usize = 2;
/// News that may wait for the parent. Beyond it the pipes fill, and then the workers wait.
const NEWS_WAITING: usize = 1024;

/// What the workers need to know.
#[derive(Debug)]
pub(super) struct Orders<'a> {
    pub(super) workers: usize,
    pub(super) nodes: &'a [String],
    pub(super) file: &'a Path,
    pub(super) seed: u64,
    pub(super) exclusion: Exclusion,
}

/// What is heard of the processes.
#[derive(Debug)]
pub(super) enum News {
    Event(Event),
    /// Something is wrong with a process, as a sentence without a full stop.
    Trouble(String),
}

/// Dropped, it kills the processes that still run.
#[derive(Debug)]
pub(super) struct Crew {
    /// Closed, they are the word to stop.
    pipes: Vec<ChildStdin>,
    news: mpsc::Receiver<News>,
    _readers: JoinSet<()>,
}

impl Crew {
    pub(super) fn start(orders: &Orders<'_>) -> Result<Self, Failure> {
        let failed = |source| Failure::System { action: "start a worker process", source };
        let program = std::env::current_exe().map_err(failed)?;
        let (sender, news) = mpsc::channel(NEWS_WAITING);
        let mut crew = Self { pipes: Vec::new(), news, _readers: JoinSet::new() };
        for (first, clients) in shares(orders.workers) {
            let mut child = spawn(&program, orders, first, clients).map_err(failed)?;
            crew.pipes.extend(child.stdin.take());
            crew._readers.spawn(read(child, sender.clone(), name(first, clients)));
        }
        Ok(crew)
    }

    /// The next thing that is heard; `None` when all processes have ended. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Tells all processes to finish.
    pub(super) fn stop(&mut self) {
        self.pipes.clear();
    }
}

/// How the workers are spread: the first of each process, and how many.
pub(super) fn shares(workers: usize) -> Vec<(usize, usize)> {
    let processes = PROCESSES.min(workers);
    let bound = |process: usize| process * workers / processes;
    (0..processes).map(|process| (bound(process), bound(process + 1) - bound(process))).collect()
}

fn spawn(program: &Path, orders: &Orders<'_>, first: usize, clients: usize) -> std::io::Result<Child> {
    let Orders { workers: _, nodes, file, seed, exclusion } = orders;
    let exclusion = match exclusion {
        Exclusion::Lock => "lock",
        Exclusion::None => "none",
    };
    Command::new(program)
        .arg("demo-worker")
        .args(["--first", &first.to_string(), "--clients", &clients.to_string()])
        .args(["--nodes", &nodes.join(","), "--seed", &seed.to_string(), "--exclusion", exclusion])
        .arg("--file")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Not the terminal's group: an interrupt is for the parent, which then ends the workers in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn name(first: usize, clients: usize) -> String {
    format!("the process of workers {first} to {}", first + clients - 1)
}

/// Passes on what one process says, until it has ended.
async fn read(mut child: Child, news: mpsc::Sender<News>, name: String) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (read, complaint) = tokio::join!(read_events(stdout, &news), complaint::read(stderr));
    let trouble = match (read, child.wait().await) {
        (Ok(()), Ok(status)) => trouble_of(status, &complaint),
        (Err(error), _) => Some(format!("says something unreadable: {error}")),
        (_, Err(error)) => Some(format!("cannot be waited for: {error}")),
    };
    if let Some(trouble) = trouble {
        // The parent may have left.
        let _ = news.send(News::Trouble(format!("{name} {trouble}"))).await;
    }
}

fn trouble_of(status: ExitStatus, complaint: &str) -> Option<String> {
    if status.success() {
        return None;
    }
    let complaint = complaint.trim();
    let separator = if complaint.is_empty() { "" } else { ": " };
    Some(format!("ended with {status}{separator}{complaint}"))
}

async fn read_events<R: AsyncRead + Unpin>(
    stdout: Option<R>,
    news: &mpsc::Sender<News>,
) -> std::io::Result<()> {
    let Some(stdout) = stdout else { return Ok(()) };
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if news.send(News::Event(serde_json::from_str(&line)?)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_spread_evenly_over_two_processes() {
        assert_eq!(shares(8), [(0, 4), (4, 4)]);
        assert_eq!(shares(3), [(0, 1), (1, 2)]);
        assert_eq!(shares(1), [(0, 1)]);
    }
}
