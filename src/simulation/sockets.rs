//! The connections of one process: they can be reset, they end with the process, and what goes out is counted.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::network::ClientNetwork;
use super::storms::Storms;
use crate::config::NodeUrl;
use crate::coordinator::Network;
use crate::error::NodeFailure;
use crate::node::{Connector, Management, Stream};
use crate::types::Published;

/// The connections of one process.
#[derive(Clone)]
pub(super) struct Sockets(Arc<Process>);

struct Process {
    network: ClientNetwork,
    storms: Arc<Storms>,
    sendings: Arc<Published<u64>>,
    is_dead: AtomicBool,
    open: Mutex<Vec<(usize, Weak<Mutex<Socket>>)>>,
}

/// One end of a connection.
enum Socket {
    Open {
        stream: Box<dyn Stream>,
        reader: Option<Waker>,
    },
    /// What is written waits, and nothing can be read.
    Stalled {
        written: Vec<u8>,
        reader: Option<Waker>,
    },
    /// It was reset, or its process was killed.
    Closed,
}

impl Sockets {
    /// Each sending is counted in `sendings`.
    pub(super) fn new(network: ClientNetwork, storms: Arc<Storms>, sendings: Arc<Published<u64>>) -> Self {
        let (is_dead, open) = (AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Process { network, storms, sendings, is_dead, open }))
    }

    /// Resets the connections to an address. What the client has sent arrives, what the server has said is lost.
    pub(super) fn reset(&self, address: usize) {
        for (to, socket) in &*self.0.open.lock().unwrap() {
            if *to == address
                && let Some(socket) = socket.upgrade()
            {
                close(&socket);
            }
        }
    }

    /// Holds back what is written on the present connections to an address. It is delivered after this time, also if the
    /// connection is closed by then.
    pub(super) fn stall(&self, address: usize, lasts: Duration) {
        for (to, socket) in &*self.0.open.lock().unwrap() {
            if let Some(socket) = socket.upgrade()
                && *to == address
            {
                let stalled = Socket::Stalled { written: Vec::new(), reader: None };
                let before = std::mem::replace(&mut *socket.lock().unwrap(), stalled);
                match before {
                    Socket::Open { stream, reader } => {
                        drop(tokio::spawn(go_on(socket, stream, reader, lasts)));
                    }
                    Socket::Stalled { .. } | Socket::Closed => *socket.lock().unwrap() = before,
                }
            }
        }
    }

    /// Kills the process: its connections are closed, and whatever is left of it reaches nobody any more.
    pub(super) fn kill(&self) {
        self.0.is_dead.store(true, Ordering::Relaxed);
        let open = std::mem::take(&mut *self.0.open.lock().unwrap());
        open.iter().filter_map(|(_, socket)| socket.upgrade()).for_each(|socket| close(&socket));
    }
}

/// Ends a stall.
async fn go_on(
    socket: Arc<Mutex<Socket>>,
    mut stream: Box<dyn Stream>,
    first: Option<Waker>,
    lasts: Duration,
) {
    tokio::time::sleep(lasts).await;
    let stalled = std::mem::replace(&mut *socket.lock().unwrap(), Socket::Closed);
    if let Socket::Stalled { written, reader } = stalled {
        // The peer may be gone.
        let _ = stream.write_all(&written).await;
        if Arc::strong_count(&socket) > 1 {
            *socket.lock().unwrap() = Socket::Open { stream, reader: None };
        }
        first.into_iter().chain(reader).for_each(Waker::wake);
    }
}

fn close(socket: &Mutex<Socket>) {
    let before = std::mem::replace(&mut *socket.lock().unwrap(), Socket::Closed);
    match before {
        Socket::Open { reader, .. } | Socket::Stalled { reader, .. } => {
            reader.into_iter().for_each(Waker::wake);
        }
        Socket::Closed => {}
    }
}

impl Network for Sockets {
    fn connector(&self, node: &NodeUrl, limit: Duration) -> Arc<dyn Connector> {
        let inner = self.0.network.connector(node, limit);
        Arc::new(Dialer { process: Arc::clone(&self.0), inner, address: address_of(node) })
    }
}

/// Opens connections of a process to an address.
struct Dialer {
    process: Arc<Process>,
    inner: Arc<dyn Connector>,
    address: usize,
}

impl Connector for Dialer {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, NodeFailure>> {
        async {
            let Process { network, storms, is_dead, open, .. } = &*self.process;
            if is_dead.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            storms.handle_connect((network.client, self.address), network.now());
            let stream = self.inner.connect().await?;
            if is_dead.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            let socket = Arc::new(Mutex::new(Socket::Open { stream, reader: None }));
            let mut open = open.lock().unwrap();
            open.retain(|(_, socket)| socket.strong_count() > 0);
            open.push((self.address, Arc::downgrade(&socket)));
            let process = Arc::clone(&self.process);
            Ok(Box::new(Connected { process, address: self.address, socket }) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn superseded(&self) -> BoxFuture<'_, NodeFailure> {
        self.inner.superseded()
    }

    fn management(&self) -> Management {
        self.inner.management()
    }

    fn explain(&self) -> BoxFuture<'_, Option<NodeFailure>> {
        self.inner.explain()
    }
}

struct Connected {
    process: Arc<Process>,
    address: usize,
    socket: Arc<Mutex<Socket>>,
}

impl Connected {
    /// `stalled` is what happens instead while the connection is stalled.
    fn pass<T>(
        &self,
        write: impl FnOnce(Pin<&mut Box<dyn Stream>>) -> Poll<io::Result<T>>,
        stalled: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> Poll<io::Result<T>> {
        match &mut *self.socket.lock().unwrap() {
            Socket::Open { stream, .. } => write(Pin::new(stream)),
            Socket::Stalled { written, .. } => Poll::Ready(Ok(stalled(written))),
            Socket::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl Stream for Connected {
    fn abandon(&mut self) {
        if let Socket::Open { stream, .. } = &mut *self.socket.lock().unwrap() {
            stream.abandon();
        }
    }
}

impl AsyncRead for Connected {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self.socket.lock().unwrap() {
            Socket::Open { stream, reader } => {
                *reader = Some(cx.waker().clone());
                Pin::new(stream).poll_read(cx, buf)
            }
            Socket::Stalled { reader, .. } => {
                *reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Socket::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncWrite for Connected {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.pass(
            |stream| stream.poll_write(cx, buf),
            |written| {
                written.extend(buf);
                buf.len()
            },
        );
        if let Poll::Ready(Ok(length)) = written {
            let network = &self.process.network;
            let path = (network.client, self.address);
            self.process.storms.handle_written(path, &buf[..length], network.now());
            self.process.sendings.change(|sendings| *sendings += 1);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pass(|stream| stream.poll_flush(cx), |_| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pass(|stream| stream.poll_shutdown(cx), |_| ())
    }
}

/// Nodes are called `redis://n0`, `redis://n1` and so on.
pub(super) fn address_of(node: &NodeUrl) -> usize {
    let address = node.name.trim_start_matches('n').split(':').next().and_then(|number| number.parse().ok());
    address.expect("a node's name has its number")
}
