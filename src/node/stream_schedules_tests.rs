//! Schedules of the task that writes and reads, and of the one that looks for silence.

use shuttle::{future, thread};

use super::*;
use crate::schedules::{ALL_WAIT, explore_all, finds};

/// Writes twice and reads once beside `watch`, which must return because the last write is never answered.
fn writes_beside(watch: fn(&Activity)) {
    let activity = Arc::new(Activity::default());
    let watched = Arc::clone(&activity);
    let watcher = thread::spawn(move || watch(&watched));
    activity.handle_written(1);
    activity.handle_read(b"+OK");
    activity.handle_written(1);
    watcher.join().unwrap();
}

#[test]
fn no_unanswered_write_is_missed() {
    explore_all(|| writes_beside(|activity| future::block_on(activity.anything_unanswered())));
}

/// The search can fail: it finds a watcher that says only after it has looked that it must be woken.
#[test]
fn a_watcher_that_asks_too_late_is_found() {
    finds(ALL_WAIT, || {
        writes_beside(|activity| {
            future::block_on(async {
                while activity.written.load(Ordering::SeqCst) <= activity.answered.load(Ordering::SeqCst) {
                    activity.watched.store(false, Ordering::SeqCst);
                    activity.woken.notified().await;
                }
            });
        });
    });
}
