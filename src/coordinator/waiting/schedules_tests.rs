//! Schedules of the waiters of one process, of releases, and of notifications. No timer helps a waiter that misses its
//! wake-up: without one it sleeps for ever, and the test fails.

use shuttle::sync::Mutex as Locked;
use shuttle::{future, thread};

use super::*;
use crate::planted::Fault;
use crate::protocol::Step;
use crate::schedules::{ALL_WAIT, Clock, explore, finds_planted, with_client};
use crate::types::{Manner, Ticket, Turn};

/// A lock as its nodes have it, and what the queue node knows of this client.
struct Place {
    coordinator: Arc<Coordinator>,
    clock: Arc<Clock>,
    claim: Claim,
    on_node: Locked<OnNode>,
}

#[derive(Default)]
struct OnNode {
    is_free: bool,
    is_registered: bool,
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
enum Waited {
    Acquired,
    Closed,
}

impl Place {
    /// A lock that is held.
    fn new(coordinator: Arc<Coordinator>, clock: Arc<Clock>) -> Arc<Self> {
        let claim = Claim::Exclusive { key: coordinator.settings().resource("job").unwrap() };
        Arc::new(Self { coordinator, clock, claim, on_node: Locked::default() })
    }

    /// Waits as `lock_in_queue` does. Each pause stands for the time until a node has answered.
    async fn lock(&self) -> Waited {
        let Self { coordinator, claim, .. } = self;
        let waiter = coordinator.join_wait_queue(claim.first(), Retry::default(), Demand::Unknown);
        loop {
            match waiter.position(coordinator.now()) {
                Position::Closed => return Waited::Closed,
                Position::Behind | Position::Head(Step::Sleep(_)) => waiter.changed(Moment::NEVER).await,
                Position::Head(Step::Register(manner)) => {
                    let turn = self.turn(manner);
                    future::yield_now().await;
                    self.handle_registered(turn);
                }
                Position::Head(Step::Attempt) => {
                    waiter.handle_attempt();
                    future::yield_now().await;
                    if std::mem::take(&mut self.on_node.lock().unwrap().is_free) {
                        waiter.handle_acquired(claim);
                        return Waited::Acquired;
                    }
                    waiter.handle_failed(claim, waiter.reason(claim), coordinator.settings.node_timeout);
                }
            }
        }
    }

    fn turn(&self, manner: Manner) -> Turn {
        let mut on_node = self.on_node.lock().unwrap();
        on_node.is_registered = true;
        match (on_node.is_free, manner) {
            (true, Manner::Eager | Manner::Behind) => Turn::Ours,
            (true, Manner::Patient) => Turn::Free,
            (false, Manner::Eager | Manner::Patient | Manner::Behind) => Turn::Endless,
        }
    }

    fn handle_registered(&self, turn: Turn) {
        let (now, look_again) = (self.coordinator.now(), Retry::default().look_again());
        if let Some(queue) = self.coordinator.wait_queues.state().queues.get_mut(self.claim.first()) {
            queue.waiters.contender.handle_registered(turn, Ticket::new("1"), 0, look_again, now, 0);
        }
        if turn == Turn::Free {
            // The pause after a free lock that could not be acquired.
            self.clock.advance(look_again);
        }
    }

    /// Releases the lock, as the end of a lease does.
    fn release(&self) {
        let coordinator = &self.coordinator;
        let handed_over = coordinator.wait_queues.to_hand_over(&self.claim, coordinator.now());
        let is_notified = {
            let mut on_node = self.on_node.lock().unwrap();
            on_node.is_free = true;
            handed_over.is_empty() && on_node.is_registered
        };
        coordinator.handle_released(&self.claim, &AfterRelease { handed_over, notifying: Notifying::NOBODY });
        if is_notified {
            let counts = Arc::clone(&coordinator.counts);
            let subscriber = Subscriber { coordinator: Arc::downgrade(coordinator), node: NodeId(0), counts };
            subscriber.handle_notified(self.claim.first().key());
        }
    }
}

/// Two waiters of a lock that is released, each of which releases it again, and one that is dropped meanwhile.
fn release_beside_waiters() {
    with_client(|coordinator, clock| {
        let place = Place::new(coordinator, clock);
        let wait = || {
            let place = Arc::clone(&place);
            future::spawn(async move {
                assert_eq!(place.lock().await, Waited::Acquired);
                place.release();
            })
        };
        let (dropped, others) = (wait(), [wait(), wait()]);
        let released = Arc::clone(&place);
        let holder = thread::spawn(move || released.release());
        let abort = dropped.abort_handle();
        let caller = thread::spawn(move || abort.abort());
        for other in others {
            future::block_on(other).unwrap();
        }
        holder.join().unwrap();
        caller.join().unwrap();
        let _ = future::block_on(dropped);
        assert!(place.coordinator.wait_queues.state().queues.is_empty(), "a waiter is left behind");
    });
}

/// The bug: a waiter that had drawn its number first and joined last came before the head, whose registration then
/// overwrote the notified waiter's step.
#[test]
fn nobody_sleeps_beside_a_free_lock() {
    explore(release_beside_waiters);
}

#[test]
fn a_head_that_wakes_nobody_when_it_is_dropped_is_found() {
    finds_planted(Fault::LostWakeUp, ALL_WAIT, release_beside_waiters);
}

#[test]
fn a_head_that_takes_its_notification_along_is_found() {
    finds_planted(Fault::LostNotification, ALL_WAIT, release_beside_waiters);
}

/// The bug: a waiter that was woken by the shutdown took the queue of one that came later for its own, and slept on. The
/// later one ends here when the lock is released, and in the library when its attempt is refused.
#[test]
fn a_shutdown_ends_all_waits() {
    explore(|| {
        with_client(|coordinator, clock| {
            let place = Place::new(coordinator, clock);
            let waits = [(); 3].map(|()| {
                let place = Arc::clone(&place);
                future::spawn(async move {
                    if place.lock().await == Waited::Acquired {
                        place.release();
                    }
                })
            });
            place.coordinator.close_wait_queues();
            place.release();
            for wait in waits {
                future::block_on(wait).unwrap();
            }
        });
    });
}
