//! Schedules of the keeper's task, those who take leases and drop them, and a shutdown.

use shuttle::{future, thread};

use super::super::held_lease::schedules::hold;
use super::*;
use crate::coordinator::Coordinator;
use crate::schedules::{explore, finds, with_client};

/// A lease is taken while the task of an earlier one ends.
#[test]
fn a_lease_that_is_taken_as_the_task_ends_is_kept_all_the_same() {
    explore(|| {
        with_client(|coordinator, clock| {
            hold(&coordinator).unwrap().give_up();
            let time = Arc::clone(&clock);
            let idle = thread::spawn(move || (0..3).for_each(|_| time.advance(IDLE)));
            let lease = hold(&coordinator).unwrap();
            idle.join().unwrap();
            let token = lease.cancellation_token();
            clock.advance(coordinator.settings().ttl.as_duration());
            future::block_on(token.cancelled());
            assert_eq!(coordinator.stats().lost.expired, 1);
        });
    });
}

/// Ends the client with `close` while its leases are checked, and looks whether one is left.
fn shut_down_beside_a_check(close: fn(&Coordinator)) {
    with_client(|coordinator, clock| {
        let lease = hold(&coordinator).unwrap();
        // The first check of the lease is due.
        let time = thread::spawn(move || clock.advance(IDLE));
        let late = Arc::clone(&coordinator);
        let late = thread::spawn(move || hold(&late));
        close(&coordinator);
        assert_eq!(lease.deadline(), None, "a lease outlives the shutdown");
        time.join().unwrap();
        match late.join().unwrap() {
            Ok(lease) => assert_eq!(lease.deadline(), None, "a lease outlives the shutdown"),
            Err(error) => assert_eq!(error, LockError::ShutDown),
        }
    });
}

#[test]
fn no_lease_outlives_the_shutdown() {
    explore(|| shut_down_beside_a_check(Coordinator::lose_all));
}

/// The search can fail: it finds a shutdown that does not wait for leases under check.
#[test]
fn a_shutdown_that_forgets_leases_under_check_is_found() {
    finds("a lease outlives the shutdown", || {
        shut_down_beside_a_check(|coordinator| {
            let mut state = coordinator.keeper.0.state();
            state.closed = Some(Closed::ShutDown);
            let leases = state.timers.take_all();
            drop(state);
            coordinator.keeper.0.wake.notify_one();
            leases.iter().for_each(|lease| lease.lose(Closed::ShutDown));
        });
    });
}
