//! From a node as it is configured to what connects to it.

use std::sync::Arc;

use crate::config::{self, NodeUrl};
use crate::node::{self, Connector, Tcp};

pub(super) fn connector(node: &NodeUrl) -> Arc<dyn Connector> {
    Arc::new(Tcp { host: node.host.clone(), port: node.port, transport: transport(&node.transport) })
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
