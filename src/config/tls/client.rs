//! What rustls needs to know, made of the files that settings name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{CA_FILE, CERT_FILE, KEY_FILE, Names, SERVER_NAME, TlsOptions};
use crate::config::Location;
use crate::config::files::read_bytes;
use crate::error::SettingsError;

/// Largest file of certificates in bytes. The system's own, of all public CAs, is a quarter of it.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// TLS as a node's connection uses it.
#[derive(Clone)]
pub(crate) struct TlsClient {
    pub(crate) config: Arc<ClientConfig>,
    /// Where it is not the host of the URL.
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for TlsClient {
    /// Without the configuration, which holds our key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Reads each file once, however many nodes use it.
#[derive(Default)]
pub(in crate::config) struct TlsClients {
    system: Option<Result<Arc<RootCertStore>, SettingsError>>,
    known: Vec<([Option<PathBuf>; 3], Arc<ClientConfig>)>,
}

impl TlsClients {
    /// What `own` and, where it says nothing, `common` say of a node.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or does not hold what it should; a name that no certificate can be for.
    pub(in crate::config) fn client(
        &mut self,
        location: &Location,
        own: &TlsOptions,
        common: &TlsOptions,
    ) -> Result<TlsClient, SettingsError> {
        let server_name = match pick(SERVER_NAME, &own.server_name, &common.server_name) {
            Some((setting, name)) => Some(server_name(setting, name)?),
            // That of a master that sentinels name is looked at when it is known.
            None => {
                location.hosts().try_for_each(|host| server_name("nodes", host).map(drop)).map(|()| None)?
            }
        };
        Ok(TlsClient { config: self.config(own, common)?, server_name })
    }

    fn config(&mut self, own: &TlsOptions, common: &TlsOptions) -> Result<Arc<ClientConfig>, SettingsError> {
        let ca = pick(CA_FILE, &own.ca_file, &common.ca_file);
        let cert = pick(CERT_FILE, &own.cert_file, &common.cert_file);
        let key = pick(KEY_FILE, &own.key_file, &common.key_file);
        let files = [ca, cert, key].map(|file| file.map(|(_, path)| path.clone()));
        if let Some((_, config)) = self.known.iter().find(|(known, _)| *known == files) {
            return Ok(Arc::clone(config));
        }
        let roots = match ca {
            Some((setting, path)) => Arc::new(ca_roots(setting, path)?),
            None => self.system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SettingsError::Malformed {
                setting: "nodes",
                value: error.to_string(),
                expected: "TLS 1.2 or 1.3",
            })?
            .with_root_certificates(roots);
        let config = match (cert, key) {
            (None, None) => builder.with_no_client_auth(),
            (Some((setting, path)), None) => {
                return Err(half(setting, path, "given together with tls_key_file"));
            }
            (None, Some((setting, path))) => {
                return Err(half(setting, path, "given together with tls_cert_file"));
            }
            (Some(cert), Some((setting, path))) => builder
                .with_client_auth_cert(certificates(cert.0, cert.1)?, private_key(setting, path)?)
                .map_err(|error| file(setting, path, &format!("not the key of the certificate: {error}")))?,
        };
        let config = Arc::new(config);
        self.known.push((files, Arc::clone(&config)));
        Ok(config)
    }

    fn system_roots(&mut self) -> Result<Arc<RootCertStore>, SettingsError> {
        self.system.get_or_insert_with(|| system_roots().map(Arc::new)).clone()
    }
}

/// A setting for one node goes before the one for all.
fn pick<'a, T>(
    [node, all]: Names,
    own: &'a Option<T>,
    common: &'a Option<T>,
) -> Option<(&'static str, &'a T)> {
    own.as_ref().map(|value| (node, value)).or_else(|| Some((all, common.as_ref()?)))
}

fn server_name(setting: &'static str, name: &str) -> Result<ServerName<'static>, SettingsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| SettingsError::Malformed {
        setting,
        value: format!("{name:?}"),
        expected: "a host name or an IP address, for which a certificate can be",
    })
}

fn system_roots() -> Result<RootCertStore, SettingsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let problem = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
    Err(SettingsError::File {
        setting: "tls_ca_file",
        path: "the certificates that the system trusts".to_owned(),
        problem: format!("{problem}; name a file"),
    })
}

fn ca_roots(setting: &'static str, path: &Path) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(setting, path)? {
        roots.add(certificate).map_err(|error| file(setting, path, &error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let pem = read(setting, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| file(setting, path, &format!("not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(file(setting, path, "no PEM certificate in it"));
    }
    Ok(certificates)
}

/// The error never repeats what is in the file.
fn private_key(setting: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, SettingsError> {
    let pem = read(setting, path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| file(setting, path, "no PEM private key in it; an encrypted one cannot be used"))
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, SettingsError> {
    read_bytes(path, PEM_BYTES_MAX).map_err(|problem| file(setting, path, &problem))
}

fn file(setting: &'static str, path: &Path, problem: &str) -> SettingsError {
    SettingsError::File { setting, path: path.display().to_string(), problem: problem.to_owned() }
}

fn half(setting: &'static str, path: &Path, expected: &'static str) -> SettingsError {
    SettingsError::Malformed { setting, value: path.display().to_string(), expected }
}
