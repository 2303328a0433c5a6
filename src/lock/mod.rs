//! The primitives: what users hold in their hands.

mod guard;
mod mutex;
mod quarantine;
mod run;
mod wait;

pub use guard::Guard;
pub use mutex::Mutex;
