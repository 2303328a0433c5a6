//! Schedules of answers to renewals beside the end of the lease.

use shuttle::thread;

use super::super::held_lease::schedules::{NODE, hold, watch};
use super::*;
use crate::node::Fence;
use crate::planted::Fault;
use crate::schedules::{explore, finds_planted, with_client};

/// The answer to a renewal comes as the lease expires, while the holder looks.
fn expire_and_renew() {
    with_client(|coordinator, clock| {
        let lease = hold(&coordinator).unwrap();
        let ttl = lease.ttl.as_duration();
        let sent_at = coordinator.now() + ttl / 2;
        let leases = vec![Arc::clone(&lease)];
        let batch = Batch { node: NODE, sent_at, leases, is_shared: false, reply: Ok(vec![Answer::Yes]) };
        let holder = watch(&lease);
        let keeper = thread::spawn(move || Work::default().handle_batch(batch));
        let time = thread::spawn(move || clock.advance(ttl));
        for thread in [holder, keeper, time] {
            thread.join().unwrap();
        }
        lease.give_up();
    });
}

#[test]
fn a_lease_that_is_over_is_never_valid_again() {
    explore(expire_and_renew);
}

#[test]
fn a_lease_that_is_revived_is_found() {
    finds_planted(Fault::Revival, "a lease is valid again", expire_and_renew);
}

/// The node has said that it lacks the key, and sets it again as the lease expires.
#[test]
fn a_lease_that_is_restored_too_late_stays_over() {
    explore(|| {
        with_client(|coordinator, clock| {
            let lease = hold(&coordinator).unwrap();
            let ttl = lease.ttl;
            let sent_at = coordinator.now() + ttl.as_duration() / 2;
            let reply = Ok(Acquired::Granted(Fence::Off));
            let restore = Restore { node: NODE, sent_at, ttl, lease: Arc::clone(&lease), reply };
            let holder = watch(&lease);
            let keeper = thread::spawn(move || restore.handle());
            let time = thread::spawn(move || clock.advance(ttl.as_duration()));
            for thread in [holder, keeper, time] {
                thread.join().unwrap();
            }
            lease.give_up();
        });
    });
}
