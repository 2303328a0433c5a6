//! Settings of leases while they are held.

use std::time::Duration;

use super::check;
use crate::error::SettingsError;
use crate::types::Ttl;

/// How a held lease is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) alive: KeepAlive,
    pub(crate) max_hold: MaxHold,
}

impl Keep {
    /// # Errors
    ///
    /// [`SettingsError::OutOfRange`] when `max_hold` is too short.
    pub(crate) fn check(self) -> Result<(), SettingsError> {
        match self.max_hold {
            MaxHold::Unbounded => Ok(()),
            MaxHold::For(max_hold) => {
                check("max_hold", max_hold, max_hold >= Ttl::MIN, format_args!("at least {:?}", Ttl::MIN))
            }
        }
    }
}

/// Whether leases are renewed while they are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    Yes,
    No,
}

impl KeepAlive {
    pub(crate) fn when(keep_alive: bool) -> Self {
        if keep_alive { Self::Yes } else { Self::No }
    }
}

/// The longest time that a lock may be held, renewals and extensions included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaxHold {
    Unbounded,
    For(Duration),
}
