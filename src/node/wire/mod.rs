//! One connection after the handshake: commands of any number of callers go out in the order in which they were sent,
//! and come back as replies in the same order.
//!
//! redis-rs makes the handshake, encodes commands and decodes all but the shortest replies. Its own multiplexed
//! connection takes a channel for each reply and two tasks' wake-ups for each command. Here all commands share one
//! buffer, and all replies one table of slots, so that a command allocates nothing.

mod driver;
mod replies;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use redis::{Cmd, Pipeline, PushInfo, RedisError, RedisResult, Value};

use super::stream::Watched;
use crate::types::sync::{Mutex, MutexGuard};
use driver::Driving;
use replies::Reading;

/// How many bytes may wait to be written. Commands that find no room wait apart, and are withdrawn when their callers
/// go: a node that hangs for a while must not receive a burst of commands that nobody awaits any more.
const OUT_MAX: usize = 64 * 1024;

/// A cheap handle on a connection.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Shared>);

#[derive(Default)]
struct Shared(Mutex<State>);

/// Commands as the bytes that go out, encoded once for all nodes.
pub(crate) struct Packed {
    bytes: Vec<u8>,
    replies: usize,
}

impl From<&Cmd> for Packed {
    fn from(cmd: &Cmd) -> Self {
        Self { bytes: cmd.get_packed_command(), replies: 1 }
    }
}

impl From<&Pipeline> for Packed {
    fn from(pipeline: &Pipeline) -> Self {
        Self { bytes: pipeline.get_packed_pipeline(), replies: pipeline.len() }
    }
}

/// What callers and the driver share.
#[derive(Default)]
struct State {
    /// Commands that the driver writes next.
    out: Vec<u8>,
    /// Commands that found no room in `out`, each with its slot.
    backlog: VecDeque<(usize, Vec<u8>)>,
    /// The slots of the commands that have left, or are about to, in the order of their replies.
    awaited: VecDeque<usize>,
    slots: Vec<Slot>,
    /// The slots that are not used.
    free: Vec<usize>,
    /// Wakes the driver. None unless it waits for commands.
    driver: Option<Waker>,
    is_closed: bool,
}

/// The replies to one call.
#[derive(Default)]
struct Slot {
    /// The number of replies that have not arrived.
    missing: usize,
    replies: Replies,
    /// Why the connection ended, if that was learnt in the place of this reply.
    error: Option<RedisError>,
    caller: Caller,
}

/// The replies to the commands of one call, in their order.
#[derive(Default)]
pub(super) enum Replies {
    #[default]
    None,
    One(Value),
    Several(Vec<Value>),
}

impl Replies {
    /// The reply to the only command.
    pub(super) fn one(self) -> RedisResult<Value> {
        match self {
            Self::One(reply) => Ok(reply),
            Self::None | Self::Several(_) => Err(closed()),
        }
    }

    pub(super) fn all(self) -> Vec<Value> {
        match self {
            Self::None => Vec::new(),
            Self::One(reply) => vec![reply],
            Self::Several(replies) => replies,
        }
    }
}

#[derive(Default)]
enum Caller {
    /// Has not looked yet.
    #[default]
    Sent,
    Waits(Waker),
    Gone,
}

impl Wire {
    /// Takes over a stream after the handshake. The returned future moves the bytes, and ends with the connection.
    pub(super) fn new(
        stream: Watched,
        handle_push: impl Fn(PushInfo) + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Shared::default());
        let mut driving = Driving::new(Arc::clone(&shared), stream, handle_push);
        (Self(shared), poll_fn(move |cx| driving.poll(cx)))
    }

    /// Sends a command and awaits its reply.
    ///
    /// # Cancel safety
    ///
    /// As [`Command::send`](super::commands::Command::send).
    pub(super) async fn send_packed_command(&self, cmd: &Cmd) -> RedisResult<Value> {
        let call = self.call(1, |out| cmd.write_packed_command(out))?;
        call.replies().await?.one()
    }

    /// Sends the commands of a pipeline, and awaits the replies to all of them.
    ///
    /// # Cancel safety
    ///
    /// As [`Command::send`](super::commands::Command::send).
    pub(super) async fn send_packed_commands(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let encode = |out: &mut Vec<u8>| pipeline.cmd_iter().for_each(|cmd| cmd.write_packed_command(out));
        Ok(self.call(pipeline.len(), encode)?.replies().await?.all())
    }

    /// Sends commands, and awaits the replies to all of them.
    ///
    /// # Cancel safety
    ///
    /// As [`Command::send`](super::commands::Command::send).
    pub(super) async fn send(&self, packed: &Packed) -> RedisResult<Replies> {
        self.call(packed.replies, |out| out.extend_from_slice(&packed.bytes))?.replies().await
    }

    /// Queues commands with this number of replies.
    fn call(&self, replies: usize, encode: impl FnOnce(&mut Vec<u8>)) -> RedisResult<Call<'_>> {
        let mut state = self.0.state();
        if state.is_closed {
            return Err(closed());
        }
        let slot = state.take_slot(replies);
        if state.backlog.is_empty() && state.out.len() < OUT_MAX {
            encode(&mut state.out);
            state.awaited.push_back(slot);
        } else {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            state.backlog.push_back((slot, bytes));
        }
        let driver = state.driver.take();
        // Unlocked first, because wakers run other code.
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(Call { shared: &self.0, slot, is_open: true })
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// A call whose replies are awaited. Dropping it withdraws a command that has not left the process.
struct Call<'a> {
    shared: &'a Shared,
    slot: usize,
    is_open: bool,
}

impl Call<'_> {
    async fn replies(mut self) -> RedisResult<Replies> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RedisResult<Replies>> {
        let mut state = self.shared.state();
        let is_closed = state.is_closed;
        let slot = &mut state.slots[self.slot];
        let result = if slot.missing == 0 {
            Ok(std::mem::take(&mut slot.replies))
        } else if is_closed {
            Err(slot.error.take().unwrap_or_else(closed))
        } else {
            match &mut slot.caller {
                Caller::Waits(waker) => waker.clone_from(cx.waker()),
                Caller::Sent | Caller::Gone => slot.caller = Caller::Waits(cx.waker().clone()),
            }
            return Poll::Pending;
        };
        state.give_back(self.slot);
        self.is_open = false;
        Poll::Ready(result)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let mut state = self.shared.state();
        let is_closed = state.is_closed;
        let slot = &mut state.slots[self.slot];
        slot.caller = Caller::Gone;
        if slot.missing == 0 || is_closed {
            state.give_back(self.slot);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_slot(&mut self, missing: usize) -> usize {
        let replies =
            if missing == 1 { Replies::None } else { Replies::Several(Vec::with_capacity(missing)) };
        let slot = Slot { missing, replies, error: None, caller: Caller::Sent };
        match self.free.pop() {
            Some(free) => {
                self.slots[free] = slot;
                free
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    fn give_back(&mut self, slot: usize) {
        self.slots[slot] = Slot::default();
        self.free.push(slot);
    }

    /// Moves commands from the backlog to `out`, as far as there is room, and withdraws those whose callers have gone.
    fn refill(&mut self) {
        while self.out.len() < OUT_MAX
            && let Some((slot, bytes)) = self.backlog.pop_front()
        {
            if let Caller::Gone = self.slots[slot].caller {
                self.give_back(slot);
            } else {
                self.out.extend_from_slice(&bytes);
                self.awaited.push_back(slot);
            }
        }
    }

    /// Hands a reply to the oldest call, and returns the waker of a call that is complete. A reply to nothing is
    /// ignored.
    fn handle_reply(&mut self, reply: Value) -> Option<Waker> {
        let at = *self.awaited.front()?;
        let slot = &mut self.slots[at];
        slot.missing -= 1;
        match &mut slot.replies {
            Replies::Several(replies) => replies.push(reply),
            Replies::None | Replies::One(_) => slot.replies = Replies::One(reply),
        }
        if slot.missing > 0 {
            return None;
        }
        self.awaited.pop_front();
        self.handle_complete(at)
    }

    fn handle_complete(&mut self, slot: usize) -> Option<Waker> {
        match std::mem::take(&mut self.slots[slot].caller) {
            Caller::Sent => None,
            Caller::Waits(waker) => Some(waker),
            Caller::Gone => {
                self.give_back(slot);
                None
            }
        }
    }

    /// Ends all calls. The oldest learns the cause.
    fn close(&mut self, cause: Option<RedisError>) -> Vec<Waker> {
        self.is_closed = true;
        if let Some(oldest) = self.awaited.front() {
            self.slots[*oldest].error = cause;
        }
        self.out = Vec::new();
        let queued = std::mem::take(&mut self.backlog).into_iter().map(|(slot, _)| slot);
        let open: Vec<usize> = std::mem::take(&mut self.awaited).into_iter().chain(queued).collect();
        open.into_iter().filter_map(|slot| self.handle_complete(slot)).collect()
    }
}

/// The error of a call on a connection that has ended, as redis-rs words it.
fn closed() -> RedisError {
    RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests;

#[cfg(all(test, redlock_shuttle))]
#[path = "schedules_tests.rs"]
mod schedules;
