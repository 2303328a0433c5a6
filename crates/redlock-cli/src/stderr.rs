//! Writes to stderr that neither fail nor block. A reader may have closed stderr or stopped reading, and a disk may be
//! full; none of these may delay a lock.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Texts that may be queued for the writer thread. Texts beyond this limit are dropped.
const WAITING_MAX: usize = 1024;
/// How long the end of the process waits for a reader: once for room in the queue, and once for the queue to be
/// written.
const FLUSH_LIMIT: Duration = Duration::from_millis(250);
const FLUSH_PAUSE: Duration = Duration::from_millis(5);
const FLUSH_TRIES: u32 = 50;

static TEXTS: OnceLock<SyncSender<Text>> = OnceLock::new();
/// Whether the log is written. Locked while a line is queued, so that no line is queued after [`end_log`] has returned.
static LOG: Mutex<bool> = Mutex::new(true);

enum Text {
    Bytes(Vec<u8>),
    /// Acknowledged when everything before it has been written.
    Flush(SyncSender<()>),
}

/// The log's writer. Accepts everything at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
            say(bytes.to_vec());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Queues a text and returns at once.
pub(crate) fn say(bytes: Vec<u8>) {
    match texts().try_send(Text::Bytes(bytes)) {
        // With the queue full or the thread gone the text is dropped.
        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
    }
}

/// Drops every later line of the log. The tasks of the client log until the process ends; the last word comes last.
pub(crate) fn end_log() {
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = false;
}

/// Waits until everything has been written, for at most half a second.
pub(crate) fn flush() {
    let (sender, receiver) = sync_channel(1);
    for _ in 0..FLUSH_TRIES {
        match texts().try_send(Text::Flush(sender.clone())) {
            Ok(()) => break,
            Err(TrySendError::Full(_)) => thread::sleep(FLUSH_PAUSE),
            Err(TrySendError::Disconnected(_)) => return,
        }
    }
    let _ = receiver.recv_timeout(FLUSH_LIMIT);
}

fn texts() -> &'static SyncSender<Text> {
    TEXTS.get_or_init(|| {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        // If the thread cannot be started, the receiver is dropped and nothing is printed.
        let _ = thread::Builder::new().name("stderr".to_owned()).spawn(move || write(&receiver));
        sender
    })
}

fn write(texts: &Receiver<Text>) {
    let mut stderr = io::stderr();
    for text in texts {
        match text {
            Text::Bytes(bytes) => drop(stderr.write_all(&bytes)),
            Text::Flush(done) => drop(done.send(())),
        }
    }
}
