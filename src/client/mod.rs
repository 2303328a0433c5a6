//! The client, of which a service needs one.

mod inspection;
mod nodes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{NodeOptions, RedlockBuilder, Settings};
use crate::coordinator::{Coordinator, Internet, Machine, Network, Removal, Stats};
use crate::error::SettingsError;
use crate::lock::{Election, Multi, Mutex, RwLock, Semaphore};
use crate::node::Declared;
use crate::types::Ambient;

pub use inspection::{Holder, Inspection, KeyContent, LockState, NodeInspection};
pub use nodes::{ClockRate, NodeResult, NodeStatus, NodeSurvey};

/// A client of N independent Redis masters. Cheap to clone; a service needs one.
///
/// Each node has one connection and one background task; one more task renews all leases. The tasks end when the last
/// clone and the last guard are dropped and all pending releases are finished. A guard may outlive its `Redlock`: the
/// guard keeps working, and its lease is still renewed.
///
/// **Connect once in each tokio runtime**, not in a static that several `#[tokio::test]`s share. The background tasks
/// run in the runtime in which the client was connected. Locks may be acquired and held in other runtimes as long as
/// the client's runtime runs. When the client's runtime ends, the client ends too: its locks are lost at once
/// ([`Loss::RuntimeEnded`](crate::Loss::RuntimeEnded)), further attempts fail with
/// [`LockError::RuntimeEnded`](crate::LockError::RuntimeEnded), and [`nodes`](Redlock::nodes) reports the reason.
#[derive(Clone)]
pub struct Redlock {
    coordinator: Arc<Coordinator>,
}

impl Redlock {
    /// Connects with default settings; [`RedlockBuilder`] lists all settings.
    ///
    /// # Errors
    ///
    /// A [`SettingsError`] when the list of nodes is invalid. A node that is down is no error: the vote of the node is
    /// lost until it is back, and the client keeps trying to connect in the background.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; dropping the future closes all connections.
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

    /// Connects with the settings of a TOML file; `redlock.example.toml` shows every setting.
    ///
    /// # Errors
    ///
    /// The first mistake in the file, with its line and column; [`RedlockBuilder::settings`] returns all of them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; dropping the future closes all connections.
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
    /// Cancel safe; dropping the future closes all connections.
    #[cfg(feature = "config")]
    pub async fn from_env() -> Result<Self, SettingsError> {
        Self::builder().environment().connect().await
    }

    /// Returns a builder with default settings.
    pub fn builder() -> RedlockBuilder {
        RedlockBuilder::new()
    }

    /// Makes a lock of this name: 1 to 512 bytes of UTF-8 without control characters. Neither the name nor
    /// [`key_prefix`](RedlockBuilder::key_prefix) + name may begin with `redlock-quorum:`.
    ///
    /// The Redis key is the prefix followed by the name. Most other Redlock implementations use the same key, so that
    /// their clients and ours exclude each other.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name breaks these rules.
    pub fn mutex(&self, name: impl AsRef<str>) -> Result<Mutex, SettingsError> {
        Mutex::new(Arc::clone(&self.coordinator), name.as_ref())
    }

    /// Makes a lock of several resources, which are acquired all or none: 1 to 64 names, in any order. Each name follows
    /// the rules of [`mutex`](Redlock::mutex), and is the same lock as the mutex of this name.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when a name breaks these rules or occurs twice, and [`SettingsError::OutOfRange`] when
    /// there is no name or there are too many.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn transfer(token: u64) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(redlock: redlock_quorum::Redlock) -> Result<(), Box<dyn std::error::Error>> {
    /// let accounts = redlock.multi(["account:7", "account:3"])?;
    /// accounts.run(async |lease| transfer(lease.fencing_token().get()).await).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn multi<I>(&self, names: I) -> Result<Multi, SettingsError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Multi::new(Arc::clone(&self.coordinator), names)
    }

    /// Makes a lock of this name for readers and writers. The name follows the rules of [`mutex`](Redlock::mutex), and the
    /// writer is the same lock as the mutex of this name.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name breaks these rules.
    pub fn rwlock(&self, name: impl AsRef<str>) -> Result<RwLock, SettingsError> {
        RwLock::new(Arc::clone(&self.coordinator), name.as_ref())
    }

    /// Makes a semaphore of this name with 1 to 64 permits. The name follows the rules of [`mutex`](Redlock::mutex), but is
    /// not the same lock as the mutex of this name.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name breaks these rules, and [`SettingsError::OutOfRange`] when the number of
    /// permits does.
    pub fn semaphore(&self, name: impl AsRef<str>, permits: usize) -> Result<Semaphore, SettingsError> {
        Semaphore::new(Arc::clone(&self.coordinator), name.as_ref(), permits)
    }

    /// Makes an election of this name. The name follows the rules of [`mutex`](Redlock::mutex), and a leader holds the lock
    /// that the mutex of this name would.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name breaks these rules, and [`SettingsError::OutOfRange`] when fencing is
    /// [off](crate::Fencing::Off).
    pub fn election(&self, name: impl AsRef<str>) -> Result<Election, SettingsError> {
        Election::new(Arc::clone(&self.coordinator), name.as_ref())
    }

    /// The nodes as this client sees them now, in the order of the configuration. Sends nothing.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.coordinator.known().into_iter().map(NodeStatus::new).collect()
    }

    /// How many nodes make a quorum, at least.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.coordinator.settings().quorum.needed()
    }

    /// Counters of this client since it was connected. Sends nothing and acquires no lock.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.coordinator.stats()
    }

    /// Measures every node, for people and monitoring: asks each node 50 times for its time, then for the number of its
    /// clients. Then waits at most `node_timeout` to learn which nodes the other clients use.
    ///
    /// The survey first waits until the first attempt to connect to each node has ended, and then takes about 50 round
    /// trips to the slowest node. A node that does not answer one of these questions within `connect_timeout` is not
    /// asked further.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is changed.
    pub async fn survey(&self) -> Vec<NodeSurvey> {
        let probed = self.coordinator.probe().await;
        self.nodes()
            .into_iter()
            .zip(probed)
            .map(|(status, (_, probed))| NodeSurvey::new(status, probed))
            .collect()
    }

    /// The longest `max_ttl` among all clients of the nodes, as far as this client knows; at least its own. The
    /// quarantine of a node that may have forgotten locks lasts as long as this, plus drift and 2 s. A value above this
    /// client's own `max_ttl` shows that another client prolongs quarantines.
    #[must_use]
    pub fn longest_max_ttl(&self) -> Duration {
        self.coordinator.longest_max_ttl()
    }

    /// Asks every node who holds a resource. For people and tests: the answer may be outdated when it arrives.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name breaks the rules of [`mutex`](Redlock::mutex). A node that does not
    /// answer is no error: the [`Inspection`] contains the reason.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is changed.
    pub async fn inspect(&self, name: impl AsRef<str>) -> Result<Inspection, SettingsError> {
        let resource = self.coordinator.settings().resource(name.as_ref())?;
        let seen = self.coordinator.inspect(&resource).await;
        Ok(Inspection::new(resource.name(), self.coordinator.settings().quorum, seen))
    }

    /// Asks every node who holds the permits of a semaphore: one [`Inspection`] for each slot, in their order, as
    /// [`inspect`](Redlock::inspect) gives it. Without [fences](NodeInspection::fence), because these are the semaphore's.
    ///
    /// # Errors
    ///
    /// As [`semaphore`](Redlock::semaphore).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; nothing is changed.
    pub async fn inspect_semaphore(
        &self,
        name: impl AsRef<str>,
        permits: usize,
    ) -> Result<Vec<Inspection>, SettingsError> {
        let semaphore = self.semaphore(name, permits)?.resource().clone();
        let inspected = (0..permits).map(|slot| {
            let slot = semaphore.slot(slot);
            async move {
                let seen = self.coordinator.inspect(&slot).await;
                Inspection::new(slot.name(), self.coordinator.settings().quorum, seen)
            }
        });
        Ok(futures_util::future::join_all(inspected).await)
    }

    /// Removes the key of a lock from every node that answers, whoever holds the lock. **The holder does not notice
    /// before its next renewal or its deadline**, and until then a second client can hold the lock too. For an operator
    /// who knows that the holder is gone and does not want to wait for the TTL.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Resource`] when the name breaks the rules of [`mutex`](Redlock::mutex).
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the key may have been removed from some nodes only.
    pub async fn dangerous_break(
        &self,
        name: impl AsRef<str>,
    ) -> Result<Vec<NodeResult<Removal>>, SettingsError> {
        let resource = self.coordinator.settings().resource(name.as_ref())?;
        Ok(NodeResult::of_all(self.coordinator.break_lock(&resource).await))
    }

    /// Declares that all nodes are new and that nobody holds a lock on them. Their votes then count at once instead of
    /// after a quarantine. `redlock init` calls this.
    ///
    /// **If a declared node has forgotten locks, two clients can hold the same lock at the same time.** A node refuses
    /// the declaration if it has evidence that it is not new; [`Declared`] lists the reasons.
    ///
    /// The declaration of a node is valid until the node may forget locks again: until its next restart, if the node
    /// does not keep every write (`appendfsync always`) or has replicas. Connected clients notice the declaration
    /// within seconds.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, only some nodes may have been declared new.
    pub async fn dangerous_declare_new(&self) -> Vec<NodeResult<Declared>> {
        NodeResult::of_all(self.coordinator.declare_new().await)
    }

    /// Deletes what clients have announced to the nodes: which nodes and quorum each client uses, and its longest
    /// lease. Running clients announce again within seconds. `redlock nodes forget` calls this.
    ///
    /// For an operator who knows that **no running client uses other nodes or a longer `max_ttl`**: if such a client
    /// still runs, two clients can hold the same lock at the same time. Without this call, a node forgets a client by
    /// itself a little more than the client's `max_ttl` after its last announcement, because all its leases must have
    /// expired by then.
    ///
    /// [`NodeResult::result`] contains the reason if a node could not be asked or did not answer.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, only some nodes may have forgotten their clients.
    pub async fn dangerous_forget_clients(&self) -> Vec<NodeResult<()>> {
        NodeResult::of_all(self.coordinator.forget_clients().await)
    }

    /// Refuses further locks, ends all waits, releases all held locks, and waits until the nodes have answered all
    /// releases. The wait for a node ends early when the node answers no release for `connect_timeout`.
    ///
    /// Call `shutdown` before the runtime ends: pending releases of dropped guards are lost with the runtime, and their
    /// locks then last until their TTL has passed.
    ///
    /// Guards that still exist see a loss, [`Loss::ShutDown`](crate::Loss::ShutDown).
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
    /// Checks the settings and connects; see [`Redlock::connect`]. Returns when the client has tried to connect to
    /// every node, or `node_timeout` after a quorum is connected. Then waits at most `node_timeout` longer until the
    /// client has announced its nodes to all connected nodes.
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
    /// Cancel safe; dropping the future closes all connections.
    pub async fn connect(self) -> Result<Redlock, SettingsError> {
        self.connect_with(Arc::new(Machine)).await
    }

    /// As [`connect`](Self::connect), with the caller's sources of time and randomness.
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
    /// Cancel safe; dropping the future closes all connections.
    pub async fn connect(self) -> Redlock {
        self.connect_by(Arc::new(Machine), &Internet).await
    }

    /// With time, randomness and network of the caller's.
    pub(crate) async fn connect_by(
        self,
        ambient: Arc<dyn Ambient>,
        network: &(dyn Network + Sync),
    ) -> Redlock {
        for list in self.quorum.lists().filter(|list| list.nodes().len().is_multiple_of(2)) {
            tracing::warn!(
                nodes = list.nodes().len(),
                survives = list.spare(),
                "an even number of nodes survives no more failures than one node less"
            );
        }
        let coordinator = Coordinator::start(self, ambient, network);
        coordinator.tried().await;
        Redlock { coordinator }
    }
}
