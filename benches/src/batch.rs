//! A batch: a short measurement of one side with one number of tasks on one cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock_bench::Error;
use redlock_bench::sides::Side;
use rustix::time::{ClockId, clock_gettime};

/// First cycles of each task, which are not counted because the batch before was another side's and left its caches.
const WARM_UP: usize = 3;

/// The parameters of a batch.
#[derive(Clone)]
pub(crate) struct Batch {
    /// The name that each task locks, and nobody else at that time.
    pub(crate) names: Arc<[String]>,
    pub(crate) length: Duration,
}

/// The figures of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) cycles_per_second: f64,
    /// CPU time of this process for each cycle.
    pub(crate) cpu: Duration,
    pub(crate) cycles: usize,
    /// Cycles that ended with an error.
    pub(crate) failed: usize,
    /// How long the batch took.
    pub(crate) took: Duration,
}

impl Batch {
    /// Runs the batch, a task for each name. Every task runs on the runtime's workers, as in a service, and does at
    /// least one cycle.
    pub(crate) async fn run<S: Side>(self, side: S) -> Result<Sample, Error> {
        let (started, cpu) = (Instant::now(), cpu_time());
        let end = started + self.length;
        let spawn = |task: usize| {
            let (names, side) = (Arc::clone(&self.names), side.clone());
            tokio::spawn(async move { cycles(&side, &names[task], end).await })
        };
        let tasks: Vec<_> = (0..self.names.len()).map(spawn).collect();
        let (mut counted, mut cycles, mut failed) = (Vec::<Duration>::new(), 0, 0);
        for task in tasks {
            let done = task.await?;
            cycles += done.counted.len() + done.warm;
            if failed == 0
                && let Some(error) = &done.error
            {
                eprintln!("\na cycle failed: {error}");
            }
            failed += done.failed;
            counted.extend(done.counted);
        }
        let (took, cpu) = (started.elapsed(), cpu_time() - cpu);
        counted.sort_unstable();
        let quantile = |percent: usize| counted[(counted.len() * percent / 100).min(counted.len() - 1)];
        #[expect(clippy::cast_precision_loss)]
        let count = cycles as f64;
        Ok(Sample {
            p50: quantile(50),
            p99: quantile(99),
            cycles_per_second: count / took.as_secs_f64(),
            cpu: cpu.div_f64(count),
            cycles,
            failed,
            took,
        })
    }
}

/// What one task did.
struct Done {
    /// How long each cycle took, without the warm-up.
    counted: Vec<Duration>,
    warm: usize,
    failed: usize,
    /// Why the last of them failed.
    error: Option<Error>,
}

/// Runs cycles until `end`.
async fn cycles<S: Side>(side: &S, name: &str, end: Instant) -> Done {
    let mut done = Done { counted: Vec::new(), warm: 0, failed: 0, error: None };
    let mut last = Instant::now();
    loop {
        if let Err(error) = side.cycle(name).await {
            done.failed += 1;
            done.error = Some(error);
        }
        let now = Instant::now();
        // The first cycle of a slow side may be its only one, and then counts.
        if done.warm < WARM_UP && now < end {
            done.warm += 1;
        } else {
            done.counted.push(now - last);
        }
        last = now;
        if now >= end {
            return done;
        }
    }
}

/// CPU time of all threads of this process, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // CPU times are not negative.
    #[expect(clippy::cast_sign_loss)]
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
