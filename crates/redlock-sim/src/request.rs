//! Requests, read as their bytes arrive.

/// The most arguments and the longest argument that a request may have, as in Redis.
const ARGUMENTS_MAX: usize = 1024 * 1024;
const ARGUMENT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// What the bytes so far begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A request, and how many bytes it has taken. Without arguments it is nothing to answer.
    Request(Vec<Vec<u8>>, usize),
    /// Part of a request.
    Incomplete,
    /// No request; the text is the rest of `Protocol error: `.
    Wrong(String),
}

/// Reads one request from the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    match bytes.first() {
        None => Parsed::Incomplete,
        Some(b'*') => parse_array(bytes),
        Some(_) => parse_inline(bytes),
    }
}

fn parse_array(bytes: &[u8]) -> Parsed {
    let Some((line, mut at)) = line_at(bytes, 1) else { return Parsed::Incomplete };
    let count = match number(line) {
        Some(count) if count <= 0 => return Parsed::Request(vec![], at),
        Some(count) if count as usize <= ARGUMENTS_MAX => count as usize,
        Some(_) | None => return Parsed::Wrong("invalid multibulk length".into()),
    };
    let mut arguments = Vec::with_capacity(count.min(64));
    while arguments.len() < count {
        let Some(kind) = bytes.get(at) else { return Parsed::Incomplete };
        if *kind != b'$' {
            return Parsed::Wrong(format!("expected '$', got '{}'", char::from(*kind)));
        }
        let Some((line, start)) = line_at(bytes, at + 1) else { return Parsed::Incomplete };
        let length = match number(line) {
            Some(length) if length >= 0 && length as usize <= ARGUMENT_BYTES_MAX => length as usize,
            Some(_) | None => return Parsed::Wrong("invalid bulk length".into()),
        };
        if bytes.len() < start + length + 2 {
            return Parsed::Incomplete;
        }
        arguments.push(bytes[start..start + length].to_vec());
        at = start + length + 2;
    }
    Parsed::Request(arguments, at)
}

/// A line of words, as somebody types it. Quotes are not understood.
fn parse_inline(bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Parsed::Incomplete };
    let words = bytes[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    Parsed::Request(words.map(<[u8]>::to_vec).collect(), end + 1)
}

/// The line that begins at `from`, and where the next one begins.
fn line_at(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let end = from + bytes.get(from..)?.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[from..end], end + 2))
}

/// A whole number as Redis reads it: no plus, no leading zeros, no blanks.
pub(crate) fn number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_whole_or_not_at_all() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n";
        let request = vec![b"GET".to_vec(), b"k".to_vec()];
        for end in 0..20 {
            assert_eq!(parse(&bytes[..end]), Parsed::Incomplete, "{end}");
        }
        assert_eq!(parse(bytes), Parsed::Request(request, 20));
    }

    #[test]
    fn what_is_no_request_is_said() {
        assert_eq!(parse(b"*1\r\n+PING\r\n"), Parsed::Wrong("expected '$', got '+'".into()));
        assert_eq!(parse(b"*x\r\n"), Parsed::Wrong("invalid multibulk length".into()));
        assert_eq!(parse(b"*1\r\n$-1\r\n"), Parsed::Wrong("invalid bulk length".into()));
        assert_eq!(parse(b"PING\r\n"), Parsed::Request(vec![b"PING".to_vec()], 6));
    }

    #[test]
    fn numbers_are_plain() {
        for (text, wanted) in [("7", Some(7)), ("-7", Some(-7)), ("07", None), ("+7", None), ("", None)] {
            assert_eq!(number(text.as_bytes()), wanted, "{text}");
        }
    }
}
