//! Links between clients and nodes: a small TCP proxy for each, whose condition can be changed.

mod carry;
mod proxy;

use std::fmt;
use std::time::Duration;

use super::error::ClusterError;
use super::nemesis::{Nemesis, NemesisError, Nodes, Refusal, address_of, through};
use super::resp::Reply;
use proxy::Proxies;

/// The most clients with their own links. With 31 nodes that makes two thousand listeners.
pub const MAX_CLIENTS: usize = 64;

/// Nodes with a proxy between each client and each node, so that each link can be cut, slowed down or made lossy by
/// itself. Clients are numbered from 0 and use [`urls`](Self::urls).
///
/// The URLs of a node differ from client to client, and so does its default name. Waiting clients agree by these names
/// on the node that keeps the wait queue. Give each node the same name for all clients with `NodeOptions::name`, or a
/// wait ends by a timer instead of a notification.
///
/// The proxies run in one thread, which ends with this value. A proxied connection adds about 50 µs to a round trip. A
/// node that is down appears slightly different through a proxy: the connection is accepted, and then reset.
///
/// # Examples
///
/// ```no_run
/// use redlock_quorum::testing::{Clients, Link, Linked, LocalCluster};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let linked = Linked::new(LocalCluster::start(5)?, 2)?;
/// let (ours, theirs) = (linked.urls(0), linked.urls(1)); // for two clients
/// for node in 0..3 {
///     linked.set_link(Clients::One(0), node, Link::Cut);
/// }
/// // The first client has no quorum any more, the second one has.
/// # let _ = (ours, theirs);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Linked<N> {
    nodes: N,
    proxies: Proxies,
    urls: Vec<Vec<String>>,
}

/// A choice of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clients {
    /// Every client.
    All,
    /// The client with this number.
    One(usize),
}

/// The condition of the link between a client and a node, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Link {
    /// The link is as good as the machine's own network.
    #[default]
    Open,
    /// Nothing arrives and nothing is refused, as when packets are dropped. Bytes under way arrive when the link is
    /// open again, unless the connection was closed meanwhile.
    Cut,
    /// Existing and new connections are reset, as by a firewall that rejects.
    Reset,
    /// Everything takes longer.
    Slow {
        /// The delay, one way.
        latency: Duration,
        /// The largest random addition to the delay.
        jitter: Duration,
    },
    /// Packets are lost, and TCP sends them again. A loss delays the packet and all bytes behind it by 200 ms, and each
    /// further loss of the same packet by twice as long as the loss before.
    Lossy {
        /// The share of lost packets in percent, at most 90.
        percent: u8,
    },
    /// Bandwidth is scarce.
    Narrow {
        /// The bandwidth in each direction; at least 1.
        bytes_per_second: u32,
    },
}

impl<N: Nodes> Linked<N> {
    /// Puts proxies between `clients` clients, 1 to [`MAX_CLIENTS`], and `nodes`.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Address`] when a node's URL cannot lead through a proxy; [`ClusterError::System`].
    pub fn new(nodes: N, clients: usize) -> Result<Self, ClusterError> {
        let clients = clients.clamp(1, MAX_CLIENTS);
        let targets = (0..nodes.count()).map(|node| nodes.node_url(node)).collect::<Vec<_>>();
        let addresses = targets.iter().map(|url| address_of(url)).collect::<Result<Vec<_>, _>>()?;
        let proxies = Proxies::start(&addresses, clients)?;
        let urls = |client: usize| {
            let through = |(node, url): (usize, &String)| through(url, proxies.address(client, node));
            targets.iter().enumerate().map(through).collect::<Result<Vec<_>, _>>()
        };
        let urls = (0..clients).map(urls).collect::<Result<_, _>>()?;
        Ok(Self { nodes, proxies, urls })
    }

    /// The URLs of all nodes for one client.
    ///
    /// # Panics
    ///
    /// When there is no such client, as indexing does.
    #[must_use]
    pub fn urls(&self, client: usize) -> Vec<String> {
        self.urls[client].clone()
    }

    /// The nodes behind the proxies.
    #[must_use]
    pub fn nodes(&self) -> &N {
        &self.nodes
    }

    /// Changes the link of some clients to a node, at once and also for existing connections.
    ///
    /// # Panics
    ///
    /// When there is no such node or client, as indexing does.
    pub fn set_link(&self, from: Clients, node: usize, link: Link) {
        match from {
            Clients::All => (0..self.urls.len()).for_each(|client| self.proxies.set(client, node, link)),
            Clients::One(client) => self.proxies.set(client, node, link),
        }
    }
}

impl<N: Nodes> Nodes for Linked<N> {
    fn count(&self) -> usize {
        self.nodes.count()
    }

    /// The URL of the node itself, without a proxy.
    fn node_url(&self, node: usize) -> String {
        self.nodes.node_url(node)
    }

    fn check(&self, nemesis: &Nemesis) -> Result<(), Refusal> {
        match as_link(nemesis) {
            Some(_) => Ok(()),
            None => self.nodes.check(nemesis),
        }
    }

    fn apply(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        match as_link(nemesis) {
            // Nodes that can cut their network themselves, such as docker's, do it better than a proxy.
            Some(_) if self.nodes.check(nemesis).is_ok() => self.nodes.apply(node, nemesis),
            Some((from, link)) => {
                self.set_link(from, node, link);
                Ok(())
            }
            None => self.nodes.apply(node, nemesis),
        }
    }

    fn heal(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        match as_link(nemesis) {
            Some(_) if self.nodes.check(nemesis).is_ok() => self.nodes.heal(node, nemesis),
            Some((from, _)) => {
                self.set_link(from, node, Link::Open);
                Ok(())
            }
            None => self.nodes.heal(node, nemesis),
        }
    }

    fn ask(&self, node: usize, arguments: &[&str]) -> Result<Reply, ClusterError> {
        self.nodes.ask(node, arguments)
    }
}

/// The clients and the condition of their links for a nemesis of links; `None` for any other nemesis.
fn as_link(nemesis: &Nemesis) -> Option<(Clients, Link)> {
    match nemesis {
        Nemesis::Cut => Some((Clients::All, Link::Cut)),
        Nemesis::Link { from, link } => Some((*from, *link)),
        Nemesis::Kill { .. }
        | Nemesis::Restart { .. }
        | Nemesis::Pause
        | Nemesis::ClockStep { .. }
        | Nemesis::ClockRate { .. }
        | Nemesis::MemoryFull
        | Nemesis::FlushAll
        | Nemesis::ScriptFlush => None,
    }
}

impl fmt::Display for Link {
    /// Prints a part of a sentence: `slow by 20ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("reachable"),
            Self::Cut => f.write_str("cut off"),
            Self::Reset => f.write_str("refusing connections"),
            Self::Slow { latency, jitter } if jitter.is_zero() => write!(f, "slow by {latency:?}"),
            Self::Slow { latency, jitter } => write!(f, "slow by {latency:?} to {:?}", *latency + *jitter),
            Self::Lossy { percent } => write!(f, "losing {percent} % of packets"),
            Self::Narrow { bytes_per_second } => write!(f, "down to {bytes_per_second} bytes/s"),
        }
    }
}
