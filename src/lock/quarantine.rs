//! A wait for nodes that have to wait themselves.

use std::time::Duration;

use tracing::warn;

use crate::coordinator::Coordinator;
use crate::error::LockError;

/// A warning for each wait, and of many waits for one now and then: a first deployment would otherwise look as if it hung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuarantineNotice {
    Due,
    Given,
}

impl QuarantineNotice {
    /// Gives it after an attempt that failed for quarantines alone, if the wait, which lasts for `patience` at most,
    /// covers them. If it does not, its error will tell.
    pub(super) fn give(&mut self, error: &LockError, patience: Duration, coordinator: &Coordinator) {
        let Some(left) = error.quarantine().filter(|left| *left <= patience) else { return };
        if *self == Self::Due {
            *self = Self::Given;
            if !coordinator.may_tell_quarantine() {
                return;
            }
            let seconds = left.as_secs_f64();
            warn!(%error, "waiting another {seconds:.1} s for nodes in quarantine; `redlock doctor` tells why");
        }
    }
}
