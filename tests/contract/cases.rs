//! Promises that hold in every topology, as long as a quorum lives.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use redlock_quorum::testing::Reply;
use redlock_quorum::{ExtendError, LockError, Released, Retry};

use crate::support::{
    FOREIGN, LONG, Random, SLACK, calls, contended, eventually, no_quorum, now, plant, pttl,
};
use crate::topology::{World, on_every_topology};

on_every_topology!(
    one_owner_at_a_time,
    released_on_release,
    released_on_drop,
    released_on_panic,
    released_when_the_client_is_dropped_with_the_guard,
    a_dropped_attempt_leaves_no_key,
    a_dropped_wait_leaves_no_key,
    a_contended_attempt_leaves_no_key,
    an_attempt_without_a_quorum_leaves_no_key,
    an_attempt_is_not_in_the_way_of_the_next,
    a_late_attempt_leaves_no_key,
    a_lease_ends_and_is_not_revived,
    an_extension_that_lost_the_keys_is_lost,
    an_extension_never_shortens,
    another_owners_key_is_left_alone,
    another_type_is_contention_and_left_alone,
    a_cancelled_wait_ends_at_once,
    max_wait_is_kept_and_says_why,
    five_tries_are_five,
);

async fn one_owner_at_a_time(world: World) {
    let guard = world.of(&world.redlock, "job").lock().await.unwrap();
    assert!(guard.is_valid());
    assert!(guard.remaining() > LONG / 2 && guard.remaining() < LONG);
    let holders = world.values("job").iter().filter(|value| value.as_deref() == Some(guard.token())).count();
    assert!(holders >= world.quorum(), "{holders} nodes hold the key");

    for client in [&world.redlock, &world.other] {
        let error = contended(world.of(client, "job").try_lock().await);
        let LockError::Contended { resource, votes, .. } = &error else { unreachable!() };
        assert!(resource.contains("job"), "{error}");
        assert!(votes.denials().count() > 0, "{error}");
    }
    assert!(guard.is_valid());

    assert_eq!(guard.release().await, Ok(Released::InTime));
    // A quorum has confirmed the release, so the lock is free at once.
    let guard = world.of(&world.other, "job").try_lock().await.unwrap();
    contended(world.of(&world.redlock, "job").try_lock().await);
    assert_eq!(guard.release().await, Ok(Released::InTime));
    world.ends_without_keys().await;
}

async fn released_on_release(world: World) {
    let guard = world.of(&world.redlock, "job").lock().await.unwrap();
    assert_eq!(guard.release().await, Ok(Released::InTime));
    world.gone("job").await;
    world.ends_without_keys().await;
}

async fn released_on_drop(world: World) {
    drop(world.of(&world.redlock, "job").lock().await.unwrap());
    world.gone("job").await;
    world.ends_without_keys().await;
}

async fn released_on_panic(world: World) {
    let mutex = world.of(&world.redlock, "job");
    let task = tokio::spawn(async move {
        let _guard = mutex.lock().await.unwrap();
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    world.gone("job").await;
    world.ends_without_keys().await;
}

/// The background task finishes the release, although the client and all guards are gone.
async fn released_when_the_client_is_dropped_with_the_guard(world: World) {
    let redlock = world.client(|builder| builder).await;
    let mutex = world.of(&redlock, "job");
    let guard = mutex.lock().await.unwrap();
    drop((redlock, mutex, guard));
    world.gone("job").await;
    world.ends_without_keys().await;
}

/// rslock, redis-lock, distributed-lock-redis: a dropped acquire future leaks its keys.
async fn a_dropped_attempt_leaves_no_key(world: World) {
    let mut random = Random::new(1);
    for round in 0..100 {
        let mutex = world.of(&world.redlock, &format!("job-{}", round % 7));
        let mut attempt = pin!(mutex.try_lock());
        for _ in 0..round % 5 {
            let polled = poll_fn(|cx| Poll::Ready(attempt.as_mut().poll(cx).is_ready()));
            if polled.await {
                break;
            }
            // The delay ranges from zero to about a round trip, so that each drop meets the servers in another state.
            for _ in 0..random.below(200) {
                tokio::task::yield_now().await;
            }
        }
    }
    world.ends_without_keys().await;
}

async fn a_dropped_wait_leaves_no_key(world: World) {
    let mut random = Random::new(2);
    let mutexes = ["a", "b"].map(|name| world.of(&world.redlock, name).retry(eager()));
    let others = ["a", "b"].map(|name| world.of(&world.other, name).retry(eager()));
    for round in 0..60 {
        let limit = random.up_to(Duration::from_millis(4));
        let (mutex, other) = (&mutexes[round % 2], &others[(round / 2) % 2]);
        // Some attempts succeed and are dropped with their guards, some wait for the other client.
        let _ = tokio::time::timeout(limit, async { tokio::join!(mutex.lock(), other.lock(), mutex.lock()) })
            .await;
    }
    drop((mutexes, others));
    world.ends_without_keys().await;
}

/// node-redlock, redis-lock, aioredlock, redlock-py: a failed attempt leaves the keys that it has set.
async fn a_contended_attempt_leaves_no_key(world: World) {
    let planted = world.plant_against_a_quorum("job");
    contended(world.of(&world.redlock, "job").try_lock().await);
    let only_theirs = || {
        world.living().zip(world.values("job")).all(|(node, value)| {
            if planted.contains(&node) { value.as_deref() == Some(FOREIGN) } else { value.is_none() }
        })
    };
    eventually(SLACK, "only the other owner's keys are left", only_theirs).await;
    world.ends_with_keys(&["job"]).await;
}

/// badboy's redlock, redlock-py: an error with one node down leaves the keys on the others.
async fn an_attempt_without_a_quorum_leaves_no_key(world: World) {
    let left = world.living().start + world.quorum() - 1..world.living().end;
    // The killed nodes leave one node too few for a quorum.
    let (killed, left) = (left.clone(), world.living().start..left.start);
    for node in killed {
        world.cluster.kill(node).unwrap();
    }
    for _ in 0..3 {
        let error = no_quorum(world.of(&world.redlock, "job").try_lock().await);
        assert!(error.votes().unwrap().failures().count() > 0, "{error}");
    }
    let gone = || left.clone().all(|node| world.cluster.keys(node).unwrap().is_empty());
    eventually(SLACK, "the nodes that are left have no key", gone).await;
    world.ends_without_keys().await;
}

/// node-redlock: an attempt takes the keys of the previous attempt for another owner's, although nobody contends.
async fn an_attempt_is_not_in_the_way_of_the_next(world: World) {
    let floor = Duration::from_secs(5);
    let redlock = world.client(|builder| builder.clock_drift_floor(floor)).await;
    let mutex = world.of(&redlock, "job");
    let late = mutex.clone().min_validity(LONG - LONG / 100 - floor - Duration::from_micros(1));
    for round in 0..50 {
        let error = late.try_lock().await.unwrap_err();
        assert!(matches!(error, LockError::TooLate { .. }), "round {round}: {error}");
        // Dropped at once.
        let _ = mutex.try_lock().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    world.ends_without_keys().await;
}

/// rslock: an attempt that was too late returns before its rollback.
async fn a_late_attempt_leaves_no_key(world: World) {
    // Drift leaves 54.4 s of a minute. The attempt demands all of that except a microsecond, and so always fails.
    let floor = Duration::from_secs(5);
    let redlock = world.client(|builder| builder.clock_drift_floor(floor)).await;
    let valid = LONG - LONG / 100 - floor;
    let mutex = world.of(&redlock, "job").min_validity(valid - Duration::from_micros(1));
    let error = mutex.try_lock().await.unwrap_err();
    let LockError::TooLate { left, min_validity, .. } = &error else { panic!("{error:?}") };
    assert!(left < min_validity && !left.is_zero(), "{error}");
    world.gone("job").await;
    world.ends_without_keys().await;
}

/// RedLock.net, aioredlock, redsync with `WithSetNXOnExtend`: an extension revives an expired lock.
async fn a_lease_ends_and_is_not_revived(world: World) {
    let ttl = Duration::from_millis(500);
    let mut guard = world.of(&world.redlock, "job").ttl(ttl).lock().await.unwrap();
    assert!(guard.remaining() < ttl);
    world.gone("job").await;
    assert!(!guard.is_valid());
    assert_eq!(guard.remaining(), Duration::ZERO);
    let lost = guard.extend(LONG).await;
    assert!(matches!(lost, Err(ExtendError::Lost { .. })), "{lost:?}");
    assert!(world.values("job").iter().all(Option::is_none));

    let next = world.of(&world.other, "job").lock().await.unwrap();
    let lost = guard.extend(LONG).await;
    assert!(matches!(lost, Err(ExtendError::Lost { .. })), "{lost:?}");
    assert!(!guard.is_valid() && next.is_valid());
    assert_eq!(guard.release().await, Ok(Released::AlreadyExpired));
    let theirs = world.values("job").into_iter().filter(|value| value.as_deref() == Some(next.token()));
    assert!(theirs.count() >= world.quorum());
    assert_eq!(next.release().await, Ok(Released::InTime));
    world.ends_without_keys().await;
}

async fn an_extension_that_lost_the_keys_is_lost(world: World) {
    let mut deleted = world.of(&world.redlock, "deleted").lock().await.unwrap();
    let mut stolen = world.of(&world.redlock, "stolen").lock().await.unwrap();
    for node in world.living() {
        world.cluster.command(node, &["DEL", &world.key("deleted")]).unwrap();
        plant(&world.cluster, node, &world.key("stolen"));
    }
    for guard in [&mut deleted, &mut stolen] {
        let lost = guard.extend(LONG).await;
        assert!(matches!(lost, Err(ExtendError::Lost { .. })), "{lost:?}");
        assert!(!guard.is_valid());
        assert_eq!(guard.remaining(), Duration::ZERO);
    }
    assert!(world.values("deleted").iter().all(Option::is_none));
    assert!(world.values("stolen").iter().all(|value| value.as_deref() == Some(FOREIGN)));
    drop((deleted, stolen));
    world.redlock.shutdown().await;
    assert!(world.values("stolen").iter().all(|value| value.as_deref() == Some(FOREIGN)));
    world.ends_with_keys(&["stolen"]).await;
}

async fn an_extension_never_shortens(world: World) {
    let mut guard = world.of(&world.redlock, "job").lock().await.unwrap();
    let promised = guard.deadline();
    // Not on all living nodes, because the client does not insist on more than a quorum.
    let living_beyond = |time| {
        let nodes = world.living().filter(|node| pttl(&world.cluster, *node, &world.key("job")) > time);
        nodes.count() >= world.quorum()
    };
    guard.extend(Duration::from_secs(1)).await.unwrap();
    assert!(guard.remaining() > LONG / 2);
    // A tolerance, because each call translates the deadline between two clocks.
    assert!(guard.deadline() + Duration::from_millis(1) > promised);
    assert!(living_beyond(LONG / 2));

    let longer = LONG * 2;
    guard.extend(longer).await.unwrap();
    assert!(guard.remaining() > LONG && guard.remaining() < longer);
    assert!(living_beyond(LONG));
    assert_eq!(guard.release().await, Ok(Released::InTime));
    world.ends_without_keys().await;
}

async fn another_owners_key_is_left_alone(world: World) {
    let released = world.of(&world.redlock, "released").lock().await.unwrap();
    let dropped = world.of(&world.redlock, "dropped").lock().await.unwrap();
    for key in ["released", "dropped", "denied"] {
        world.plant_everywhere(key);
    }
    assert_eq!(released.release().await, Ok(Released::AlreadyExpired));
    drop(dropped);
    contended(world.of(&world.redlock, "denied").try_lock().await);
    // Every living node has answered, so all releases have taken effect.
    world.redlock.shutdown().await;
    for key in ["released", "dropped", "denied"] {
        assert!(world.values(key).iter().all(|value| value.as_deref() == Some(FOREIGN)), "{key}");
    }
    world.ends_with_keys(&["released", "dropped", "denied"]).await;
}

async fn another_type_is_contention_and_left_alone(world: World) {
    let mut replaced = world.of(&world.redlock, "replaced").lock().await.unwrap();
    for node in world.living() {
        world.cluster.command(node, &["DEL", &world.key("replaced")]).unwrap();
        for list in ["replaced", "list"] {
            world.cluster.command(node, &["RPUSH", &world.key(list), "x", "y"]).unwrap();
        }
    }
    contended(world.of(&world.redlock, "list").try_lock().await);
    let lost = replaced.extend(LONG).await;
    assert!(matches!(lost, Err(ExtendError::Lost { .. })), "{lost:?}");
    assert_eq!(replaced.release().await, Ok(Released::AlreadyExpired));
    world.redlock.shutdown().await;
    for node in world.living() {
        for list in ["replaced", "list"] {
            let items = world.cluster.command(node, &["LRANGE", &world.key(list), "0", "-1"]).unwrap();
            assert_eq!(items, Reply::Array(vec![Reply::Bulk("x".into()), Reply::Bulk("y".into())]));
        }
    }
    world.ends_with_keys(&["replaced", "list"]).await;
}

/// node-redlock cannot cancel a waiting acquire.
async fn a_cancelled_wait_ends_at_once(world: World) {
    let guard = world.of(&world.other, "job").lock().await.unwrap();
    let mutex = world.of(&world.redlock, "job").max_wait(LONG);
    let attempts = |node| calls(&world.cluster, node, world.command());
    let node = world.living().start;
    // The holder's own command may have missed the decision.
    eventually(SLACK, "the holder has asked", || attempts(node) >= 1).await;
    let before = attempts(node);
    let waiter = tokio::spawn(async move { mutex.lock().await });
    // The waiter has been denied once, and waits.
    eventually(SLACK, "the waiter tries", || attempts(node) > before).await;
    let cancelled = now();
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    assert!(cancelled.elapsed() < SLACK);
    assert!(guard.is_valid());
    let mine = || world.values("job").iter().flatten().all(|value| value == guard.token());
    eventually(SLACK, "only the holder's keys are left", mine).await;
    assert_eq!(guard.release().await, Ok(Released::InTime));
    world.ends_without_keys().await;
}

/// redlock, rslock, pottery: a wait never ends. distributed-lock-redis: a wait ends at once.
async fn max_wait_is_kept_and_says_why(world: World) {
    let guard = world.of(&world.other, "job").lock().await.unwrap();
    // Longer than a machine stands still, because an attempt that is cut short says nothing of the other owner.
    let max_wait = Duration::from_secs(2);
    let mutex = world.of(&world.redlock, "job").max_wait(max_wait);
    let started = now();
    let error = mutex.lock().await.unwrap_err();
    let waited = started.elapsed();
    assert!(waited >= max_wait && waited < max_wait + SLACK, "{waited:?}");
    assert!(matches!(&error, LockError::Timeout { max_wait: said, .. } if *said == max_wait), "{error:?}");
    assert!(matches!(error.reason(), LockError::Contended { .. }), "{error}");
    assert!(error.votes().unwrap().denials().count() > 0, "{error}");
    assert_eq!(guard.release().await, Ok(Released::InTime));
    world.ends_without_keys().await;
}

/// rslock, node-redlock and redlock-universal make one attempt more than configured.
async fn five_tries_are_five(world: World) {
    world.plant_everywhere("job");
    let pause = Duration::from_millis(30);
    let before: Vec<u64> = world.living().map(|node| calls(&world.cluster, node, world.command())).collect();
    let started = now();
    let mutex = world.of(&world.redlock, "job").retry(Retry::fixed(5, pause));
    contended(mutex.lock().await);
    assert!(started.elapsed() >= 4 * pause, "four pauses");
    world.redlock.shutdown().await;
    let made = world
        .living()
        .zip(before)
        .map(|(node, before)| calls(&world.cluster, node, world.command()) - before);
    let made: Vec<u64> = made.collect();
    assert!(made.iter().all(|made| *made <= 5), "{made:?}");
    // A decided attempt withdraws the commands that are still in the process.
    let deciding = world.living().len() + 1 - world.quorum();
    assert!(made.iter().sum::<u64>() >= 5 * deciding as u64, "{made:?}");
    world.ends_with_keys(&["job"]).await;
}

fn eager() -> Retry {
    Retry::exponential(Duration::from_millis(1), Duration::from_millis(4))
}
