//! The `redlock` tool as a process, against real servers.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod bench;
#[expect(dead_code, reason = "shared with the contract, which needs more of it")]
#[path = "../../../../tests/contract/certificates.rs"]
mod certificates;
mod config;
mod dev;
mod doctor;
mod elect;
mod hold;
mod holders;
mod inherited;
mod init;
mod kinds;
mod loss;
mod members;
mod paper;
mod quarantine;
mod refused;
mod run;
mod secrets;
mod signals;
mod stderr;
mod support;
mod tls;
mod usage;
mod ways;
