//! The primitives: what users hold in their hands.

mod guard;
mod mutex;

pub use guard::Guard;
pub use mutex::Mutex;
