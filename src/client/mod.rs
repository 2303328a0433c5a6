//! The client: the one thing a service keeps.

mod inspection;
mod nodes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{NodeOptions, RedlockBuilder, Settings};
use crate::coordinator::{Coordinator, Internet, Machine, Network, Removal, Stats};
use crate::error::SettingsError;
use crate::lock::Mutex;
use crate::node::Declared;
use crate::types::Ambient;

pub use inspection::{Holder, Inspection, KeyContent, LockState, NodeInspection};
pub use nodes::{NodeResult, NodeStatus, NodeSurvey};

/// A client of N independent Redis masters. Cheap to clone; a service keeps one.
///
/// Each node has one connection and one background task, and one more task keeps all leases alive. They end when the
/// last clone and the last guard are dropped, after the releases that are still under way: guards keep working, and
/// are kept alive, when the `Redlock` that they came from is dropped before them.
///
/// These tasks run in the tokio runtime in which the client was connected. Locks may be taken and held in others, while
/// that one runs. When it ends, the client ends with it: its locks are lost at once
/// ([`Loss::RuntimeEnded`](crate::Loss::RuntimeEnded)), there are no further ones
/// ([`LockError::RuntimeEnded`](crate::LockError::RuntimeEnded)), and [`nodes`](Redlock::nodes) says why. So connect once
/// in each runtime, and not in a static that several `#[tokio::test]`s share.
#[derive(Clone)]
pub struct Redlock {
    coordinator: Arc<Coordinator>,
}

impl Redlock {
    /// Connects with default settings; see [`RedlockBuilder`] for what can be set.
    ///
    /// # Errors
    ///
    /// A [`SettingsError`] when the list of nodes cannot be used. A node that is down is no error: it is a lost
    /// vote until it is back, and the client keeps trying to reach it in the background.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is kept.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use redlock_quorum::Redlock;
    ///
    /// let redlock = Redlock::connect(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"]).await?;
    /// let guard = redlock.mutex("invoice:42")?.lock().await?;
    /// // ... the protected work ...
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect<I>(urls: I) -> Result<Self, SettingsError>
    where
        I: IntoIterator,
        I::Item: Into<NodeOptions>,
    {
        Self::builder().nodes(urls).connect().await
    }

    /// Connects with the settings of a TOML file; `redlock.example.toml` has them all.
    ///
    /// # Errors
    ///
    /// The first mistake in the file, with its line and column; [`RedlockBuilder::settings`] tells all of them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is kept.
    #[cfg(feature = "config")]
    pub async fn from_file(path: impl AsRef<std::path::Path>) -> Result<Self, SettingsError> {
        Self::builder().file(path).connect().await
    }

    /// Connects with the settings of the environment; see [`RedlockBuilder::environment`].
    ///
    /// # Errors
    ///
    /// The first mistake, with the variable's name.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is kept.
    #[cfg(feature = "config")]
    pub async fn from_env() -> Result<Self, SettingsError> {
        Self::builder().environment().connect().await
    }

    /// Settings to choose before connecting.
    pub fn builder() -> RedlockBuilder {
        RedlockBuilder::new()
    }

    /// A lock on `name`: 1 to 512 bytes of UTF-8 without control characters, not beginning with `redlock-quorum:`, also
    /// not together with the [`key_prefix`](RedlockBuilder::key_prefix). The name, behind that prefix, is the Redis key,
    /// as with most other Redlock implementations, so their clients exclude ours and ours theirs.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name cannot be used.
    pub fn mutex(&self, name: impl AsRef<str>) -> Result<Mutex, SettingsError> {
        Mutex::new(Arc::clone(&self.coordinator), name.as_ref())
    }

    /// The nodes as this client sees them now, in the order of the configuration. Asks nobody.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.coordinator.known().into_iter().map(NodeStatus::new).collect()
    }

    /// What this client has done so far. Asks nobody, and takes no lock.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.coordinator.stats()
    }

    /// Asks every node for its time, fifty times, and for the number of its clients, and waits for at most
    /// `node_timeout` until it is known which nodes its other clients use. For people and monitoring; it takes as long
    /// as fifty round trips, and until the first attempt to connect to each node has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is kept.
    pub async fn survey(&self) -> Vec<NodeSurvey> {
        let probed = self.coordinator.probe().await;
        self.nodes()
            .into_iter()
            .zip(probed)
            .map(|(status, (_, probed))| NodeSurvey::new(status, probed))
            .collect()
    }

    /// The longest `max_ttl` that any client of the nodes uses, as far as this one has heard; at least its own. That of
    /// all decides how long a node that may have forgotten locks is not believed.
    #[must_use]
    pub fn longest_max_ttl(&self) -> Duration {
        self.coordinator.longest_max_ttl()
    }

    /// Who holds a resource, on each node. For people and tests: by the time it is known it may have changed.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name cannot be used. What a node does not answer is in the
    /// [`Inspection`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is changed.
    pub async fn inspect(&self, name: impl AsRef<str>) -> Result<Inspection, SettingsError> {
        let resource = self.coordinator.settings().resource(name.as_ref())?;
        let seen = self.coordinator.inspect(&resource).await;
        Ok(Inspection::new(resource.name(), self.coordinator.settings().quorum(), seen))
    }

    /// Takes a lock from whoever holds it: removes its key from every node that answers. **The holder goes on until
    /// it notices**, at its next renewal or at its deadline, and meanwhile another may hold the lock as well. For an
    /// operator who knows that the holder is gone, and does not want to wait for the TTL.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, some nodes may have lost the key and others not.
    pub async fn dangerous_break(
        &self,
        name: impl AsRef<str>,
    ) -> Result<Vec<NodeResult<Removal>>, SettingsError> {
        let resource = self.coordinator.settings().resource(name.as_ref())?;
        Ok(NodeResult::of_all(self.coordinator.break_lock(&resource).await))
    }

    /// Declares that all nodes are new and nobody holds a lock on them, so that their votes count at once instead of
    /// after a quarantine. **Said of a node that has forgotten locks, two clients can hold one at a time.** A node
    /// that can be seen not to be new refuses it. What `redlock init` does.
    ///
    /// The word holds until the memory of a node breaks: until the next restart of one that does not keep every write
    /// (`appendfsync always`), or that has replicas. Clients that are connected already notice within seconds.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, some nodes may have been declared and others not.
    pub async fn dangerous_declare_new(&self) -> Vec<NodeResult<Declared>> {
        NodeResult::of_all(self.coordinator.declare_new().await)
    }

    /// Has every node forget what its clients have told: which nodes and quorum they use, and their longest leases. Clients
    /// that are alive tell it again within seconds. For an operator who knows that **no other client is left that uses
    /// other nodes or a longer `max_ttl`**: where one is, two clients can hold one lock. Without it the nodes forget by
    /// themselves, as long after the last word of such a client as its leases may last. What `redlock nodes forget` does.
    ///
    /// # Errors
    ///
    /// Of each node that could not be told, why.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, some nodes may have forgotten and others not.
    pub async fn dangerous_forget_clients(&self) -> Vec<NodeResult<()>> {
        NodeResult::of_all(self.coordinator.forget_clients().await)
    }

    /// Refuses further locks, releases all that are held, and waits until the nodes have answered all releases that
    /// are under way; not for a node that answers none for `connect_timeout`. Call it before the runtime ends: releases
    /// that a dropped guard has handed over are lost with the runtime, and their locks last until their TTL.
    ///
    /// To the guards that still exist this is a loss, [`Loss::ShutDown`](crate::Loss::ShutDown).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the client stays shut down.
    pub async fn shutdown(&self) {
        self.coordinator.shut_down(self.coordinator.settings().connect_timeout).await;
    }
}

impl fmt::Debug for Redlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redlock").field("nodes", &self.nodes()).finish_non_exhaustive()
    }
}

impl RedlockBuilder {
    /// Checks the settings and connects; see [`Redlock::connect`]. Returns when every node has been tried, or when
    /// a quorum is there and the others had `node_timeout` longer.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is kept.
    pub async fn connect(self) -> Result<Redlock, SettingsError> {
        self.connect_with(Arc::new(Machine)).await
    }

    /// With time and randomness of the caller's.
    pub(crate) async fn connect_with(self, ambient: Arc<dyn Ambient>) -> Result<Redlock, SettingsError> {
        Ok(self.validate()?.connect_by(ambient, &Internet).await)
    }
}

impl Settings {
    /// Connects; see [`RedlockBuilder::connect`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is kept.
    pub async fn connect(self) -> Redlock {
        self.connect_by(Arc::new(Machine), &Internet).await
    }

    /// With time, randomness and network of the caller's.
    pub(crate) async fn connect_by(
        self,
        ambient: Arc<dyn Ambient>,
        network: &(dyn Network + Sync),
    ) -> Redlock {
        let quorum = self.quorum;
        if quorum.nodes().is_multiple_of(2) {
            tracing::warn!(
                nodes = quorum.nodes(),
                survives = quorum.spare(),
                "an even number of nodes survives no more failures than one node less"
            );
        }
        let coordinator = Coordinator::start(self, ambient, network);
        coordinator.tried().await;
        Redlock { coordinator }
    }
}
