//! One client's connection as the server sees it.

use std::collections::BTreeSet;

use crate::reply::{Protocol, Reply};
use crate::request::{Parsed, parse};
use crate::version::Version;

/// A connection to a server, from [`Server::connect`](crate::Server::connect); never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct Connection {
    input: Vec<u8>,
    /// How much of the input was taken.
    taken: usize,
    output: Vec<u8>,
    /// Messages to itself, which since 7.2 follow the reply.
    deferred: Vec<Reply>,
    pub(crate) protocol: Protocol,
    pub(crate) db: usize,
    /// `None` until it has logged in.
    pub(crate) user: Option<String>,
    pub(crate) channels: BTreeSet<Vec<u8>>,
    /// The server closes it behind its output.
    pub(crate) is_closing: bool,
}

impl Connection {
    pub(crate) fn new(user: Option<String>) -> Self {
        Self {
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
            deferred: Vec::new(),
            protocol: Protocol::Resp2,
            db: 0,
            user,
            channels: BTreeSet::new(),
            is_closing: false,
        }
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.drain(..std::mem::take(&mut self.taken));
        self.input.extend_from_slice(bytes);
    }

    /// The next whole request; none once the connection is closing.
    pub(crate) fn next_request(&mut self, version: Version) -> Option<Vec<Vec<u8>>> {
        while !self.is_closing {
            match parse(&self.input[self.taken..]) {
                Parsed::Incomplete => return None,
                Parsed::Request(request, taken) => {
                    self.taken += taken;
                    if !request.is_empty() {
                        return Some(request);
                    }
                }
                Parsed::Wrong(reason) => {
                    self.send(&Reply::Error(format!("ERR Protocol error: {reason}")), version);
                    self.is_closing = true;
                }
            }
        }
        None
    }

    pub(crate) fn send(&mut self, reply: &Reply, version: Version) {
        reply.encode(self.protocol, version, &mut self.output);
    }

    /// A message to whoever is being answered.
    pub(crate) fn defer(&mut self, message: Reply) {
        self.deferred.push(message);
    }

    pub(crate) fn send_deferred(&mut self, version: Version) {
        for message in std::mem::take(&mut self.deferred) {
            self.send(&message, version);
        }
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}
