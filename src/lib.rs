//! Redlock over N independent Redis masters.

#[cfg(feature = "testing")]
pub mod testing;
