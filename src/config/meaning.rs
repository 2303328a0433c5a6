//! What settings mean together.

use std::time::Duration;

#[cfg(feature = "config")]
use super::Setting;
use super::{Guarding, Location, Settings};
#[cfg(feature = "config")]
use crate::error::SettingOrigin;
use crate::protocol::span;
use crate::types::{Eviction, Ttl};

impl Settings {
    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.quorum.nodes()
    }

    /// How many of them have to agree.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum.needed()
    }

    /// How many nodes may be lost while locks can still be taken.
    #[must_use]
    pub fn tolerated_failures(&self) -> usize {
        self.quorum.spare()
    }

    /// Time to live of a lease that asks for none of its own.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl.as_duration()
    }

    /// The longest TTL that a lock may ask for.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl.as_duration()
    }

    /// By how much clocks may run apart during a lease of `ttl`, which is good for so much less.
    #[must_use]
    pub fn clock_drift(&self) -> Duration {
        self.ttl().saturating_sub(self.drift.validity(self.ttl))
    }

    /// How far this machine's wall clock may be from the nodes' for fencing tokens to be proposed.
    #[must_use]
    pub fn max_clock_skew(&self) -> Duration {
        self.max_clock_skew
    }

    /// What the keys of all locks begin with.
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        self.key_prefix.as_str()
    }

    /// How long an attempt waits for a node's vote.
    #[must_use]
    pub fn node_timeout(&self) -> Duration {
        self.node_timeout
    }

    /// How much of a lease of `ttl` must be left when it is handed over.
    #[must_use]
    pub fn min_validity(&self) -> Duration {
        self.min_validity.of(self.ttl)
    }

    /// What is left of a lease of `ttl` when its holder gets it, if the nodes answer in `round_trip`.
    #[must_use]
    pub fn validity_after(&self, round_trip: Duration) -> Duration {
        self.drift.validity(self.ttl).saturating_sub(round_trip)
    }

    /// How long a holder of a lease of `ttl` that crashes keeps others out at most: the key's TTL on a node whose
    /// clock is slow by the drift factor.
    #[must_use]
    pub fn outage_after_crash(&self, ttl: Duration) -> Duration {
        self.stretched(Ttl::from_duration(ttl))
    }

    /// How long the grants of a node that may have forgotten locks do not count; zero without the restart guard.
    #[must_use]
    pub fn quarantine(&self) -> Duration {
        match self.guarding {
            Guarding::On => span(self.max_ttl, self.drift.factor),
            Guarding::Off => Duration::ZERO,
        }
    }

    /// What is allowed and still deserves a second thought, in sentences.
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
    /// Every setting that applies with its effective value, as a file gives it but for quotes, and where it was
    /// given. Secrets are `***`.
    pub fn effective(&self) -> impl Iterator<Item = (&'static Setting, String, &SettingOrigin)> {
        Setting::all()
            .filter_map(|setting| Some((setting, setting.show(self)?, self.origins.of(setting.name()))))
    }
}
