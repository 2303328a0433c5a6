//! Runs as they might have been.
