//! A batch: a short measurement of one side with one number of tasks on one cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use redlock_bench::Error;
use redlock_bench::sides::Side;

/// First cycles of each task, which are not counted because the batch before was another side's and left its caches.
const WARM_UP: u64 = 3;

/// The parameters of a batch.
#[derive(Clone)]
pub(crate) struct Batch {
    /// The name that each task locks, and nobody else at that time.
    pub(crate) names: Arc<[String]>,
    pub(crate) tasks: usize,
    pub(crate) length: Duration,
}

/// The figures of a batch.
pub(crate) struct Sample {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) cycles_per_second: f64,
    pub(crate) cycles: u64,
}

impl Batch {
    /// Runs the batch. Every task runs on the runtime's workers, as in a service, and does at least one cycle.
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

/// Runs cycles until `end`. Returns their durations, and the number of warm-up cycles that are not among them.
async fn cycles<S: Side>(side: &S, name: &str, end: Instant) -> Result<(Histogram<u64>, u64), Error> {
    let mut histogram = histogram()?;
    let mut warm = 0;
    let mut last = Instant::now();
    loop {
        side.cycle(name).await?;
        let now = Instant::now();
        let spent = now - last;
        last = now;
        // The first cycle of a slow side may be its only one, and then counts.
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
