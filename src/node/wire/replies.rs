//! Cuts the bytes of a connection into replies.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use redis::{ErrorKind, RedisError, Value};
use tokio::io::{AsyncRead, ReadBuf};

use super::closed;

/// The room for one read. Almost all replies are short.
const CHUNK: usize = 8 * 1024;
/// A longer line is none of a server's: names and numbers, or the text of an error.
const LINE_MAX: usize = 64 * 1024;
/// A longer reply is none to our commands. The longest, that of `INFO`, has some ten kilobytes.
const REPLY_MAX: usize = 64 * 1024 * 1024;

/// The longest array that is decoded here, and the most digits of a length in it. redis-rs takes some 15,000
/// instructions for the reply to `TIME`, a tenth of what a whole lock and its release take on five nodes.
const FEW: usize = 4;
const DIGITS_MAX: usize = 6;

/// The bytes that were read and not yet taken as replies.
#[derive(Default)]
pub(super) struct Reading {
    bytes: Vec<u8>,
    /// Where the next reply begins, and where the bytes end that were read.
    from: usize,
    until: usize,
    scan: Scan,
}

impl Reading {
    /// Reads once. An end of the stream is an error.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Poll<Result<(), RedisError>> {
        self.make_room()?;
        let mut buffer = ReadBuf::new(&mut self.bytes[self.until..]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        match buffer.filled().len() {
            0 => Poll::Ready(Err(closed())),
            read => {
                self.until += read;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn make_room(&mut self) -> Result<(), RedisError> {
        if self.from > 0 {
            self.bytes.copy_within(self.from..self.until, 0);
            self.until -= self.from;
            self.from = 0;
        }
        if self.until > REPLY_MAX {
            return Err(malformed("a reply of more than 64 MB"));
        }
        if self.bytes.len() < self.until + CHUNK / 2 {
            self.bytes.resize((self.until * 2).max(CHUNK), 0);
        }
        Ok(())
    }

    /// Takes the next reply if all of it was read.
    pub(super) fn next(&mut self) -> Result<Option<Value>, RedisError> {
        let bytes = &self.bytes[self.from..self.until];
        let Some(length) = self.scan.end_of_reply(bytes)? else { return Ok(None) };
        self.scan = Scan::default();
        let reply = decode(&bytes[..length])?;
        self.from += length;
        Ok(Some(reply))
    }
}

/// Finds the end of one reply, and remembers how far it has looked.
struct Scan {
    at: usize,
    /// The number of values that the reply still has.
    values: u64,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: 0, values: 1 }
    }
}

impl Scan {
    /// The length of the reply at the beginning of `bytes`; `None` if it is not complete.
    fn end_of_reply(&mut self, bytes: &[u8]) -> Result<Option<usize>, RedisError> {
        while self.values > 0 {
            let rest = &bytes[self.at..];
            let Some(line) = rest.iter().position(|byte| *byte == b'\n') else {
                return if rest.len() > LINE_MAX {
                    Err(malformed("a line without an end"))
                } else {
                    Ok(None)
                };
            };
            let header = &rest[..line];
            let mut length = line + 1;
            let mut inside = 0;
            match header.first() {
                Some(b'$' | b'=' | b'!') => length += blob(header)?,
                Some(b'*' | b'~' | b'>') => inside = count(header)?,
                Some(b'%') => inside = 2 * count(header)?,
                // Attributes come before the value that they belong to.
                Some(b'|') => inside = 2 * count(header)? + 1,
                Some(b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') => {}
                Some(_) | None => return Err(malformed("no reply begins like this")),
            }
            if rest.len() < length {
                return Ok(None);
            }
            self.at += length;
            self.values = (self.values - 1).saturating_add(inside);
        }
        Ok(Some(self.at))
    }
}

/// The bytes of a blob behind its header, with the end of their line.
fn blob(header: &[u8]) -> Result<usize, RedisError> {
    match number(header)? {
        -1 if header[0] == b'$' => Ok(0),
        bytes => match usize::try_from(bytes) {
            Ok(bytes) if bytes <= REPLY_MAX => Ok(bytes + 2),
            Ok(_) | Err(_) => Err(malformed("a blob of an impossible length")),
        },
    }
}

/// The number of values in an aggregate, -1 for none at all.
fn count(header: &[u8]) -> Result<u64, RedisError> {
    match (number(header)?, header[0]) {
        (-1, b'*' | b'~' | b'>') => Ok(0),
        // Each value has at least three bytes.
        (count, _) => match u64::try_from(count) {
            Ok(count) if count <= REPLY_MAX as u64 => Ok(count),
            Ok(_) | Err(_) => Err(malformed("an impossible number of values")),
        },
    }
}

/// The number in a header like `$5\r`.
fn number(header: &[u8]) -> Result<i64, RedisError> {
    let digits = header[1..].strip_suffix(b"\r");
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.ok_or_else(|| malformed("a length that is no number"))
}

/// Decodes one complete reply. The replies to most commands are decoded here.
fn decode(reply: &[u8]) -> Result<Value, RedisError> {
    match reply {
        b"+OK\r\n" => Ok(Value::Okay),
        b"_\r\n" | b"$-1\r\n" => Ok(Value::Nil),
        [b':', digit @ b'0'..=b'9', b'\r', b'\n'] => Ok(Value::Int(i64::from(digit - b'0'))),
        other => few_blobs(other).map_or_else(|| redis::parse_redis_value(other), Ok),
    }
}

/// An array of a few blobs, as the reply to `TIME` is; `None` for any other reply.
fn few_blobs(reply: &[u8]) -> Option<Value> {
    let (count, mut rest) = length(reply.strip_prefix(b"*")?)?;
    let mut blobs = Vec::with_capacity(Some(count).filter(|count| *count <= FEW)?);
    for _ in 0..count {
        let (length, blob) = length(rest.strip_prefix(b"$")?)?;
        blobs.push(Value::BulkString(blob.get(..length)?.to_vec()));
        rest = blob.get(length..)?.strip_prefix(b"\r\n")?;
    }
    rest.is_empty().then_some(Value::Array(blobs))
}

/// A length of few digits, and what comes behind its line.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let digits = bytes.iter().take(DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
    let rest = bytes[digits..].strip_prefix(b"\r\n").filter(|_| digits > 0)?;
    Some((bytes[..digits].iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0')), rest))
}

fn malformed(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Parse, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_is_decoded_here_is_what_redis_rs_would_make_of_it() {
        let replies: [&[u8]; 14] = [
            b"+OK\r\n",
            b"_\r\n",
            b"$-1\r\n",
            b":7\r\n",
            b":12\r\n",
            b"*2\r\n$10\r\n1800000015\r\n$6\r\n657251\r\n",
            b"*2\r\n$0\r\n\r\n$3\r\na\r\n\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*1\r\n$-1\r\n",
            b"*2\r\n$1\r\na\r\n:5\r\n",
            b"*5\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
            b"*1\r\n*1\r\n$1\r\na\r\n",
            b"%1\r\n$1\r\na\r\n$1\r\nb\r\n",
        ];
        for reply in replies {
            let expected = redis::parse_redis_value(reply);
            assert_eq!(decode(reply).ok(), expected.ok(), "{}", reply.escape_ascii());
        }
        assert!(few_blobs(replies[5]).is_some() && few_blobs(replies[6]).is_some());
        for broken in [
            &b"*2\r\n$1\r\na\r\n"[..],
            b"*1\r\n$2\r\na\r\n",
            b"*1\r\n$x\r\na\r\n",
            b"*\r\n",
            b"*1\r\n$1\r\nab\r\n",
        ] {
            assert_eq!(few_blobs(broken), None, "{}", broken.escape_ascii());
        }
    }
}
