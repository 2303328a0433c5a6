//! What a leader says of itself: a part of its token, and so on a node exactly as long as the token is.

/// The label of a leader's token, in the place of the owner label: the term, the time since when in milliseconds since
/// 1970, and the leader's own value, which may contain anything.
pub(crate) fn leader_label(term: u64, since_ms: u64, value: &str) -> String {
    format!("{PREFIX}{term}:{since_ms}:{value}")
}

const PREFIX: &str = "leader:";

/// What the label of a leader's token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaderLabel<'a> {
    pub(crate) term: u64,
    pub(crate) since_ms: u64,
    pub(crate) value: &'a str,
}

impl<'a> LeaderLabel<'a> {
    /// Parses the label of a token; `None` if it is not the label of a leader.
    pub(crate) fn parse(label: &'a str) -> Option<Self> {
        let mut parts = label.strip_prefix(PREFIX)?.splitn(3, ':');
        let (term, since_ms) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { term, since_ms, value: parts.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_labels_are_not_a_leaders() {
        for label in ["", "host:12", "leader:", "leader:1", "leader:1:2", "leader:x:2:v", "leader:1:-2:v"] {
            assert_eq!(LeaderLabel::parse(label), None, "{label}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read_back(term: u64, since_ms: u64, value: String) {
            let label = leader_label(term, since_ms, &value);
            prop_assert_eq!(LeaderLabel::parse(&label), Some(LeaderLabel { term, since_ms, value: &value }));
        }
    }
}
