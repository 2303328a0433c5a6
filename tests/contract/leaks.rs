//! Twenty thousand locks whose futures and guards are dropped at any point, in a process of their own.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Guard, Redlock, Retry};

use crate::support::{LONG, Random, SLACK, builder, eventually, own_process, resident_bytes};

const TEST: &str = "leaks::twenty_thousand_cycles_that_are_cancelled_anywhere_leave_nothing";
/// The environment variable by which the test starts itself alone, so that memory and timers of other tests are not
/// counted.
const ALONE: &str = "REDLOCK_TEST_LEAKS_ALONE";

const CYCLES: usize = 20_000;
const TASKS: usize = 16;
/// Number of names that tasks contend for.
const SHARED_NAMES: u64 = 4;
/// The number of cycles after which the memory of a process that has done everything once is measured.
const WARM_UP: usize = 5_000;
/// How much memory the other cycles may add, because allocators are not exact. The usual growth is 0.4 MB; 2.8 MB were
/// measured on a busy machine. A leak of one lease of 800 bytes in each cycle would be 12 MB.
const GROWTH_MAX: usize = 4 * 1024 * 1024;

#[test]
fn twenty_thousand_cycles_that_are_cancelled_anywhere_leave_nothing() {
    if std::env::var_os(ALONE).is_none() {
        let output = own_process(TEST).env(ALONE, "").output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        println!("{stdout}");
        assert!(output.status.success(), "{stderr}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(alone());
}

async fn alone() {
    let mut random = Random::from_environment();
    let cluster = LocalCluster::start(3).unwrap();
    let redlock = Arc::new(builder(cluster.urls()).keep_alive(true).connect().await.unwrap());
    let up = || redlock.nodes().iter().all(|node| node.failure().is_none());
    eventually(SLACK, "all are connected", up).await;
    let tasks_at_rest = tasks();

    cycles(&redlock, WARM_UP, &mut random).await;
    eventually(SLACK, "the keeper has ended", || tasks() == tasks_at_rest).await;
    let before = resident_bytes();
    cycles(&redlock, CYCLES - WARM_UP, &mut random).await;

    let gone = || (0..3).all(|node| cluster.keys(node).unwrap().is_empty());
    eventually(SLACK, "no key is left", gone).await;
    eventually(SLACK, "no task is left", || tasks() == tasks_at_rest).await;
    assert_eq!(timers(), 0);
    let after = resident_bytes();
    println!("{before} bytes after {WARM_UP} cycles, {after} after {CYCLES}");
    assert!(after < before + GROWTH_MAX, "{before} bytes before, {after} after");
    drop(redlock);
    eventually(SLACK, "no task at all is left", || tasks() == 0).await;
}

async fn cycles(redlock: &Arc<Redlock>, cycles: usize, random: &mut Random) {
    let tasks = (0..TASKS).map(|_| {
        let (redlock, mut random) = (Arc::clone(redlock), Random::new(random.next()));
        tokio::spawn(async move {
            for _ in 0..cycles / TASKS {
                cycle(&redlock, &mut random).await;
            }
        })
    });
    try_join_all(tasks.collect::<Vec<_>>()).await.unwrap();
}

/// Uses one lock in one of the possible ways. The use ends by itself, or is dropped after up to about as long as it
/// takes.
async fn cycle(redlock: &Redlock, random: &mut Random) {
    let name = if random.one_in(2) { random.below(SHARED_NAMES) } else { SHARED_NAMES + random.next() };
    let retry = Retry::exponential(Duration::from_millis(1), Duration::from_millis(2));
    let mutex = redlock.mutex(format!("job-{name}")).unwrap().retry(retry).keep_alive(!random.one_in(8));
    let limit = random.up_to(Duration::from_millis(4));
    let rest = random.up_to(Duration::from_millis(1));
    let way = random.below(6);
    let cycle = async {
        if way == 0 {
            let work = async |_: &Guard| {
                tokio::time::sleep(rest).await;
                Err::<(), _>("done")
            };
            return drop(mutex.run(work).await);
        }
        let Ok(mut guard) = mutex.lock().await else { return };
        match way {
            1 => drop(guard),
            2 => drop(guard.extend(LONG * 2).await),
            3 => drop(guard.cancellation_token()),
            4 => drop(tokio::time::timeout(rest, guard.lost()).await),
            _ => drop(guard.release().await),
        }
    };
    let _ = tokio::time::timeout(limit, pin!(cycle)).await;
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// The number of the keeper's timers, which are file descriptors. Timers of tokio are part of futures, which end with
/// their tasks.
#[cfg(target_os = "linux")]
fn timers() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("timerfd")).count()
}

#[cfg(not(target_os = "linux"))]
fn timers() -> usize {
    0
}
