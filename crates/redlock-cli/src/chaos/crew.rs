//! The client processes, from their parent's view.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use redlock_testing::ClientFault;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use super::event::{Answer, Event};
use crate::complaint;
use crate::failure::Failure;

/// Messages that may be queued for the parent. Beyond that the pipes fill up and the clients block.
const NEWS_WAITING: usize = 4096;

/// News from a client process.
#[derive(Debug)]
pub(crate) enum News {
    Event {
        client: usize,
        life: usize,
        event: Event,
    },
    /// The process has closed its pipe: it has ended or is about to.
    Closed {
        client: usize,
        life: usize,
        complaint: String,
    },
}

/// All client processes. Dropped, it kills those that still run.
#[derive(Debug)]
pub(crate) struct Crew {
    program: PathBuf,
    /// The arguments of each client, except its owner and seed.
    arguments: Vec<Vec<OsString>>,
    seed: u64,
    clients: Vec<Member>,
    sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

/// One client. Its process may be killed and started several times.
#[derive(Debug)]
struct Member {
    life: usize,
    child: Option<Child>,
    stdin: Option<ChildStdin>,
}

impl Crew {
    pub(crate) fn start(arguments: Vec<Vec<OsString>>, seed: u64) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(start_failed)?;
        let (sender, news) = mpsc::channel(NEWS_WAITING);
        let clients = arguments.iter().map(|_| Member { life: 0, child: None, stdin: None }).collect();
        let mut crew = Self { program, arguments, seed, clients, sender, news };
        for client in 0..crew.clients.len() {
            crew.revive(client)?;
        }
        Ok(crew)
    }

    /// Starts the next process of a client whose last one has ended.
    pub(crate) fn revive(&mut self, client: usize) -> Result<(), Failure> {
        let member = &mut self.clients[client];
        member.life += 1;
        let life = member.life;
        let seed = self.seed.wrapping_add(1000 * client as u64 + life as u64);
        let mut child = Command::new(&self.program)
            .arg("chaos-client")
            .args(&self.arguments[client])
            .args(["--owner", &owner(client, life), "--seed", &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // In a process group of its own: the terminal's interrupt is for the parent, which then ends the clients in
            // order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(start_failed)?;
        member.stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        member.child = Some(child);
        tokio::spawn(read(client, life, stdout, stderr, self.sender.clone()));
        Ok(())
    }

    /// The next news. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Answers a write of this life of the client, if that life has not ended.
    pub(crate) async fn answer(&mut self, client: usize, life: usize, answer: Answer) {
        let member = &mut self.clients[client];
        let (Some(stdin), true) = (&mut member.stdin, member.life == life) else { return };
        if let Ok(line) = serde_json::to_string(&answer) {
            // A killed client needs no answer. A paused client has room in its pipe for this one line.
            let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
        }
    }

    /// Sends the signal of the fault.
    pub(crate) fn apply(&self, client: usize, fault: ClientFault) -> std::io::Result<()> {
        self.id(client).map_or(Ok(()), |id| fault.apply_to(id))
    }

    pub(crate) fn heal(&self, client: usize, fault: ClientFault) -> std::io::Result<()> {
        self.id(client).map_or(Ok(()), |id| fault.heal_of(id))
    }

    /// The process id; `None` once the process has been reaped.
    fn id(&self, client: usize) -> Option<u32> {
        self.clients[client].child.as_ref().and_then(Child::id)
    }

    /// Whether the process has not been reaped yet.
    pub(crate) fn is_alive(&self, client: usize) -> bool {
        self.clients[client].child.is_some()
    }

    /// Reaps a process that has closed its pipe.
    pub(crate) async fn bury(&mut self, client: usize) -> std::io::Result<Option<ExitStatus>> {
        match self.clients[client].child.take() {
            Some(mut child) => child.wait().await.map(Some),
            None => Ok(None),
        }
    }

    /// Closes the stdin of all processes, which makes them finish.
    pub(crate) fn stop(&mut self) {
        for member in &mut self.clients {
            member.stdin = None;
        }
    }

    /// Whether any process has not been reaped yet.
    pub(crate) fn is_anybody_left(&self) -> bool {
        self.clients.iter().any(|member| member.child.is_some())
    }
}

/// The owner label of one life of a client, with which its keys' values begin.
pub(crate) fn owner(client: usize, life: usize) -> String {
    format!("client-{client}.{life}")
}

/// Whether a key's value belongs to any life of the client.
pub(crate) fn is_owner(client: usize, value: &str) -> bool {
    let rest = value.strip_prefix(&format!("client-{client}."));
    rest.is_some_and(|rest| rest.split(':').next().is_some_and(|life| life.parse::<usize>().is_ok()))
}

fn start_failed(source: std::io::Error) -> Failure {
    Failure::System { action: "start a client process", source }
}

/// Forwards the events of one process until it closes its pipe.
async fn read(
    client: usize,
    life: usize,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    news: mpsc::Sender<News>,
) {
    let (said, mut complaint) =
        tokio::join!(read_events(client, life, stdout, &news), complaint::read(stderr));
    if let Err(error) = said {
        complaint = format!("it says something unreadable: {error}; {complaint}");
    }
    // The parent may have ended.
    let _ = news.send(News::Closed { client, life, complaint: complaint.trim().to_owned() }).await;
}

async fn read_events(
    client: usize,
    life: usize,
    stdout: Option<ChildStdout>,
    news: &mpsc::Sender<News>,
) -> std::io::Result<()> {
    let Some(stdout) = stdout else { return Ok(()) };
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        let event = match serde_json::from_str(&line) {
            Ok(event) => event,
            // The unfinished last line of a killed process.
            Err(error) if error.is_eof() => continue,
            Err(error) => return Err(error.into()),
        };
        if news.send(News::Event { client, life, event }).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
