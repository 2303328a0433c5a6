//! The URL of one node.

use std::sync::Arc;

use url::Url;

use super::{Credentials, Location, Password, Transport};
use crate::error::SettingsError;

/// End of the scheme of a URL whose hosts are sentinels.
const BY_SENTINEL: &str = "+sentinel";

const EXPECTED: &str = "redis://[user:password@]host[:port][/db]";
const EXPECTED_BY_SENTINEL: &str =
    "redis+sentinel://[user:password@]host[:port],host[:port],host[:port]/service[/db]";

/// Whether TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Plain,
    Tls,
}

impl Scheme {
    fn parse(scheme: &str) -> Option<Self> {
        match scheme {
            "redis" => Some(Self::Plain),
            "rediss" => Some(Self::Tls),
            _ => None,
        }
    }
}

/// One node's address, credentials and transport.
#[derive(Clone, Debug)]
pub(crate) struct NodeUrl {
    /// Name of the node in every message: host and port, or service and first sentinel, and `/db` unless that is 0.
    pub(crate) name: Arc<str>,
    pub(crate) location: Location,
    pub(crate) db: i64,
    pub(crate) credentials: Credentials,
    /// Credentials for the sentinels, which are not in the URL.
    pub(crate) sentinel: Credentials,
    pub(super) scheme: Scheme,
    /// The transport for `scheme`. Its further settings are not in the URL.
    pub(crate) transport: Transport,
}

impl NodeUrl {
    /// Parses a URL. `number` is its position in the list, from 1, by which errors name a URL that they cannot show.
    pub(super) fn parse(number: usize, text: &str) -> Result<Self, SettingsError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
        let scheme = scheme.to_ascii_lowercase();
        if let Some(scheme) = scheme.strip_suffix(BY_SENTINEL) {
            return Self::parse_by_sentinel(number, scheme, rest);
        }
        let url = Url::parse(text);
        let shown = shown(number, url.as_ref().ok());
        let wrong = |problem: &str| SettingsError::NodeUrl {
            url: shown.clone(),
            problem: problem.into(),
            expected: EXPECTED,
        };
        let url = url.map_err(|error| wrong(&error.to_string()))?;
        let scheme = Scheme::parse(url.scheme())
            .ok_or_else(|| wrong(&format!("scheme {:?} is not supported", url.scheme())))?;
        let location = Location::fixed(&url).map_err(wrong)?;
        let db = db(url.path().trim_matches('/')).map_err(wrong)?;
        Self::new(scheme, location, db, &url).map_err(wrong)
    }

    /// Parses `rest` as `[user:password@]host[:port][,host[:port]]/service[/db]`, which is not a URL, because a URL has
    /// one host.
    fn parse_by_sentinel(number: usize, scheme: &str, rest: &str) -> Result<Self, SettingsError> {
        // The hosts are not shown either, because they may be part of a password with an unexpected `/` in it.
        let wrong = |problem: &str| SettingsError::NodeUrl {
            url: format!("URL number {number} ({scheme}{BY_SENTINEL}://)"),
            problem: problem.into(),
            expected: EXPECTED_BY_SENTINEL,
        };
        let scheme = Scheme::parse(scheme).ok_or_else(|| {
            wrong("for a master by sentinels the scheme is redis+sentinel or rediss+sentinel")
        })?;
        let (authority, path) = rest
            .split_once('/')
            .ok_or_else(|| wrong("the service's name is missing: host,host,host/service"))?;
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (service, path) = path.split_once('/').unwrap_or((path, ""));
        // With one host in place of the sentinels, user and path can be parsed as a URL.
        let url = Url::parse(&format!("redis://{user}@host/{path}"))
            .map_err(|_| wrong("the user or the password before the @ has to be percent-encoded"))?;
        let location = Location::sentinel(hosts, service).map_err(wrong)?;
        let db = db(path).map_err(wrong)?;
        Self::new(scheme, location, db, &url).map_err(wrong)
    }

    /// Makes a node with the user and password of `url`.
    fn new(scheme: Scheme, location: Location, db: i64, url: &Url) -> Result<Self, &'static str> {
        if url.query().is_some() || url.fragment().is_some() {
            return Err("parameters are not supported");
        }
        let decode = |part: &str| {
            let decoded = percent_encoding::percent_decode_str(part).decode_utf8();
            decoded.map(|text| text.into_owned()).map_err(|_| "user and password must be UTF-8")
        };
        let username = Some(decode(url.username())?).filter(|name| !name.is_empty());
        let password = url.password().map(decode).transpose()?.map(Password::known);
        let name = if db == 0 { location.name() } else { format!("{}/{db}", location.name()) };
        Ok(Self {
            name: name.into(),
            location,
            db,
            credentials: Credentials { username, password },
            sentinel: Credentials::default(),
            scheme,
            transport: Transport::Plain,
        })
    }

    /// The URL without its secrets, behind the node's name if that is not the default one.
    #[cfg(feature = "config")]
    pub(super) fn described(&self) -> String {
        let who = match &self.credentials {
            Credentials { username: Some(user), .. } => format!("{user}:***@"),
            Credentials { username: None, password: Some(_) } => ":***@".to_owned(),
            Credentials { username: None, password: None } => String::new(),
        };
        let db = if self.db == 0 { String::new() } else { format!("/{}", self.db) };
        let url = format!("{}://{who}{}{db}", self.scheme_name(), self.location.in_url());
        if *self.name == format!("{}{db}", self.location.name()) {
            url
        } else {
            format!("{} = {url}", self.name)
        }
    }

    /// A mistake in the options beside the URL.
    pub(super) fn mistake(&self, number: usize, problem: &str) -> SettingsError {
        let expected = match self.location {
            Location::Fixed(_) => EXPECTED,
            Location::Sentinel { .. } => EXPECTED_BY_SENTINEL,
        };
        SettingsError::NodeUrl { url: self.shown(number), problem: problem.into(), expected }
    }

    /// The URL as errors show it.
    pub(super) fn shown(&self, number: usize) -> String {
        format!("URL number {number} ({}://{})", self.scheme_name(), self.location.name())
    }

    /// Whether the node's password, or that of its sentinels, leaves this machine without TLS.
    pub(super) fn shows_its_password(&self) -> bool {
        let has_one = self.credentials.password.is_some() || self.sentinel.password.is_some();
        self.scheme == Scheme::Plain && has_one && !self.location.is_this_machine()
    }

    fn scheme_name(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Plain => "redis",
            Scheme::Tls => "rediss",
        };
        let by_sentinel = match self.location {
            Location::Fixed(_) => "",
            Location::Sentinel { .. } => BY_SENTINEL,
        };
        format!("{scheme}{by_sentinel}")
    }
}

fn db(text: &str) -> Result<i64, &'static str> {
    if text.is_empty() {
        return Ok(0);
    }
    let db = text.parse().ok().filter(|db| *db >= 0);
    db.ok_or("the database at the end must be a number from 0")
}

/// A URL as errors show it: only scheme and address, because anything else may hold a password, as may all of a URL
/// that cannot be parsed.
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
    use super::super::location::Address;
    use super::*;

    #[test]
    fn urls_are_parsed() {
        let url = |text| NodeUrl::parse(1, text).unwrap();
        assert_eq!(&*url("redis://Example.org").name, "example.org:6379");
        assert_eq!(&*url("redis://10.0.0.1:7001/2").name, "10.0.0.1:7001/2");
        let ipv6 = url("redis://[::1]:7001");
        assert_eq!(&*ipv6.name, "[::1]:7001");
        assert_eq!(ipv6.location, Location::Fixed(Address { host: "::1".into(), port: 7001 }));
        let node = url("redis://al%20ice:p%40ss@h");
        assert_eq!(node.credentials.username.as_deref(), Some("al ice"));
        assert_eq!(node.credentials.password.as_ref().map(Password::reveal).as_deref(), Some("p@ss"));
        assert!(!format!("{node:?}").contains("p@ss"));
    }

    #[test]
    fn a_master_may_be_named_by_its_sentinels() {
        let node = NodeUrl::parse(1, "rediss+sentinel://u:p%40ss@S1,10.0.0.2:7000,[::1]/locks-a/3").unwrap();
        let address = |host: &str, port| Address { host: host.into(), port };
        let sentinels = vec![address("s1", 26379), address("10.0.0.2", 7000), address("::1", 26379)];
        assert_eq!(node.location, Location::Sentinel { sentinels, service: "locks-a".into() });
        assert_eq!((&*node.name, node.db, node.scheme), ("locks-a@s1:26379/3", 3, Scheme::Tls));
        assert_eq!(node.credentials.password.as_ref().map(Password::reveal).as_deref(), Some("p@ss"));
        let other = NodeUrl::parse(1, "redis+sentinel://10.0.0.2:7000/locks-a").unwrap();
        assert!(node.location.is_same_server(&other.location));
        let other = NodeUrl::parse(1, "redis+sentinel://10.0.0.2:7000/locks-b").unwrap();
        assert!(!node.location.is_same_server(&other.location));
    }

    #[test]
    fn no_error_shows_a_password() {
        for url in [
            "http://u:hunter2@h",
            "redis://u:hunter2@",
            "redis://u:hunter2@h:x",
            "redis://u:hun@ter2@h/x",
            "u:hunter2@h",
            "redis+sentinel://u:hunter2@",
            "redis+sentinel://u:hunter2@h",
            "redis+sentinel://u:hun/ter2@h/service",
            "redis+sentinel://u:hunter2@h:x/service",
            "http+sentinel://u:hunter2@h/service",
            "redis+sentinel://u:hunter2@h/ser vice",
            "redis+sentinel://u:hunter2@h/service/x",
            "redis+sentinel://u:hunter2@h/service?hunter2",
        ] {
            let error = NodeUrl::parse(1, url).unwrap_err();
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains("hunter2") && !text.contains("ter2"), "{text}");
            }
        }
    }
}
