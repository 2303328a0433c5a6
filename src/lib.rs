//! Redlock over N independent Redis masters: a quorum lock whose holder can read its deadline at any time.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use redlock_quorum::Redlock;
//!
//! let redlock = Redlock::connect(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"]).await?;
//! let guard = redlock.mutex("invoice:42")?.ttl(Duration::from_secs(10)).lock().await?;
//! assert!(guard.is_valid());
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | what |
//! |---|---|
//! | (none) | the library |
//! | `config` | settings from TOML files, the environment and command lines |
//! | `tls` | TLS to the nodes, `rediss://` |
//! | `metrics` | counters, gauges and histograms on the `metrics` facade; `docs/observability.md` has the table |
//! | `testing` | clusters of real Redis servers, faults, and a history checker, for your own tests |
//!
//! The `redlock` tool is the crate `redlock-cli`.

mod client;
mod config;
mod coordinator;
mod error;
mod lock;
mod node;
mod planted;
mod protocol;
#[cfg(all(test, redlock_shuttle))]
mod schedules;
#[cfg(test)]
mod simulation;
mod types;

pub use client::{
    ClockRate, Holder, Inspection, KeyContent, LockState, NodeInspection, NodeResult, NodeStatus, NodeSurvey,
    Redlock,
};
#[cfg(feature = "config")]
pub use config::Setting;
pub use config::{Fencing, NodeOptions, RedlockBuilder, Settings};
pub use coordinator::{Attempts, Losses, NodeStats, Removal, Renewals, Stats, VoteCounts};
pub use error::{
    ExtendError, LockError, Loss, NodeFailure, NodeVote, ReleaseError, Released, RunError, SettingOrigin,
    SettingsError, Taken, TlsCause, Votes,
};
pub use lock::{
    Election, Guard, Leader, LeaderState, LeaderWatch, Leadership, Multi, Mutex, Permit, RwLock, Semaphore,
    WriteGuard,
};
pub use node::{Declared, ListInUse, NodeFacts, OtherClients};
pub use protocol::{ChangeProgress, Retry};
#[cfg(feature = "testing")]
#[doc(inline)]
pub use redlock_testing as testing;
/// Re-exported because [`Guard::cancellation_token`] returns one.
pub use tokio_util::sync::CancellationToken;
pub use types::{FencingToken, Login, Persistence, QuarantineCause};

/// The README's examples are compiled with the tests.
#[cfg(all(doctest, feature = "config", feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;
