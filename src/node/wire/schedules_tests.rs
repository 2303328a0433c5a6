//! Schedules of callers, of one that is dropped, and of the task that moves the bytes.

use shuttle::future;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::tests::{Deaf, echo};
use super::*;
use crate::schedules::{ALL_WAIT, explore, finds};

/// A wire, and its peer.
fn connected() -> (Wire, DuplexStream) {
    let (ours, peer) = duplex(1024);
    let (stream, _) = Watched::new(Box::new(ours), Arc::new(Deaf));
    let (wire, driver) = Wire::new(stream, |_| {});
    drop(future::spawn(driver));
    (wire, peer)
}

/// Sends a command of which the peer makes the reply `number`.
async fn call(wire: Wire, number: u8) -> RedisResult<Value> {
    wire.send_packed_command(&echo(&number.to_string())).await
}

/// Answers this many commands of [`call`].
async fn answer(mut peer: DuplexStream, commands: usize) {
    let mut command = echo("0").get_packed_command();
    for _ in 0..commands {
        if peer.read_exact(&mut command).await.is_err() {
            return;
        }
        let number = command[command.len() - 3];
        let _ = peer.write_all(&[b':', number, b'\r', b'\n']).await;
    }
}

#[test]
fn each_caller_gets_its_own_reply() {
    explore(|| {
        let (wire, peer) = connected();
        drop(future::spawn(answer(peer, usize::MAX)));
        let (first, dropped) = (future::spawn(call(wire.clone(), 1)), future::spawn(call(wire.clone(), 2)));
        dropped.abort();
        assert_eq!(future::block_on(first).unwrap().unwrap(), Value::Int(1));
        if let Ok(reply) = future::block_on(dropped) {
            assert_eq!(reply.unwrap(), Value::Int(2));
        }
        assert_eq!(future::block_on(call(wire.clone(), 3)).unwrap(), Value::Int(3));
        let state = wire.0.state();
        assert_eq!(state.slots.len(), state.free.len(), "no slot is lost");
    });
}

#[test]
fn the_end_of_the_connection_ends_all_calls() {
    explore(|| {
        let (wire, peer) = connected();
        let calls = [1, 2].map(|number| future::spawn(call(wire.clone(), number)));
        future::block_on(answer(peer, 1));
        let replies = calls.map(|call| future::block_on(call).unwrap());
        assert!(replies.iter().filter(|reply| reply.is_ok()).count() <= 1, "{replies:?}");
    });
}

/// The search can fail: it finds a caller that looks first and says afterwards that it waits.
#[test]
fn a_caller_that_waits_too_late_is_found() {
    finds(ALL_WAIT, || {
        let (wire, peer) = connected();
        drop(future::spawn(answer(peer, usize::MAX)));
        let call = wire.call(1, |out| echo("1").write_packed_command(out)).unwrap();
        future::block_on(poll_fn(|cx| {
            if call.shared.state().slots[call.slot].missing == 0 {
                return Poll::Ready(());
            }
            call.shared.state().slots[call.slot].caller = Caller::Waits(cx.waker().clone());
            Poll::Pending
        }));
    });
}
