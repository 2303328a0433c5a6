//! A connection against a peer that the tests play.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::{FutureExt, join};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::error::NodeFailure;
use crate::node::{Listener, Stream};
use crate::types::{Claim, KeySet};

/// The bytes that fit between us and the peer.
const PIPE: usize = 1024;

impl Stream for DuplexStream {
    fn abandon(&mut self) {}
}

pub(super) struct Deaf;

impl Listener for Deaf {
    fn handle_notified(&self, _: &str) {}
    fn handle_wanted(&self, _: &Claim, _: KeySet) {}
    fn handle_up(&self) {}
    fn handle_down(&self, _: &NodeFailure) {}
    fn handle_finished(&self) {}
    fn handle_written(&self) {}
    fn handle_read(&self) {}
    fn handle_pending(&self, _: usize) {}
}

/// A wire, its peer, and the names of the pushes.
fn connected() -> (Wire, DuplexStream, Arc<Mutex<Vec<String>>>) {
    let (ours, peer) = duplex(PIPE);
    let (stream, _) = Watched::new(Box::new(ours), Arc::new(Deaf));
    let pushes = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&pushes);
    let (wire, driver) = Wire::new(stream, move |push| told.lock().unwrap().push(push.kind.to_string()));
    tokio::spawn(driver);
    (wire, peer, pushes)
}

pub(super) fn echo(text: &str) -> Cmd {
    let mut cmd = redis::cmd("ECHO");
    cmd.arg(text);
    cmd
}

async fn read(peer: &mut DuplexStream, bytes: usize) -> String {
    let mut read = vec![0; bytes];
    peer.read_exact(&mut read).await.unwrap();
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn commands_go_out_in_order_and_replies_come_back_in_order() {
    let (wire, mut peer, _) = connected();
    let mut pipeline = Pipeline::new();
    pipeline.add_command(echo("b")).add_command(echo("c"));
    let (first, second) = (echo("a"), pipeline);
    let calls = join(wire.send_packed_command(&first), wire.send_packed_commands(&second));
    let peer = async {
        let sent = read(&mut peer, 3 * first.get_packed_command().len()).await;
        let told: Vec<&str> = ["a", "b", "c"].into_iter().filter(|text| sent.contains(text)).collect();
        assert_eq!(told, ["a", "b", "c"]);
        assert!(sent.find("\na\r") < sent.find("\nb\r") && sent.find("\nb\r") < sent.find("\nc\r"));
        peer.write_all(b"+OK\r\n:1\r\n:2\r\n").await.unwrap();
        peer
    };
    let ((first, second), _peer) = join(calls, peer).await;
    assert_eq!(first.unwrap(), Value::Okay);
    assert_eq!(second.unwrap(), [Value::Int(1), Value::Int(2)]);
}

#[tokio::test]
async fn the_reply_to_a_call_that_was_dropped_goes_to_nobody_else() {
    let (wire, mut peer, _) = connected();
    let (dropped, kept) = (echo("a"), echo("b"));
    assert!(wire.send_packed_command(&dropped).now_or_never().is_none());
    let reply = async {
        peer.write_all(b":1\r\n:2\r\n").await.unwrap();
        peer
    };
    let (reply, _peer) = join(wire.send_packed_command(&kept), reply).await;
    assert_eq!(reply.unwrap(), Value::Int(2));
    let state = wire.0.state();
    assert_eq!(state.slots.len(), state.free.len(), "no slot is lost");
}

/// A peer that hangs is owed nothing that nobody awaits any more.
#[tokio::test]
async fn commands_that_found_no_room_are_withdrawn() {
    let (wire, mut peer, _) = connected();
    let long = echo(&"x".repeat(OUT_MAX));
    assert!(wire.send_packed_command(&long).now_or_never().is_none());
    tokio::time::sleep(Duration::from_millis(1)).await;
    // The driver writes the first command; the second one fills its buffer.
    assert!(wire.send_packed_command(&long).now_or_never().is_none());
    for _ in 0..100 {
        assert!(wire.send_packed_command(&echo("withdrawn")).now_or_never().is_none());
    }
    let kept = echo("kept");
    let call = wire.send_packed_command(&kept);
    let peer = async {
        let expected = 2 * long.get_packed_command().len() + kept.get_packed_command().len();
        let sent = read(&mut peer, expected).await;
        assert!(sent.ends_with("kept\r\n") && !sent.contains("withdrawn"));
        peer.write_all(b":1\r\n:2\r\n:3\r\n").await.unwrap();
        peer
    };
    let (reply, _peer) = join(call, peer).await;
    assert_eq!(reply.unwrap(), Value::Int(3));
}

#[tokio::test]
async fn the_end_of_the_stream_ends_all_calls() {
    let (wire, peer, _) = connected();
    let (one, other) = (echo("a"), echo("b"));
    let end = async { drop(peer) };
    let ((one, other), ()) =
        join(join(wire.send_packed_command(&one), wire.send_packed_command(&other)), end).await;
    assert!(one.is_err() && other.is_err());
    assert!(wire.send_packed_command(&echo("c")).now_or_never().is_some_and(|reply| reply.is_err()));
}

#[tokio::test]
async fn a_driver_that_is_dropped_with_its_runtime_ends_all_calls() {
    let (ours, _peer) = duplex(PIPE);
    let (stream, _) = Watched::new(Box::new(ours), Arc::new(Deaf));
    let (wire, driver) = Wire::new(stream, |_| {});
    let cmd = echo("a");
    let (reply, ()) = join(wire.send_packed_command(&cmd), async { drop(driver) }).await;
    assert!(reply.is_err());
}

#[tokio::test]
async fn pushes_are_no_replies_but_those_of_subscriptions() {
    let (wire, mut peer, pushes) = connected();
    let message = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n";
    let subscribed = ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    peer.write_all(format!("{message}{subscribed}{message}").as_bytes()).await.unwrap();
    let cmd = echo("a");
    let call = wire.send_packed_command(&cmd);
    assert!(matches!(call.await, Ok(Value::Push { kind: redis::PushKind::Subscribe, .. })));
    tokio::task::yield_now().await;
    assert_eq!(*pushes.lock().unwrap(), ["message", "message"]);
}

/// What redis-rs makes of a reply, however its bytes arrive.
#[tokio::test]
async fn replies_are_decoded_wherever_they_are_cut() {
    let table = [
        "+OK\r\n",
        "+PONG\r\n",
        ":1\r\n",
        ":-12\r\n",
        "$-1\r\n",
        "_\r\n",
        "$5\r\na\r\nbc\r\n",
        "$0\r\n\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n$1\r\na\r\n*1\r\n:7\r\n",
        "%1\r\n+k\r\n,1.5\r\n",
        "~1\r\n#t\r\n",
        "-ERR wrong\r\n",
        "=5\r\ntxt:a\r\n",
        "(12345678901234567890\r\n",
        "!5\r\nERR x\r\n",
    ];
    for reply in table {
        let expected = redis::parse_redis_value(reply.as_bytes()).unwrap();
        for cut in 0..=reply.len() {
            let (wire, mut peer, _) = connected();
            let (before, after) = reply.as_bytes().split_at(cut);
            let cmd = echo("a");
            let peer = async {
                peer.write_all(before).await.unwrap();
                tokio::task::yield_now().await;
                peer.write_all(after).await.unwrap();
                peer
            };
            let (decoded, _peer) = join(wire.send_packed_command(&cmd), peer).await;
            assert_eq!(decoded.unwrap(), expected, "{reply:?} at {cut}");
        }
    }
}

#[tokio::test]
async fn nonsense_ends_the_connection() {
    let table = [
        "HTTP/1.1 400 Bad Request\r\n",
        "\r\n",
        "$x\r\n",
        "$-2\r\n",
        "*99999999999\r\n",
        "$5\r\nabcdefg\r\n",
        ":x\r\n",
    ];
    for nonsense in table {
        let (wire, mut peer, _) = connected();
        peer.write_all(nonsense.as_bytes()).await.unwrap();
        let (one, other) = (echo("a"), echo("b"));
        let (one, other) = join(wire.send_packed_command(&one), wire.send_packed_command(&other)).await;
        assert_eq!(one.map_err(|error| error.kind()), Err(redis::ErrorKind::Parse), "{nonsense:?}");
        assert_eq!(other.map_err(|error| error.is_io_error()), Err(true), "{nonsense:?}");
    }
}
