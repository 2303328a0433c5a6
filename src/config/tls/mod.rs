//! TLS to the nodes: files and server names, for all nodes or for one.

#[cfg(feature = "tls")]
mod client;

use std::path::PathBuf;

use super::{NodeOptions, RedlockBuilder};
use crate::error::SettingsError;

#[cfg(feature = "tls")]
pub(crate) use client::TlsClient;
#[cfg(feature = "tls")]
pub(super) use client::TlsClients;

/// The names of a setting: for one node, and for all.
type Names = [&'static str; 2];

const CA_FILE: Names = ["nodes.tls_ca_file", "tls_ca_file"];
const CERT_FILE: Names = ["nodes.tls_cert_file", "tls_cert_file"];
const KEY_FILE: Names = ["nodes.tls_key_file", "tls_key_file"];
const SERVER_NAME: Names = ["nodes.tls_server_name", "tls_server_name"];

/// The protocol on a node's TCP connection.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(TlsClient),
}

/// The TLS options of one node or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) server_name: Option<String>,
}

impl RedlockBuilder {
    /// The PEM file of the CAs that sign the nodes' certificates, instead of the CAs that the system trusts. For nodes
    /// with `rediss://` URLs, which need the feature `tls`.
    pub fn tls_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca_file = Some(path.into());
        self.given("tls_ca_file")
    }

    /// The PEM file of the client's certificate, followed by the certificates between it and a CA that the nodes trust.
    /// Needs [`tls_key_file`](Self::tls_key_file).
    pub fn tls_cert_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.cert_file = Some(path.into());
        self.given("tls_cert_file")
    }

    /// The PEM file of the client certificate's private key; PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub fn tls_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.key_file = Some(path.into());
        self.given("tls_key_file")
    }

    /// The host name in the nodes' certificates, instead of the host of each URL.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self.given("tls_server_name")
    }
}

impl NodeOptions {
    /// As [`RedlockBuilder::tls_ca_file`], for this node.
    pub fn tls_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.ca_file = Some(path.into());
        self
    }

    /// As [`RedlockBuilder::tls_cert_file`], for this node.
    pub fn tls_cert_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.cert_file = Some(path.into());
        self
    }

    /// As [`RedlockBuilder::tls_key_file`], for this node.
    pub fn tls_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.key_file = Some(path.into());
        self
    }

    /// As [`RedlockBuilder::tls_server_name`], for this node.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }
}

impl TlsOptions {
    /// The first option that is set: its names and its value.
    fn first(&self) -> Option<(Names, String)> {
        let Self { ca_file, cert_file, key_file, server_name } = self;
        let paths = [(CA_FILE, ca_file), (CERT_FILE, cert_file), (KEY_FILE, key_file)];
        let paths =
            paths.into_iter().filter_map(|(names, path)| Some((names, path.as_ref()?.display().to_string())));
        let mut all = paths.chain(server_name.iter().map(|name| (SERVER_NAME, name.clone())));
        all.next()
    }

    /// Refuses options of a node without TLS.
    pub(super) fn check_unused_by_node(&self) -> Result<(), SettingsError> {
        self.first().map_or(Ok(()), |([node, _], value)| Err(unused(node, value)))
    }

    /// Refuses options for all nodes where no node has TLS.
    pub(super) fn check_unused_by_all(&self) -> Result<(), SettingsError> {
        self.first().map_or(Ok(()), |([_, all], value)| Err(unused(all, value)))
    }
}

/// The mistake of TLS options without TLS, whose author believes that something is encrypted.
fn unused(setting: &'static str, value: String) -> SettingsError {
    SettingsError::Malformed { setting, value, expected: "given for rediss:// URLs only, and there is none" }
}
