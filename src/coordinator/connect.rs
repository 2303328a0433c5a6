//! From a node as it is configured to what connects to it.

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

/// How much of what a provider says an error repeats.
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

/// `limit` is for a connection to become usable.
fn connector(node: &NodeUrl, limit: Duration) -> Arc<dyn Connector> {
    // One for all: the files are the same.
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

/// `limit` as for [`connector`].
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
            // Without one, `limit` is that of the connection as a whole.
            let _ = limit;
            LoginSource::Asked(Arc::new(move || {
                let (username, node, provider) = (username.clone(), Arc::clone(&node), provider.clone());
                ask(username, move || provider.ask(node)).boxed()
            }))
        }
    }
}

/// A provider that panics must not take the node's task along.
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
                    // Nothing to be read, and so nothing that may fail or take time.
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
