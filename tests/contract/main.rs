//! The promises of the lock, tested with real servers through the public API alone.
//!
//! [`cases`] run over every topology of [`topology`]; the other modules are single scenarios. If a test stands for a
//! bug of another Redlock implementation, its comment names both.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod access;
mod calls;
mod cancelled;
mod cases;
#[cfg(feature = "tls")]
mod certificates;
mod clocks;
mod election;
mod extensions;
mod families;
mod faults;
mod guard;
mod holding;
mod keeper;
mod kinds;
mod leaks;
mod limits;
mod load;
mod looking;
mod members;
mod memory;
mod multi;
mod prefixes;
mod rotation;
mod runtimes;
mod rwlock;
mod semaphore;
mod semaphore_faults;
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
