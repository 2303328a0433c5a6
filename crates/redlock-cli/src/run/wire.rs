//! The messages between `redlock run` and its guardian: one line of JSON each.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// A message to the guardian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// The end of the lease, in nanoseconds of [`crate::clock`]. The guardian ends the command at that time unless a
    /// later end has arrived, as when `redlock run` is stopped.
    LeaseUntil(u64),
    /// Pass on the signal with this number.
    Signal(i32),
    /// End the command and its descendants.
    End,
}

/// A message from the guardian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum News {
    /// The command has started with this process id.
    Started(i32),
    /// No process for the command could be started: the operating system's error number.
    NotStarted(i32),
    /// The command has ended with this status, in the format of `waitpid`. Its descendants may still run.
    Ended(i32),
    /// The command left these processes running, and they are being ended.
    Left(Vec<String>),
    /// No descendant of the command is left.
    Gone,
    /// These processes could not be ended. The guardian has given up.
    Stuck(Vec<String>),
}

/// One end of the connection. When either process dies, the other reads the end of the stream.
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

    /// Sends a message. An error is ignored, because it means that the peer has died.
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
