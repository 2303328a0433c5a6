//! The value found in the key of a lock: any bytes, written by any client.

use std::fmt::Write as _;
use std::sync::Arc;

use super::LeaderLabel;

/// The value of a lock's key. This library writes text; some implementations write random bytes, and two such values
/// that look the same when they are printed need not have the same owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FoundValue(Arc<[u8]>);

impl FoundValue {
    pub(crate) fn new(value: &[u8]) -> Self {
        Self(value.into())
    }

    /// The exact value, for comparison.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The label of one of our tokens; `None` for another value.
    pub(crate) fn label(&self) -> Option<&str> {
        let (label, random) = std::str::from_utf8(&self.0).ok()?.rsplit_once(':')?;
        (random.len() == 32).then_some(label)
    }

    /// The owner, for people to read: the owner label of one of our tokens, a leader's own value, else the whole value. Printable text stays
    /// as it is. In any other value, control characters are escaped as `\u{1b}`, bytes that are not UTF-8 as `\xff`,
    /// and backslashes as `\\`, because text that another client wrote must not control a terminal.
    pub(crate) fn owner(&self) -> String {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => {
                let label = self.label().unwrap_or(text);
                LeaderLabel::parse(label).map_or(label, |leader| leader.value).to_owned()
            }
            Ok(_) | Err(_) => escaped(&self.0),
        }
    }
}

fn escaped(value: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                shown.extend(c.escape_debug());
            } else {
                shown.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Token;

    #[test]
    fn an_owner_is_what_stands_before_the_random_part() {
        let owner = |value: &[u8]| FoundValue::new(value).owner();
        assert_eq!(owner(Token::new("host:12", 7).as_bytes()), "host:12");
        let leader = crate::types::leader_label(7, 8, "host:80");
        assert_eq!(owner(Token::new(&leader, 7).as_bytes()), "host:80");
        assert_eq!(owner(b"somebody else"), "somebody else");
        assert_eq!(owner(b"a:b"), "a:b");
        assert_eq!(owner(br"C:\jobs"), r"C:\jobs");
        assert_eq!(owner("größe".as_bytes()), "größe");
        assert_eq!(owner(b""), "");
    }

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        let owner = |value: &[u8]| FoundValue::new(value).owner();
        assert_eq!(owner(b"\xff\xfe"), r"\xff\xfe");
        assert_eq!(owner("ä\u{1b}[2J\u{9b}\0\n\\".as_bytes()), r"ä\u{1b}[2J\u{9b}\0\n\\");
        assert_eq!(owner(b"job\xc3"), r"job\xc3", "cut in the middle of a letter");
        assert!(!owner(&(0..=255).collect::<Vec<u8>>()).chars().any(char::is_control));
    }
}
