//! Carries the bytes of one direction of a proxied connection.

use std::io;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::super::wait::now;
use super::Link;
use super::proxy::passable;

/// Most bytes of one read; commands are far smaller.
const CHUNK_BYTES: usize = 16 * 1024;
/// Most chunks under way in one direction. Beyond that the sender's own buffer fills, as in a network.
const UNDER_WAY: usize = 256;
/// The earliest time after which Linux sends a lost packet again.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);
/// Most packets lost, in percent. More loss would delay a chunk for longer than any test.
const PERCENT_MAX: u8 = 90;
/// Most losses of one packet. The packet then gets through with a delay of 6 s, which is longer than any client waits.
const LOST_MAX: u32 = 5;

/// Random numbers that decide which packets are lost and how late the others are. SplitMix64, seeded by the connection.
#[derive(Debug, Clone)]
pub(super) struct Lottery(u64);

impl Lottery {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from zero to below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        u64::try_from((u128::from(z) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

/// Carries bytes until the sender ends or either side fails. Bytes that were sent before the end still arrive.
pub(super) async fn carry(
    from: &TcpStream,
    to: &TcpStream,
    link: watch::Receiver<Link>,
    mut lottery: Lottery,
) -> io::Result<()> {
    let (queue, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let entering = link.clone();
    let departures = async move {
        let mut last = now();
        loop {
            let chunk = read(from).await?;
            if chunk.is_empty() {
                return Ok::<_, io::Error>(());
            }
            // A chunk never overtakes an earlier one, as in TCP.
            last = last.max(now() + delay(*entering.borrow(), chunk.len(), &mut lottery));
            if queue.send((last, chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    let mut leaving = link;
    let arrivals = async move {
        while let Some((due, chunk)) = arriving.recv().await {
            let wait = due.saturating_duration_since(now());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            passable(&mut leaving).await;
            write(to, &chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(departures, arrivals).map(drop)
}

fn delay(link: Link, bytes: usize, lottery: &mut Lottery) -> Duration {
    match link {
        Link::Open | Link::Cut | Link::Reset => Duration::ZERO,
        Link::Slow { latency, jitter } => {
            let most = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
            latency + Duration::from_micros(lottery.below(most.saturating_add(1)))
        }
        Link::Lossy { percent } => {
            let percent = u64::from(percent.min(PERCENT_MAX));
            let lost = (0..LOST_MAX).take_while(|_| lottery.below(100) < percent).count();
            RETRANSMIT_AFTER * ((1 << lost) - 1)
        }
        Link::Narrow { bytes_per_second } => {
            let nanos = bytes as u64 * 1_000_000_000 / u64::from(bytes_per_second.max(1));
            Duration::from_nanos(nanos)
        }
    }
}

/// Reads some bytes; none at the end of the stream.
async fn read(from: &TcpStream) -> io::Result<Vec<u8>> {
    let mut buffer = [0; CHUNK_BYTES];
    loop {
        from.readable().await?;
        match from.try_read(&mut buffer) {
            Ok(length) => return Ok(buffer[..length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write(to: &TcpStream, mut chunk: &[u8]) -> io::Result<()> {
    while !chunk.is_empty() {
        to.writable().await?;
        match to.try_write(chunk) {
            Ok(written) => chunk = &chunk[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
