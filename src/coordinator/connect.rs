//! Builds a node's connector and login from its configuration.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

#[cfg(any(feature = "config", feature = "tls"))]
use super::reread::Reread;
use crate::config::{self, Address, Credentials, Location, NodeUrl, Password};
use crate::error::NodeFailure;
use crate::node::{self, Connector, LoginSource, Sentinel, Tcp};
use crate::types::Login;

/// How much of a credentials provider's message an error repeats.
const DETAIL_CHARS_MAX: usize = 200;

/// What connects to the nodes. A simulation puts its own nodes behind it.
pub(crate) trait Network {
    /// `limit` is for a connection to become usable.
    fn connector(&self, node: &NodeUrl, limit: Duration) -> Arc<dyn Connector>;
}

/// The real one.
pub(crate) struct Internet;

impl Network for Internet {
    fn connector(&self, node: &NodeUrl, limit: Duration) -> Arc<dyn Connector> {
        connector(node, limit)
    }
}

/// What opens connections to `node`. `limit`: longest time for a connection to become usable.
fn connector(node: &NodeUrl, limit: Duration) -> Arc<dyn Connector> {
    // All connections of a node share one transport, because they use the same TLS files.
    let transport = transport(&node.transport, limit);
    let tcp = |Address { host, port }: &Address| Tcp {
        host: host.clone(),
        port: *port,
        transport: transport.clone(),
    };
    match &node.location {
        Location::Fixed(address) => Arc::new(tcp(address)),
        Location::Sentinel { sentinels, service } => {
            let sentinels = sentinels.iter().map(tcp).collect();
            Arc::new(Sentinel::new(sentinels, service, &login(&node.name, &node.sentinel, limit), limit))
        }
    }
}

/// Where the credentials for `node` come from. `limit` as for [`connector`].
pub(super) fn login(node: &Arc<str>, credentials: &Credentials, limit: Duration) -> LoginSource {
    let username = credentials.username.clone();
    match &credentials.password {
        None => LoginSource::Known(Login { username, password: None }),
        Some(Password::Known(password)) => {
            LoginSource::Known(Login { username, password: Some(password.clone()) })
        }
        #[cfg(feature = "config")]
        Some(Password::InFile(file)) => {
            let read = file.clone();
            let password = Arc::new(Reread::new(file.file().name(), limit / 2, move || read.read()));
            LoginSource::Asked(Arc::new(move || {
                let (username, password) = (username.clone(), Arc::clone(&password));
                async move { Ok(Login { username, password: Some(password.read().await?) }) }.boxed()
            }))
        }
        Some(Password::Provided(provider)) => {
            let (node, provider) = (Arc::clone(node), provider.clone());
            // A provider has no limit of its own: the limit of the whole connection attempt applies.
            let _ = limit;
            LoginSource::Asked(Arc::new(move || {
                let (username, node, provider) = (username.clone(), Arc::clone(&node), provider.clone());
                ask(username, move || provider.ask(node)).boxed()
            }))
        }
    }
}

/// Asks a provider for credentials. A panic of the provider becomes an error, because a panic would end the node's
/// task.
async fn ask(
    username: Option<String>,
    provider: impl FnOnce() -> BoxFuture<'static, Result<Login, String>>,
) -> Result<Login, NodeFailure> {
    let answer = AssertUnwindSafe(async move { provider().await }).catch_unwind().await;
    let answer = answer.unwrap_or_else(|_| Err("the provider panicked".to_owned()));
    match answer {
        Ok(login) => Ok(Login { username: login.username.or(username), ..login }),
        Err(said) => {
            let detail = said.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect();
            Err(NodeFailure::Credentials { detail })
        }
    }
}

#[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "files are those of TLS"))]
fn transport(transport: &config::Transport, limit: Duration) -> node::Transport {
    match transport {
        config::Transport::Plain => node::Transport::Plain,
        #[cfg(feature = "tls")]
        config::Transport::Tls(config::TlsClient { files, server_name }) => {
            let files = Arc::clone(files);
            let config: node::Ask<_> = match files.first() {
                None => {
                    // Without files there is nothing to read again, so the configuration is built once.
                    let config =
                        files.read().map_err(|mistake| NodeFailure::Refused { detail: mistake.to_string() });
                    Arc::new(move || std::future::ready(config.clone()).boxed())
                }
                Some(first) => {
                    let read = Arc::clone(&files);
                    let config = Arc::new(Reread::new(first.name(), limit / 2, move || read.read()));
                    Arc::new(move || {
                        let config = Arc::clone(&config);
                        async move { config.read().await }.boxed()
                    })
                }
            };
            node::Transport::Tls(node::TlsClient { config, server_name: server_name.clone() })
        }
    }
}
