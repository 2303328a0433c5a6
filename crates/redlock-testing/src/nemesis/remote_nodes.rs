//! Nodes that somebody else runs.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use url::Url;

use super::super::error::ClusterError;
use super::super::resp::{self, Reply};
use super::local_nodes::Told as _;
use super::{Nemesis, NemesisError, Nodes, Refusal};

/// Time limit of one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

const PORT: u16 = 6379;

/// Nodes known by their URLs, `redis://[user:password@]host[:port]`. Their processes, clocks and data are never
/// changed. Faults of the network are possible with [`Linked`](super::super::Linked) in front of the nodes.
#[derive(Debug, Clone)]
pub struct RemoteNodes {
    urls: Vec<Url>,
}

impl RemoteNodes {
    /// Nodes with these URLs.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Address`] for the first URL that has another form.
    pub fn new<I>(urls: I) -> Result<Self, ClusterError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        urls.into_iter().map(|url| parse(url.as_ref())).collect::<Result<_, _>>().map(|urls| Self { urls })
    }
}

/// Parses a URL. An error never repeats the URL, because it may contain a password.
fn parse(url: &str) -> Result<Url, ClusterError> {
    let wrong = |reason: &str| ClusterError::Address { reason: reason.to_owned() };
    let url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    if url.scheme() != "redis" {
        return Err(wrong("only redis:// can be asked and be led through a proxy"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it names no host"));
    }
    Ok(url)
}

/// The address of a URL's server.
pub(in super::super) fn address_of(url: &str) -> Result<SocketAddr, ClusterError> {
    let url = parse(url)?;
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, url.port().unwrap_or(PORT)).to_socket_addrs();
    let found = found.map_err(|error| ClusterError::Address { reason: error.to_string() })?;
    found.into_iter().next().ok_or_else(|| ClusterError::Address { reason: format!("{host} has no address") })
}

/// The same URL, user, password and database included, with another host and port.
pub(in super::super) fn through(url: &str, proxy: SocketAddr) -> Result<String, ClusterError> {
    let mut url = parse(url)?;
    let changed = url.set_ip_host(proxy.ip()).and_then(|()| url.set_port(Some(proxy.port())));
    changed.map_err(|()| ClusterError::Address { reason: "its host cannot be replaced".to_owned() })?;
    Ok(url.into())
}

impl Nodes for RemoteNodes {
    fn count(&self) -> usize {
        self.urls.len()
    }

    fn node_url(&self, node: usize) -> String {
        self.urls[node].as_str().trim_end_matches('/').to_owned()
    }

    fn check(&self, nemesis: &Nemesis) -> Result<(), Refusal> {
        match nemesis {
            Nemesis::ScriptFlush => Ok(()),
            Nemesis::Cut | Nemesis::Link { .. } => Err(Refusal::NoProxy),
            Nemesis::Kill { .. }
            | Nemesis::Restart { .. }
            | Nemesis::Pause
            | Nemesis::ClockStep { .. }
            | Nemesis::ClockRate { .. }
            | Nemesis::MemoryFull
            | Nemesis::FlushAll => Err(Refusal::NotOurs),
        }
    }

    fn apply(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        self.check(nemesis).map_err(|reason| nemesis.refused(node, reason))?;
        Ok(self.tell(node, &["SCRIPT", "FLUSH"])?)
    }

    fn heal(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        self.check(nemesis).map_err(|reason| nemesis.refused(node, reason))
    }

    fn ask(&self, node: usize, arguments: &[&str]) -> Result<Reply, ClusterError> {
        let url = &self.urls[node];
        let address = address_of(url.as_str())?;
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let login: Vec<String> = match (url.username(), url.password()) {
            (_, None) => Vec::new(),
            ("", Some(password)) => vec![decode(password)],
            (user, Some(password)) => vec![decode(user), decode(password)],
        };
        let login: Vec<&str> = login.iter().map(String::as_str).collect();
        let reply = resp::call_as(address, &login, arguments, COMMAND_TIMEOUT);
        reply.map_err(|source| no_reply(node, address.port(), COMMAND_TIMEOUT, source))
    }
}

/// The error of a node for a failed exchange.
pub(in super::super) fn no_reply(node: usize, port: u16, limit: Duration, source: io::Error) -> ClusterError {
    if source.kind() == io::ErrorKind::TimedOut {
        ClusterError::NoAnswer { node, port, limit }
    } else if source.kind() == io::ErrorKind::InvalidData {
        ClusterError::BadReply { node, port, source }
    } else {
        ClusterError::Unreachable { node, port, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_their_password_on_the_way_through_a_proxy() {
        let proxy = SocketAddr::from(([127, 0, 0, 1], 4321));
        assert_eq!(through("redis://10.0.0.1", proxy).unwrap(), "redis://127.0.0.1:4321");
        assert_eq!(
            through("redis://me:p%40ss@db.example:7000/3", proxy).unwrap(),
            "redis://me:p%40ss@127.0.0.1:4321/3"
        );
    }

    #[test]
    fn wrong_urls_are_refused_without_repeating_their_password() {
        for url in ["", "rediss://:secret@10.0.0.1", "redis:///0", "redis://:secret@", "10.0.0.1"] {
            let error = RemoteNodes::new([url]).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn nothing_is_done_to_the_nodes_of_others() {
        let nodes = RemoteNodes::new(["redis://10.0.0.1"]).unwrap();
        let error = nodes.apply(0, &Nemesis::FlushAll).unwrap_err();
        assert!(matches!(error, NemesisError::Refused { reason: Refusal::NotOurs, .. }), "{error}");
    }
}
