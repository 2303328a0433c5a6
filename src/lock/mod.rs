//! The locks that users work with, and the [`Guard`] of a lock that is held.

mod election;
mod guard;
mod leader;
mod locking;
mod multi;
mod mutex;
mod run;
mod rwlock;
mod semaphore;

pub use election::{Election, Leadership};
pub use guard::Guard;
pub use leader::{Leader, LeaderState, LeaderWatch};
pub use multi::Multi;
pub use mutex::Mutex;
pub use rwlock::{RwLock, WriteGuard};
pub use semaphore::{Permit, Semaphore};
