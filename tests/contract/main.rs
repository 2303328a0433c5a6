//! What the lock promises, against real servers and through the public API alone.
//!
//! [`cases`] run over every topology of [`topology`]; the other modules are single scenarios. A bug class of another
//! Redlock implementation that a test stands for is named in that test's comment.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod access;
mod calls;
mod cancelled;
mod cases;
#[cfg(feature = "tls")]
mod certificates;
mod extensions;
mod families;
mod faults;
mod guard;
mod holding;
mod keeper;
mod leaks;
mod limits;
mod load;
mod memory;
mod prefixes;
mod rotation;
mod runtimes;
mod sentinel;
mod servers;
mod stats;
mod stopped;
mod storms;
mod stress;
mod support;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod waiting;
