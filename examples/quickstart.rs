//! A lock on five local masters. One task holds the lock while another task waits for it.
//!
//! `cargo run -p redlock-examples --example quickstart`

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

use std::time::{Duration, Instant};

use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{LockError, Redlock};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = LocalCluster::start(5)?;
    let redlock = Redlock::connect(cluster.urls()).await?;
    let invoice = redlock.mutex("invoice:42")?.ttl(Duration::from_secs(10));

    let guard = invoice.lock().await?;
    println!("held by {}, {:?} left", guard.token(), guard.remaining());

    match invoice.try_lock().await {
        Err(LockError::Contended { votes, .. }) => println!("somebody else is told: {votes}"),
        other => println!("unexpected: {other:?}"),
    }

    let waiter = tokio::spawn({
        let invoice = invoice.clone();
        async move { invoice.lock().await }
    });
    println!("two of five nodes die while the lock is held");
    cluster.kill(0)?;
    cluster.kill(1)?;
    println!("still valid: {}", guard.is_valid());
    println!("released: {:?}", guard.release().await?);
    let next = waiter.await??;
    println!("the waiter has it: {}", next.token());
    next.release().await?;

    let started = Instant::now();
    for _ in 0..1000 {
        invoice.lock().await?.release().await?;
    }
    println!("1000 times lock and release with two nodes down: {:?}", started.elapsed());
    redlock.shutdown().await;
    Ok(())
}
