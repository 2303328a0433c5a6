//! TLS over TCP: the handshake, and the meaning of its failures.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, InvalidMessage,
};

use super::login::Ask;
use super::stream::{Stream, Tcp};
use super::{failure, mistaken};
use crate::error::{NodeFailure, TlsCause};

/// How long a server may take to answer the TLS greeting before a second connection asks whether it speaks TLS at
/// all. The handshake of a server that is only slow continues in the meantime. The time is a quarter of the default
/// connect timeout.
const PATIENCE: Duration = Duration::from_millis(250);

/// How to make TLS out of TCP.
#[derive(Clone)]
pub(crate) struct TlsClient {
    /// The TLS configuration, asked for with each connection because files change.
    pub(crate) config: Ask<Arc<ClientConfig>>,
    /// The name that the certificate must have, if it differs from the host that is connected to.
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl TlsClient {
    pub(super) async fn encrypt(
        &self,
        config: Arc<ClientConfig>,
        tcp: &Tcp,
        stream: TcpStream,
    ) -> Result<Box<dyn Stream>, NodeFailure> {
        let host = &tcp.host;
        let server_name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.clone()).map_err(|_| NodeFailure::Tls {
                cause: TlsCause::WrongName,
                detail: format!("no certificate can be for {host:?}"),
            })?,
        };
        let connector = TlsConnector::from(config);
        let mut greeting = std::pin::pin!(connector.connect(server_name, stream));
        let greeted = match tokio::time::timeout(PATIENCE, &mut greeting).await {
            Ok(greeted) => greeted,
            Err(_) => tokio::select! {
                biased;
                greeted = &mut greeting => greeted,
                failure = not_tls(tcp) => return Err(failure),
            },
        };
        match greeted {
            Ok(stream) => Ok(Box::new(Encrypted(stream))),
            Err(error) if of_error(&error).is_some() => Err(failure::of_open(&error)),
            // The server closed without a word.
            Err(error) => {
                let cause = mistaken::of_silent_greeting(tcp).await;
                Err(cause.unwrap_or_else(|| failure::of_open(&error)))
            }
        }
    }
}

/// Returns once the server is known not to speak TLS.
async fn not_tls(tcp: &Tcp) -> NodeFailure {
    match mistaken::of_silent_greeting(tcp).await {
        Some(failure) => failure,
        None => std::future::pending().await,
    }
}

/// Translates a TLS error; `None` for any other error.
pub(super) fn of_error(error: &io::Error) -> Option<NodeFailure> {
    let tls = error.get_ref()?.downcast_ref::<TlsError>()?;
    Some(NodeFailure::Tls { cause: cause(tls), detail: failure::detail(&tls.to_string()) })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls's enums grow; all others are told by their text")]
fn cause(error: &TlsError) -> TlsCause {
    match error {
        TlsError::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsCause::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsCause::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsCause::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsCause::WrongName
            }
            _ => TlsCause::Other,
        },
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // The certificate's signature is not that of the CA that it names.
            | AlertDescription::DecryptError,
        ) => TlsCause::ClientCertificate,
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => TlsCause::NotTls,
        _ => TlsCause::Other,
    }
}

/// A TLS stream whose write errors carry the server's reason, if the server sent one.
struct Encrypted(TlsStream<TcpStream>);

impl Encrypted {
    /// Replaces a write error with the server's reason. A server that does not accept our certificate says so and
    /// closes. With TLS 1.3 this happens after the handshake, and our next bytes may meet the closed connection
    /// before we have read the reason.
    fn blame(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let mut unread = [0];
        match Pin::new(&mut self.0).poll_read(cx, &mut ReadBuf::new(&mut unread)) {
            Poll::Ready(Err(said)) if of_error(&said).is_some() => said,
            Poll::Ready(Err(_) | Ok(())) | Poll::Pending => error,
        }
    }
}

impl Stream for Encrypted {
    fn abandon(&mut self) {
        self.0.get_mut().0.abandon();
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, buf);
        written.map_err(|error| self.blame(cx, error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.0).poll_flush(cx);
        flushed.map_err(|error| self.blame(cx, error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
