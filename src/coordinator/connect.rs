//! From a node as it is configured to what connects to it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Address, Credentials, Location, NodeUrl};
use crate::node::{self, Connector, Login, Sentinel, Tcp};

/// `limit` is for a connection to become usable.
pub(super) fn connector(node: &NodeUrl, limit: Duration) -> Arc<dyn Connector> {
    let tcp = |Address { host, port }: &Address| Tcp {
        host: host.clone(),
        port: *port,
        transport: transport(&node.transport),
    };
    match &node.location {
        Location::Fixed(address) => Arc::new(tcp(address)),
        Location::Sentinel { sentinels, service } => {
            let sentinels = sentinels.iter().map(tcp).collect();
            Arc::new(Sentinel::new(sentinels, service, &login(&node.sentinel), limit))
        }
    }
}

pub(super) fn login(Credentials { username, password }: &Credentials) -> Login {
    Login { username: username.clone(), password: password.clone() }
}

fn transport(transport: &config::Transport) -> node::Transport {
    match transport {
        config::Transport::Plain => node::Transport::Plain,
        #[cfg(feature = "tls")]
        config::Transport::Tls(config::TlsClient { config, server_name }) => {
            let (config, server_name) = (Arc::clone(config), server_name.clone());
            node::Transport::Tls(node::TlsClient { config, server_name })
        }
    }
}
