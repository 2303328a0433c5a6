//! The commands that a node understands, and their answers.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};

use super::batch::RemoveMany;
use super::failure;
use super::many::{self, TakenKey};
use super::scripts::{Lua, release, roomy_command};
use super::wire::{Packed, Replies, Wire};
use super::{semaphore, shared};
use crate::error::NodeFailure;
use crate::planted;
use crate::types::{Claim, FencingToken, KeySet, Resource, Token, Ttl, internal_key};

/// The internal key of the sorted set in which a node keeps the highest fencing token of each lock, by the lock's
/// key.
pub(crate) const FENCES: &str = "fences";

/// A command about one lock, built once and sent to every node.
pub(crate) trait Command: Clone + Send + 'static {
    type Reply: Send + 'static;

    /// Sends the command and awaits the answer, however long it takes.
    ///
    /// # Cancel safety
    ///
    /// If `send` is dropped before its first poll, nothing was sent. If it is dropped later, the command may or may
    /// not run.
    fn send(self, connection: Wire) -> impl Future<Output = Result<Self::Reply, NodeFailure>> + Send;
}

/// A node's known answer to a question about our key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
}

/// A node's answer to an acquire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// All keys were free and are ours now.
    Granted(Fence),
    Denied(Denial),
}

/// Why a node denies an acquire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Keys belong to other owners. They are named if the claim has several.
    Taken(Box<[TakenKey]>),
    /// The slot of the semaphore is taken; these slots are free.
    SlotTaken { free: KeySet },
    /// The semaphore has another number of permits.
    OtherPermits(usize),
}

/// The effect of the fencing token that was sent along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The token is the node's highest now and was not before.
    Raised,
    /// The node had seen this token or a higher one.
    Stale,
    /// No token was sent.
    Off,
}

/// A node's answer to an acquire, and its clock right after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) acquired: Acquired,
    /// In microseconds since 1970; `None` if it was not asked for.
    pub(crate) clock: Option<Result<u64, NodeFailure>>,
}

/// `SET key token NX PX ttl`, and behind it, with a fencing token, `ZADD redlock-quorum:fences GT CH fence key`. For
/// several resources, a script in the place of `SET`, and one `ZADD` with all of them. The last command may be `TIME`.
///
/// Native commands in one pipeline instead of a script: measured at 1.07 instead of 1.22 times the latency of a
/// bare `SET` on a quorum. Nothing depends on the commands being atomic: a clock that is stepped between `SET` and
/// `TIME` looks as if it had been stepped before.
#[derive(Clone)]
pub(crate) struct Acquire(Arc<AcquireCommands>);

struct AcquireCommands {
    packed: Packed,
    keys: usize,
    has_fence: bool,
    reads_clock: bool,
}

impl Acquire {
    /// `reads_clock`: the node's clock is read as well, after the rest.
    pub(crate) fn new(
        claim: &Claim,
        token: &Token,
        ttl: Ttl,
        fence: Option<FencingToken>,
        reads_clock: bool,
    ) -> Self {
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.add_command(set(claim, token, ttl));
        if let Some(fence) = fence {
            pipeline.add_command(zadd(claim, fence));
        }
        if reads_clock {
            pipeline.cmd("TIME");
        }
        let (packed, keys) = (Packed::from(&pipeline), claim.resources().len());
        Self(Arc::new(AcquireCommands { packed, keys, has_fence: fence.is_some(), reads_clock }))
    }
}

impl Command for Acquire {
    type Reply = Answered;

    async fn send(self, connection: Wire) -> Result<Answered, NodeFailure> {
        let AcquireCommands { packed, keys, has_fence, reads_clock } = &*self.0;
        let replies = connection.send(packed).await;
        let mut replies = replies.map_err(|error| failure::of_command(&error))?.all().into_iter();
        let mut next = || {
            let missing = || failure::of_reply("SET, ZADD and TIME", &Value::Nil);
            replies.next().map(Value::extract_error).ok_or_else(missing)
        };
        let denial = denial(next()?)?;
        let fence = if *has_fence {
            match zadd_reply(*keys, next()?)? {
                Answer::Yes => Fence::Raised,
                Answer::No => Fence::Stale,
            }
        } else {
            Fence::Off
        };
        let clock = reads_clock.then(|| {
            next()?.map_err(|error| failure::of_command(&error)).and_then(|time| wall_micros(&time))
        });
        Ok(Answered { acquired: acquired(denial, fence), clock })
    }
}

/// Raises the node's score of each resource strictly to a token. The answer is yes if all scores were lower, and no if
/// one was equal or higher.
#[derive(Clone)]
pub(crate) struct RaiseFence {
    zadd: Arc<Cmd>,
    keys: usize,
}

impl RaiseFence {
    pub(crate) fn new(claim: &Claim, fence: FencingToken) -> Self {
        Self { zadd: Arc::new(zadd(claim, fence)), keys: claim.resources().len() }
    }
}

impl Command for RaiseFence {
    type Reply = Answer;

    async fn send(self, connection: Wire) -> Result<Answer, NodeFailure> {
        zadd_reply(self.keys, single(&connection, &self.zadd).await)
    }
}

/// The highest score of a claim on one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    /// The position of the key that has it.
    pub(crate) key: usize,
    /// 0 where the node has none.
    pub(crate) score: f64,
}

/// Reads the node's scores of a claim, and answers the highest.
#[derive(Clone)]
pub(crate) struct ReadFence(Arc<Pipeline>);

impl ReadFence {
    pub(crate) fn new(claim: &Claim) -> Self {
        let mut pipeline = Pipeline::new();
        for key in claim.resources() {
            pipeline.cmd("ZSCORE").arg(internal_key(FENCES)).arg(key.key());
        }
        Self(Arc::new(pipeline))
    }
}

impl Command for ReadFence {
    type Reply = Score;

    async fn send(self, connection: Wire) -> Result<Score, NodeFailure> {
        let replies = connection.send_packed_commands(&self.0).await;
        let replies = replies.map_err(|error| failure::of_command(&error))?;
        let mut highest = Score { key: 0, score: 0.0 };
        for (key, reply) in replies.into_iter().enumerate() {
            let score = score(reply.extract_error())?;
            if score > highest.score {
                highest = Score { key, score };
            }
        }
        Ok(highest)
    }
}

/// Reads the node's wall clock, in microseconds since 1970.
#[derive(Clone)]
pub(crate) struct ReadClock;

impl Command for ReadClock {
    type Reply = u64;

    async fn send(self, connection: Wire) -> Result<u64, NodeFailure> {
        let reply = single(&connection, &redis::cmd("TIME")).await;
        reply.map_err(|error| failure::of_command(&error)).and_then(|time| wall_micros(&time))
    }
}

/// Parses the reply of `TIME` into microseconds since 1970.
pub(super) fn wall_micros(time: &Value) -> Result<u64, NodeFailure> {
    let (seconds, micros): (u64, u64) =
        redis::from_redis_value_ref(time).map_err(|_| failure::of_reply("TIME", time))?;
    Ok(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// A node's answer to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Yes if all keys were ours and are gone now; no if one was not ours.
    pub(crate) key: Answer,
    /// The keys for which a waiter was notified.
    pub(crate) notified: KeySet,
}

/// Removes the keys of a claim that are the owner's, and notifies waiters.
#[derive(Clone)]
pub(crate) struct Remove(Removing);

#[derive(Clone)]
enum Removing {
    One(Arc<ScriptCall>),
    Many(RemoveMany),
}

impl Remove {
    /// `owner` is the value that a key must have to be removed. A waiter is notified for each key in `notify`, and
    /// then has `grace` for its attempt.
    pub(crate) fn new(claim: &Claim, owner: &[u8], notify: KeySet, grace: Duration) -> Self {
        let key = match claim {
            Claim::Exclusive { .. } | Claim::Slot(_) => &claim.keys()[0],
            Claim::Many { .. } | Claim::Shared { .. } => {
                return Self(Removing::Many(RemoveMany::new([(claim, owner, notify)].into_iter(), grace)));
            }
        };
        let mut by_hash = release().by_hash(1);
        by_hash.arg(key.key()).arg(owner);
        if !notify.is_empty() {
            by_hash.arg(millis(grace)).arg(queue_key(claim.first()));
        }
        Self(Removing::One(Arc::new(ScriptCall::new(release(), by_hash))))
    }
}

impl Command for Remove {
    type Reply = Removed;

    async fn send(self, connection: Wire) -> Result<Removed, NodeFailure> {
        let call = match self.0 {
            Removing::One(call) => call,
            Removing::Many(many) => return many.send(connection).await.map(|removed| removed[0]),
        };
        match call.run(connection).await {
            Ok(Value::Int(0)) => Ok(Removed { key: Answer::No, notified: KeySet::EMPTY }),
            Ok(Value::Int(1)) => Ok(Removed { key: Answer::Yes, notified: KeySet::EMPTY }),
            Ok(Value::Int(2)) => Ok(Removed { key: Answer::No, notified: KeySet::first(1) }),
            Ok(Value::Int(3)) => Ok(Removed { key: Answer::Yes, notified: KeySet::first(1) }),
            Ok(other) => Err(failure::of_reply("EVALSHA", &other)),
            Err(error) => Err(failure::of_command(&error)),
        }
    }
}

/// A call of a script by its hash, or by its text on a node that has forgotten the script.
pub(super) struct ScriptCall {
    lua: &'static Lua,
    by_hash: Cmd,
    packed: Packed,
}

impl ScriptCall {
    pub(super) fn new(lua: &'static Lua, by_hash: Cmd) -> Self {
        Self { lua, packed: Packed::from(&by_hash), by_hash }
    }

    pub(super) async fn run(&self, connection: Wire) -> Result<Value, RedisError> {
        let mut reply = single_packed(&connection, &self.packed).await;
        if let Err(error) = &reply
            && error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        {
            // The script is unknown after SCRIPT FLUSH, or after a restart behind a proxy. EVAL loads the script
            // again as well.
            reply = single(&connection, &self.lua.by_text(&self.by_hash)).await;
        }
        reply
    }
}

/// Parses the reply of `ZSCORE`; 0 where there is no score.
pub(super) fn score(reply: Result<Value, RedisError>) -> Result<f64, NodeFailure> {
    match reply {
        Ok(Value::Nil) => Ok(0.0),
        Ok(Value::Double(score)) => Ok(score),
        Ok(reply @ Value::BulkString(_)) => {
            redis::from_redis_value_ref(&reply).map_err(|_| failure::of_reply("ZSCORE", &reply))
        }
        Ok(other) => Err(failure::of_reply("ZSCORE", &other)),
        Err(error) => Err(failure::of_command(&error)),
    }
}

pub(super) async fn single(connection: &Wire, cmd: &Cmd) -> Result<Value, RedisError> {
    connection.send_packed_command(cmd).await.and_then(Value::extract_error)
}

async fn single_packed(connection: &Wire, packed: &Packed) -> Result<Value, RedisError> {
    connection.send(packed).await.and_then(Replies::one).and_then(Value::extract_error)
}

fn set(claim: &Claim, token: &Token, ttl: Ttl) -> Cmd {
    let key = match claim {
        Claim::Exclusive { key } => key,
        Claim::Many { keys, .. } => return many::acquire(keys, token, ttl),
        Claim::Shared { key } => return shared::acquire(key, token, ttl),
        Claim::Slot(slot) => return semaphore::acquire(slot, token, ttl),
    };
    let mut cmd = roomy_command();
    cmd.arg("SET").arg(key.key()).arg(token.as_str()).arg("NX").arg("PX").arg(ttl.as_millis());
    cmd
}

fn zadd(claim: &Claim, fence: FencingToken) -> Cmd {
    let mut cmd = roomy_command();
    if planted::is(planted::Fault::EqualRaise)
        && let Claim::Exclusive { key } = claim
    {
        cmd.arg("EVAL").arg(EQUAL_RAISE).arg(1).arg(internal_key(FENCES)).arg(fence.get()).arg(key.key());
        return cmd;
    }
    cmd.arg("ZADD").arg(internal_key(FENCES)).arg("GT").arg("CH");
    for key in claim.resources() {
        cmd.arg(fence.get()).arg(key.key());
    }
    cmd
}

/// What `ZADD GT CH` does, but an equal score counts as raised.
const EQUAL_RAISE: &str = "local score = redis.call('ZSCORE', KEYS[1], ARGV[2])
if score and tonumber(score) > tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
return 1";

/// Parses the reply of `SET`, or of the script in its place. `None` if it was granted.
fn denial(reply: Result<Value, RedisError>) -> Result<Option<Denial>, NodeFailure> {
    match reply {
        Ok(Value::Okay | Value::Int(1)) => Ok(None),
        Ok(Value::Nil | Value::Int(0)) => Ok(Some(Denial::Taken(Box::default()))),
        Ok(Value::Array(taken)) => {
            let taken = many::taken(&taken)?;
            Ok(if taken.is_empty() { None } else { Some(Denial::Taken(taken)) })
        }
        Ok(other) => semaphore::denial(&other).map(Some),
        Err(error) => Err(failure::of_command(&error)),
    }
}

/// Parses the reply of a `ZADD` with this number of keys. Yes if it raised all of them.
fn zadd_reply(keys: usize, reply: Result<Value, RedisError>) -> Result<Answer, NodeFailure> {
    match reply {
        Ok(Value::Int(raised)) if usize::try_from(raised).is_ok_and(|raised| raised == keys) => {
            Ok(Answer::Yes)
        }
        Ok(Value::Int(raised)) if usize::try_from(raised).is_ok_and(|raised| raised < keys) => Ok(Answer::No),
        Ok(other) => Err(failure::of_reply("ZADD", &other)),
        Err(error) => Err(failure::of_command(&error)),
    }
}

fn acquired(denial: Option<Denial>, fence: Fence) -> Acquired {
    denial.map_or(Acquired::Granted(fence), Acquired::Denied)
}

/// The key of a lock's queue.
pub(super) fn queue_key(resource: &Resource) -> String {
    internal_key(&["queue:", resource.key()].concat())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
