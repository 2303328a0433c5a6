//! A job that every host starts at the same time, and that only one host runs.
//!
//! `cargo run -p redlock-examples --example cron_job`
//!
//! The host that gets the lock runs the job; the other hosts do nothing. Two points are easily overlooked:
//!
//! - A host whose clock is late comes when a short job has already ended. The lock is therefore held for longer than
//!   clocks differ, however short the job is.
//! - "Another host runs the job" differs from "nobody knows". Without a quorum the job does not run, and that is an
//!   error.
//!
//! Without `REDLOCK_NODES` the example starts three local nodes, and plays four hosts with different clocks for two
//! nights, the second night with a node down. The exit code is 0 only if the job ran once a night. With `REDLOCK_NODES`
//! set to URLs with commas between them, the example is the program that a crontab starts on each host.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{LockError, Loss, Redlock, SettingsError};

/// The largest difference between the clocks of hosts.
const CLOCKS: Duration = Duration::from_secs(2);

/// The outcome of the job on this host.
#[derive(Debug)]
enum Outcome {
    Ran,
    /// Another host runs the job, or has just run it.
    LeftToAnother,
    /// The lock was lost before the job ended, so another host may have started the job meanwhile.
    Lost(Loss),
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    /// This host did not run the job, and does not know of another host that did. Somebody should be alerted.
    #[error("not run: {0}")]
    NotRun(#[from] LockError),
    #[error(transparent)]
    Name(#[from] SettingsError),
}

/// Runs `job` unless another host does.
async fn once(redlock: &Redlock, name: &str, job: impl Future<Output = ()>) -> Result<Outcome, Failure> {
    let guard = match redlock.mutex(format!("cron:{name}"))?.try_lock().await {
        Ok(guard) => guard,
        Err(LockError::Contended { .. }) => return Ok(Outcome::LeftToAnother),
        Err(error) => return Err(error.into()),
    };
    // The lease is renewed while the guard lives. If this host crashes, the lease expires with its TTL.
    let work = async {
        job.await;
        // The lock is held on, so that late hosts find it taken.
        tokio::time::sleep(CLOCKS).await;
    };
    tokio::select! {
        () = work => {}
        loss = guard.lost() => return Ok(Outcome::Lost(loss)),
    }
    // A release that is not confirmed is no problem, because the lease expires with its TTL.
    let _ = guard.release().await;
    Ok(Outcome::Ran)
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    match std::env::var("REDLOCK_NODES") {
        Ok(nodes) => on_this_host(&nodes).await,
        Err(_) => tell().await,
    }
}

async fn on_this_host(nodes: &str) -> Result<ExitCode, Box<dyn Error>> {
    let redlock = Redlock::connect(nodes.split(',')).await?;
    let outcome = once(&redlock, "nightly-report", async { println!("the report is made") }).await?;
    redlock.shutdown().await;
    println!("{outcome:?}");
    Ok(match outcome {
        Outcome::Ran | Outcome::LeftToAnother => ExitCode::SUCCESS,
        Outcome::Lost(_) => ExitCode::FAILURE,
    })
}

/// Plays four hosts for two nights.
async fn tell() -> Result<ExitCode, Box<dyn Error>> {
    let cluster = LocalCluster::start(3)?;
    println!("Three nodes are up. Four hosts start the nightly report at 02:00 by their clocks.\n");
    let mut runs = Vec::new();
    for night in ["first", "second"] {
        if night == "second" {
            println!("\nA node dies during the day. Two of three are enough.");
            cluster.kill(0)?;
        }
        println!("The {night} night:");
        let hosts = ["alpha", "beta", "gamma", "delta"].into_iter().zip([0, 10, 500, 1500]);
        let nights = hosts.map(|(host, late)| {
            let (nodes, late) = (cluster.urls(), Duration::from_millis(late));
            tokio::spawn(async move { night_of(host, late, &nodes).await.map_err(|error| error.to_string()) })
        });
        let mut ran = 0;
        for night in nights.collect::<Vec<_>>() {
            ran += night.await??;
        }
        runs.push(ran);
    }
    println!("\nHow often the report was made in each night: {runs:?}.");
    let as_told = runs == [1, 1];
    if !as_told {
        println!("That is NOT how it should have gone.");
    }
    Ok(if as_told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays one host at 02:00 by its clock, which is `late`. Returns how often the host made the report.
async fn night_of(host: &str, late: Duration, nodes: &[String]) -> Result<u32, Box<dyn Error>> {
    let redlock = Redlock::connect(nodes).await?;
    tokio::time::sleep(late).await;
    let who = format!("  {host:>5}, {:>4} ms late", late.as_millis());
    let mut made = 0;
    let report = async {
        println!("{who}: I make the report.");
        tokio::time::sleep(Duration::from_millis(100)).await;
        made += 1;
    };
    match once(&redlock, "nightly-report", report).await? {
        Outcome::Ran => {}
        Outcome::LeftToAnother => println!("{who}: another host does."),
        Outcome::Lost(loss) => println!("{who}: {loss}."),
    }
    redlock.shutdown().await;
    Ok(made)
}
