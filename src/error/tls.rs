//! Why TLS with a node failed.

use std::fmt;

/// Why TLS between the client and a node failed. `Display` says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsCause {
    /// The server's certificate is not signed by a CA that the client trusts: the CA file or the server is the wrong
    /// one.
    UnknownIssuer,
    /// The server's certificate has expired, by this machine's clock.
    Expired,
    /// The server's certificate is not valid yet, by this machine's clock.
    NotYetValid,
    /// The server's certificate is for other names than the one by which the client knows the server.
    WrongName,
    /// The server requires a client certificate and got none, or one that the server does not accept.
    ClientCertificate,
    /// The server at this port does not speak TLS.
    NotTls,
    /// The server at this port speaks only TLS.
    TlsOnly,
    /// Another cause, which the text names.
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
