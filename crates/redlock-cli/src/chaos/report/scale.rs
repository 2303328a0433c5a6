//! Conversion of times to positions in the picture.

/// Width of the whole picture; it is scaled to the page.
pub(super) const WIDTH: f64 = 1200.0;
/// Where time begins. The names of lanes stand left of it.
pub(super) const LEFT: f64 = 84.0;
/// Where time ends.
pub(super) const RIGHT: f64 = WIDTH - 12.0;
/// Lanes are drawn in columns of two units, because a run has far more events than a picture has points.
pub(super) const COLUMNS: usize = 552;

/// The time axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    began_at: u64,
    ended_at: u64,
}

impl Scale {
    pub(super) fn new(began_at: u64, ended_at: u64) -> Self {
        Self { began_at, ended_at: ended_at.max(began_at + 1) }
    }

    /// The position of a time. Times outside the axis are moved to its edge.
    pub(super) fn x(self, time: u64) -> f64 {
        let time = time.clamp(self.began_at, self.ended_at);
        LEFT + (time - self.began_at) as f64 / (self.ended_at - self.began_at) as f64 * (RIGHT - LEFT)
    }

    /// Adds to each column the share of it that the period covers.
    pub(super) fn cover(self, columns: &mut [f64], from: u64, until: u64) {
        let (from, until) = (from.max(self.began_at), until.min(self.ended_at));
        if from >= until {
            return;
        }
        let per_column = (self.ended_at - self.began_at) as f64 / columns.len() as f64;
        let (first, last) =
            ((from - self.began_at) as f64 / per_column, (until - self.began_at) as f64 / per_column);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the columns")]
        let (begin, end) = (first as usize, (last.ceil() as usize).min(columns.len()));
        for (column, share) in columns.iter_mut().enumerate().take(end).skip(begin) {
            *share += (last.min(column as f64 + 1.0) - first.max(column as f64)).max(0.0);
        }
    }

    /// The column of a time.
    pub(super) fn column(self, time: u64, columns: usize) -> usize {
        let time = time.clamp(self.began_at, self.ended_at);
        let share = (time - self.began_at) as f64 / (self.ended_at - self.began_at) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the columns")]
        let column = (share * columns as f64) as usize;
        column.min(columns - 1)
    }

    /// About ten ticks, a round number of seconds apart.
    pub(super) fn ticks(self) -> Vec<(u64, f64)> {
        let seconds = (self.ended_at - self.began_at) as f64 / 1e9;
        let steps =
            [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
        let step = steps.into_iter().find(|step| seconds / step <= 13.0).unwrap_or(7200.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and few")]
        let count = (seconds / step) as u64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        let at = |tick: f64| self.began_at + (tick * 1e9) as u64;
        (0..=count).map(|tick| tick as f64 * step).map(|tick| (at(tick), tick)).collect()
    }
}

/// A number with as few characters as possible.
pub(super) fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_adds_up() {
        let scale = Scale::new(100, 200);
        let mut columns = vec![0.0; 10];
        scale.cover(&mut columns, 115, 140);
        scale.cover(&mut columns, 0, 105);
        scale.cover(&mut columns, 195, 900);
        scale.cover(&mut columns, 150, 150);
        assert_eq!(columns, [0.5, 0.5, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5]);
        assert_eq!((scale.x(0), scale.x(150), scale.x(900)), (LEFT, (LEFT + RIGHT) / 2.0, RIGHT));
        assert_eq!([100, 109, 110, 200].map(|time| scale.column(time, 10)), [0, 0, 1, 9]);
    }

    #[test]
    fn ticks_are_round_and_few() {
        for seconds in [1_u64, 7, 12, 63, 600, 5000] {
            let ticks = Scale::new(5, 5 + seconds * 1_000_000_000).ticks();
            assert!((4..=14).contains(&ticks.len()), "{seconds}: {ticks:?}");
        }
    }
}
