//! The locks that users work with, and the [`Guard`] of a lock that is held.

mod guard;
mod locking;
mod mutex;
mod run;

pub use guard::Guard;
pub use mutex::Mutex;
