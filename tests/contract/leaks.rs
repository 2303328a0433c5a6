//! Twenty thousand locks whose futures and guards are dropped wherever they are, in a process of their own.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::{Guard, Redlock, Retry};

use crate::support::{LONG, Random, SLACK, builder, eventually, own_process, resident_bytes};

const TEST: &str = "leaks::twenty_thousand_cycles_that_are_cancelled_anywhere_leave_nothing";
/// Where the test starts itself, for the memory and the timers of other tests not to be counted.
const ALONE: &str = "REDLOCK_TEST_LEAKS_ALONE";

const CYCLES: usize = 20_000;
const TASKS: usize = 16;
/// Names that tasks contend for.
const SHARED_NAMES: u64 = 4;
/// The first so many show how much a process needs that has done everything once.
const WARM_UP: usize = 5_000;
/// What the other cycles may add, for allocators are not exact: 0.4 MB as a rule, 2.8 MB were seen on a busy machine.
/// A lease that leaked in each cycle, of 800 bytes, would be 12 MB.
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

/// One lock, in one of the ways to use it, which ends by itself or is dropped where it is after up to about as long as
/// it would take.
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

/// The keeper's; those of tokio live in futures, and these in tasks.
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
