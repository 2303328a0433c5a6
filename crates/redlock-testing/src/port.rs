//! Ports that stay reserved while a server is down.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::ClusterError;

/// The range lies below the ports that Linux gives to outgoing connections (from 32768), so that neither a client's
/// connection nor a `bind` to port 0 takes the port of a server that is down.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// Distance between the first ports that two processes try, so that tests that run at the same time rarely collide.
const PROCESS_STRIDE: u32 = 97;

/// Number of ports that this process has tried.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// A TCP port that no other cluster on this machine takes, even while no server listens on the port.
///
/// A killed server frees its TCP port, and its restart needs the same port. The reservation is a UDP socket bound to
/// the same number: every cluster binds that first, nobody sends to it, and the system frees it with the process.
#[derive(Debug)]
pub(super) struct ReservedPort {
    port: u16,
    _reservation: UdpSocket,
}

impl ReservedPort {
    /// Takes the next port of the range that is free.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NoFreePort`] when every port of the range was tried.
    pub(super) fn take() -> Result<Self, ClusterError> {
        let span = u32::from(LAST - FIRST) + 1;
        let start = process::id().wrapping_mul(PROCESS_STRIDE);
        (0..span)
            .find_map(|_| {
                let offset = start.wrapping_add(LOOKED_AT.fetch_add(1, Ordering::Relaxed)) % span;
                Self::try_take(FIRST + u16::try_from(offset).ok()?)
            })
            .ok_or(ClusterError::NoFreePort { first: FIRST, last: LAST })
    }

    fn try_take(port: u16) -> Option<Self> {
        let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(Self { port, _reservation: reservation })
    }

    pub(super) fn number(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_twice_and_is_free_for_a_server() {
        let first = ReservedPort::take().unwrap();
        assert!(ReservedPort::try_take(first.number()).is_none());
        let _server = TcpListener::bind((Ipv4Addr::LOCALHOST, first.number())).unwrap();
        assert_ne!(ReservedPort::take().unwrap().number(), first.number());
    }

    #[test]
    fn a_port_with_a_listener_is_passed_over() {
        let port = ReservedPort::take().unwrap().number();
        let _server = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(ReservedPort::try_take(port).is_none());
    }
}
