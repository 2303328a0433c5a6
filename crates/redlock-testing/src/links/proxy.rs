//! The listeners, and the thread that serves them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use super::super::error::ClusterError;
use super::Link;
use super::carry::{Lottery, carry};

/// Pause after a failed accept, which is mostly caused by a temporary lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A listener for each client and node. Drop ends the thread and all connections.
#[derive(Debug)]
pub(super) struct Proxies {
    addresses: Vec<Vec<SocketAddr>>,
    links: Vec<Vec<watch::Sender<Link>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Listening {
    listener: TcpListener,
    node: SocketAddr,
    link: watch::Receiver<Link>,
}

impl Proxies {
    pub(super) fn start(nodes: &[SocketAddr], clients: usize) -> Result<Self, ClusterError> {
        let failed =
            |source| ClusterError::System { action: "start proxies on", path: "127.0.0.1".into(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let mut this = Self { addresses: Vec::new(), links: Vec::new(), stop: Some(stop), thread: None };
        let mut listening = Vec::new();
        for _ in 0..clients {
            let (mut addresses, mut links) = (Vec::new(), Vec::new());
            for node in nodes {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                addresses.push(listener.local_addr().map_err(failed)?);
                let (sender, link) = watch::channel(Link::Open);
                links.push(sender);
                listening.push(Listening { listener, node: *node, link });
            }
            this.addresses.push(addresses);
            this.links.push(links);
        }
        let serve = move || {
            runtime.block_on(async {
                for one in listening {
                    tokio::spawn(one.serve());
                }
                // An error means the same: the sender is gone.
                let _ = stopped.await;
            });
        };
        let thread = thread::Builder::new().name("redlock-links".to_owned()).spawn(serve).map_err(failed)?;
        this.thread = Some(thread);
        Ok(this)
    }

    pub(super) fn address(&self, client: usize, node: usize) -> SocketAddr {
        self.addresses[client][node]
    }

    pub(super) fn set(&self, client: usize, node: usize, link: Link) {
        self.links[client][node].send_replace(link);
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

impl Listening {
    async fn serve(self) {
        let Self { listener, node, link } = self;
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        for number in 0.. {
            match listener.accept().await {
                Ok((client, peer)) => {
                    let lottery = Lottery::new(u64::from(peer.port()) << 32 | number);
                    tokio::spawn(connection(client, node, link.clone(), lottery));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

/// One connection of one client, until either side ends it.
async fn connection(client: TcpStream, node: SocketAddr, mut link: watch::Receiver<Link>, lottery: Lottery) {
    tokio::select! {
        _ = exchange(&client, node, link.clone(), lottery) => {}
        _ = link.wait_for(|link| *link == Link::Reset) => {}
    }
    reset(&client);
}

async fn exchange(
    client: &TcpStream,
    node: SocketAddr,
    mut link: watch::Receiver<Link>,
    lottery: Lottery,
) -> io::Result<()> {
    // The first packet of a connection is subject to the link, too.
    passable(&mut link).await;
    let server = TcpStream::connect(node).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::select! {
        _ = carry(client, &server, link.clone(), lottery.clone()) => {}
        _ = carry(&server, client, link.clone(), lottery) => {}
    }
    // The end of the connection is also a packet.
    passable(&mut link).await;
    reset(&server);
    Ok(())
}

/// Returns when packets get through.
pub(super) async fn passable(link: &mut watch::Receiver<Link>) {
    // An error means that the proxies are about to end.
    let _ = link.wait_for(|link| *link != Link::Cut).await;
}

/// Makes the stream end with a reset, because nobody needs the bytes that are still under way.
fn reset(stream: &TcpStream) {
    // An error means that the stream is closed already.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
