//! What the programs of this package share: the sides that are compared.

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

pub mod sides;

/// Any error; the programs only print it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
