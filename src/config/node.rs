//! One node as it is configured.

use std::collections::HashSet;

use super::node_url::Scheme;
use super::origins::SettingOrigins;
#[cfg(feature = "tls")]
use super::tls::TlsClients;
use super::tls::TlsOptions;
use super::{Credentials, Location, NodeUrl, Transport};
use crate::error::{SettingOrigin, SettingsError};
use crate::types::Secret;

/// Longest name of a node in bytes: it is part of every message about it.
const NAME_BYTES_MAX: usize = 64;

/// One node: the URL of a Redis master, and options that the URL does not have. A URL alone converts into
/// `NodeOptions`.
///
/// ```
/// use redlock_quorum::{NodeOptions, Redlock};
///
/// let password = std::fs::read_to_string("/run/secrets/redis").unwrap_or_default();
/// let node = |host: &str| {
///     NodeOptions::new(format!("redis://{host}")).name(host).username("locks").password(password.trim_end())
/// };
/// let builder = Redlock::builder().nodes([node("redis-a"), node("redis-b"), node("redis-c")]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to `RedlockBuilder::nodes`"]
pub struct NodeOptions {
    pub(super) url: Secret,
    pub(super) name: Option<String>,
    pub(super) credentials: Credentials,
    pub(super) sentinel: Credentials,
    pub(super) tls: TlsOptions,
    pub(super) origin: SettingOrigin,
}

impl NodeOptions {
    /// A node with the URL `redis://[user:password@]host[:port][/db]`, or `rediss://` for TLS.
    ///
    /// The master of a service that Sentinels watch has the URL
    /// `redis+sentinel://[user:password@]host[:port],host[:port],host[:port]/service[/db]`, or `rediss+sentinel://`.
    /// Name **all** sentinels of the service, because a majority of them has to answer.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            name: None,
            credentials: Credentials::default(),
            sentinel: Credentials::default(),
            tls: TlsOptions::default(),
            origin: SettingOrigin::Code,
        }
    }

    /// The name of the node in every message, instead of its host and port; 1 to 64 bytes without control characters.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl From<&str> for NodeOptions {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<&String> for NodeOptions {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

impl From<String> for NodeOptions {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

/// The nodes of both lists: those of the present list, and behind them those of the next list alone.
pub(super) struct Parsed {
    pub(super) nodes: Vec<NodeUrl>,
    /// The nodes of the next list, by their places in `nodes`.
    pub(super) next: Vec<usize>,
}

/// # Errors
///
/// Returns the mistakes of all nodes, each with its origin.
pub(super) fn parse_all(
    (nodes, next_nodes): (&[NodeOptions], &[NodeOptions]),
    mut common: Common<'_>,
    origins: &SettingOrigins,
) -> Result<Parsed, Vec<SettingsError>> {
    let mut mistakes: Vec<SettingsError> = Vec::new();
    let mut parsed: Vec<NodeUrl> = Vec::with_capacity(nodes.len());
    let mut next = Vec::with_capacity(next_nodes.len());
    let mut names = HashSet::new();
    let all = nodes.iter().chain(next_nodes).zip((1..=nodes.len()).chain(1..=next_nodes.len()));
    for (i, (options, number)) in all.enumerate() {
        let node = parse(number, options, &mut common).and_then(|node| {
            let same = parsed.iter().position(|other| other.location.is_same_server(&node.location));
            if let Some(place) = same {
                // Only a node of the next list may be one of the present list, and only once.
                let is_on_both = i >= nodes.len() && !next.contains(&place) && parsed[place].db == node.db;
                if !is_on_both {
                    return Err(SettingsError::DuplicateNode { node: node.location.name() });
                }
                next.push(place);
                return Ok(None);
            }
            if !names.insert(node.name.clone()) {
                return Err(SettingsError::DuplicateNode { node: node.name.to_string() });
            }
            Ok(Some(node))
        });
        match node {
            Ok(Some(node)) => {
                if i >= nodes.len() {
                    next.push(parsed.len());
                }
                parsed.push(node);
            }
            Ok(None) => {}
            Err(mistake) => {
                // A mistake in a setting for all nodes is reported once.
                let of_one = mistake.setting().starts_with("nodes");
                let mistake = if of_one { mistake.at(&options.origin) } else { located(mistake, origins) };
                if of_one || !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
            }
        }
    }
    if mistakes.is_empty() && !parsed.is_empty() {
        mistakes.extend(common.check_used(&parsed).err().map(|mistake| located(mistake, origins)));
    }
    if mistakes.is_empty() { Ok(Parsed { nodes: parsed, next }) } else { Err(mistakes) }
}

/// Adds the origin to a mistake in a setting for all nodes.
fn located(mistake: SettingsError, origins: &SettingOrigins) -> SettingsError {
    let origin = origins.of(mistake.setting()).clone();
    mistake.at(&origin)
}

/// The settings for all nodes.
pub(super) struct Common<'a> {
    credentials: &'a Credentials,
    sentinel: &'a Credentials,
    tls: &'a TlsOptions,
    #[cfg(feature = "tls")]
    clients: TlsClients,
}

impl<'a> Common<'a> {
    pub(super) fn new(credentials: &'a Credentials, sentinel: &'a Credentials, tls: &'a TlsOptions) -> Self {
        Self {
            credentials,
            sentinel,
            tls,
            #[cfg(feature = "tls")]
            clients: TlsClients::default(),
        }
    }

    /// Refuses settings that no node uses, because their author expects an effect.
    fn check_used(&self, nodes: &[NodeUrl]) -> Result<(), SettingsError> {
        if nodes.iter().all(|node| node.scheme == Scheme::Plain) {
            self.tls.check_unused_by_all()?;
        }
        if nodes.iter().all(|node| matches!(node.location, Location::Fixed(_))) {
            self.sentinel.check_unused(["sentinel_username", "sentinel_password"])?;
        }
        Ok(())
    }

    #[cfg(feature = "tls")]
    fn transport(&mut self, _: usize, node: &NodeUrl, own: &TlsOptions) -> Result<Transport, SettingsError> {
        self.clients.client(&node.location, own, self.tls).map(Transport::Tls)
    }

    #[cfg(not(feature = "tls"))]
    fn transport(&self, number: usize, node: &NodeUrl, _: &TlsOptions) -> Result<Transport, SettingsError> {
        Err(SettingsError::FeatureMissing { setting: "nodes", value: node.shown(number), feature: "tls" })
    }
}

fn without_password(setting: &'static str, user: &str) -> SettingsError {
    SettingsError::Malformed { setting, value: user.to_owned(), expected: "given together with a password" }
}

fn parse(number: usize, options: &NodeOptions, common: &mut Common<'_>) -> Result<NodeUrl, SettingsError> {
    let NodeOptions { url, name, credentials, sentinel, tls, origin: _ } = options;
    let mut node = NodeUrl::parse(number, url.reveal())?;
    if credentials.username.is_some() && node.credentials.username.is_some() {
        return Err(node.mistake(number, "the user is given both in the URL and beside it"));
    }
    if credentials.password.is_some() && node.credentials.password.is_some() {
        return Err(node.mistake(number, "the password is given both in the URL and beside it"));
    }
    let own = credentials.or(&node.credentials);
    let credentials = own.or(common.credentials);
    if let Credentials { username: Some(user), password: None } = &credentials {
        return Err(match own.username {
            Some(_) => node.mistake(number, "a user needs a password"),
            None => without_password("username", user),
        });
    }
    let sentinel = match node.location {
        Location::Fixed(_) => {
            sentinel.check_unused(["nodes.sentinel_username", "nodes.sentinel_password"])?;
            Credentials::default()
        }
        Location::Sentinel { .. } => {
            let all = sentinel.or(common.sentinel);
            if let Credentials { username: Some(user), password: None } = &all {
                return Err(match sentinel.username {
                    Some(_) => without_password("nodes.sentinel_username", user),
                    None => without_password("sentinel_username", user),
                });
            }
            all
        }
    };
    if let Some(name) = name {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(SettingsError::OutOfRange {
                setting: "nodes.name",
                value: format!("{:?}", name.chars().take(NAME_BYTES_MAX).collect::<String>()),
                bound: format!("1 to {NAME_BYTES_MAX} bytes without control characters"),
            });
        }
        node.name = name.as_str().into();
    }
    (node.credentials, node.sentinel) = (credentials, sentinel);
    node.transport = match node.scheme {
        Scheme::Plain => tls.check_unused_by_node().map(|()| Transport::Plain)?,
        Scheme::Tls => common.transport(number, &node, tls)?,
    };
    Ok(node)
}
