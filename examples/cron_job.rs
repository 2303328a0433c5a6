//! The same timer on three hosts, and each job runs once: whoever gets the lock of this hour's job runs it.
//!
//! `cargo run --example cron_job --features testing`

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{LockError, Redlock};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// By how much the hosts' timers may differ. The lock is held for at least so long: else a host that comes late would
/// find it free again, because the job is done, and do it once more.
const TIMERS_DIFFER: Duration = Duration::from_millis(300);

/// What each host's timer calls. Answers whether it was this host that ran the job.
async fn on_timer(redlock: &Redlock, host: &str, hour: u32) -> Result<bool, Error> {
    // The hour is part of the name: a job of nine o'clock that takes long is not in the way of ten o'clock's.
    let job = redlock.mutex(format!("report:{hour}"))?;
    let guard = match job.try_lock().await {
        Ok(guard) => guard,
        // Not an error: another host does it.
        Err(LockError::Contended { .. }) => return Ok(false),
        // Nobody can tell who does it. Better not at all than twice; somebody has to see to the nodes.
        Err(error) => return Err(error.into()),
    };
    let held_enough = tokio::time::sleep(TIMERS_DIFFER);
    println!("{hour}:00 {host} runs the report");
    tokio::time::sleep(Duration::from_millis(50)).await;
    held_enough.await;
    guard.release().await?;
    Ok(true)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let cluster = LocalCluster::start(3)?;
    for hour in 9..12 {
        let mut timers = tokio::task::JoinSet::new();
        for (late, host) in ["alpha", "beta", "gamma"].into_iter().enumerate() {
            let redlock = Redlock::connect(cluster.urls()).await?;
            timers.spawn(async move {
                tokio::time::sleep(Duration::from_millis(70) * u32::try_from(late)?).await;
                on_timer(&redlock, host, hour).await
            });
        }
        let mut runs = 0;
        while let Some(ran) = timers.join_next().await {
            runs += u32::from(ran??);
        }
        println!("{hour}:00 it ran {runs} time on three hosts");
        assert_eq!(runs, 1);
    }
    Ok(())
}
