//! The chart of the time to acquire a lock, over the run.

use std::fmt::Write as _;
use std::time::Duration;

use super::Facts;
use super::scale::{LEFT, RIGHT, Scale, WIDTH, short};
use super::timeline::axis;
use crate::chaos::judge::percentile;

const HEIGHT: f64 = 170.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = HEIGHT - 8.0;
/// Few enough that each bin has enough locks for a percentile.
const BINS: usize = 138;
/// The axis shows times from 0.1 ms, in powers of ten.
const LEAST: f64 = 1e-4;

pub(super) fn of(facts: Facts<'_>) -> String {
    let scale = Scale::new(facts.log.began_at, facts.log.ended_at);
    let waits = &facts.judgement.latency.waits;
    let longest = waits.iter().map(|(_, wait)| wait.as_secs_f64()).fold(0.01, f64::max);
    let most = 10_f64.powf(longest.log10().ceil());
    let y = |wait: Duration| {
        let share = (wait.as_secs_f64().max(LEAST) / LEAST).log10() / (most / LEAST).log10();
        BOTTOM - share * (BOTTOM - TOP)
    };
    let mut bins: Vec<Vec<Duration>> = vec![Vec::new(); BINS];
    for (at, wait) in waits {
        bins[scale.column(*at, BINS)].push(*wait);
    }
    let x = |bin: usize| LEFT + (bin as f64 + 0.5) / BINS as f64 * (RIGHT - LEFT);
    let mut body = String::new();
    let mut power = LEAST;
    while power <= most * 1.01 {
        let at = short(y(Duration::from_secs_f64(power)));
        let name =
            if power < 0.9995 { format!("{} ms", short(power * 1e3)) } else { format!("{} s", short(power)) };
        let _ = write!(
            body,
            "<path class=\"grid\" d=\"M{LEFT} {at}H{RIGHT}\"/><text class=\"label\" x=\"{}\" y=\"{}\">{name}</text>",
            short(LEFT - 8.0),
            short(y(Duration::from_secs_f64(power)) + 3.5)
        );
        power *= 10.0;
    }
    for (class, percent) in [("slowest", 100), ("p99", 99), ("p50", 50)] {
        let mut path = String::new();
        // A bin without locks interrupts the line.
        let mut pen = 'M';
        for (bin, waits) in bins.iter().enumerate() {
            if waits.is_empty() {
                pen = 'M';
                continue;
            }
            let height = y(percentile(waits.iter().copied(), percent));
            if pen == 'M' {
                // An isolated bin is drawn as a dot.
                let _ = write!(path, "M{} {}h.1", short(x(bin)), short(height));
            }
            let _ = write!(path, "L{} {}", short(x(bin)), short(height));
            pen = 'L';
        }
        let _ = write!(body, "<path class=\"line {class}\" d=\"{path}\"/>");
    }
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Time to get a lock\">{}{body}</svg>",
        axis(scale, BOTTOM)
    )
}
