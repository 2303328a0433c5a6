//! The `redlock` tool as a process, against real servers.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod bench;
mod dev;
mod doctor;
mod examples;
mod holders;
mod init;
mod loss;
mod paper;
mod quarantine;
mod run;
mod signals;
mod support;
mod usage;
