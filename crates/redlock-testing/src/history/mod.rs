//! Judges what the clients of a run recorded: whether two of them ever held the same resource, whether fencing tokens
//! grew, whether waiters acquired locks after the faults, whether keys outlived their release.
//!
//! Everything here is a pure function of what the caller recorded. Times are nanoseconds of **one clock for all
//! clients**: on one machine `CLOCK_BOOTTIME` or `CLOCK_MONOTONIC`, in a simulation the simulation's own time, but
//! never a wall clock that is stepped, nor the clocks of several machines.
//!
//! # Recording
//!
//! A recorded window must lie inside the real one, so that the recording itself never causes a violation:
//!
//! | field | sampled |
//! |---|---|
//! | [`requested_at`](Section::requested_at) | before the call that acquires the lock |
//! | [`acquired_at`](Section::acquired_at) | after that call returned |
//! | [`deadline`](Section::deadline) | from the guard, last read just before the section ends if the lease is renewed |
//! | [`ended_at`](Section::ended_at) | before the call that releases the lock, or when the loss is noticed |
//!
//! # Examples
//!
//! ```
//! use redlock_quorum::testing::history::{Section, Sharing, check};
//!
//! let section = |client: &str, acquired_at, ended_at, token| Section {
//!     client: client.to_owned(),
//!     resource: "invoice:42".to_owned(),
//!     sharing: Sharing::Exclusive,
//!     requested_at: acquired_at - 1,
//!     acquired_at,
//!     deadline: acquired_at + 100,
//!     ended_at: Some(ended_at),
//!     fencing_token: Some(token),
//! };
//! check(&[section("a", 10, 20, 7), section("b", 25, 40, 8)]).assert_ok();
//!
//! let verdict = check(&[section("a", 10, 30, 7), section("b", 25, 40, 8)]);
//! assert!(verdict.to_string().contains("both held invoice:42"));
//! ```

mod breach;
mod exclusion;
mod fencing;
mod loss;
#[cfg(test)]
mod pairs;
mod permits;
mod progress;
mod section;
#[cfg(test)]
mod tests;
mod verdict;
mod writes;

pub use breach::{Assumption, Breach};
pub use loss::{LossNotice, Standstill, check_losses};
pub use permits::check_permits;
pub use progress::{LeftKey, Waiter, check_left_keys, check_progress, check_progress_of};
pub use section::{Section, Sharing};
pub use verdict::{OVERLAP_LIMIT, Order, Verdict, Violation};
pub use writes::{Answer, Write, check_writes};

/// Judges exclusion and fencing tokens.
///
/// - No two validity windows of a resource overlap, unless both are [`Sharing::Shared`].
/// - No two sections of a resource have the same fencing token.
/// - Tokens grow. A section that was requested after another one had been acquired has the larger token
///   ([`Order::Requested`]). A section whose window began after another window had ended has the larger token, unless
///   both are shared ([`Order::Ended`]). Sections without a token are ignored.
/// - No section ended before it was acquired, or was acquired before it was requested. Such a history is wrong.
///
/// All overlaps are reported, up to [`OVERLAP_LIMIT`] in total. Of several tokens that a section should have exceeded,
/// only the largest is reported. Takes O(n log n + reported overlaps).
pub fn check(sections: &[Section]) -> Verdict {
    let mut overlaps = Vec::new();
    let mut tokens = Vec::new();
    for sections in section::by_resource(sections).values() {
        overlaps.extend(exclusion::check(sections).take(OVERLAP_LIMIT - overlaps.len()));
        tokens.extend(fencing::check(sections));
    }
    let misrecorded = section::check_form(sections);
    Verdict::new(sections.len(), misrecorded.chain(overlaps).chain(tokens))
}
