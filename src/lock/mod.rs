//! The primitives: what users hold in their hands.

mod mutex;
mod run;

pub use mutex::{Guard, Mutex};
