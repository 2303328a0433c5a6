//! Settings of TLS to the nodes.

use std::path::PathBuf;

use super::{Access, DefaultText, Setting};

const PATH: &str = "path, from this file's directory on";

pub(super) static SETTINGS: [Setting; 4] = [
    Setting {
        name: "tls_ca_file",
        default: DefaultText::Words {
            default: "none, the CAs that the system trusts",
            example: r#""/etc/redlock/ca.pem""#,
        },
        bounds: "PEM certificates, at most 1 MB",
        what: "The CAs that sign the nodes' certificates, for nodes of rediss:// URLs.",
        why: "a CA of your own; it should sign nothing but the certificates of these nodes",
        access: Access::Other {
            unit: PATH,
            set: |builder, given| {
                builder.tls.ca_file = Some(given.path()?);
                Ok(())
            },
            show: |settings| shown(settings.tls.ca_file.as_ref()),
        },
    },
    Setting {
        name: "tls_cert_file",
        default: DefaultText::Words { default: "none", example: r#""/etc/redlock/client.pem""# },
        bounds: "PEM certificates, at most 1 MB; together with tls_key_file",
        what: "Our certificate, and those between it and a CA that the nodes trust.",
        why: "where nodes want one, which is the default of Redis (`tls-auth-clients yes`)",
        access: Access::Other {
            unit: PATH,
            set: |builder, given| {
                builder.tls.cert_file = Some(given.path()?);
                Ok(())
            },
            show: |settings| shown(settings.tls.cert_file.as_ref()),
        },
    },
    Setting {
        name: "tls_key_file",
        default: DefaultText::Words { default: "none", example: r#""/etc/redlock/client.key""# },
        bounds: "a PEM key that is not encrypted, at most 1 MB; together with tls_cert_file",
        what: "The private key of our certificate.",
        why: "with tls_cert_file",
        access: Access::Other {
            unit: PATH,
            set: |builder, given| {
                builder.tls.key_file = Some(given.path()?);
                Ok(())
            },
            show: |settings| shown(settings.tls.key_file.as_ref()),
        },
    },
    Setting {
        name: "tls_server_name",
        default: DefaultText::Words { default: "none, the host of each URL", example: r#""redis.internal""# },
        bounds: "a host name or an IP address",
        what: "The name that the nodes' certificates are for.",
        why: "where URLs have addresses and certificates have names",
        access: Access::Other {
            unit: "text",
            set: |builder, given| {
                builder.tls.server_name = Some(given.text()?.to_owned());
                Ok(())
            },
            show: |settings| settings.tls.server_name.clone(),
        },
    },
];

fn shown(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}
