//! Empty: the tests of this package contend with other Redlock crates.
