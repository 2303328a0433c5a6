//! Semaphores: at most so many holders, each in a slot of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::try_join_all;
use redlock_quorum::testing::LocalCluster;
use redlock_quorum::testing::history::{Section, Sharing, check, check_permits};
use redlock_quorum::{LockError, Loss, Permit, Redlock, Released, Semaphore, SettingsError};

use crate::stress::see;
use crate::support::{LONG, Random, SLACK, builder, client, eventually, lost, now, origin, plant, pttl};
use crate::topology::Topology;
use crate::waiting::ends_empty;

const NODES: usize = 3;
pub(crate) const PERMITS: usize = 3;

pub(crate) fn semaphore(client: &Redlock) -> Semaphore {
    client.semaphore("job", PERMITS).unwrap().max_wait(LONG)
}

fn slot(number: usize) -> String {
    format!("redlock-quorum:slot:{number}:job")
}

#[track_caller]
fn all_taken(result: &Result<Permit, LockError>) {
    assert!(matches!(result, Err(LockError::Contended { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_a_slot_of_its_own() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = [client(cluster.urls()).await, client(cluster.urls()).await];
    let mut held = Vec::new();
    for number in 0..PERMITS {
        held.push(semaphore(&clients[number % 2]).try_acquire().await.unwrap());
    }
    let slots: BTreeSet<usize> = held.iter().map(Permit::slot).collect();
    assert_eq!(slots, (0..PERMITS).collect());
    let tokens: Vec<u64> = held.iter().map(|permit| permit.fencing_token().get()).collect();
    assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "{tokens:?}");
    for client in &clients {
        all_taken(&semaphore(client).try_acquire().await);
    }
    // The mutex of the name is another lock, and so is a semaphore of another name.
    let mutex = clients[0].mutex("job").unwrap().try_lock().await.unwrap();
    let other = clients[0].semaphore("0:job", 1).unwrap().try_acquire().await.unwrap();
    assert_eq!((mutex.resource(), other.resource(), held[0].resource()), ("job", "0:job", "job"));

    let free = held.remove(1);
    let number = free.slot();
    assert_eq!(free.release().await, Ok(Released::InTime));
    let next = semaphore(&clients[1]).try_acquire().await.unwrap();
    assert_eq!(next.slot(), number);
    assert!(next.fencing_token().get() > tokens[2]);
    assert!(held.iter().all(|permit| permit.is_valid()));
    for permit in held.into_iter().chain([next, other]) {
        assert_eq!(permit.release().await, Ok(Released::InTime));
    }
    assert_eq!(mutex.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_permits_is_refused_with_both_numbers() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = client(cluster.urls()).await;
    for permits in [0, 65] {
        let refused = redlock.semaphore("job", permits);
        assert!(matches!(refused, Err(SettingsError::OutOfRange { .. })), "{refused:?}");
    }
    let ttl = Duration::from_secs(20);
    let mut permit = semaphore(&redlock).ttl(ttl).acquire().await.unwrap();
    let more = redlock.semaphore("job", 64).unwrap().max_wait(LONG);
    for attempt in [more.acquire().await, more.try_acquire().await] {
        let error = attempt.unwrap_err();
        let LockError::OtherPermits { permits, others, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*permits, *others), (64, PERMITS), "{error}");
        assert!(error.to_string().contains("64") && error.to_string().contains("has 3"), "{error}");
    }
    // The number stays for as long as an extended permit does.
    permit.extend(LONG).await.unwrap();
    assert!(
        (0..NODES).filter(|node| pttl(&cluster, *node, "redlock-quorum:semaphore:job") > LONG / 2).count()
            >= 2
    );
    assert_eq!(permit.release().await, Ok(Released::InTime));
    for node in 0..NODES {
        cluster.command(node, &["PEXPIRE", "redlock-quorum:semaphore:job", "1"]).unwrap();
    }
    // Not PTTL, which is 0 already in the last millisecond.
    let exists = |node| cluster.command(node, &["EXISTS", "redlock-quorum:semaphore:job"]).unwrap();
    let forgotten = || (0..NODES).all(|node| exists(node).int() == Some(0));
    eventually(SLACK, "the number has expired", forgotten).await;
    let permit = more.try_acquire().await.unwrap();
    assert!(matches!(semaphore(&redlock).try_acquire().await, Err(LockError::OtherPermits { .. })));
    assert_eq!(permit.release().await, Ok(Released::InTime));
    ends_empty(&cluster).await;
}

/// A denied attempt learns which slots are free, so that the next one succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_free_slot_is_found_at_once() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = [client(cluster.urls()).await, client(cluster.urls()).await];
    let many = [0, 1].map(|i| clients[i].semaphore("job", 64).unwrap());
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(many[0].try_acquire().await.unwrap());
    }
    for _ in 0..20 {
        let free = held.remove(0);
        assert_eq!(free.release().await, Ok(Released::InTime));
        let before = clients[1].stats().attempts;
        held.push(many[1].try_acquire().await.unwrap());
        assert!(clients[1].stats().attempts.contended - before.contended <= 1);
    }
    for permit in held {
        assert_eq!(permit.release().await, Ok(Released::InTime));
    }
    ends_empty(&cluster).await;
}

/// A release notifies one waiter. When several slots become free at once, the waiters notify each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_waiters_get_a_slot_when_all_become_free() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let holder = client(cluster.urls()).await;
    let mut others = Vec::new();
    for _ in 0..PERMITS {
        others.push(client(cluster.urls()).await);
    }
    let mut spent = Vec::new();
    for _ in 0..10 {
        let held =
            try_join_all((0..PERMITS).map(|_| async { semaphore(&holder).acquire().await })).await.unwrap();
        let waiting: Vec<_> = others
            .iter()
            .map(|other| {
                let semaphore = semaphore(other);
                tokio::spawn(async move { semaphore.acquire().await })
            })
            .collect();
        let queue =
            |node| cluster.command(node, &["ZCARD", "redlock-quorum:queue:redlock-quorum:semaphore:job"]);
        let waiters = || (0..NODES).map(|node| queue(node).unwrap().int().unwrap()).max();
        eventually(SLACK, "all wait", || waiters() == Some(3)).await;
        let began = now();
        drop(held);
        let permits = try_join_all(waiting).await.unwrap();
        spent.push(began.elapsed());
        for permit in permits {
            assert_eq!(permit.unwrap().release().await, Ok(Released::InTime));
        }
    }
    spent.sort_unstable();
    println!("{spent:?}");
    ends_empty(&cluster).await;
}

/// Permits are renewed, restored where they were lost, and told of a loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_are_renewed_restored_and_told_of_a_loss() {
    let cluster = LocalCluster::start(NODES).unwrap();
    let redlock = builder(cluster.urls()).keep_alive(true).connect().await.unwrap();
    // Longer than a machine stands still between two renewals.
    let ttl = Duration::from_secs(6);
    let permit = semaphore(&redlock).ttl(ttl).acquire().await.unwrap();
    let second = semaphore(&redlock).ttl(ttl).acquire().await.unwrap();
    let key = slot(permit.slot());
    let owner = |node| cluster.command(node, &["GET", &key]).unwrap().text() == Some(permit.token());
    cluster.command(0, &["DEL", &key, "redlock-quorum:semaphore:job"]).unwrap();
    eventually(SLACK, "it is back", || owner(0)).await;
    let began = now();
    eventually(SLACK, "held for more than a TTL", || began.elapsed() > ttl).await;
    assert!(permit.is_valid() && second.is_valid());
    for node in 0..NODES {
        let number = cluster.command(node, &["GET", "redlock-quorum:semaphore:job"]).unwrap();
        assert_eq!(number.text(), Some("3"), "kept for as long as the permits");
    }
    for node in 0..2 {
        plant(&cluster, node, &key);
    }
    let loss = lost(&permit).await;
    assert!(matches!(loss, Loss::Denied { .. }), "{loss}");
    assert!(second.is_valid());
    assert_eq!(second.release().await, Ok(Released::InTime));
}

/// The rule of the README suffices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_need_no_more_permissions() {
    let world = Topology::THREE_GUARDED.start().await;
    let mut held = Vec::new();
    for _ in 0..PERMITS {
        held.push(semaphore(&world.redlock).acquire().await.unwrap());
    }
    let waiting = tokio::spawn({
        let other = semaphore(&world.other);
        async move { other.acquire().await }
    });
    eventually(SLACK, "it waits", || world.other.stats().waiting == 1).await;
    held[0].extend(LONG * 2).await.unwrap();
    for permit in held {
        assert_eq!(permit.release().await, Ok(Released::InTime));
    }
    assert_eq!(waiting.await.unwrap().unwrap().release().await, Ok(Released::InTime));
    world.ends_without_keys().await;
}

/// Tasks of two clients, some of which give up: never too many holders, and everybody gets on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_gets_on() {
    const TASKS: usize = 12;
    const EACH: usize = 40;
    let mut random = Random::from_environment();
    let cluster = LocalCluster::start(NODES).unwrap();
    let clients = [client(cluster.urls()).await, client(cluster.urls()).await];
    let tasks = (0..TASKS).map(|task| {
        let (semaphore, random) = (semaphore(&clients[task % 2]), Random::new(random.next()));
        tokio::spawn(crowd(format!("task {task}"), semaphore, random, EACH))
    });
    let began = now();
    let all = tokio::time::timeout(LONG, try_join_all(tasks));
    let sections = all.await.expect("nobody waits for ever").unwrap().concat();
    println!("{} sections in {:?}", sections.len(), began.elapsed());
    judge(&sections);
    ends_empty(&cluster).await;
}

async fn crowd(name: String, semaphore: Semaphore, mut random: Random, each: usize) -> Vec<Section> {
    let mut sections = Vec::new();
    for _ in 0..each {
        if random.one_in(10) {
            let _ = tokio::time::timeout(random.up_to(Duration::from_millis(3)), semaphore.acquire()).await;
            continue;
        }
        let requested_at = origin();
        let permit = semaphore.acquire().await.unwrap();
        sections.push(section(&name, requested_at, &permit).await);
        assert_eq!(permit.release().await, Ok(Released::InTime));
    }
    sections
}

pub(crate) async fn section(client: &str, requested_at: u64, permit: &Permit) -> Section {
    let mut section = Section {
        client: client.to_owned(),
        resource: format!("slot {}", permit.slot()),
        sharing: Sharing::Exclusive,
        requested_at,
        acquired_at: origin(),
        deadline: 0,
        ended_at: None,
        fencing_token: Some(permit.fencing_token().get()),
    };
    see(permit, &mut section);
    tokio::time::sleep(Duration::from_millis(2)).await;
    see(permit, &mut section);
    section.ended_at = Some(origin());
    section
}

/// Each slot has one holder at a time, the semaphore has no more than its permits, and tokens grow over all slots.
pub(crate) fn judge(sections: &[Section]) {
    check(sections).assert_ok();
    let of_all = |sharing| {
        let together = |section: &Section| Section { resource: "job".into(), sharing, ..section.clone() };
        sections.iter().map(together).collect::<Vec<_>>()
    };
    check(&of_all(Sharing::Shared)).assert_ok();
    check_permits(&of_all(Sharing::Exclusive), PERMITS).assert_ok();
}
