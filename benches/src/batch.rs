//! One batch: one side, one number of tasks, one cluster, for a moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Error;
use crate::sides::Side;

/// Cycles of each task that are not counted: the batch before was another side's, and left its caches behind.
const WARM_UP: u64 = 3;

/// How a batch is run.
#[derive(Clone)]
pub(crate) struct Batch {
    /// What each task locks; nobody else does at the time.
    pub(crate) names: Arc<[String]>,
    pub(crate) tasks: usize,
    pub(crate) length: Duration,
}

/// What came out.
pub(crate) struct Sample {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) cycles_per_second: f64,
    pub(crate) cycles: u64,
}

impl Batch {
    /// Every task runs on the runtime's workers, as a service's would, and at least one cycle.
    pub(crate) async fn run<S: Side>(&self, side: &S) -> Result<Sample, Error> {
        let started = Instant::now();
        let tasks: Vec<_> = (0..self.tasks)
            .map(|task| {
                let (names, side, end) = (Arc::clone(&self.names), side.clone(), started + self.length);
                tokio::spawn(async move { cycles(&side, &names[task], end).await })
            })
            .collect();
        let mut histogram = histogram()?;
        let mut cycles = 0;
        for task in tasks {
            let (of_task, warm) = task.await??;
            cycles += of_task.len() + warm;
            histogram.add(of_task)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let quantile = |q| Duration::from_nanos(histogram.value_at_quantile(q));
        #[expect(clippy::cast_precision_loss)]
        let cycles_per_second = cycles as f64 / seconds;
        Ok(Sample { p50: quantile(0.5), p99: quantile(0.99), cycles_per_second, cycles })
    }
}

/// The durations until `end`, and the number of cycles that are not among them.
async fn cycles<S: Side>(side: &S, name: &str, end: Instant) -> Result<(Histogram<u64>, u64), Error> {
    let mut histogram = histogram()?;
    let mut warm = 0;
    let mut last = Instant::now();
    loop {
        side.cycle(name).await?;
        let now = Instant::now();
        let spent = now - last;
        last = now;
        // A slow side's first cycle may be the only one.
        if warm < WARM_UP && now < end {
            warm += 1;
        } else {
            histogram.saturating_record(u64::try_from(spent.as_nanos())?);
        }
        if now >= end {
            return Ok((histogram, warm));
        }
    }
}

fn histogram() -> Result<Histogram<u64>, Error> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?)
}
