//! Three candidates, one leader: who holds the lock leads, and steps down as soon as the lock is lost.
//!
//! `cargo run --example leader_election --features testing`

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

use std::time::Duration;

use redlock_quorum::testing::{Data, LocalCluster};
use redlock_quorum::{LockError, Redlock, RunError};
use tokio::sync::mpsc;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Runs for office for ever; leads while it holds the lock. Each candidate is a client of its own, as in a process of
/// its own.
async fn campaign(
    name: &'static str,
    urls: Vec<String>,
    story: mpsc::UnboundedSender<String>,
) -> Result<(), Error> {
    let say = |text: String| drop(story.send(format!("{name} {text}")));
    // A leader that dies is replaced after a TTL.
    let redlock = Redlock::builder().nodes(urls).ttl(Duration::from_secs(1)).owner(name).connect().await?;
    let office = redlock.mutex("leader")?.max_wait(Duration::from_secs(60));
    loop {
        let term = office.run(async |lease| {
            say(format!("leads, with token {}", lease.fencing_token()));
            // Whatever a leader does. It is stopped at its next await when the lock is lost.
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok::<_, std::convert::Infallible>(())
        });
        match term.await {
            Ok(()) => say("has done its term, and lets others have theirs".into()),
            Err(RunError::Lost(loss)) => say(format!("steps down: {}", loss.kind())),
            Err(RunError::NotAcquired(LockError::ShutDown)) => return Ok(()),
            Err(RunError::NotAcquired(error)) => say(format!("goes on waiting: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let cluster = LocalCluster::start(5)?;
    let (story, mut told) = mpsc::unbounded_channel();
    for name in ["anna", "berta", "carla"] {
        tokio::spawn(campaign(name, cluster.urls(), story.clone()));
    }
    let mut next = async |word: &str| -> Result<String, Error> {
        loop {
            let line =
                tokio::time::timeout(Duration::from_secs(60), told.recv()).await?.ok_or("nobody is left")?;
            println!("{line}");
            if line.contains(word) {
                return Ok(line);
            }
        }
    };

    let first = next("leads").await?;
    println!("(two of five nodes die; nobody needs to know)");
    (0..2).try_for_each(|node| cluster.kill(node))?;
    next("has done its term").await?;
    let second = next("leads").await?;
    assert_ne!(first.split(' ').next(), second.split(' ').next(), "the next in line leads");
    println!("(a third dies: there is no quorum, and so no leader)");
    cluster.kill(2)?;
    next("steps down").await?;
    println!("(they are back, with their data)");
    (0..3).try_for_each(|node| cluster.restart(node, Data::Kept))?;
    next("leads").await?;
    Ok(())
}
