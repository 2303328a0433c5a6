//! What `redlock run` and its guardian tell each other: one line of JSON for each message.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// To the guardian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// The lease lasts until then, in nanoseconds of [`crate::clock`]. The guardian ends the command when the time is over
    /// and no other order has come, as when `redlock run` is stopped.
    LeaseUntil(u64),
    /// Pass the signal with this number on.
    Signal(i32),
    /// End the command and its descendants.
    End,
}

/// From the guardian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum News {
    /// The command has this process id.
    Started(i32),
    /// The operating system's error number: there is no process for the command.
    NotStarted(i32),
    /// The command has ended with this status, as `waitpid` gives it. Its descendants may still run.
    Ended(i32),
    /// The command left these running, and they are being ended.
    Left(Vec<String>),
    /// No descendant of the command runs any more.
    Gone,
    /// These could not be ended. The guardian has given up.
    Stuck(Vec<String>),
}

/// One end of the connection. Whichever process dies, the other reads the end of the stream.
#[derive(Debug)]
pub(super) struct Wire {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Wire {
    pub(super) fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { lines: BufReader::new(reader).lines(), writer }
    }

    /// A message of a peer that has died is of no use to anybody.
    pub(super) async fn tell(&mut self, message: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(message) {
            let _ = self.writer.write_all(format!("{line}\n").as_bytes()).await;
        }
    }

    /// The next message; `None` when the peer has died. Cancel safe.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let line = self.lines.next_line().await;
        let message = line.and_then(|line| line.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        message.ok().and_then(|line| serde_json::from_str(&line).ok())
    }
}
