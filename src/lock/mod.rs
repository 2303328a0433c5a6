//! The primitives: what users hold in their hands.

mod guard;
mod mutex;
mod run;
mod wait;

pub use guard::Guard;
pub use mutex::Mutex;
