//! Fencing tokens over the quorum: numbers that grow with every grant of a resource, without any assumption about
//! time. SAFETY.md has the argument; `models/fencing/` checks a model of it exhaustively.
//!
//! Each node keeps, for each resource, the highest token that it has seen. An attempt that wants token t must raise
//! that number **strictly** to t on a quorum of the nodes that granted. The tokens are unique, because two attempts
//! with the same token would both have raised one common node strictly to it. The tokens are in order, because an
//! attempt that starts after another one returned finds the other's token on a common node and must exceed it.

use super::{NodeSet, Quorum};
use crate::types::NodeId;

/// The largest token. Nodes keep scores as doubles, which are exact up to 2^53. Half of that is reached in the year
/// 2112, in microseconds.
pub(crate) const TOKEN_MAX: u64 = 1 << 52;

/// A node's answer to "raise your score to t".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Raise {
    /// The score was lower and is t now.
    Raised,
    /// The score was t already, or more.
    Stale,
}

/// A stored score that no token can exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScoreTooHigh(pub(crate) f64);

/// Returns the token to propose: the wall clock in microseconds, or one more than the highest token that this client
/// has seen, whichever is larger. If the clocks are equal, all nodes accept in one round trip; a clock that lags only
/// costs a second one.
pub(crate) fn proposal(wall_micros: u64, seen: u64) -> Result<u64, ScoreTooHigh> {
    above(seen, wall_micros, 0)
}

/// Returns the token to raise to after `scores` were read on a quorum of the nodes that granted. A caller whose
/// previous round lost against a faster attempt passes a `margin` that is added.
pub(crate) fn next_token(scores: &[f64], wall_micros: u64, margin: u64) -> Result<u64, ScoreTooHigh> {
    #[expect(clippy::cast_precision_loss, reason = "TOKEN_MAX is exact in a double")]
    let limit = TOKEN_MAX as f64;
    let highest = scores.iter().copied().fold(0.0, f64::max);
    // NaN cannot be stored as a score, and is not below the limit either.
    if !scores.iter().all(|score| *score < limit) {
        return Err(ScoreTooHigh(highest));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^52")]
    above(highest.ceil() as u64, wall_micros, margin)
}

fn above(highest: u64, wall_micros: u64, margin: u64) -> Result<u64, ScoreTooHigh> {
    let token = (highest + 1).max(wall_micros).saturating_add(margin);
    #[expect(clippy::cast_precision_loss, reason = "for a message")]
    if token > TOKEN_MAX { Err(ScoreTooHigh(highest as f64)) } else { Ok(token) }
}

/// A proposed token, and the answers of the nodes that granted the attempt.
///
/// Only a node that granted **and** raised counts. A node that answers "stale" has a score that another attempt may
/// have got as its token.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    quorum: Quorum,
    token: u64,
    granted: NodeSet,
    raised: NodeSet,
}

impl Proposal {
    pub(crate) fn new(quorum: Quorum, token: u64) -> Self {
        Self { quorum, token, granted: NodeSet::EMPTY, raised: NodeSet::EMPTY }
    }

    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    pub(crate) fn handle_granted(&mut self, node: NodeId, raise: Raise) {
        self.granted.insert(node);
        match raise {
            Raise::Raised => self.raised.insert(node),
            Raise::Stale => self.raised.remove(node),
        }
    }

    /// Whether a quorum granted and raised, so that the proposal is the token.
    pub(crate) fn is_won(&self) -> bool {
        self.quorum.is_met_by(self.raised)
    }

    /// The nodes on which a second round must raise: all that granted.
    pub(crate) fn granted(&self) -> NodeSet {
        self.granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::QuorumSize;
    use proptest::prelude::*;

    #[test]
    fn the_proposal_is_the_clock_or_more_than_what_was_seen() {
        assert_eq!(proposal(1_000, 0), Ok(1_000));
        assert_eq!(proposal(1_000, 999), Ok(1_000));
        assert_eq!(proposal(1_000, 1_000), Ok(1_001), "strictly more");
        assert_eq!(proposal(1_000, 5_000), Ok(5_001));
        assert_eq!(proposal(0, 0), Ok(1), "0 is never issued");
    }

    #[test]
    fn nothing_above_2_to_the_52_is_ever_sent() {
        assert_eq!(proposal(TOKEN_MAX, 0), Ok(TOKEN_MAX));
        assert!(proposal(TOKEN_MAX + 1, 0).is_err());
        assert!(proposal(1, TOKEN_MAX).is_err());
        assert!(next_token(&[1.0, TOKEN_MAX as f64], 5, 0).is_err());
        assert!(next_token(&[f64::INFINITY], 5, 0).is_err());
        assert!(next_token(&[f64::NAN], 5, 0).is_err());
        assert!(next_token(&[1.0], TOKEN_MAX - 1, 2).is_err());
    }

    #[test]
    fn a_stale_grant_does_not_count() {
        let mut proposal = Proposal::new(Quorum::new(5, QuorumSize::Majority).unwrap(), 7);
        for (node, raise) in [(0, Raise::Raised), (1, Raise::Stale), (4, Raise::Raised)] {
            proposal.handle_granted(NodeId(node), raise);
        }
        assert!(!proposal.is_won());
        assert_eq!(proposal.granted().iter().collect::<Vec<_>>(), [NodeId(0), NodeId(1), NodeId(4)]);
        proposal.handle_granted(NodeId(2), Raise::Raised);
        assert!(proposal.is_won());
    }

    proptest! {
        #[test]
        fn the_next_token_exceeds_every_score(
            scores in prop::collection::vec(0u64..TOKEN_MAX / 2, 0..7),
            wall in 0u64..TOKEN_MAX / 2,
            margin in 0u64..1_000_000,
        ) {
            let doubles: Vec<f64> = scores.iter().map(|score| *score as f64).collect();
            let token = next_token(&doubles, wall, margin).unwrap();
            prop_assert!(token >= wall.max(1) && scores.iter().all(|score| token > *score));
        }
    }
}
