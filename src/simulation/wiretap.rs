//! Bytes between clients and servers, for whoever plays a seed again.

use std::sync::LazyLock;
use std::time::Duration;

use redlock_sim::ConnectionId;

/// Prints what servers read and write, if `SIM_WIRE` is set.
pub(super) fn tell_wire(time: Duration, way: &str, server: &str, id: ConnectionId, bytes: &[u8]) {
    static IS_WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SIM_WIRE").is_some());
    if *IS_WANTED {
        println!("{:>8.3} {way} {} {id:?} {}", time.as_secs_f64(), server, bytes.escape_ascii());
    }
}
