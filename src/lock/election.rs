//! Elections: one leader among many candidates, and everybody can ask who it is.

use std::sync::Arc;
use std::time::Duration;

use super::Guard;
use super::guard::is_a_guard;
use super::leader::{LeaderState, LeaderWatch};
use super::locking::{Locking, lock_settings};
use super::run::{end, until_lost};
use crate::config::Fencing;
use crate::coordinator::Coordinator;
use crate::error::{LockError, SettingsError};
use crate::types::{Claim, FencingToken, NodeId};

/// Longest value of a leader in bytes: it is part of the leader's token, and so of each of its commands.
const VALUE_BYTES_MAX: usize = 256;

/// One leader among many candidates. [`Redlock::election`](crate::Redlock::election) makes one; cheap to make and to
/// clone.
///
/// To others, the leadership is the lock of this name: a [`Mutex`](crate::Mutex) of the name excludes all leaders. The
/// [fencing token](Guard::fencing_token) of a leader is its **term**, which is larger than every earlier term. The term
/// and the leader's own [value](Election::value) are part of its key on the nodes, so both are there as long as the
/// leader's lease, and no longer.
///
/// A candidate waits without a limit unless [`max_wait`](Election::max_wait) says otherwise.
#[derive(Clone)]
#[must_use = "an election does nothing until somebody campaigns"]
pub struct Election {
    locking: Locking,
}

lock_settings!(Election);

impl Election {
    pub(crate) fn new(coordinator: Arc<Coordinator>, name: &str) -> Result<Self, SettingsError> {
        let settings = coordinator.settings();
        if settings.fencing == Fencing::Off {
            let (value, bound) =
                ("false".to_owned(), "true for an election, whose terms are tokens".to_owned());
            return Err(SettingsError::OutOfRange { setting: "fencing", value, bound });
        }
        let (claim, owner) =
            (Claim::Exclusive { key: settings.resource(name)? }, Arc::clone(&settings.owner));
        let mut locking = Locking::new(coordinator, claim);
        locking.leads_as = Some(owner);
        locking.max_wait = Duration::MAX;
        Ok(Self { locking })
    }

    /// What the leader says of itself, such as its address: at most 256 bytes of any text. Without it, the value is the
    /// client's [`owner`](crate::RedlockBuilder::owner) label. [`campaign`](Election::campaign) returns
    /// [`LockError::Invalid`] for a longer value.
    pub fn value(mut self, value: impl AsRef<str>) -> Self {
        self.locking.leads_as = Some(value.as_ref().into());
        self
    }

    /// Waits until this candidate leads.
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::lock`](crate::Mutex::lock).
    pub async fn campaign(&self) -> Result<Leadership, LockError> {
        self.check_value()?;
        Ok(Leadership { guard: self.locking.lock().await? })
    }

    /// Makes one attempt to lead; never waits for another leader.
    ///
    /// # Errors
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    ///
    /// # Cancel safety
    ///
    /// As [`Mutex::try_lock`](crate::Mutex::try_lock).
    pub async fn try_campaign(&self) -> Result<Leadership, LockError> {
        self.check_value()?;
        Ok(Leadership { guard: self.locking.try_lock().await? })
    }

    fn check_value(&self) -> Result<(), SettingsError> {
        let bytes = self.locking.leads_as.as_ref().map_or(0, |value| value.len());
        if bytes <= VALUE_BYTES_MAX {
            return Ok(());
        }
        let (value, bound) = (format!("{bytes} bytes"), format!("at most {VALUE_BYTES_MAX} bytes"));
        Err(SettingsError::OutOfRange { setting: "value of a leader", value, bound })
    }

    /// Campaigns and runs `body` while this candidate leads. When the leadership is lost, `body` is dropped at the await
    /// that it has reached, and the candidate campaigns again and calls a clone of `body`. When `body` returns a value,
    /// the candidate steps down and the value is returned.
    ///
    /// An async closure can be cloned if what it captures can; without `move`, it captures references. A future that is
    /// spawned could not use an `AsyncFnMut`.
    ///
    /// # Errors
    ///
    /// As [`campaign`](Self::campaign); a loss is no error. After [`Redlock::shutdown`](crate::Redlock::shutdown) the
    /// error is [`LockError::ShutDown`].
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, `body` is dropped, and the candidate steps down in the background.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn serve(term: u64) {}
    /// # async fn example(redlock: redlock_quorum::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// let election = redlock.election("reports")?.value("10.0.0.7:8080");
    /// election.lead(async |leadership| serve(leadership.term().get()).await).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lead<T, F>(&self, body: F) -> Result<T, LockError>
    where
        F: AsyncFnOnce(&Leadership) -> T + Clone,
    {
        loop {
            let leadership = self.campaign().await?;
            // A loss is logged where the lease ends.
            if let Ok(value) = until_lost(&leadership, body.clone()(&leadership)).await
                && let Ok(value) = end(leadership.into(), value).await
            {
                return Ok(value);
            }
        }
    }

    /// Asks the nodes who leads. The answer may be outdated when it arrives, and a candidate that has a quorum of keys
    /// but has not begun to lead counts as well.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is changed.
    pub async fn leader(&self) -> LeaderState {
        let coordinator = self.locking.coordinator();
        let seen = coordinator.inspect(self.locking.claim().first()).await;
        let seen = || seen.iter().enumerate().map(|(i, (_, seen))| (NodeId(i), seen));
        let silent = seen().filter(|(_, seen)| seen.is_err()).map(|(node, _)| node).collect();
        let values = seen().filter_map(|(node, seen)| Some((node, seen.as_ref().ok()?.value.as_ref()?)));
        LeaderState::of(coordinator.settings().quorum, silent, values)
    }

    /// Watches who leads.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(redlock: redlock_quorum::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut watch = redlock.election("reports")?.watch();
    /// loop {
    ///     match watch.changed().await {
    ///         Some(leader) => println!("{} leads in term {}", leader.value(), leader.term()),
    ///         None => println!("nobody leads"),
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn watch(&self) -> LeaderWatch {
        LeaderWatch::new(self.clone())
    }
}

/// The leadership, while it lasts: a [`Guard`] with its term.
#[must_use = "the leader steps down when its leadership is dropped"]
pub struct Leadership {
    guard: Guard,
}

impl Leadership {
    /// The term: the [fencing token](Guard::fencing_token).
    #[must_use]
    pub fn term(&self) -> FencingToken {
        self.guard.fencing_token()
    }
}

is_a_guard!(Leadership);
