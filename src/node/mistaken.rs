//! Diagnosis of a failed handshake: the server is full, or only one side speaks TLS.
//!
//! Servers rarely report either. A server that speaks TLS closes at the first plain byte, and one that does not waits
//! for the end of a line that never comes. A second, short connection with a few bytes therefore asks which of the
//! two the server speaks.

use std::io;
use std::time::Duration;

use super::failure;
use super::stream::Tcp;
use crate::error::{NodeFailure, TlsCause};

/// The time limit of the second connection, from its beginning to the answer. The limit is half of the default
/// connect timeout, which is what the first connection has left.
const ASKING_LIMIT: Duration = Duration::from_millis(500);

/// The number of bytes of an answer that are read.
const ANSWER_BYTES: usize = 64;

/// A TLS record with an empty greeting. Every TLS implementation answers it with an alert.
const TLS_QUESTION: &[u8] = &[0x16, 3, 1, 0, 4, 1, 0, 0, 0];
#[cfg(feature = "tls")]
const PLAIN_QUESTION: &[u8] = b"PING\r\n";

/// The first bytes of a TLS record from a server: an alert, or its greeting.
const TLS_ANSWERS: [[u8; 2]; 2] = [[0x15, 3], [0x16, 3]];

/// The failure that a server's very first bytes announce, if the server sends them unasked and then closes.
pub(super) fn of_first_bytes(bytes: &[u8]) -> Option<NodeFailure> {
    if is_tls(bytes) {
        return Some(tls_only());
    }
    let line = bytes.strip_prefix(b"-")?.split(|byte| *byte == b'\r').next()?;
    let said = String::from_utf8_lossy(line);
    if failure::is_full(&said) {
        return Some(NodeFailure::TooManyClients);
    }
    // Protected mode: a server without a password refuses connections from other hosts.
    said.starts_with("DENIED ").then(|| NodeFailure::Refused { detail: failure::detail(&said) })
}

/// The failure behind a plain connection that the server closed without a word, if the server speaks TLS.
pub(super) async fn of_silent_end(tcp: &Tcp) -> Option<NodeFailure> {
    is_tls(&ask(tcp, TLS_QUESTION).await).then(tls_only)
}

/// The failure behind an unanswered TLS greeting, if the server does not speak TLS.
#[cfg(feature = "tls")]
pub(super) async fn of_silent_greeting(tcp: &Tcp) -> Option<NodeFailure> {
    let answer = ask(tcp, PLAIN_QUESTION).await;
    let detail = || {
        format!("the answer to a plain question was {}", failure::detail(&String::from_utf8_lossy(&answer)))
    };
    let is_plain = matches!(answer.first(), Some(b'+' | b'-'));
    is_plain.then(|| NodeFailure::Tls { cause: TlsCause::NotTls, detail: detail() })
}

fn is_tls(bytes: &[u8]) -> bool {
    TLS_ANSWERS.iter().any(|answer| bytes.starts_with(answer))
}

fn tls_only() -> NodeFailure {
    NodeFailure::Tls { cause: TlsCause::TlsOnly, detail: "closed at the first plain byte".into() }
}

/// Returns the first bytes of the answer; empty if none arrive in time.
async fn ask(tcp: &Tcp, question: &[u8]) -> Vec<u8> {
    let answer = async {
        let stream = tcp.open_socket().await?;
        stream.writable().await?;
        // A few bytes always fit into the buffer of a new connection.
        stream.try_write(question)?;
        let mut answer = vec![0; ANSWER_BYTES];
        loop {
            stream.readable().await?;
            match stream.try_read(&mut answer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                length => {
                    answer.truncate(length?);
                    return io::Result::Ok(answer);
                }
            }
        }
    };
    tokio::time::timeout(ASKING_LIMIT, answer).await.map(Result::unwrap_or_default).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_server_says_of_its_own_accord_is_a_cause() {
        let kind = |bytes: &[u8]| of_first_bytes(bytes).map(|failure| failure.kind());
        assert_eq!(kind(b"-ERR max number of clients reached\r\n"), Some("too many clients"));
        assert_eq!(kind(b"-DENIED Redis is running in protected mode because ...\r\n"), Some("refused"));
        assert_eq!(kind(&[0x15, 3, 1, 0, 2, 2, 50]), Some("TLS failed"));
        for answer in
            [&b"%7\r\n+server\r\n"[..], b"-ERR unknown command 'HELLO'\r\n", b"-NOAUTH ...\r\n", b"", b"-"]
        {
            assert_eq!(kind(answer), None, "{answer:?}");
        }
    }
}
