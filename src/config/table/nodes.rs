//! Settings of the nodes and of the credentials for them.

use super::{Access, DefaultText, Setting};
use crate::config::Settings;
use crate::config::origins::PASSWORDS;
use crate::protocol::{ListQuorum, QuorumSize};

pub(super) static SETTINGS: [Setting; 14] = [
    Setting {
        name: "nodes",
        default: DefaultText::Words {
            default: "none, must be given",
            example: r#"["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"]"#,
        },
        bounds: "1 to 31, each a server of its own; an odd number",
        what: "The independent Redis masters. Every client of a lock must name the same ones.",
        why: "three survive the loss of one, five of two",
        access: Access::Other {
            unit: "list of URLs or tables; in the environment URLs with commas between them",
            set: |builder, given| {
                builder.nodes = urls(given.text()?).iter().map(|url| url.trim().into()).collect();
                Ok(())
            },
            show: |settings| Some(described(settings, settings.quorum.present())),
        },
    },
    Setting {
        name: "username",
        default: DefaultText::Words {
            default: "none, which is Redis's user `default`",
            example: r#""locks""#,
        },
        bounds: "needs a password",
        what: "The ACL user on every node that names none itself.",
        why: "a user of its own needs only the few commands of a lock",
        access: Access::Other {
            unit: "text",
            set: |builder, given| {
                builder.credentials.username = Some(given.text()?.to_owned());
                Ok(())
            },
            show: |settings| settings.username.clone(),
        },
    },
    Setting {
        name: "password",
        default: DefaultText::Words { default: "none", example: r#""...""# },
        bounds: "never shown",
        what: "The password on every node that has none itself.",
        why: "better kept out of files: in REDLOCK_PASSWORD, or by one of the next two",
        access: Access::Other {
            unit: "text",
            set: |builder, given| builder.credentials.set_password(given.password()),
            show: |settings| secret(settings, "password"),
        },
    },
    Setting {
        name: "password_file",
        default: DefaultText::Words { default: "none", example: r#""/run/secrets/redis-password""# },
        bounds: "at most 4096 bytes of UTF-8; one newline at the end is cut off",
        what: "The file that holds the password; read again for every connection.",
        why: "secrets of Docker, Kubernetes and systemd are files, and may change",
        access: Access::Other {
            unit: "path, from this file's directory on",
            set: |builder, given| builder.credentials.set_password(given.secret_in_file("password_file")),
            show: |settings| secret(settings, "password_file"),
        },
    },
    Setting {
        name: "password_env",
        default: DefaultText::Words { default: "none", example: r#""REDIS_PASSWORD""# },
        bounds: "a variable that is set",
        what: "The environment variable that holds the password.",
        why: "it is in the environment already, by another name than REDLOCK_PASSWORD",
        access: Access::Other {
            unit: "name of an environment variable",
            set: |builder, given| {
                builder.credentials.set_password(given.secret_in_environment("password_env"))
            },
            show: |settings| secret(settings, "password_env"),
        },
    },
    Setting {
        name: "sentinel_username",
        default: DefaultText::Words { default: "none", example: r#""watcher""# },
        bounds: "needs a sentinel_password",
        what: "The ACL user on the sentinels, for nodes of redis+sentinel:// URLs.",
        why: "where sentinels have users of their own",
        access: Access::Other {
            unit: "text",
            set: |builder, given| {
                builder.sentinel.username = Some(given.text()?.to_owned());
                Ok(())
            },
            show: |settings| settings.sentinel_username.clone(),
        },
    },
    Setting {
        name: "sentinel_password",
        default: DefaultText::Words { default: "none", example: r#""...""# },
        bounds: "never shown",
        what: "The password on the sentinels; not that of the masters.",
        why: "where sentinels have one (`requirepass`)",
        access: Access::Other {
            unit: "text",
            set: |builder, given| builder.sentinel.set_password(given.password()),
            show: |settings| secret(settings, "sentinel_password"),
        },
    },
    Setting {
        name: "sentinel_password_file",
        default: DefaultText::Words { default: "none", example: r#""/run/secrets/sentinel-password""# },
        bounds: "at most 4096 bytes of UTF-8; one newline at the end is cut off",
        what: "The file that holds it; read again for every connection.",
        why: "as password_file",
        access: Access::Other {
            unit: "path, from this file's directory on",
            set: |builder, given| {
                builder.sentinel.set_password(given.secret_in_file("sentinel_password_file"))
            },
            show: |settings| secret(settings, "sentinel_password_file"),
        },
    },
    Setting {
        name: "sentinel_password_env",
        default: DefaultText::Words { default: "none", example: r#""SENTINEL_PASSWORD""# },
        bounds: "a variable that is set",
        what: "The environment variable that holds it.",
        why: "as password_env",
        access: Access::Other {
            unit: "name of an environment variable",
            set: |builder, given| {
                builder.sentinel.set_password(given.secret_in_environment("sentinel_password_env"))
            },
            show: |settings| secret(settings, "sentinel_password_env"),
        },
    },
    Setting {
        name: "quorum",
        default: DefaultText::Words { default: "n/2 + 1, the majority", example: "2" },
        bounds: "n/2 + 1 to n",
        what: "How many nodes have to agree.",
        why: "more than a majority survives fewer failures, and stands a node that forgets",
        access: Access::Other {
            unit: "whole number",
            set: |builder, given| {
                builder.quorum = QuorumSize::Exactly(given.count()?);
                Ok(())
            },
            show: |settings| Some(settings.quorum.present().needed().to_string()),
        },
    },
    Setting {
        name: "next_nodes",
        default: DefaultText::Words {
            default: "none, the nodes stay the same",
            example: r#"["redis://10.0.0.3", "redis://10.0.0.4", "redis://10.0.0.5"]"#,
        },
        bounds: "at most 31 with those of nodes",
        what: "The nodes to change to while locks are held. A lock needs a quorum of both lists.",
        why: "first in all clients beside nodes, then as nodes: see README, \"Changing the nodes\"",
        access: Access::Other {
            unit: "as nodes",
            set: |builder, given| {
                builder.next_nodes = urls(given.text()?).iter().map(|url| url.trim().into()).collect();
                Ok(())
            },
            show: |settings| settings.quorum.next().map(|list| described(settings, list)),
        },
    },
    Setting {
        name: "next_quorum",
        default: DefaultText::Words { default: "n/2 + 1, the majority", example: "2" },
        bounds: "n/2 + 1 to n",
        what: "How many of the next_nodes have to agree.",
        why: "as quorum",
        access: Access::Other {
            unit: "whole number",
            set: |builder, given| {
                builder.next_quorum = QuorumSize::Exactly(given.count()?);
                Ok(())
            },
            show: |settings| settings.quorum.next().map(|list| list.needed().to_string()),
        },
    },
    Setting {
        name: "key_prefix",
        default: DefaultText::Words { default: "none, the name of a lock is its key", example: r#""app:""# },
        bounds: "at most 64 bytes without control characters, not beginning with redlock-quorum:",
        what: "What the keys of all locks begin with.",
        why: "nodes that others use as well; locks of different prefixes are different locks",
        access: Access::Other {
            unit: "text",
            set: |builder, given| {
                builder.key_prefix = given.text()?.to_owned();
                Ok(())
            },
            show: |settings| {
                let prefix = settings.key_prefix.as_str();
                (!prefix.is_empty()).then(|| prefix.to_owned())
            },
        },
    },
    Setting {
        name: "owner",
        default: DefaultText::Words {
            default: "the host's name and the process id",
            example: r#""billing-7""#,
        },
        bounds: "1 to 128 bytes without control characters",
        what: "Who we are to somebody who looks at a lock's key.",
        why: "a pod's or a job's name says more than a host's",
        access: Access::Other {
            unit: "text",
            set: |builder, given| {
                builder.owner = Some(given.text()?.to_owned());
                Ok(())
            },
            show: |settings| Some(settings.owner.to_string()),
        },
    },
];

/// The nodes of a list, without their secrets.
fn described(settings: &Settings, list: ListQuorum) -> String {
    let nodes: Vec<_> = list.nodes().iter().map(|node| settings.nodes[node.0].described()).collect();
    nodes.join(", ")
}

/// Splits a list of URLs at its commas, except those between the hosts of one URL.
fn urls(list: &str) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for part in list.split(',') {
        match urls.last_mut() {
            Some(url) if !part.contains("://") => {
                url.push(',');
                url.push_str(part);
            }
            Some(_) | None => urls.push(part.to_owned()),
        }
    }
    urls
}

/// Shows `***` for the setting that gave the password; `None` for the other ways to give it.
fn secret(settings: &Settings, name: &'static str) -> Option<String> {
    debug_assert!(PASSWORDS.as_flattened().contains(&name));
    settings.origins.is_given(name).then(|| "***".to_owned())
}
