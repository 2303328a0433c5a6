//! Why TLS with a node failed.

use std::fmt;

/// What is wrong with TLS between us and a node, and so what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsCause {
    /// The server's certificate is signed by nobody whom we trust: the wrong CA file, or the wrong server.
    UnknownIssuer,
    /// The server's certificate has expired, by our clock.
    Expired,
    /// The server's certificate is not valid yet, by our clock.
    NotYetValid,
    /// The server's certificate is for other names than the one that we know the server by.
    WrongName,
    /// The server wants a certificate of ours and got none, or one that it does not accept.
    ClientCertificate,
    /// What answers at this port does not speak TLS.
    NotTls,
    /// The server speaks TLS at this port, and nothing else.
    TlsOnly,
    /// Something else; the text says what.
    Other,
}

impl fmt::Display for TlsCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => {
                "the server's certificate is not signed by a CA that we trust; \
                 let `tls_ca_file` name the CA of this server"
            }
            Self::Expired => {
                "the server's certificate has expired; renew it, and see that our clock is right"
            }
            Self::NotYetValid => {
                "the server's certificate is not valid yet; see that our clock and the CA's are right"
            }
            Self::WrongName => {
                "the server's certificate is for another name; connect by a name that it is for, \
                 or say it in `tls_server_name`"
            }
            Self::ClientCertificate => {
                "the server does not accept our certificate, or got none; \
                 set `tls_cert_file` and `tls_key_file` to one that its CA has signed"
            }
            Self::NotTls => "the server does not speak TLS on this port; use its TLS port, or redis://",
            Self::TlsOnly => {
                "the server speaks only TLS on this port; use rediss:// (feature `tls`), or its port without TLS"
            }
            Self::Other => {
                "the handshake failed; with TLS 1.2, a server that wants a certificate of ours (`tls_cert_file`) \
                 says no more than that"
            }
        })
    }
}
