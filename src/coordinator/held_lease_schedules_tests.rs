//! Schedules of all who share a lease: its guard, the keeper, and those who watch.

use std::sync::Arc;

use shuttle::{future, thread};

use super::*;
use crate::protocol::Vote;
use crate::schedules::{Clock, explore, with_client};

pub(in crate::coordinator) const NODE: NodeId = NodeId(0);

/// Turns an attempt that the only node has granted into a lease.
pub(in crate::coordinator) fn hold(coordinator: &Arc<Coordinator>) -> Result<Arc<HeldLease>, LockError> {
    let settings = coordinator.settings();
    let claim = Claim::Exclusive { key: settings.resource("job").unwrap() };
    let terms = settings.lease_terms(settings.ttl.as_duration(), None).unwrap();
    let ttl = terms.ttl;
    let mut attempt = coordinator.new_attempt(&claim, terms, claim.all());
    attempt.keys.lease.handle_sent(NODE);
    attempt.keys.lease.handle_acquired(NODE, coordinator.now(), ttl, Vote::Granted);
    HeldLease::hold(attempt, Keep { alive: KeepAlive::Yes, max_hold: MaxHold::Unbounded })
}

/// Calls `share` with a lease, waits for the threads that it returns, and checks that the lease has ended once.
fn share(share: impl FnOnce(&Arc<HeldLease>, Arc<Clock>) -> Vec<thread::JoinHandle<()>>) {
    with_client(|coordinator, clock| {
        let lease = hold(&coordinator).unwrap();
        let token = lease.cancellation_token();
        let threads = share(&lease, clock);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        future::block_on(token.cancelled());
        assert_eq!(lease.deadline(), None);
        let stats = coordinator.stats();
        assert_eq!(stats.leases_held, 0);
        assert_eq!(stats.released + stats.lost.expired, 1, "{stats:?}");
    });
}

/// Watches the lease as its holder does: a lease that was over is never valid again.
pub(in crate::coordinator) fn watch(lease: &Arc<HeldLease>) -> thread::JoinHandle<()> {
    let lease = Arc::clone(lease);
    thread::spawn(move || {
        let valid = [(); 3].map(|()| lease.deadline().is_some());
        assert!(valid.is_sorted_by(|before, after| before >= after), "a lease is valid again: {valid:?}");
    })
}

/// The guard is dropped while the lease expires, and somebody asks for the token.
#[test]
fn a_lease_ends_once_and_all_who_watch_learn_of_it() {
    explore(|| {
        share(|lease, clock| {
            let (dropped, asked) = (Arc::clone(lease), Arc::clone(lease));
            let guard = thread::spawn(move || dropped.give_up());
            let late = thread::spawn(move || future::block_on(asked.cancellation_token().cancelled()));
            let ttl = lease.ttl.as_duration();
            let time = thread::spawn(move || clock.advance(ttl));
            vec![guard, late, time, watch(lease)]
        });
    });
}
