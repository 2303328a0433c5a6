//! The failure of an attempt, with the name of the lock's holder.

use redlock_quorum::{LockError, LockState, Redlock};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{setting, short};

/// The failure for an attempt. If another owner holds the lock, its name is included where it can be found out.
pub(super) async fn of(redlock: &Redlock, key: &str, error: LockError, exit: Exit) -> Failure {
    let LockError::Contended { .. } = error.reason() else { return error.into() };
    let waited = if let LockError::Timeout { max_wait, .. } = &error {
        format!(" after waiting {}", setting(*max_wait))
    } else {
        String::new()
    };
    let held = match redlock.inspect(key).await.map(|inspection| inspection.state()) {
        Ok(LockState::Held(holder)) => {
            let left = match holder.remaining() {
                Some(left) => format!("for another {} unless it is renewed", short(left)),
                None => "for ever, because its key does not expire".to_owned(),
            };
            format!("held by {} {left}{waited}", holder.owner())
        }
        Ok(LockState::HeldByReaders(readers)) => {
            let owners: Vec<_> = readers.iter().map(|reader| reader.owner()).collect();
            format!("read by {}{waited}", owners.join(", "))
        }
        // Released meanwhile, or unknown.
        Ok(_) | Err(_) => format!("held by another owner{waited}"),
    };
    Failure::Held { key: key.to_owned(), held, exit }
}
