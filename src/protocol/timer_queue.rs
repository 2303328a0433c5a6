//! The timer queue: items and the times at which they are due, without a timer of its own.

use std::collections::BTreeMap;

use crate::types::Moment;

/// Items by the time at which each is due. An item is addressed by that time and its number, so an item that is not
/// needed any more is removed at once, without a search.
#[derive(Debug)]
pub(crate) struct TimerQueue<T>(BTreeMap<(Moment, u64), T>);

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> TimerQueue<T> {
    pub(crate) fn insert(&mut self, at: Moment, number: u64, item: T) {
        self.0.insert((at, number), item);
    }

    /// Removes and returns the item, if it is still there.
    pub(crate) fn remove(&mut self, at: Moment, number: u64) -> Option<T> {
        self.0.remove(&(at, number))
    }

    /// Removes and returns the items that are due, the earliest first, at most `limit` of them.
    pub(crate) fn take_due(&mut self, now: Moment, limit: usize) -> Vec<T> {
        let mut due = Vec::new();
        while due.len() < limit
            && let Some(first) = self.0.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }

    /// When the next item is due.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.0.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    #[test]
    fn many_items_at_one_moment_are_all_kept() {
        let mut timers = TimerQueue::default();
        for number in 0..5 {
            timers.insert(at(7), number, number);
        }
        assert_eq!(timers.remove(at(7), 3), Some(3));
        assert_eq!(timers.remove(at(7), 3), None, "once");
        assert!(timers.take_due(at(6), 10).is_empty(), "the moment has not come");
        assert_eq!(timers.take_due(at(7), 3), [0, 1, 2]);
        assert_eq!(timers.take_due(at(7), 3), [4]);
        assert!(timers.is_empty());
    }

    proptest! {
        /// The queue behaves like a list that is searched from end to end.
        #[test]
        fn it_gives_what_a_list_would(steps in proptest::collection::vec((0_u64..50, 0_u8..4), 1..200)) {
            let mut timers = TimerQueue::default();
            let mut list: Vec<(u64, u64)> = Vec::new();
            for (number, (time, step)) in steps.into_iter().enumerate() {
                let number = number as u64;
                match step {
                    0 | 1 => {
                        timers.insert(at(time), number, number);
                        list.push((time, number));
                    }
                    2 => if let Some((time, number)) = list.pop() {
                        prop_assert_eq!(timers.remove(at(time), number), Some(number));
                    },
                    _ => {
                        list.sort_unstable();
                        let due = list.iter().filter(|(due, _)| *due <= time).map(|(_, number)| *number);
                        let due: Vec<_> = due.take(3).collect();
                        prop_assert_eq!(timers.take_due(at(time), 3), due.clone());
                        list.retain(|(_, number)| !due.contains(number));
                    }
                }
                prop_assert_eq!(timers.next(), list.iter().map(|(time, _)| at(*time)).min());
            }
        }
    }
}
