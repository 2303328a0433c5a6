//! The URL of one node.

use std::sync::Arc;

use url::Url;

use super::Transport;
use super::node::Credentials;
use crate::error::SettingsError;
use crate::types::Secret;

const REDIS_PORT: u16 = 6379;

/// Whether TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Plain,
    Tls,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "redis",
            Self::Tls => "rediss",
        }
    }
}

/// One node's address, credentials, and way there.
#[derive(Clone, Debug)]
pub(crate) struct NodeUrl {
    /// `host:port`, and `/db` where it is not 0: how the node is called in every message.
    pub(crate) name: Arc<str>,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) db: i64,
    pub(crate) credentials: Credentials,
    pub(super) scheme: Scheme,
    /// As `scheme` says; what is needed for it is not in the URL.
    pub(crate) transport: Transport,
}

impl NodeUrl {
    /// `number` is the position in the list, from 1: how a URL is called that cannot be shown.
    pub(super) fn parse(number: usize, text: &str) -> Result<Self, SettingsError> {
        let url = Url::parse(text);
        let shown = shown(number, url.as_ref().ok());
        let wrong = |problem: &str| SettingsError::NodeUrl { url: shown.clone(), problem: problem.into() };
        let url = url.map_err(|error| wrong(&error.to_string()))?;
        let scheme = match url.scheme() {
            "redis" => Scheme::Plain,
            "rediss" => Scheme::Tls,
            other => return Err(wrong(&format!("scheme {other:?} is not supported"))),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("parameters are not supported"));
        }
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("the host is missing"))?;
        let port = url.port().unwrap_or(REDIS_PORT);
        if port == 0 {
            return Err(wrong("port 0 cannot be connected to"));
        }
        let db = match url.path().trim_matches('/') {
            "" => 0,
            db => db
                .parse()
                .ok()
                .filter(|db| *db >= 0)
                .ok_or_else(|| wrong("the database after the host must be a number from 0"))?,
        };
        let decode = |part: &str| {
            percent_encoding::percent_decode_str(part)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| wrong("user and password must be UTF-8"))
        };
        let username = Some(decode(url.username())?).filter(|name| !name.is_empty());
        let password = url.password().map(decode).transpose()?.map(Secret::new);
        // What sockets take is the address without the brackets that URLs put around IPv6.
        let host = host.to_ascii_lowercase().trim_start_matches('[').trim_end_matches(']').to_owned();
        let credentials = Credentials { username, password };
        let mut node =
            Self { name: "".into(), host, port, db, credentials, scheme, transport: Transport::Plain };
        node.name = node.address().into();
        Ok(node)
    }

    /// As a URL without what is secret, behind the name where it has one of its own.
    #[cfg(feature = "config")]
    pub(super) fn described(&self) -> String {
        let who = match &self.credentials {
            Credentials { username: Some(user), .. } => format!("{user}:***@"),
            Credentials { username: None, password: Some(_) } => ":***@".to_owned(),
            Credentials { username: None, password: None } => String::new(),
        };
        let url = format!("{}://{who}{}", self.scheme.as_str(), self.address());
        if *self.name == self.address() { url } else { format!("{} = {url}", self.name) }
    }

    /// How the URL is called in an error.
    pub(super) fn shown(&self, number: usize) -> String {
        format!("URL number {number} ({}://{})", self.scheme.as_str(), self.address())
    }

    /// Host and port, and the database where it is not 0.
    fn address(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = self.port;
        if self.db == 0 { format!("{host}:{port}") } else { format!("{host}:{port}/{}", self.db) }
    }

    /// Databases of one server fail together, so the server counts.
    pub(super) fn is_same_server(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

/// How a URL is called in an error. Only scheme and address are shown: anything else, and all of a URL that cannot
/// be parsed, may hold a password.
fn shown(number: usize, url: Option<&Url>) -> String {
    let address = url.and_then(|url| {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!(" ({}://{host}{port})", url.scheme()))
    });
    format!("URL number {number}{}", address.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        let url = |text| NodeUrl::parse(1, text).unwrap();
        assert_eq!(&*url("redis://Example.org").name, "example.org:6379");
        assert_eq!(&*url("redis://10.0.0.1:7001/2").name, "10.0.0.1:7001/2");
        let ipv6 = url("redis://[::1]:7001");
        assert_eq!((&*ipv6.name, &*ipv6.host), ("[::1]:7001", "::1"));
        let node = url("redis://al%20ice:p%40ss@h");
        assert_eq!(node.credentials.username.as_deref(), Some("al ice"));
        assert_eq!(node.credentials.password.as_ref().map(Secret::reveal), Some("p@ss"));
        assert!(!format!("{node:?}").contains("p@ss"));
    }

    #[test]
    fn no_error_shows_a_password() {
        for url in [
            "http://u:hunter2@h",
            "redis://u:hunter2@",
            "redis://u:hunter2@h:x",
            "redis://u:hun@ter2@h/x",
            "u:hunter2@h",
        ] {
            let error = NodeUrl::parse(1, url).unwrap_err();
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains("hunter2") && !text.contains("ter2"), "{text}");
            }
        }
    }
}
