//! The contending processes. Each runs this program again, with a role given by its arguments and its input.

use std::env;
use std::io::{BufRead as _, Write as _};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use redlock_quorum::testing::history::Section;
use redlock_quorum::{Mutex, Redlock};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::section::{self, Failure, RESOURCE};

pub(crate) const WORKER: &str = "worker";
pub(crate) const HOLDER: &str = "holder";

/// Runs one section after another, from the word `begin` on the input until the input ends.
pub(crate) async fn work(name: &str, ttl: &str, urls: &[String]) -> Result<ExitCode, Failure> {
    let (redlock, mutex) = connect(ttl, urls).await?;
    println!("ready");
    let mut word = String::new();
    std::io::stdin().lock().read_line(&mut word)?;
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()));
    let mut output = std::io::stdout();
    while !ended.is_finished() {
        let section = section::run(name, &mutex).await?;
        writeln!(output, "{}", section::to_line(&section))?;
    }
    redlock.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Holds the lock until the process is killed.
pub(crate) async fn hold(name: &str, ttl: &str, urls: &[String]) -> Result<ExitCode, Failure> {
    let (_redlock, mutex) = connect(ttl, urls).await?;
    let requested_at = section::clock();
    let guard = mutex.lock().await?;
    let mut section = section::begun(name, requested_at, &guard);
    section::end(&guard, &mut section);
    println!("ready");
    println!("{}", section::to_line(&section));
    // The lease is renewed meanwhile.
    std::future::pending::<()>().await;
    Ok(ExitCode::SUCCESS)
}

async fn connect(ttl: &str, urls: &[String]) -> Result<(Redlock, Mutex), Failure> {
    let redlock = Redlock::connect(urls.iter().cloned()).await?;
    let mutex = redlock.mutex(RESOURCE)?.ttl(Duration::from_millis(ttl.parse()?));
    Ok((redlock, mutex))
}

/// A process that is ready. Drop kills the process.
pub(crate) struct Member {
    pub(crate) name: String,
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Member {
    pub(crate) async fn start(
        word: &str,
        name: String,
        ttl: Duration,
        urls: &[String],
    ) -> Result<Self, Failure> {
        let mut process = Command::new(env::current_exe()?)
            .arg(word)
            .arg(&name)
            .arg(ttl.as_millis().to_string())
            .args(urls)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or("it has an output")?;
        let mut member = Self { name, process, input, output: BufReader::new(output).lines() };
        match member.output.next_line().await? {
            Some(line) if line == "ready" => Ok(member),
            said => Err(format!("{} said {said:?}", member.name).into()),
        }
    }

    pub(crate) async fn section(&mut self) -> Result<Option<Section>, Failure> {
        let line = self.output.next_line().await?;
        line.map(|line| section::from_line(&self.name, &line)).transpose()
    }

    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        Ok(self.process.kill().await?)
    }
}

/// The working processes.
pub(crate) struct Crew {
    inputs: Vec<ChildStdin>,
    sections: mpsc::UnboundedReceiver<Result<Section, Failure>>,
}

impl Crew {
    /// Starts the processes, which begin to work at the same time.
    pub(crate) async fn start(size: usize, ttl: Duration, urls: &[String]) -> Result<Self, Failure> {
        let mut members = Vec::new();
        for i in 0..size {
            members.push(Member::start(WORKER, format!("process {i}"), ttl, urls).await?);
        }
        let (tell, sections) = mpsc::unbounded_channel();
        let mut inputs = Vec::new();
        for mut member in members {
            let mut input = member.input.take().ok_or("it has an input")?;
            input.write_all(b"begin\n").await?;
            inputs.push(input);
            let tell = tell.clone();
            tokio::spawn(async move {
                loop {
                    match member.section().await {
                        Ok(Some(section)) => drop(tell.send(Ok(section))),
                        Ok(None) => break,
                        Err(error) => drop(tell.send(Err(error))),
                    }
                }
                // The output has ended, so the process ends by itself.
                let _ = member.process.wait().await;
            });
        }
        Ok(Self { inputs, sections })
    }

    /// The next `count` sections.
    pub(crate) async fn sections(&mut self, count: usize) -> Result<Vec<Section>, Failure> {
        let mut sections = Vec::with_capacity(count);
        while sections.len() < count {
            sections.push(self.sections.recv().await.ok_or("the processes ended early")??);
        }
        Ok(sections)
    }

    /// Stops all processes, and returns the sections that were still under way.
    pub(crate) async fn stop(mut self) -> Result<Vec<Section>, Failure> {
        self.inputs.clear();
        let mut sections = Vec::new();
        while let Some(section) = self.sections.recv().await {
            sections.push(section?);
        }
        Ok(sections)
    }
}
