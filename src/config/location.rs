//! Where a node is: at a fixed address, or at the address that Sentinels report.

use std::net::IpAddr;

use url::Url;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Most sentinels of one node. Each sentinel is asked once a second; Redis recommends three or five.
const SENTINELS_MAX: usize = 15;
/// Longest name of a service in bytes: it is part of the node's name.
const SERVICE_BYTES_MAX: usize = 64;

/// A server's host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The host in the form for sockets: lower case, without the brackets that URLs put around IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Fixed(Address),
    /// The master of a service that Sentinels watch.
    Sentinel {
        sentinels: Vec<Address>,
        service: String,
    },
}

impl Address {
    /// The address in a parsed URL, with its host and port checked.
    pub(super) fn of(url: &Url, default_port: u16) -> Result<Self, &'static str> {
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the host is missing")?;
        if host.contains(',') {
            return Err("the host has a comma in it; each URL is one server");
        }
        let port = url.port().unwrap_or(default_port);
        if port == 0 {
            return Err("port 0 cannot be connected to");
        }
        let host = host.to_ascii_lowercase().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port })
    }

    /// The address as URLs write it.
    pub(super) fn shown(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl Location {
    pub(super) fn fixed(url: &Url) -> Result<Self, &'static str> {
        Address::of(url, REDIS_PORT).map(Self::Fixed)
    }

    /// `hosts` as `host[:port],host[:port]`.
    pub(super) fn sentinel(hosts: &str, service: &str) -> Result<Self, &'static str> {
        let sentinels = hosts.split(',').map(|host| {
            let url =
                Url::parse(&format!("redis://{host}")).map_err(|_| "a sentinel's host or port is wrong")?;
            Address::of(&url, SENTINEL_PORT)
        });
        let sentinels = sentinels.collect::<Result<Vec<_>, _>>()?;
        if sentinels.len() > SENTINELS_MAX {
            return Err("more than 15 sentinels");
        }
        if (1..sentinels.len()).any(|i| sentinels[..i].contains(&sentinels[i])) {
            return Err("a sentinel is listed twice");
        }
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if service.is_empty() || service.len() > SERVICE_BYTES_MAX || !service.bytes().all(named) {
            return Err(
                "the service's name, behind the sentinels, must be 1 to 64 of A-Z, a-z, 0-9, and .-_",
            );
        }
        Ok(Self::Sentinel { sentinels, service: service.to_owned() })
    }

    /// The default name of a node at this location, for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Fixed(address) => address.shown(),
            Self::Sentinel { sentinels, service } => format!("{service}@{}", sentinels[0].shown()),
        }
    }

    /// The location as URLs write it.
    #[cfg(feature = "config")]
    pub(super) fn in_url(&self) -> String {
        match self {
            Self::Fixed(address) => address.shown(),
            Self::Sentinel { sentinels, service } => {
                let hosts: Vec<_> = sentinels.iter().map(Address::shown).collect();
                format!("{}/{service}", hosts.join(","))
            }
        }
    }

    /// Whether all its hosts are known to be this machine.
    pub(super) fn is_this_machine(&self) -> bool {
        self.hosts().all(|host| {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        })
    }

    /// The hosts that the settings name: of the node, or of its sentinels.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        let addresses = match self {
            Self::Fixed(address) => std::slice::from_ref(address),
            Self::Sentinel { sentinels, .. } => sentinels,
        };
        addresses.iter().map(|address| address.host.as_str())
    }

    /// Whether two nodes at these locations would be one server.
    pub(super) fn is_same_server(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => one == other,
            (
                Self::Sentinel { sentinels, service },
                Self::Sentinel { sentinels: others, service: other_service },
            ) => service == other_service && sentinels.iter().any(|sentinel| others.contains(sentinel)),
            (Self::Fixed(_), Self::Sentinel { .. }) | (Self::Sentinel { .. }, Self::Fixed(_)) => false,
        }
    }
}
