//! Values that follow from several settings together.

use std::time::Duration;

#[cfg(feature = "config")]
use super::Setting;
use super::{Location, Settings};
#[cfg(feature = "config")]
use crate::error::SettingOrigin;
use crate::protocol::span;
use crate::types::{Eviction, Guarding, NodeId, Ttl};

impl Settings {
    /// The number of nodes; while the list changes, of those on both lists together.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.quorum.nodes()
    }

    /// The number of nodes that have to agree, at least.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum.needed()
    }

    /// Whether these nodes are enough for a lock. They are given by their places in the order of
    /// [`Redlock::nodes`](crate::Redlock::nodes).
    #[must_use]
    pub fn is_quorum(&self, nodes: impl IntoIterator<Item = usize>) -> bool {
        let known = nodes.into_iter().filter(|node| *node < self.nodes());
        self.quorum.is_met_by(known.map(NodeId).collect())
    }

    /// Whether a next list of nodes is given, so that locks need a quorum of each list.
    #[must_use]
    pub fn changes_nodes(&self) -> bool {
        self.quorum.next().is_some()
    }

    /// The number of nodes that may fail while locks can still be acquired.
    #[must_use]
    pub fn tolerated_failures(&self) -> usize {
        self.quorum.spare()
    }

    /// Time to live of a lease whose lock sets none of its own.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl.as_duration()
    }

    /// The longest TTL that a lock may ask for.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl.as_duration()
    }

    /// The drift that is allowed between clocks during a lease of `ttl`. The lease is valid for `ttl` less this drift.
    #[must_use]
    pub fn clock_drift(&self) -> Duration {
        self.ttl().saturating_sub(self.drift.validity(self.ttl))
    }

    /// The largest distance of this machine's wall clock from the median of the nodes' at which it proposes fencing
    /// tokens.
    #[must_use]
    pub fn max_clock_skew(&self) -> Duration {
        self.max_clock_skew
    }

    /// The beginning of the keys of all locks.
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        self.key_prefix.as_str()
    }

    /// Longest time that one attempt waits for the votes of the nodes.
    #[must_use]
    pub fn node_timeout(&self) -> Duration {
        self.node_timeout
    }

    /// The validity that a lease of `ttl` must have left when the lock is acquired.
    #[must_use]
    pub fn min_validity(&self) -> Duration {
        self.min_validity.of(self.ttl)
    }

    /// The validity that a lease of `ttl` has left when the lock is acquired, if the nodes answer in `round_trip`.
    #[must_use]
    pub fn validity_after(&self, round_trip: Duration) -> Duration {
        self.drift.validity(self.ttl).saturating_sub(round_trip)
    }

    /// The longest time that a crashed holder of a lease of `ttl` keeps others out: the key's TTL on a node whose clock
    /// is slow by the drift factor.
    #[must_use]
    pub fn outage_after_crash(&self, ttl: Duration) -> Duration {
        self.stretched(Ttl::from_duration(ttl))
    }

    /// The length of a quarantine, in which the grants of a node that may have forgotten locks do not count; zero
    /// without the restart guard.
    #[must_use]
    pub fn quarantine(&self) -> Duration {
        match self.guarding {
            Guarding::On => span(self.max_ttl, self.drift.factor),
            Guarding::Off => Duration::ZERO,
        }
    }

    /// Warnings about settings that are allowed but may be a mistake, as sentences.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let nodes = self.nodes();
        if nodes == 1 {
            warnings.push("a single node is a single point of failure; use 3 or 5".to_owned());
        } else if nodes.is_multiple_of(2) {
            warnings.push(format!("an even number of nodes survives no more losses than {} do", nodes - 1));
        }
        if self.guarding == Guarding::Off {
            warnings
                .push("dangerous_no_restart_guard: two clients can hold one lock after nodes restart".into());
        }
        if self.clock_guard == Guarding::Off {
            warnings.push(
                "dangerous_no_clock_guard: two clients can hold one lock after clocks are stepped".into(),
            );
        }
        if self.eviction == Eviction::Allowed {
            warnings
                .push("dangerous_allow_eviction: two clients can hold one lock after a node is full".into());
        }
        for node in &self.nodes {
            if matches!(node.location, Location::Sentinel { .. }) {
                let name = &node.name;
                warnings.push(format!(
                    "{name}: a failover may forget locks, and costs the node's vote for a while"
                ));
            }
            if node.shows_its_password() {
                warnings
                    .push(format!("{}: the password is sent unencrypted; rediss:// encrypts it", node.name));
            }
        }
        warnings
    }

    fn stretched(&self, ttl: Ttl) -> Duration {
        ttl.as_duration().mul_f64(1.0 + self.drift.factor)
    }
}

#[cfg(feature = "config")]
impl Settings {
    /// Every setting that applies, with its effective value and where the value was given. A value is written as in a
    /// file, but without quotes; secrets are `***`.
    pub fn effective(&self) -> impl Iterator<Item = (&'static Setting, String, &SettingOrigin)> {
        Setting::all()
            .filter_map(|setting| Some((setting, setting.show(self)?, self.origins.of(setting.name()))))
    }
}
