//! One command over one blocking connection: enough of the Redis protocol for a test to examine a server without the
//! library that it tests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::wait::Deadline;

/// The longest line and string that are read, as in Redis itself (`proto-max-bulk-len`).
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// The deepest nesting of arrays that is read. Only the table of a script nests deeper in Redis.
const MAX_DEPTH: usize = 16;

/// The answer of a server. Bytes that are not UTF-8 are replaced by U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Nothing: a missing key, a condition that did not hold.
    Nil,
    /// An integer.
    Int(i64),
    /// A status such as `OK` or `PONG`.
    Simple(String),
    /// A string, mostly a value.
    Bulk(String),
    /// Several replies.
    Array(Vec<Reply>),
    /// An error by the server, with its code: `WRONGTYPE Operation against a key …`.
    Error(String),
}

impl Reply {
    /// The text of a status or string reply; `None` for all others.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Simple(text) | Self::Bulk(text) => Some(text),
            Self::Nil | Self::Int(_) | Self::Array(_) | Self::Error(_) => None,
        }
    }

    /// The number of an integer reply; `None` for all others, also for a string of digits.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Nil | Self::Simple(_) | Self::Bulk(_) | Self::Array(_) | Self::Error(_) => None,
        }
    }
}

/// Connects, authenticates when there is a password, sends one command and reads its reply, all within `limit`.
///
/// # Errors
///
/// `TimedOut` after `limit`; `InvalidData` when the answer is not RESP2 or exceeds a limit; else the connection's
/// error.
pub(super) fn call(
    address: SocketAddr,
    password: Option<&str>,
    arguments: &[&str],
    limit: Duration,
) -> io::Result<Reply> {
    call_as(address, password.as_slice(), arguments, limit)
}

/// As [`call`], with the arguments of `AUTH`: none, a password, or a user and a password.
pub(super) fn call_as(
    address: SocketAddr,
    login: &[&str],
    arguments: &[&str],
    limit: Duration,
) -> io::Result<Reply> {
    let deadline = Deadline::after(limit);
    let stream = TcpStream::connect_timeout(&address, remaining(deadline)?).map_err(timed_out)?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(Timed { stream, deadline });
    if !login.is_empty() {
        exchange(&mut stream, &[&["AUTH"], login].concat())?;
    }
    exchange(&mut stream, arguments)
}

fn exchange(stream: &mut BufReader<Timed>, arguments: &[&str]) -> io::Result<Reply> {
    stream.get_mut().write_all(&encode(arguments))?;
    read_reply(stream, MAX_DEPTH)
}

fn encode(arguments: &[&str]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        command.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
    }
    command
}

fn read_reply(stream: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    let depth = depth.checked_sub(1).ok_or_else(|| invalid("arrays are nested too deep"))?;
    let line = read_line(stream)?;
    let mut characters = line.chars();
    let kind = characters.next();
    let rest = characters.as_str();
    match kind {
        Some('+') => Ok(Reply::Simple(rest.to_owned())),
        Some('-') => Ok(Reply::Error(rest.to_owned())),
        Some(':') => Ok(Reply::Int(number(rest)?)),
        Some('$') => match length(rest)? {
            Some(length) => read_bulk(stream, length),
            None => Ok(Reply::Nil),
        },
        Some('*') => match length(rest)? {
            Some(length) => {
                (0..length).map(|_| read_reply(stream, depth)).collect::<io::Result<_>>().map(Reply::Array)
            }
            None => Ok(Reply::Nil),
        },
        Some(_) | None => Err(invalid("the answer is not in the Redis protocol")),
    }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(MAX_BYTES).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None if line.ends_with(b"\n") => Err(invalid("a line ends without a carriage return")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_bulk(stream: &mut impl BufRead, length: u64) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    stream.take(length + 2).read_to_end(&mut bytes)?;
    match bytes.strip_suffix(b"\r\n") {
        Some(text) if text.len() as u64 == length => {
            Ok(Reply::Bulk(String::from_utf8_lossy(text).into_owned()))
        }
        Some(_) | None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The length of a string or array; `None` for -1, which is nil.
fn length(text: &str) -> io::Result<Option<u64>> {
    match number(text)? {
        -1 => Ok(None),
        length => match u64::try_from(length) {
            Ok(length) if length <= MAX_BYTES => Ok(Some(length)),
            Ok(_) | Err(_) => Err(invalid("a length is negative or too large")),
        },
    }
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| invalid("a number is unreadable"))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A stream with one deadline for all its reads and writes.
struct Timed {
    stream: TcpStream,
    deadline: Deadline,
}

fn remaining(deadline: Deadline) -> io::Result<Duration> {
    deadline.remaining().ok_or_else(|| io::ErrorKind::TimedOut.into())
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(self.deadline)?))?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(remaining(self.deadline)?))?;
        self.stream.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Turns `WouldBlock` into `TimedOut`, because a socket's time limit shows as `WouldBlock` on Unix.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_read() {
        let table = [
            ("+OK\r\n", Reply::Simple("OK".into())),
            ("-ERR no\r\n", Reply::Error("ERR no".into())),
            (":-7\r\n", Reply::Int(-7)),
            ("$-1\r\n", Reply::Nil),
            ("*-1\r\n", Reply::Nil),
            ("$0\r\n\r\n", Reply::Bulk(String::new())),
            ("$4\r\na\r\nb\r\n", Reply::Bulk("a\r\nb".into())),
            ("*0\r\n", Reply::Array(vec![])),
            (
                "*2\r\n:1\r\n*1\r\n$1\r\nx\r\n",
                Reply::Array(vec![Reply::Int(1), Reply::Array(vec![Reply::Bulk("x".into())])]),
            ),
        ];
        for (wire, expected) in table {
            assert_eq!(read_reply(&mut wire.as_bytes(), MAX_DEPTH).unwrap(), expected, "{wire:?}");
        }
    }

    #[test]
    fn what_is_not_a_reply_is_an_error() {
        let nested = "*1\r\n".repeat(MAX_DEPTH + 1);
        let table = [
            ("", io::ErrorKind::UnexpectedEof),
            ("+OK", io::ErrorKind::UnexpectedEof),
            ("$3\r\nab\r\n", io::ErrorKind::UnexpectedEof),
            ("+OK\n", io::ErrorKind::InvalidData),
            ("HTTP/1.1 400\r\n", io::ErrorKind::InvalidData),
            ("\r\n", io::ErrorKind::InvalidData),
            (":seven\r\n", io::ErrorKind::InvalidData),
            ("$-2\r\n", io::ErrorKind::InvalidData),
            ("$99999999999\r\n", io::ErrorKind::InvalidData),
            (nested.as_str(), io::ErrorKind::InvalidData),
        ];
        for (wire, expected) in table {
            assert_eq!(read_reply(&mut wire.as_bytes(), MAX_DEPTH).unwrap_err().kind(), expected, "{wire:?}");
        }
    }

    #[test]
    fn arguments_are_counted_in_bytes() {
        assert_eq!(encode(&["SET", "ä"]), "*2\r\n$3\r\nSET\r\n$2\r\nä\r\n".as_bytes());
    }
}
