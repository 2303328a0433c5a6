//! Replies of either server, and when two of them are the same.

use std::fmt;
use std::io::{self, BufRead};

/// A reply as it is on the wire.
#[derive(Clone, PartialEq)]
pub(crate) enum Wire {
    /// A line: status, error, integer, double, null, boolean, with the letter that it begins with.
    Line(String),
    /// A string, with the letter that it begins with.
    Bulk(char, Vec<u8>),
    Nil,
    /// A list, map or push, with the letter that it begins with.
    List(char, Vec<Wire>),
}

/// From here on a whole number is a time in milliseconds, which differs by what passes between the two servers.
const MILLIS_FROM: f64 = 5_000.0;
const MILLIS_APART: f64 = 400.0;
/// From here on it is one in microseconds.
const MICROS_FROM: f64 = 1e14;
const MICROS_APART: f64 = 400_000.0;

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => f.write_str(line),
            Self::Bulk(kind, bytes) => write!(f, "{kind}{:?}", String::from_utf8_lossy(bytes)),
            Self::Nil => f.write_str("nil"),
            Self::List(kind, items) => write!(f, "{kind}{items:?}"),
        }
    }
}

impl Wire {
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let line = line.trim_end_matches(['\r', '\n']).to_owned();
        let kind = line.chars().next().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = line[1..].parse::<i64>().unwrap_or(-1);
        match kind {
            '$' | '=' if length < 0 => Ok(Self::Nil),
            '$' | '=' => {
                let mut bytes = vec![0; usize::try_from(length).unwrap() + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(Self::Bulk(kind, bytes))
            }
            '*' | '%' | '>' | '~' => {
                let count = if kind == '%' { 2 * length } else { length };
                let items = (0..count).map(|_| Self::read(from)).collect::<io::Result<_>>()?;
                Ok(Self::List(kind, items))
            }
            _ => Ok(Self::Line(line)),
        }
    }

    /// The text of a string.
    pub(crate) fn bulk(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(_, bytes) => Some(bytes),
            Self::Line(_) | Self::Nil | Self::List(..) => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(_, items) => items,
            Self::Line(_) | Self::Bulk(..) | Self::Nil => &[],
        }
    }

    /// The same with names and values, or single items, in order.
    pub(crate) fn sorted(self, size: usize) -> Self {
        let Self::List(kind, items) = self else { return self };
        let mut items: Vec<_> = items.into_iter().map(|item| item.sorted(1)).collect();
        let mut chunks: Vec<Vec<Self>> = Vec::new();
        while !items.is_empty() {
            chunks.push(items.drain(..size.min(items.len())).collect());
        }
        chunks.sort_by_key(|chunk| format!("{chunk:?}"));
        Self::List(kind, chunks.concat())
    }

    /// Whether two replies say the same, but for the time between them. Errors by their codes alone where the servers
    /// are of different versions.
    pub(crate) fn agrees(&self, other: &Self, texts: Texts) -> bool {
        match (self, other) {
            // A mistake in an option that nobody uses.
            (Self::Line(ours), Self::Line(theirs)) if ours.starts_with("-ERR not simulated") => {
                theirs.starts_with('-')
            }
            (Self::Line(ours), Self::Line(theirs)) if ours.starts_with('-') && texts == Texts::Codes => {
                ours.split(' ').next() == theirs.split(' ').next()
            }
            (Self::Line(ours), Self::Line(theirs)) => {
                ours == theirs || (ours[..1] == theirs[..1] && are_near(&ours[1..], &theirs[1..]))
            }
            (Self::Bulk(kind, ours), Self::Bulk(other, theirs)) => {
                let near = || are_near(&String::from_utf8_lossy(ours), &String::from_utf8_lossy(theirs));
                kind == other && (ours == theirs || near())
            }
            (Self::List(kind, ours), Self::List(other, theirs)) => {
                kind == other
                    && ours.len() == theirs.len()
                    && ours.iter().zip(theirs).all(|(ours, theirs)| ours.agrees(theirs, texts))
            }
            (ours, theirs) => ours == theirs,
        }
    }
}

/// How errors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    Whole,
    Codes,
}

fn are_near(ours: &str, theirs: &str) -> bool {
    let (Ok(ours), Ok(theirs)) = (ours.parse::<f64>(), theirs.parse::<f64>()) else { return false };
    let apart = (ours - theirs).abs();
    let least = ours.abs().min(theirs.abs());
    (least >= MICROS_FROM && apart <= MICROS_APART)
        || ((MILLIS_FROM..MICROS_FROM).contains(&least) && apart <= MILLIS_APART)
}

/// A request of these words.
pub(crate) fn request(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

pub(crate) fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}
