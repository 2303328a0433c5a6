//! The failure of an attempt, with the name of the lock's holder.

use redlock_quorum::{Inspection, LockError, LockState, Redlock};

use super::locks::Kind;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{setting, short};

/// The failure for an attempt. If another owner holds the lock, its name is included where it can be found out.
pub(super) async fn of(
    redlock: &Redlock,
    kind: Kind,
    keys: &[String],
    error: LockError,
    exit: Exit,
) -> Failure {
    let LockError::Contended { resource, taken, .. } = error.reason() else { return error.into() };
    let key = resource.clone();
    let waited = if let LockError::Timeout { max_wait, .. } = &error {
        format!(" after waiting {}", setting(*max_wait))
    } else {
        String::new()
    };
    let held = match keys {
        [key] => match kind {
            Kind::Slots(slots) => slots_held(redlock, key, slots).await,
            Kind::Exclusive | Kind::Shared => held(redlock, kind, key).await,
        },
        _ if taken.is_empty() => "held by another owner".to_owned(),
        // Of several keys, the nodes have named those that are taken.
        _ => {
            let taken: Vec<_> = taken.iter().map(ToString::to_string).collect();
            format!("taken: {}", taken.join(", "))
        }
    };
    Failure::Held { key, held: held + &waited, exit }
}

async fn held(redlock: &Redlock, kind: Kind, key: &str) -> String {
    match redlock.inspect(key).await.map(|inspection| inspection.state()) {
        Ok(LockState::Held(holder)) => {
            let left = match holder.remaining() {
                Some(left) => format!("for another {} unless it is renewed", short(left)),
                None => "for ever, because its key does not expire".to_owned(),
            };
            format!("held by {} {left}", holder.owner())
        }
        Ok(LockState::HeldByReaders(readers)) => {
            let owners: Vec<_> = readers.iter().map(|reader| reader.owner()).collect();
            let by = format!("read by {}", owners.join(", "));
            // Readers do not keep readers out.
            if kind == Kind::Shared { by + ", and wanted by a writer, who comes first" } else { by }
        }
        // Released meanwhile, or unknown.
        Ok(_) | Err(_) => "held by another owner".to_owned(),
    }
}

async fn slots_held(redlock: &Redlock, key: &str, slots: usize) -> String {
    let inspected = redlock.inspect_semaphore(key, slots).await.unwrap_or_default();
    let holder = |slot: &Inspection| match slot.state() {
        LockState::Held(holder) => Some(holder.owner().to_owned()),
        // Released meanwhile, or unknown.
        LockState::NotHeld | LockState::Unknown | _ => None,
    };
    let holders: Vec<String> = inspected.iter().filter_map(holder).collect();
    format!("held {slots} times, by {}", holders.join(", "))
}
