//! Raw options in, validated [`Settings`] out.

mod credentials;
#[cfg(feature = "config")]
mod example;
#[cfg(feature = "config")]
mod file;
#[cfg(any(feature = "config", feature = "tls"))]
mod files;
mod guards;
mod keep;
#[cfg(feature = "config")]
mod layers;
mod lists;
mod location;
mod meaning;
mod names;
mod node;
mod node_url;
mod origins;
#[cfg(feature = "config")]
mod raw;
mod retry;
mod settings;
#[cfg(feature = "config")]
mod table;
mod tls;

use std::time::Duration;

use crate::error::{SettingOrigin, SettingsError};
use crate::protocol::{Drift, QuorumSize, Retry};
use crate::types::{Eviction, Guarding, Ttl};

use lists::parse_quorum;
use node::{Common, Parsed};
use origins::{Mistakes, SettingOrigins};
use retry::RetryOptions;
use settings::check;
use tls::TlsOptions;

pub use guards::Fencing;
pub use node::NodeOptions;
pub use settings::Settings;
#[cfg(feature = "config")]
pub use table::Setting;

pub(crate) use credentials::{Credentials, Password};
pub(crate) use keep::{Keep, KeepAlive, MaxHold};
pub(crate) use location::{Address, Location};
pub(crate) use node_url::NodeUrl;
pub(crate) use settings::LeaseTerms;
#[cfg(feature = "tls")]
pub(crate) use tls::TlsClient;
pub(crate) use tls::Transport;

/// Longest `max_ttl`. A lock that outlives its crashed holder by more than a day is a mistake.
const MAX_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Factors from this one on are refused, because they leave too little of a lease.
const DRIFT_FACTOR_MAX: f64 = 0.1;

/// All settings of a client. [`connect`](RedlockBuilder::connect) validates them, and returns the first mistake as a
/// [`SettingsError`] that names the setting, the value and the bound.
///
/// # Defaults
///
/// | setting | default | why |
/// |---|---|---|
/// | `quorum` | n/2 + 1 | the smallest number for which any two quorums have a node in common |
/// | `ttl` | 10 s | a crashed holder blocks others for no longer than a TTL |
/// | `max_ttl` | 20 s | a quarantine lasts for `max_ttl`, its drift and 2 s: 22.2 s, less than `max_wait` |
/// | `clock_drift_factor`, `clock_drift_floor` | 0.01, 2 ms | the constants that most Redlock implementations use |
/// | `min_validity` | a quarter of the TTL | a lease that is about to expire is of no use |
/// | `node_timeout`, `connect_timeout` | 250 ms, 1 s | small against the TTL, large against a round trip |
/// | `max_wait` | 30 s | a waiter that never gives up hides an outage |
/// | `keep_alive` | yes | a lease must not expire while its holder still works |
/// | `max_hold` | unbounded | only the holder knows how long its work may take |
/// | `retry` | [`Retry::fifo`] | waiters do not poll, because a release notifies the next waiter |
/// | `fencing` | on | only a token lets the protected resource refuse a holder that writes late |
/// | `max_clock_skew` | 60 s | clocks only decide the order of tokens after a loss of data |
/// | `fence_retention` | 7 days | far longer than clocks differ |
/// | restart guard | on | the vote of a node that forgot a lock could give the lock to a second client |
/// | clock guard | on | the vote of a node whose clock was stepped could do the same |
/// | `key_prefix` | none | the key of a lock is its name, as in other implementations |
/// | `owner` | `host:pid` | the key shows who holds the lock |
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect` is called"]
pub struct RedlockBuilder {
    nodes: Vec<NodeOptions>,
    credentials: Credentials,
    sentinel: Credentials,
    tls: TlsOptions,
    quorum: QuorumSize,
    next_nodes: Vec<NodeOptions>,
    next_quorum: QuorumSize,
    ttl: Duration,
    max_ttl: Duration,
    drift: Drift,
    min_validity: MinValidity,
    node_timeout: Duration,
    connect_timeout: Duration,
    max_wait: Duration,
    keep: Keep,
    retry: RetryOptions,
    owner: Option<String>,
    fencing: Fencing,
    max_clock_skew: Duration,
    fence_retention: Duration,
    guarding: Guarding,
    clock_guard: Guarding,
    eviction: Eviction,
    key_prefix: String,
    origins: SettingOrigins,
    /// Mistakes found before the values are checked: files that cannot be read, settings that do not exist.
    mistakes: Vec<SettingsError>,
}

/// The validity that a lease must have left when the lock is acquired.
#[derive(Clone, Copy, Debug, PartialEq)]
enum MinValidity {
    QuarterOfTtl,
    Fixed(Duration),
}

impl RedlockBuilder {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            credentials: Credentials::default(),
            sentinel: Credentials::default(),
            tls: TlsOptions::default(),
            quorum: QuorumSize::Majority,
            next_nodes: Vec::new(),
            next_quorum: QuorumSize::Majority,
            ttl: Duration::from_secs(10),
            max_ttl: Duration::from_secs(20),
            drift: Drift { factor: 0.01, floor: Duration::from_millis(2) },
            min_validity: MinValidity::QuarterOfTtl,
            node_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(1),
            max_wait: Duration::from_secs(30),
            keep: Keep { alive: KeepAlive::Yes, max_hold: MaxHold::Unbounded },
            retry: Retry::default().into(),
            owner: None,
            fencing: Fencing::On,
            max_clock_skew: Duration::from_secs(60),
            fence_retention: Duration::from_secs(7 * 24 * 60 * 60),
            guarding: Guarding::On,
            clock_guard: Guarding::On,
            eviction: Eviction::Refused,
            key_prefix: String::new(),
            origins: SettingOrigins::default(),
            mistakes: Vec::new(),
        }
    }

    /// The independent Redis masters, 1 to 31. Each is a URL or [`NodeOptions`]:
    /// `redis://[user:password@]host[:port][/db]`, `rediss://` with TLS, or a master by its Sentinels as
    /// `redis+sentinel://[user:password@]host[:port],host[:port],host[:port]/service[/db]`.
    ///
    /// All clients of a lock must name the same nodes, and change them by way of [`next_nodes`](Self::next_nodes). An even
    /// number of nodes works, but tolerates no more failures
    /// than one node fewer.
    pub fn nodes<I>(mut self, nodes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<NodeOptions>,
    {
        self.nodes = nodes.into_iter().map(Into::into).collect();
        self.given("nodes")
    }

    /// The number of nodes that have to agree; from n/2 + 1 to n.
    pub fn quorum(mut self, nodes: usize) -> Self {
        self.quorum = QuorumSize::Exactly(nodes);
        self.given("quorum")
    }

    /// Time to live of a lease, in whole milliseconds; from 10 ms to `max_ttl`. Each lock may set its own TTL.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self.given("ttl")
    }

    /// The longest TTL that any lock may ask for; from 10 ms to 24 h. A node that may have forgotten locks is in
    /// quarantine for a little longer than the largest `max_ttl` of all clients of the nodes.
    pub fn max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = max_ttl;
        self.given("max_ttl")
    }

    /// Share of the TTL by which clocks may run apart; from 0 to below 0.1.
    pub fn clock_drift_factor(mut self, factor: f64) -> Self {
        self.drift.factor = factor;
        self.given("clock_drift_factor")
    }

    /// A constant added to the drift, because Redis expires keys by the millisecond; below the TTL.
    pub fn clock_drift_floor(mut self, floor: Duration) -> Self {
        self.drift.floor = floor;
        self.given("clock_drift_floor")
    }

    /// The validity that a lease must have left when the lock is acquired; below the TTL.
    pub fn min_validity(mut self, min_validity: Duration) -> Self {
        self.min_validity = MinValidity::Fixed(min_validity);
        self.given("min_validity")
    }

    /// Longest time that one attempt waits for the answers of the nodes; above zero and below the TTL.
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self.given("node_timeout")
    }

    /// Longest time for a connection to one node to become usable; above zero.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self.given("connect_timeout")
    }

    /// Longest time that `lock` waits in total; zero means a single attempt.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self.given("max_wait")
    }

    /// Whether leases are renewed while they are held. Renewal starts at a third of the TTL and is retried until the
    /// deadline. Without renewal, a lease expires a TTL after it was acquired or last extended.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep.alive = KeepAlive::when(keep_alive);
        self.given("keep_alive")
    }

    /// The longest time that a lock may be held; at least 10 ms. The lock is released after this time, and its holder
    /// is notified as of any other loss. The limit bounds how long a holder that hangs, but still renews, blocks
    /// others.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.keep.max_hold = MaxHold::For(max_hold);
        self.given("max_hold")
    }

    /// How `lock` waits for a lock that another owner holds.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry.into();
        ["retry.strategy", "retry.first", "retry.longest", "retry.attempts", "retry.delay"]
            .into_iter()
            .for_each(|setting| self.origins.set(setting, SettingOrigin::Code));
        self
    }

    /// The label that names the holder to anybody who inspects a lock's key; 1 to 128 bytes without control characters,
    /// and not `leader:TERM:MILLISECONDS:VALUE`, by which leaders are known.
    pub fn owner(mut self, label: impl Into<String>) -> Self {
        self.owner = Some(label.into());
        self.given("owner")
    }

    /// Checks everything that was given.
    ///
    /// # Errors
    ///
    /// Returns all mistakes, at least one: first those in a settings file, in the order of the file. A value is not
    /// checked if its bounds depend on another value that is wrong.
    pub fn settings(self) -> Result<Settings, Vec<SettingsError>> {
        let Self {
            nodes,
            credentials,
            sentinel,
            tls,
            quorum,
            next_nodes,
            next_quorum,
            ttl,
            max_ttl,
            drift,
            min_validity,
            node_timeout,
            connect_timeout,
            max_wait,
            keep,
            retry,
            owner,
            fencing,
            max_clock_skew,
            fence_retention,
            guarding,
            clock_guard,
            eviction,
            key_prefix,
            origins,
            mistakes,
        } = self;
        let mut mistakes = Mistakes::new(&origins, mistakes);
        let configured = nodes.len();
        let common = Common::new(&credentials, &sentinel, &tls);
        let parsed = mistakes.sift_all(node::parse_all((&nodes, &next_nodes), common, &origins));
        let quorum = mistakes.sift(parse_quorum(configured, quorum, parsed.as_ref(), next_quorum));
        mistakes.sift(check(
            "max_ttl",
            max_ttl,
            Ttl::MIN <= max_ttl && max_ttl <= MAX_TTL_MAX,
            format_args!("between {:?} and {MAX_TTL_MAX:?}", Ttl::MIN),
        ));
        let max_ttl = Ttl::from_duration(max_ttl);
        mistakes.sift(check_drift_factor(drift));
        for (setting, value) in [("max_clock_skew", max_clock_skew), ("connect_timeout", connect_timeout)] {
            mistakes.sift(check(setting, value, !value.is_zero(), format_args!("above zero")));
        }
        mistakes.sift(guards::check_retention(fence_retention, max_clock_skew));
        mistakes.sift(LeaseTerms::check(max_ttl, drift, ttl, min_validity));
        mistakes.sift(check(
            "node_timeout",
            node_timeout,
            !node_timeout.is_zero() && node_timeout < ttl,
            format_args!("above zero and below the ttl of {ttl:?}"),
        ));
        mistakes.sift(keep.check());
        mistakes.sift_all(retry.check(&origins));
        let owner = mistakes.sift(names::parse_owner(owner));
        let key_prefix = mistakes.sift(names::parse_prefix(&key_prefix));
        let (Some(Parsed { nodes, .. }), Some(quorum), Some(owner), Some(key_prefix), []) =
            (parsed, quorum, owner, key_prefix, mistakes.found())
        else {
            return Err(mistakes.into_sorted());
        };
        Ok(Settings {
            nodes,
            quorum,
            ttl: Ttl::from_duration(ttl),
            max_ttl,
            drift,
            min_validity,
            node_timeout,
            connect_timeout,
            max_wait,
            keep,
            retry,
            owner,
            fencing,
            max_clock_skew,
            fence_retention,
            guarding,
            clock_guard,
            eviction,
            key_prefix,
            #[cfg(feature = "config")]
            username: credentials.username,
            #[cfg(feature = "config")]
            sentinel_username: sentinel.username,
            #[cfg(feature = "config")]
            tls,
            #[cfg(feature = "config")]
            origins,
        })
    }

    /// As [`settings`](Self::settings), but returns only the first mistake.
    pub(crate) fn validate(self) -> Result<Settings, SettingsError> {
        // The list is never empty; the fallback only satisfies the type.
        self.settings().map_err(|mistakes| mistakes.into_iter().next().unwrap_or(SettingsError::NoNodes))
    }

    /// Records that the program itself set a value.
    fn given(mut self, setting: &'static str) -> Self {
        self.origins.set(setting, SettingOrigin::Code);
        self
    }
}

fn check_drift_factor(drift: Drift) -> Result<(), SettingsError> {
    if (0.0..DRIFT_FACTOR_MAX).contains(&drift.factor) {
        return Ok(());
    }
    Err(SettingsError::OutOfRange {
        setting: "clock_drift_factor",
        value: drift.factor.to_string(),
        bound: format!("at least 0 and below {DRIFT_FACTOR_MAX}"),
    })
}

/// Settings that are not valid together are in `tests/bad_input.rs`.
#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn three() -> RedlockBuilder {
        RedlockBuilder::new().nodes(["redis://a", "redis://b", "redis://c"])
    }

    #[test]
    fn defaults_hold_together() {
        let settings = three().validate().unwrap();
        assert_eq!((settings.quorum.nodes(), settings.quorum.needed()), (3, 2));
        let terms = settings.lease_terms(settings.ttl.as_duration(), None).unwrap();
        assert_eq!(terms.min_validity, MS(2500));
    }
}
