//! Durations as people, settings and JSON read them.

use std::time::Duration;

/// A measured duration with a fitting unit and two or three digits.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let digits = |value: f64| if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    match seconds {
        _ if seconds >= 60.0 => {
            humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
        }
        _ if seconds >= 1.0 => format!("{seconds:.1} s"),
        _ if seconds >= 1e-3 => format!("{:.*} ms", digits(seconds * 1e3), seconds * 1e3),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

/// A duration as settings write it.
pub(crate) fn setting(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
