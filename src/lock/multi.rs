//! Several resources at once.

use std::sync::Arc;

use super::locking::{Locking, lock_methods};
use crate::coordinator::Coordinator;
use crate::error::SettingsError;
use crate::types::{Claim, KEYS_MAX};

/// Several resources that one owner at a time can hold together: all of them or none.
/// [`Redlock::multi`](crate::Redlock::multi) makes one; cheap to make and to clone.
///
/// Each name is the name of an ordinary lock, so that a [`Mutex`](crate::Mutex) of one of the names, or another `Multi`
/// that shares a name, excludes it. On each node one script takes all names or none.
///
/// The order of the names does not matter, and two `Multi` with common names never wait for each other in a circle: a
/// waiter holds nothing until it holds everything. One name that is often taken makes the others wait, so put together
/// only what has to change together. A waiter for many names may be overtaken by others that want fewer.
///
/// Its guard has one [fencing token](crate::Guard::fencing_token), which is valid for every name.
#[derive(Clone)]
#[must_use = "a multi does nothing until it is locked"]
pub struct Multi {
    locking: Locking,
}

impl Multi {
    pub(crate) fn new<I>(coordinator: Arc<Coordinator>, names: I) -> Result<Self, SettingsError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let settings = coordinator.settings();
        // One name too many is enough to refuse them.
        let names = names.into_iter().take(KEYS_MAX + 1);
        let keys = names.map(|name| settings.resource(name.as_ref())).collect::<Result<Vec<_>, _>>()?;
        if !(1..=KEYS_MAX).contains(&keys.len()) {
            let (value, bound) = (keys.len().to_string(), format!("between 1 and {KEYS_MAX}"));
            return Err(SettingsError::OutOfRange { setting: "number of names", value, bound });
        }
        let claim = Claim::many(keys).map_err(|twice| SettingsError::Resource {
            name: twice.name().to_owned(),
            problem: "must not occur twice among the names",
        })?;
        Ok(Self { locking: Locking::new(coordinator, claim) })
    }
}

lock_methods!(Multi);
