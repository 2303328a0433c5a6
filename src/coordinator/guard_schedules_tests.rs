//! Schedules of an attempt that asks whether a node's grant counts, and of the news that change the answer.

use shuttle::thread;

use super::*;
use crate::config::RedlockBuilder;
use crate::schedules::{explore_all, finds};

const NODE: NodeId = NodeId(0);

/// Reads with `counting` while the news come that a node forgot locks, of which nothing was heard for long. Its grants
/// do not count now, at 20: neither by the old evaluation nor by the new one.
fn read_beside_news(counting: fn(&Guard) -> Range<u64>) {
    let guard =
        Arc::new(Guard::new(&RedlockBuilder::new().nodes(["redis://127.0.0.1:1"]).validate().unwrap()));
    guard.write(&mut guard.refusals(), std::iter::once(0..10));
    let judge = Arc::clone(&guard);
    let news = thread::spawn(move || judge.write(&mut judge.refusals(), std::iter::once(30..40)));
    assert!(!counting(&guard).contains(&20), "a grant counts that neither evaluation counts");
    news.join().unwrap();
    assert_eq!(counting(&guard), 30..40);
}

/// The bug: the beginning was of the old evaluation and the end of the new one.
#[test]
fn both_ends_are_of_one_evaluation() {
    explore_all(|| read_beside_news(|guard| guard.counting(NODE)));
}

#[test]
fn two_ends_that_are_read_one_by_one_are_found() {
    finds("a grant counts that neither", || {
        read_beside_news(|guard| {
            let Counts { from, until } = &guard.counts[NODE.0];
            from.load(Ordering::SeqCst)..until.load(Ordering::SeqCst)
        });
    });
}
