//! Simulated nodes behind a simulated network: each client has a wire of its own to each address, with a delay, and with
//! a state for each direction.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redlock_sim::{ConnectionId, Data, Persistence, Server, Settings, WallTime};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
};
use tokio::sync::mpsc;

use super::clock::{Rate, TrueTime};
use super::revivals;
use super::sockets::address_of;
use super::wiretap::tell_wire;
use crate::config::NodeUrl;
use crate::coordinator::Network;
use crate::error::NodeFailure;
use crate::node::{Connector, Management, Stream};
use crate::types::Published;

/// How much a direction of a connection buffers.
const BUFFER: usize = 1 << 16;

/// Bytes, and when they were sent.
type Piece = (Duration, Vec<u8>);

/// The servers, the addresses that lead to them, and the wires between clients and addresses.
pub(super) struct Internet {
    time: TrueTime,
    servers: Vec<Arc<SimServer>>,
    /// Which server each address leads to.
    addresses: Mutex<Vec<usize>>,
    wires: Vec<Vec<Wire>>,
    random: Mutex<StdRng>,
    /// Chunks of bytes that arrived at servers.
    arrived: Mutex<u64>,
    /// The owners that asked for a lock on a connection that they had left when it arrived.
    late: Mutex<Vec<String>>,
}

/// The way from one client to one address, and back.
pub(super) type Wire = Published<WireState>;

#[derive(Clone, Copy, Debug)]
pub(super) struct WireState {
    pub(super) shortest: Duration,
    pub(super) longest: Duration,
    /// How much longer it takes on the way back.
    pub(super) back: Duration,
    /// Whether bytes get to the server, and back.
    pub(super) is_open: [bool; 2],
}

const TO_SERVER: usize = 0;
const TO_CLIENT: usize = 1;

/// A server with its clock.
pub(super) struct SimServer {
    name: String,
    server: Mutex<Server>,
    rate: Rate,
    /// How far the clock was stepped ahead in all.
    stepped: Mutex<Duration>,
    is_running: Published<bool>,
    outputs: Mutex<BTreeMap<ConnectionId, mpsc::UnboundedSender<Piece>>>,
}

impl Internet {
    pub(super) fn new(
        time: TrueTime,
        servers: Vec<(Settings, Rate)>,
        addresses: usize,
        wires: Vec<Vec<WireState>>,
        seed: u64,
    ) -> Arc<Self> {
        let start = |(i, (settings, rate)): (usize, (Settings, Rate))| {
            Arc::new(SimServer {
                name: format!("s{i}"),
                server: Mutex::new(Server::new(
                    &format!("s{i}"),
                    settings,
                    WallTime(rate.wall_micros(Duration::ZERO)),
                )),
                rate,
                stepped: Mutex::default(),
                is_running: Published::new(true),
                outputs: Mutex::default(),
            })
        };
        Arc::new(Self {
            time,
            servers: servers.into_iter().enumerate().map(start).collect(),
            addresses: Mutex::new((0..addresses).collect()),
            wires: wires.into_iter().map(|wires| wires.into_iter().map(Published::new).collect()).collect(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            arrived: Mutex::new(0),
            late: Mutex::default(),
        })
    }

    pub(super) fn wire(&self, client: usize, address: usize) -> &Wire {
        &self.wires[client][address]
    }

    pub(super) fn server_at(&self, address: usize) -> &Arc<SimServer> {
        &self.servers[self.addresses.lock().unwrap()[address]]
    }

    /// A master that no address leads to.
    pub(super) fn spare(&self) -> Option<usize> {
        (0..self.servers.len()).find(|server| self.is_free(*server) && !self.is_replica(*server))
    }

    /// Whether no address leads to the server.
    pub(super) fn is_free(&self, server: usize) -> bool {
        !self.addresses.lock().unwrap().contains(&server)
    }

    pub(super) fn is_replica(&self, server: usize) -> bool {
        self.servers[server].with(|server| server.is_replica())
    }

    pub(super) fn leads_to(&self, address: usize) -> usize {
        self.addresses.lock().unwrap()[address]
    }

    pub(super) fn addresses(&self) -> usize {
        self.addresses.lock().unwrap().len()
    }

    pub(super) fn servers(&self) -> &[Arc<SimServer>] {
        &self.servers
    }

    /// From now on connections to the address reach another server; those that exist are broken.
    pub(super) fn lead(&self, address: usize, server: usize) {
        self.server_at(address).drop_connections();
        self.addresses.lock().unwrap()[address] = server;
    }

    /// The owners that asked for a lock too late, since the last call.
    pub(super) fn take_late(&self) -> Vec<String> {
        std::mem::take(&mut self.late.lock().unwrap())
    }

    pub(super) fn arrived(&self) -> u64 {
        *self.arrived.lock().unwrap()
    }

    pub(super) fn time(&self) -> TrueTime {
        self.time
    }

    fn delay(&self, wire: &Wire) -> Duration {
        let WireState { shortest, longest, .. } = wire.with(|state| *state);
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.lock().unwrap().random_range(micros(shortest)..=micros(longest)))
    }
}

async fn until_open(wire: &Wire, direction: usize) {
    wire.wait_for(|state| state.is_open[direction]).await;
}

impl SimServer {
    pub(super) fn crash(&self, time: Duration) {
        self.server.lock().unwrap().crash(self.wall(time));
        self.outputs.lock().unwrap().clear();
    }

    pub(super) fn restart(&self, time: Duration, data: Data) {
        self.server.lock().unwrap().restart(self.wall(time), data);
    }

    /// What a crash leaves that loses the last second, if the server may lose any; one that keeps every write may not.
    pub(super) fn lost_second(&self) -> Data {
        match self.with(|server| server.settings_mut().persistence) {
            Persistence::Always => Data::Kept,
            Persistence::EverySec | Persistence::None => Data::LostLastSecond,
        }
    }

    /// Copies a master as it was some time ago, as a replica does.
    pub(super) fn follow(&self, master: &Self, lag: Duration, time: Duration) {
        let master_now = master.wall(time);
        master.with(|master| self.with(|replica| replica.follow(master, lag, master_now)));
    }

    /// Deletes keys, as an operator would.
    pub(super) fn delete(&self, keys: &[String], time: Duration) {
        let now = self.wall(time);
        self.with(|server| {
            let Some(operator) = server.connect(now) else { return };
            for key in keys {
                let request = format!("*2\r\n$3\r\nDEL\r\n${}\r\n{key}\r\n", key.len());
                server.receive(operator, request.as_bytes(), now);
            }
            server.disconnect(operator);
        });
    }

    /// Who holds a lock.
    pub(super) fn holders(&self, key: &str, time: Duration) -> Vec<String> {
        let now = self.wall(time);
        let holders = self.with(|server| match server.text(0, key.as_bytes(), now) {
            Some(owner) => vec![owner],
            None => server.members_alive(0, key.as_bytes(), now),
        });
        holders.into_iter().map(|holder| String::from_utf8_lossy(&holder).into_owned()).collect()
    }

    pub(super) fn pause(&self, is_paused: bool) {
        self.is_running.set(!is_paused);
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Server) -> T) -> T {
        look(&mut self.server.lock().unwrap())
    }

    pub(super) fn keys(&self, time: Duration) -> Vec<String> {
        let keys = self.server.lock().unwrap().keys(0, self.wall(time));
        keys.into_iter().map(|key| String::from_utf8_lossy(&key).into_owned()).collect()
    }

    pub(super) fn drop_connections(&self) {
        let connections = std::mem::take(&mut *self.outputs.lock().unwrap());
        connections.into_keys().for_each(|id| self.server.lock().unwrap().disconnect(id));
    }

    pub(super) fn wall(&self, time: Duration) -> WallTime {
        WallTime(self.rate.wall_micros(time)).after(*self.stepped.lock().unwrap())
    }

    pub(super) fn step_clock(&self, by: Duration) {
        *self.stepped.lock().unwrap() += by;
    }

    /// Hands bytes to the server, and its output to the connections that it is for.
    fn receive(&self, id: ConnectionId, bytes: &[u8], time: Duration) {
        let mut server = self.server.lock().unwrap();
        if !server.is_up() {
            return;
        }
        server.receive(id, bytes, self.wall(time));
        tell_wire(time, "->", &self.name, id, bytes);
        let ready: Vec<_> = server.with_output().collect();
        let mut outputs = self.outputs.lock().unwrap();
        for id in ready {
            let bytes = server.take_output(id);
            tell_wire(time, "<-", &self.name, id, &bytes);
            if let Some(output) = outputs.get(&id)
                && output.send((time, bytes)).is_err()
            {
                outputs.remove(&id);
            }
            if !server.is_open(id) {
                outputs.remove(&id);
            }
        }
    }
}

/// The network as one client sees it.
pub(super) struct ClientNetwork {
    pub(super) internet: Arc<Internet>,
    pub(super) client: usize,
}

impl ClientNetwork {
    pub(super) fn now(&self) -> Duration {
        self.internet.time.now()
    }
}

impl Network for ClientNetwork {
    fn connector(&self, node: &NodeUrl, _: Duration) -> Arc<dyn Connector> {
        Arc::new(SimConnector {
            internet: Arc::clone(&self.internet),
            client: self.client,
            address: address_of(node),
        })
    }
}

#[derive(Clone)]
struct SimConnector {
    internet: Arc<Internet>,
    client: usize,
    address: usize,
}

impl Connector for SimConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Stream>, NodeFailure>> {
        async {
            let wire = self.internet.wire(self.client, self.address);
            for direction in [TO_SERVER, TO_CLIENT] {
                until_open(wire, direction).await;
                tokio::time::sleep(self.internet.delay(wire)).await;
            }
            let server = Arc::clone(self.internet.server_at(self.address));
            let now = server.wall(self.internet.time.now());
            let id = server.server.lock().unwrap().connect(now);
            let id = id.ok_or_else(|| NodeFailure::Unreachable { detail: "connection refused".into() })?;
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            let (from_client, to_client) = tokio::io::split(theirs);
            let (output, outputs) = mpsc::unbounded_channel();
            server.outputs.lock().unwrap().insert(id, output);
            tokio::spawn(self.clone().carry_down(outputs, to_client));
            tokio::spawn(self.clone().carry_up(server, id, from_client));
            Ok(Box::new(SimStream(ours)) as Box<dyn Stream>)
        }
        .boxed()
    }

    fn superseded(&self) -> BoxFuture<'_, NodeFailure> {
        std::future::pending().boxed()
    }

    fn management(&self) -> Management {
        Management::Direct
    }

    fn explain(&self) -> BoxFuture<'_, Option<NodeFailure>> {
        std::future::ready(None).boxed()
    }
}

impl SimConnector {
    /// Reads what the client writes, and delivers each piece after a delay, in order; also after the client has closed.
    async fn carry_up(self, server: Arc<SimServer>, id: ConnectionId, mut from: ReadHalf<DuplexStream>) {
        let (sender, mut pieces) = mpsc::unbounded_channel::<Piece>();
        let (internet, client, address) = (Arc::clone(&self.internet), self.client, self.address);
        let is_left = &AtomicBool::new(false);
        let read = async move {
            let (mut buffer, mut last) = (vec![0; BUFFER], Duration::ZERO);
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                let wire = internet.wire(client, address);
                last = last.max(internet.time.now() + internet.delay(wire));
                if sender.send((last, buffer[..length].to_vec())).is_err() {
                    break;
                }
            }
            is_left.store(true, Ordering::Relaxed);
        };
        let deliver = async {
            let wire = self.internet.wire(self.client, self.address);
            while let Some((due, bytes)) = pieces.recv().await {
                tokio::time::sleep_until(self.internet.time.at(due)).await;
                until_open(wire, TO_SERVER).await;
                server.is_running.wait_for(|is_running| *is_running).await;
                *self.internet.arrived.lock().unwrap() += 1;
                if is_left.load(Ordering::Relaxed) {
                    self.internet.late.lock().unwrap().extend(revivals::acquired_by(&bytes));
                }
                server.receive(id, &bytes, self.internet.time.now());
            }
            server.server.lock().unwrap().disconnect(id);
            server.outputs.lock().unwrap().remove(&id);
        };
        futures_util::future::join(read, deliver).await;
    }

    /// Delivers what the server says, each piece after a delay, in order.
    async fn carry_down(self, mut outputs: mpsc::UnboundedReceiver<Piece>, mut to: WriteHalf<DuplexStream>) {
        let wire = self.internet.wire(self.client, self.address);
        let mut last = Duration::ZERO;
        while let Some((said, bytes)) = outputs.recv().await {
            last = last.max(said + self.internet.delay(wire) + wire.with(|state| state.back));
            tokio::time::sleep_until(self.internet.time.at(last)).await;
            until_open(wire, TO_CLIENT).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The server has gone, and the client hears of it unless the wire is cut.
        until_open(wire, TO_CLIENT).await;
        let _ = to.shutdown().await;
    }
}

struct SimStream(DuplexStream);

impl Stream for SimStream {
    /// What is on its way arrives all the same, which is the worse case.
    fn abandon(&mut self) {}
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
