//! Validated settings, and the rules between them.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "config")]
use super::origins::SettingOrigins;
use super::retry::RetryOptions;
use super::{Fencing, Keep, MinValidity, NodeUrl};
use crate::error::SettingsError;
use crate::protocol::{Drift, Quorum, Retry};
use crate::types::{Eviction, Guarding, KeyPrefix, Resource, Ttl};

/// Most characters of a wrong resource name that an error repeats.
const NAME_SHOWN_CHARS: usize = 64;

/// Validated settings. [`RedlockBuilder::settings`](crate::RedlockBuilder::settings) makes them, and
/// [`connect`](Settings::connect) makes a client of them.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) nodes: Vec<NodeUrl>,
    pub(crate) quorum: Quorum,
    pub(crate) ttl: Ttl,
    pub(crate) max_ttl: Ttl,
    pub(crate) drift: Drift,
    pub(super) min_validity: MinValidity,
    pub(crate) node_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_wait: Duration,
    pub(crate) keep: Keep,
    pub(super) retry: RetryOptions,
    pub(crate) owner: Arc<str>,
    pub(crate) fencing: Fencing,
    pub(crate) max_clock_skew: Duration,
    pub(crate) fence_retention: Duration,
    pub(crate) key_prefix: KeyPrefix,
    pub(crate) guarding: Guarding,
    pub(crate) clock_guard: Guarding,
    pub(crate) eviction: Eviction,
    #[cfg(feature = "config")]
    pub(super) username: Option<String>,
    #[cfg(feature = "config")]
    pub(super) sentinel_username: Option<String>,
    #[cfg(feature = "config")]
    pub(super) tls: super::tls::TlsOptions,
    #[cfg(feature = "config")]
    pub(super) origins: SettingOrigins,
}

/// The parameters of a lease: its TTL, and the validity that must be left when the lock is acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseTerms {
    pub(crate) ttl: Ttl,
    pub(crate) min_validity: Duration,
}

impl Settings {
    /// Checks one lock's TTL and minimum validity against the bounds. `None` takes the client's minimum validity.
    pub(crate) fn lease_terms(
        &self,
        ttl: Duration,
        min_validity: Option<Duration>,
    ) -> Result<LeaseTerms, SettingsError> {
        let min_validity = min_validity.map_or(self.min_validity, MinValidity::Fixed);
        LeaseTerms::check(self.max_ttl, self.drift, ttl, min_validity)
    }

    pub(crate) fn retry(&self) -> Retry {
        self.retry.retry()
    }

    pub(crate) fn resource(&self, name: &str) -> Result<Resource, SettingsError> {
        Resource::parse(&self.key_prefix, name).map_err(|problem| SettingsError::Resource {
            name: name.chars().take(NAME_SHOWN_CHARS).collect(),
            problem,
        })
    }
}

impl LeaseTerms {
    pub(super) fn check(
        max_ttl: Ttl,
        drift: Drift,
        ttl: Duration,
        min_validity: MinValidity,
    ) -> Result<Self, SettingsError> {
        let max_ttl = max_ttl.as_duration();
        check(
            "ttl",
            ttl,
            Ttl::MIN <= ttl && ttl <= max_ttl,
            format_args!("between {:?} and max_ttl = {max_ttl:?}", Ttl::MIN),
        )?;
        let ttl = Ttl::from_duration(ttl);
        let validity = drift.validity(ttl);
        check(
            "clock_drift_floor",
            drift.floor,
            !validity.is_zero(),
            format_args!("below what the drift factor leaves of the ttl of {:?}", ttl.as_duration()),
        )?;
        let min_validity = min_validity.of(ttl);
        check(
            "min_validity",
            min_validity,
            min_validity < validity,
            format_args!("below {validity:?}, what the drift leaves of the ttl"),
        )?;
        Ok(Self { ttl, min_validity })
    }
}

impl MinValidity {
    pub(super) fn of(self, ttl: Ttl) -> Duration {
        match self {
            Self::Fixed(fixed) => fixed,
            Self::QuarterOfTtl => ttl.as_duration() / 4,
        }
    }
}

pub(super) fn check(
    setting: &'static str,
    value: Duration,
    in_range: bool,
    bound: std::fmt::Arguments<'_>,
) -> Result<(), SettingsError> {
    if in_range {
        return Ok(());
    }
    Err(SettingsError::OutOfRange { setting, value: format!("{value:?}"), bound: bound.to_string() })
}
