//! The rustls configuration, made from the files that settings name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{CA_FILE, CERT_FILE, KEY_FILE, Names, SERVER_NAME, TlsOptions};
use crate::config::Location;
use crate::config::files::Rereadable;
use crate::error::SettingsError;

/// Largest file of certificates in bytes. The system's file of all public CAs has a quarter of this size.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// The TLS settings of a node's connection.
#[derive(Clone)]
pub(crate) struct TlsClient {
    pub(crate) files: Arc<TlsFiles>,
    /// The name in the server's certificate, if it is not the host of the URL.
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for TlsClient {
    /// Omits the configuration, which holds the client's private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// TLS clients of all nodes. Each file is read once, no matter how many nodes use it.
#[derive(Default)]
pub(in crate::config) struct TlsClients {
    system: Option<Result<Arc<RootCertStore>, SettingsError>>,
    known: Vec<([Option<PathBuf>; 3], Arc<TlsFiles>)>,
}

impl TlsClients {
    /// The TLS settings of a node: each option from `own`, or from `common` where `own` does not have it.
    ///
    /// # Errors
    ///
    /// Returns the mistake when a file cannot be read or has the wrong content, or when no certificate can be for the
    /// server's name.
    pub(in crate::config) fn client(
        &mut self,
        location: &Location,
        own: &TlsOptions,
        common: &TlsOptions,
    ) -> Result<TlsClient, SettingsError> {
        let server_name = match pick(SERVER_NAME, &own.server_name, &common.server_name) {
            Some((setting, name)) => Some(server_name(setting, name)?),
            // The host of a master that sentinels name is checked once it is known.
            None => {
                location.hosts().try_for_each(|host| server_name("nodes", host).map(drop)).map(|()| None)?
            }
        };
        Ok(TlsClient { files: self.files(own, common)?, server_name })
    }

    fn files(&mut self, own: &TlsOptions, common: &TlsOptions) -> Result<Arc<TlsFiles>, SettingsError> {
        let ca = pick(CA_FILE, &own.ca_file, &common.ca_file);
        let cert = pick(CERT_FILE, &own.cert_file, &common.cert_file);
        let key = pick(KEY_FILE, &own.key_file, &common.key_file);
        let paths = [ca, cert, key].map(|file| file.map(|(_, path)| path.clone()));
        if let Some((_, files)) = self.known.iter().find(|(known, _)| *known == paths) {
            return Ok(Arc::clone(files));
        }
        match (cert, key) {
            (Some((setting, path)), None) => {
                return Err(half(setting, path, "given together with tls_key_file"));
            }
            (None, Some((setting, path))) => {
                return Err(half(setting, path, "given together with tls_cert_file"));
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        let system = match ca {
            Some(_) => None,
            None => Some(self.system_roots()?),
        };
        let files = Arc::new(TlsFiles::open([ca, cert, key], system)?);
        self.known.push((paths, Arc::clone(&files)));
        Ok(files)
    }

    fn system_roots(&mut self) -> Result<Arc<RootCertStore>, SettingsError> {
        self.system.get_or_insert_with(|| system_roots().map(Arc::new)).clone()
    }
}

/// The TLS files, and the configuration that was last made from them.
pub(crate) struct TlsFiles {
    ca: Option<Rereadable>,
    certificate: Option<Rereadable>,
    key: Option<Rereadable>,
    /// The CAs that the system trusts, if no CA file is set.
    system: Option<Arc<RootCertStore>>,
    made: Mutex<(Contents, Arc<ClientConfig>)>,
}

/// The content of the CA, certificate and key files.
type Contents = [Option<Vec<u8>>; 3];

impl TlsFiles {
    fn open(
        files: [Option<(&'static str, &PathBuf)>; 3],
        system: Option<Arc<RootCertStore>>,
    ) -> Result<Self, SettingsError> {
        let mut contents = Contents::default();
        let mut opened = [None, None, None];
        for (i, file) in files.into_iter().enumerate() {
            if let Some((setting, path)) = file {
                let (file, bytes) =
                    Rereadable::open(setting, path.display().to_string(), path, PEM_BYTES_MAX)?;
                (opened[i], contents[i]) = (Some(file), Some(bytes));
            }
        }
        let config = make([&opened[0], &opened[1], &opened[2]], &contents, system.as_ref())?;
        let [ca, certificate, key] = opened;
        Ok(Self { ca, certificate, key, system, made: Mutex::new((contents, config)) })
    }

    /// The first file that is set.
    pub(crate) fn first(&self) -> Option<&Rereadable> {
        self.all().into_iter().find_map(Option::as_ref)
    }

    /// The configuration for the present content of the files. While no file has changed, this is the same
    /// configuration as before, which can resume TLS sessions with the servers. Blocks.
    ///
    /// # Errors
    ///
    /// [`SettingsError::File`] when a file cannot be read or has the wrong content.
    pub(crate) fn read(&self) -> Result<Arc<ClientConfig>, SettingsError> {
        let mut contents = Contents::default();
        for (content, file) in contents.iter_mut().zip(self.all()) {
            *content = file.as_ref().map(Rereadable::read).transpose()?;
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != contents {
            let config = make(self.all(), &contents, self.system.as_ref())?;
            *made = (contents, config);
        }
        Ok(Arc::clone(&made.1))
    }

    fn all(&self) -> [&Option<Rereadable>; 3] {
        [&self.ca, &self.certificate, &self.key]
    }
}

fn make(
    [ca, cert, key]: [&Option<Rereadable>; 3],
    contents: &Contents,
    system: Option<&Arc<RootCertStore>>,
) -> Result<Arc<ClientConfig>, SettingsError> {
    let [ca_pem, cert_pem, key_pem] =
        contents.each_ref().map(|content| content.as_deref().unwrap_or_default());
    let roots = match (ca, system) {
        (Some(ca), _) => Arc::new(ca_roots(ca, ca_pem)?),
        (None, Some(system)) => Arc::clone(system),
        (None, None) => Arc::new(RootCertStore::empty()),
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
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates(cert, cert_pem)?, private_key(key, key_pem)?)
            .map_err(|error| key.wrong(&format!("not the key of the certificate: {error}")))?,
        (None, _) | (_, None) => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The setting for one node, or else the setting for all nodes.
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

fn ca_roots(file: &Rereadable, pem: &[u8]) -> Result<RootCertStore, SettingsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, pem)? {
        roots.add(certificate).map_err(|error| file.wrong(&error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(file: &Rereadable, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|error| file.wrong(&format!("not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(file.wrong("no PEM certificate in it"));
    }
    Ok(certificates)
}

/// Parses the private key. An error never repeats the content of the file.
fn private_key(file: &Rereadable, pem: &[u8]) -> Result<PrivateKeyDer<'static>, SettingsError> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| file.wrong("no PEM private key in it; an encrypted one cannot be used"))
}

fn half(setting: &'static str, path: &Path, expected: &'static str) -> SettingsError {
    SettingsError::Malformed { setting, value: path.display().to_string(), expected }
}
