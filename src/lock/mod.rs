//! The lock that users work with: [`Mutex`], [`Guard`], and [`Mutex::run`].

mod mutex;
mod run;

pub use mutex::{Guard, Mutex};
