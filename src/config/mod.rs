//! Raw options in, validated [`Settings`] out.

mod keep;
mod node_url;
mod owner;
mod settings;

use std::time::Duration;

use crate::error::SettingsError;
use crate::protocol::{Drift, Quorum, QuorumError, QuorumSize, Retry};
use crate::types::{Secret, Ttl};

use settings::check;

pub(crate) use keep::{Keep, KeepAlive, MaxHold};
pub(crate) use node_url::NodeUrl;
pub(crate) use settings::{LeaseTerms, Settings};

/// Longest `max_ttl`: a lock that outlives its crashed holder by more than a day is a mistake.
const MAX_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Drift factors from here on leave too little of a lease to be meant.
const DRIFT_FACTOR_MAX: f64 = 0.1;
/// By how much tokens are kept longer than clocks could make it necessary.
const RETENTION_MARGIN: Duration = Duration::from_secs(60 * 60);
/// Tokens of longer ago than ten years are not kept on purpose.
const RETENTION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Everything that can be set. Turned into validated settings by [`connect`](RedlockBuilder::connect), which
/// answers the first mistake with a [`SettingsError`] that names the setting, the value and the bound.
///
/// # Defaults
///
/// | setting | default | why |
/// |---|---|---|
/// | `quorum` | n/2 + 1 | the smallest that intersects itself |
/// | `ttl` | 10 s | a crashed holder blocks others for no longer |
/// | `max_ttl` | 20 s | the longest TTL that a lock may ask for |
/// | `clock_drift_factor`, `clock_drift_floor` | 0.01, 2 ms | the de-facto constants of Redlock |
/// | `min_validity` | a quarter of the TTL | a lock with no time left helps nobody |
/// | `node_timeout`, `connect_timeout` | 250 ms, 1 s | small against the TTL, large against a round trip |
/// | `max_wait` | 30 s | a waiter that never gives up hides an outage |
/// | `keep_alive` | yes | a lease that ends under its holder's hands is the worst of surprises |
/// | `max_hold` | unbounded | the deadline of a holder that lives is nobody else's business |
/// | `retry` | [`Retry::default`] | exponential with full jitter |
/// | `fencing` | on | a holder that wakes up late can be refused only by its token |
/// | `max_clock_skew` | 60 s | only the order of tokens after a loss of data depends on clocks |
/// | `fence_retention` | 7 days | far beyond any difference between clocks |
/// | `owner` | `host:pid` | whoever inspects the key sees who holds it |
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect` is called"]
pub struct RedlockBuilder {
    nodes: Vec<Secret>,
    quorum: QuorumSize,
    ttl: Duration,
    max_ttl: Duration,
    drift: Drift,
    min_validity: MinValidity,
    node_timeout: Duration,
    connect_timeout: Duration,
    max_wait: Duration,
    keep: Keep,
    retry: Retry,
    owner: Option<String>,
    fencing: Fencing,
    max_clock_skew: Duration,
    fence_retention: Duration,
}

/// Whether locks carry fencing tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fencing {
    /// Each lock has a token that is larger than those of all locks before it. Costs one more command to each
    /// node, in the same round trip.
    #[default]
    On,
    /// `SET NX PX` alone; [`Guard::fencing_token`](crate::Guard::fencing_token) is 0.
    Off,
}

/// How much of a lease has to be left when it is handed over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum MinValidity {
    QuarterOfTtl,
    Fixed(Duration),
}

impl RedlockBuilder {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            quorum: QuorumSize::Majority,
            ttl: Duration::from_secs(10),
            max_ttl: Duration::from_secs(20),
            drift: Drift { factor: 0.01, floor: Duration::from_millis(2) },
            min_validity: MinValidity::QuarterOfTtl,
            node_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(1),
            max_wait: Duration::from_secs(30),
            keep: Keep { alive: KeepAlive::Yes, max_hold: MaxHold::Unbounded },
            retry: Retry::default(),
            owner: None,
            fencing: Fencing::On,
            max_clock_skew: Duration::from_secs(60),
            fence_retention: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }

    /// The independent Redis masters, as `redis://[user:password@]host[:port][/db]`. Every client of a lock must
    /// name the same nodes. 1 to 31; an even number works, and survives no more failures than one node less.
    pub fn nodes<I>(mut self, urls: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.nodes = urls.into_iter().map(|url| Secret::new(url.into())).collect();
        self
    }

    /// How many nodes have to agree; from n/2 + 1 to n.
    pub fn quorum(mut self, nodes: usize) -> Self {
        self.quorum = QuorumSize::Exactly(nodes);
        self
    }

    /// Time to live of a lease, counted in whole milliseconds; from 10 ms to `max_ttl`. Each lock may choose its
    /// own.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The longest TTL that any lock may ask for; from 10 ms to 24 h.
    pub fn max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = max_ttl;
        self
    }

    /// Share of the TTL by which clocks may run apart; from 0 to below 0.1.
    pub fn clock_drift_factor(mut self, factor: f64) -> Self {
        self.drift.factor = factor;
        self
    }

    /// Added to the drift, whatever the TTL: Redis expires keys by the millisecond. Below the TTL.
    pub fn clock_drift_floor(mut self, floor: Duration) -> Self {
        self.drift.floor = floor;
        self
    }

    /// How much validity a lease must have left when it is handed over; below the TTL.
    pub fn min_validity(mut self, min_validity: Duration) -> Self {
        self.min_validity = MinValidity::Fixed(min_validity);
        self
    }

    /// Longest time that one attempt waits for the answers of the nodes; above zero and below the TTL.
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// Longest time for a connection to one node to become usable; above zero.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Longest time that `lock` waits in all; zero means a single attempt.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Whether leases are renewed, at a third of their TTL and until their deadline, for as long as they are held.
    /// Without, a lease ends a TTL after it was acquired or extended.
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep.alive = KeepAlive::when(keep_alive);
        self
    }

    /// The longest that a lock may be held, at least 10 ms: then it is released, and its holder told as of any other
    /// loss. Bounds what a holder that hangs, but lives, can do to the others.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.keep.max_hold = MaxHold::For(max_hold);
        self
    }

    /// When `lock` tries again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Who we are to somebody who looks at a lock's key; 1 to 128 bytes without control characters.
    pub fn owner(mut self, label: impl Into<String>) -> Self {
        self.owner = Some(label.into());
        self
    }

    /// Whether locks carry fencing tokens. All clients of a resource that checks tokens must agree.
    pub fn fencing(mut self, fencing: Fencing) -> Self {
        self.fencing = fencing;
        self
    }

    /// A client whose wall clock is further than this from the median of the nodes' is refused fencing tokens;
    /// above zero.
    pub fn max_clock_skew(mut self, skew: Duration) -> Self {
        self.max_clock_skew = skew;
        self
    }

    /// For how long nodes remember the highest token of a resource that nobody locks any more. At least an hour more
    /// than three times `max_clock_skew`, by which a node's clock, the clock of the client that trims and that of the
    /// next holder may each be off; at most 3650 days.
    pub fn fence_retention(mut self, retention: Duration) -> Self {
        self.fence_retention = retention;
        self
    }

    pub(crate) fn validate(self) -> Result<Settings, SettingsError> {
        let Self {
            nodes,
            quorum,
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
        } = self;
        let nodes = parse_nodes(&nodes)?;
        let quorum = parse_quorum(nodes.len(), quorum)?;
        check(
            "max_ttl",
            max_ttl,
            Ttl::MIN <= max_ttl && max_ttl <= MAX_TTL_MAX,
            format_args!("between {:?} and {MAX_TTL_MAX:?}", Ttl::MIN),
        )?;
        let max_ttl = Ttl::from_duration(max_ttl);
        if !(0.0..DRIFT_FACTOR_MAX).contains(&drift.factor) {
            return Err(SettingsError::OutOfRange {
                setting: "clock_drift_factor",
                value: drift.factor.to_string(),
                bound: format!("at least 0 and below {DRIFT_FACTOR_MAX}"),
            });
        }
        check("max_clock_skew", max_clock_skew, !max_clock_skew.is_zero(), format_args!("above zero"))?;
        let retention_min = max_clock_skew.saturating_mul(3).saturating_add(RETENTION_MARGIN);
        check(
            "fence_retention",
            fence_retention,
            retention_min <= fence_retention && fence_retention <= RETENTION_MAX,
            format_args!(
                "between {retention_min:?} (three times max_clock_skew and an hour) and {RETENTION_MAX:?}"
            ),
        )?;
        check("connect_timeout", connect_timeout, !connect_timeout.is_zero(), format_args!("above zero"))?;
        let settings = Settings {
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
            owner: owner::parse(owner)?,
            fencing,
            max_clock_skew,
            fence_retention,
        };
        settings.lease_terms(ttl, None)?;
        settings.keep.check()?;
        let below_ttl = format_args!("above zero and below the ttl of {ttl:?}").to_string();
        let in_range = !node_timeout.is_zero() && node_timeout < ttl;
        check("node_timeout", node_timeout, in_range, format_args!("{below_ttl}"))?;
        Ok(settings)
    }
}

fn parse_nodes(urls: &[Secret]) -> Result<Vec<NodeUrl>, SettingsError> {
    let mut nodes: Vec<NodeUrl> = Vec::with_capacity(urls.len());
    for (i, url) in urls.iter().enumerate() {
        let node = NodeUrl::parse(i + 1, url.reveal())?;
        if nodes.iter().any(|other| other.is_same_server(&node)) {
            return Err(SettingsError::DuplicateNode { node: format!("{}:{}", node.host, node.port) });
        }
        nodes.push(node);
    }
    Ok(nodes)
}

fn parse_quorum(nodes: usize, size: QuorumSize) -> Result<Quorum, SettingsError> {
    Quorum::new(nodes, size).map_err(|error| match error {
        QuorumError::NoNodes => SettingsError::NoNodes,
        QuorumError::TooManyNodes { nodes, max } => SettingsError::TooManyNodes { nodes, max },
        QuorumError::OutOfRange { quorum, min, max } => SettingsError::Quorum { quorum, nodes: max, min },
    })
}

#[cfg(test)]
mod tests;
