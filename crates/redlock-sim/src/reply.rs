//! Replies, and how they are written in RESP2 and RESP3.

use crate::version::Version;

/// What a command answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Status(String),
    /// With its code: `WRONGTYPE Operation against…`.
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Double(f64),
    /// Text to be read by people; RESP3 says so.
    Verbatim(String),
    Nil,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    /// Members and scores: pairs in RESP3, and names and scores in turn in RESP2.
    Scored(Vec<(Vec<u8>, f64)>),
    /// What the server says of itself.
    Push(Vec<Reply>),
    /// Several replies to one command, as `SUBSCRIBE` has them.
    Several(Vec<Reply>),
}

/// The protocol that a client has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Status("OK".into())
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }

    pub(crate) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// The value, or nil.
    pub(crate) fn of(value: Option<&impl AsRef<[u8]>>) -> Self {
        value.map_or(Self::Nil, |value| Self::Bulk(value.as_ref().to_vec()))
    }

    pub(crate) fn encode(&self, protocol: Protocol, version: Version, out: &mut Vec<u8>) {
        let is_resp3 = protocol == Protocol::Resp3;
        let mut line = |text: String| out.extend_from_slice(format!("{text}\r\n").as_bytes());
        match self {
            Self::Status(text) => line(format!("+{text}")),
            Self::Error(text) => line(format!("-{}", text.replace(['\r', '\n'], " "))),
            Self::Int(number) => line(format!(":{number}")),
            Self::Nil if is_resp3 => line("_".into()),
            Self::Nil => line("$-1".into()),
            Self::Bulk(bytes) => encode_bulk(bytes, out),
            Self::Double(number) if is_resp3 => line(format!(",{}", show(*number, version))),
            Self::Double(number) => encode_bulk(show(*number, version).as_bytes(), out),
            Self::Verbatim(text) if is_resp3 => line(format!("={}\r\ntxt:{text}", text.len() + 4)),
            Self::Verbatim(text) => encode_bulk(text.as_bytes(), out),
            Self::Array(items) => {
                line(format!("*{}", items.len()));
                items.iter().for_each(|item| item.encode(protocol, version, out));
            }
            Self::Push(items) => {
                line(format!("{}{}", if is_resp3 { '>' } else { '*' }, items.len()));
                items.iter().for_each(|item| item.encode(protocol, version, out));
            }
            Self::Map(fields) => {
                line(if is_resp3 { format!("%{}", fields.len()) } else { format!("*{}", 2 * fields.len()) });
                for (name, value) in fields {
                    name.encode(protocol, version, out);
                    value.encode(protocol, version, out);
                }
            }
            Self::Scored(members) => {
                line(format!("*{}", if is_resp3 { members.len() } else { 2 * members.len() }));
                for (member, score) in members {
                    if is_resp3 {
                        out.extend_from_slice(b"*2\r\n");
                    }
                    encode_bulk(member, out);
                    Self::Double(*score).encode(protocol, version, out);
                }
            }
            Self::Several(replies) => replies.iter().for_each(|reply| reply.encode(protocol, version, out)),
        }
    }
}

fn encode_bulk(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A score as the server shows it: with seventeen digits, and as short as possible since 7.2.
pub(crate) fn show(number: f64, version: Version) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if version.is_since_7_2() { show_shortest(number) } else { show_g17(number) }
}

/// C's `%.17g`.
pub(crate) fn show_g17(number: f64) -> String {
    let (sign, digits, exponent) = parts(&format!("{number:.16e}"));
    let plain = (-4..17).contains(&exponent);
    sign + &if plain { plain_digits(&digits, exponent) } else { scientific(&digits, exponent, 2) }
}

/// As few digits as tell the number from its neighbours; where they are many zeros, an exponent.
fn show_shortest(number: f64) -> String {
    let (sign, digits, exponent) = parts(&format!("{number:e}"));
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let power = exponent - length + 1;
    let plain = if power >= 0 { exponent < length + 7 } else { power > -7 || exponent.abs() < 4 };
    sign + &if plain { plain_digits(&digits, exponent) } else { scientific(&digits, exponent, 1) }
}

/// Sign, digits without the zeros at their end, and exponent of a number that Rust has written with an exponent.
fn parts(written: &str) -> (String, String, i32) {
    let (mantissa, exponent) = written.split_once('e').unwrap_or((written, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    (sign.to_owned(), digits.to_owned(), exponent.parse().unwrap_or(0))
}

fn plain_digits(digits: &str, exponent: i32) -> String {
    let Ok(whole) = usize::try_from(exponent + 1) else {
        return format!("0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    };
    if digits.len() <= whole {
        return format!("{digits}{}", "0".repeat(whole - digits.len()));
    }
    let (whole, fraction) = digits.split_at(whole);
    format!("{}.{fraction}", if whole.is_empty() { "0" } else { whole })
}

fn scientific(digits: &str, exponent: i32, width: usize) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:0width$}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From real servers.
    #[test]
    fn scores_are_shown_as_the_servers_show_them() {
        let table = [
            (0.1, "0.10000000000000001", "0.1"),
            (-3.0, "-3", "-3"),
            (1.5, "1.5", "1.5"),
            (1_795_877_482_785_107.0, "1795877482785107", "1795877482785107"),
            (1e20, "1e+20", "1e+20"),
            (0.0, "0", "0"),
            (1000.0, "1000", "1000"),
            (f64::INFINITY, "inf", "inf"),
        ];
        for (number, seven, eight) in table {
            assert_eq!(show(number, Version::Redis7), seven);
            assert_eq!(show(number, Version::Redis8), eight);
        }
    }

    #[test]
    fn each_protocol_has_its_own_words() {
        let encode = |reply: Reply, protocol| {
            let mut out = Vec::new();
            reply.encode(protocol, Version::Redis7, &mut out);
            String::from_utf8(out).unwrap()
        };
        let scored = Reply::Scored(vec![(b"a".to_vec(), 1.5)]);
        assert_eq!(encode(scored.clone(), Protocol::Resp2), "*2\r\n$1\r\na\r\n$3\r\n1.5\r\n");
        assert_eq!(encode(scored, Protocol::Resp3), "*1\r\n*2\r\n$1\r\na\r\n,1.5\r\n");
        assert_eq!(encode(Reply::Nil, Protocol::Resp2), "$-1\r\n");
        assert_eq!(encode(Reply::Verbatim("ab".into()), Protocol::Resp3), "=6\r\ntxt:ab\r\n");
    }
}
