//! Nothing: the tests beside it contend with other Redlock crates.
