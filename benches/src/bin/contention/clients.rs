//! What many waiting clients, each as it would be in a process of its own, cost the queue node.

use std::time::Duration;

use redlock_quorum::Redlock;
use redlock_quorum::testing::{LocalCluster, Reply};
use tokio::task::JoinSet;

use crate::report::{Bar, Report};
use crate::section::{Failure, RESOURCE, clock};

const CLIENTS: usize = 1000;
/// The client that is farthest behind looks once in two minutes.
const WATCHED: Duration = Duration::from_secs(125);
/// The commands of waiting clients, and those that their scripts run. Renewals and observations of nodes use others.
const COMMANDS: [&str; 9] =
    ["evalsha", "zrank", "zcount", "zadd", "pttl", "pexpire", "publish", "zrangebyscore", "zremrangebyscore"];

/// All clients wait for a lock that another implementation holds, and that vanishes at the end.
pub(crate) async fn wait(report: &mut Report) -> Result<(), Failure> {
    Report::heading(&format!("{CLIENTS} clients wait for another implementation, watched for {WATCHED:?}"));
    let cluster = LocalCluster::builder().nodes(1).directive("maxclients", "4000").start()?;
    cluster.command(0, &["SET", RESOURCE, "of another implementation"])?;
    let mut waiters = JoinSet::new();
    let mut clients = Vec::new();
    for i in 0..CLIENTS {
        let redlock = Redlock::connect(cluster.urls()).await?;
        let mutex = redlock.mutex(RESOURCE)?.max_wait(WATCHED * 3);
        clients.push(redlock);
        waiters.spawn(async move { mutex.lock().await });
        if i % 100 == 99 {
            eprintln!("{} clients wait", i + 1);
        }
    }
    while waiting(&cluster)? < CLIENTS as i64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = commands(&cluster)?;
    let began = clock();
    tokio::time::sleep(WATCHED).await;
    #[expect(clippy::cast_precision_loss, reason = "there are some thousand")]
    let rate = (commands(&cluster)? - before) as f64 / (clock() - began) as f64 * 1e9;
    report.figure("commands a second to the queue node", rate, "", Bar::Below(50.0));
    cluster.command(0, &["DEL", RESOURCE])?;
    let vanished = clock();
    let first = waiters.join_next().await.ok_or("somebody waits")???;
    #[expect(clippy::cast_precision_loss, reason = "it is short")]
    let noticed = (clock() - vanished) as f64 / 1e6;
    report.figure("until the next client has the lock", noticed, "ms", Bar::AtMost(2000.0));
    drop(first);
    waiters.abort_all();
    while waiters.join_next().await.is_some() {}
    Ok(())
}

fn waiting(cluster: &LocalCluster) -> Result<i64, Failure> {
    Ok(cluster.command(0, &["ZCARD", &format!("redlock-quorum:queue:{RESOURCE}")])?.int().unwrap_or(0))
}

fn commands(cluster: &LocalCluster) -> Result<u64, Failure> {
    let Reply::Bulk(text) = cluster.command(0, &["INFO", "commandstats"])? else {
        return Err("INFO answers a text".into());
    };
    let calls = |command: &str| {
        let prefix = format!("cmdstat_{command}:calls=");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix))?;
        line.split(',').next()?.parse::<u64>().ok()
    };
    Ok(COMMANDS.iter().filter_map(|command| calls(command)).sum())
}
