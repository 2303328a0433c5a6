//! A test as a service's own test suite may contain it.

use std::error::Error;
use std::time::Duration;

use redlock_quorum::testing::{Data, LocalCluster, Nemesis, Nodes};
use redlock_quorum::{LockError, Redlock};

/// The code under test: bills an invoice once, no matter how many instances of the service try.
async fn bill(redlock: &Redlock, invoice: &str) -> Result<u64, LockError> {
    let guard = redlock.mutex(invoice)?.max_wait(Duration::from_secs(10)).lock().await?;
    let token = guard.fencing_token().get(); // goes along with every write
    drop(guard);
    Ok(token)
}

#[tokio::test]
async fn billing_survives_the_loss_of_any_two_nodes() -> Result<(), Box<dyn Error>> {
    let cluster = LocalCluster::start(5)?;
    let redlock = Redlock::connect(cluster.urls()).await?;
    let before = bill(&redlock, "invoice:42").await?;

    // One node crashes, and one hangs.
    let (killed, paused) = (Nemesis::Kill { data: Data::Kept }, Nemesis::Pause);
    cluster.apply(0, &killed)?;
    cluster.apply(1, &paused)?;
    let meanwhile = bill(&redlock, "invoice:42").await?;
    assert!(meanwhile > before);

    // A third failed node is too many, and the error names it.
    cluster.apply(2, &paused)?;
    let error = redlock.mutex("invoice:42")?.try_lock().await.unwrap_err();
    assert!(matches!(error, LockError::NoQuorum { .. }), "{error}");

    // The nodes recover, and locks can be acquired again.
    cluster.heal(0, &killed)?;
    cluster.heal(1, &paused)?;
    cluster.heal(2, &paused)?;
    assert!(bill(&redlock, "invoice:42").await? > meanwhile);
    Ok(())
}
