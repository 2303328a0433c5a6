//! Reads a settings file: TOML, with the line and column of every value.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::files::read_text;
use super::layers::{conflict, nearest_of, note_password, unknown};
use super::raw::{Given, Raw, Wrong};
use super::table::Setting;
use super::{NodeOptions, RedlockBuilder};
use crate::error::{SettingOrigin, SettingsError};
use crate::types::Secret;

/// Largest settings file in bytes. A larger file is not a settings file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The fields of a table in `nodes`.
pub(super) const NODE_FIELDS: [&str; 14] = [
    "name",
    "url",
    "username",
    "password",
    "password_file",
    "password_env",
    "sentinel_username",
    "sentinel_password",
    "sentinel_password_file",
    "sentinel_password_env",
    "tls_ca_file",
    "tls_cert_file",
    "tls_key_file",
    "tls_server_name",
];

const NODES: &str = "nodes";
const NEXT_NODES: &str = "next_nodes";
const NODES_KIND: &str = "a list of URLs or of tables with a url";

/// Applies the file's settings to the builder, and records the file's mistakes.
pub(super) fn read(builder: &mut RedlockBuilder, path: &Path) {
    let shown = path.display().to_string();
    match read_text(path, FILE_BYTES_MAX) {
        Ok(text) => parse(builder, &shown, path.parent().unwrap_or(Path::new("")), &text),
        Err(problem) => builder.mistakes.push(SettingsError::File { setting: "file", path: shown, problem }),
    }
}

/// As [`read`], from text. `base` is the directory that relative paths in the file start from.
pub(super) fn parse(builder: &mut RedlockBuilder, path: &str, base: &Path, text: &str) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let source = Source { path: path.into(), text, base };
    if errors.is_empty() {
        source.table(builder, "", document.get_ref());
    }
    // The settings of a file that is not TOML are ignored: the recovered rest may lack any of them, which would be
    // reported as further mistakes.
    builder.mistakes.extend(errors.iter().map(|error| {
        let origin = source.origin(&error.span().unwrap_or(0..0));
        SettingsError::Syntax { problem: error.message().to_owned() }.at(&origin)
    }));
}

struct Source<'a> {
    path: Arc<str>,
    text: &'a str,
    base: &'a Path,
}

impl Source<'_> {
    fn origin(&self, span: &Range<usize>) -> SettingOrigin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        SettingOrigin::File {
            path: Arc::clone(&self.path),
            line: before.matches('\n').count() + 1,
            column: before[line..].chars().count() + 1,
        }
    }

    fn given<'v>(&'v self, value: &'v DeValue<'_>) -> Given<'v> {
        Given { value: raw(value), base: self.base }
    }

    /// `prefix` is the table's own name and a dot; empty for the whole document.
    fn table(&self, builder: &mut RedlockBuilder, prefix: &str, table: &DeTable<'_>) {
        let mut passwords = Vec::new();
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let origin = self.origin(&value.span());
            match (Setting::find(&name), value.get_ref()) {
                (Some(_), DeValue::Array(list)) if name == NODES => {
                    builder.nodes = self.nodes(builder, list);
                    builder.origins.set(NODES, origin);
                }
                (Some(_), DeValue::Array(list)) if name == NEXT_NODES => {
                    builder.next_nodes = self.nodes(builder, list);
                    builder.origins.set(NEXT_NODES, origin);
                }
                (Some(setting), _) if [NODES, NEXT_NODES].contains(&name.as_str()) => {
                    let mistake = Wrong::Kind(NODES_KIND).of(setting.name(), raw(value.get_ref()));
                    builder.mistakes.push(mistake.at(&origin));
                }
                (Some(setting), value) => {
                    note_password(&mut passwords, setting.name(), &origin);
                    builder.give(setting, &self.given(value), origin);
                }
                (None, DeValue::Table(inner)) if prefix.is_empty() && is_table(&name) => {
                    self.table(builder, &format!("{name}."), inner);
                }
                (None, _) => builder.mistakes.push(unknown(&name).at(&self.origin(&key.span()))),
            }
        }
        builder.mistakes.extend(conflict(&passwords));
    }

    fn nodes(&self, builder: &mut RedlockBuilder, list: &DeArray<'_>) -> Vec<NodeOptions> {
        let mut nodes = Vec::with_capacity(list.len());
        for node in list {
            match self.node(builder, node) {
                Ok(node) => nodes.push(node),
                Err(mistake) => builder.mistakes.push(mistake),
            }
        }
        nodes
    }

    fn node(
        &self,
        builder: &mut RedlockBuilder,
        node: &Spanned<DeValue<'_>>,
    ) -> Result<NodeOptions, SettingsError> {
        let origin = self.origin(&node.span());
        let mut options = NodeOptions { origin: origin.clone(), ..NodeOptions::new("") };
        let table = match node.get_ref() {
            DeValue::String(url) => {
                options.url = Secret::new(url.to_string());
                return Ok(options);
            }
            DeValue::Table(table) => table,
            other @ (DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)) => return Err(Wrong::Kind(NODES_KIND).of(NODES, raw(other)).at(&origin)),
        };
        let mut passwords = Vec::new();
        let mut has_url = false;
        for (key, value) in table {
            let origin = self.origin(&value.span());
            let Some(field) = NODE_FIELDS.into_iter().find(|field| field == key.get_ref()) else {
                let nearest = nearest_of(key.get_ref(), &NODE_FIELDS).map(|field| format!("nodes.{field}"));
                let unknown = SettingsError::Unknown { name: format!("nodes.{}", key.get_ref()), nearest };
                builder.mistakes.push(unknown.at(&self.origin(&key.span())));
                continue;
            };
            note_password(&mut passwords, field, &origin);
            has_url |= field == "url";
            if let Err((setting, wrong)) = set_field(&mut options, field, &self.given(value.get_ref())) {
                let mistake = wrong.of(setting, raw(value.get_ref())).at(&origin);
                if field == "url" {
                    return Err(mistake);
                }
                builder.mistakes.push(mistake);
            }
        }
        builder.mistakes.extend(conflict(&passwords));
        if has_url {
            return Ok(options);
        }
        Err(SettingsError::Malformed { setting: NODES, value: "a table".into(), expected: NODES_KIND }
            .at(&origin))
    }
}

fn set_field(
    options: &mut NodeOptions,
    field: &'static str,
    given: &Given<'_>,
) -> Result<(), (&'static str, Wrong)> {
    let NodeOptions { url, name, credentials, sentinel, tls, origin: _ } = options;
    let of = |setting| move |wrong| (setting, wrong);
    match field {
        "name" => *name = Some(given.text().map_err(of("nodes.name"))?.to_owned()),
        "url" => *url = given.secret().map_err(of("nodes.url"))?,
        "username" => credentials.username = Some(given.text().map_err(of("nodes.username"))?.to_owned()),
        "password" => {
            credentials.set_password(given.password()).map_err(of("nodes.password"))?;
        }
        "password_file" => {
            let secret = given.secret_in_file("nodes.password_file");
            credentials.set_password(secret).map_err(of("nodes.password_file"))?;
        }
        "password_env" => {
            let secret = given.secret_in_environment("nodes.password_env");
            credentials.set_password(secret).map_err(of("nodes.password_env"))?;
        }
        "sentinel_username" => {
            sentinel.username = Some(given.text().map_err(of("nodes.sentinel_username"))?.to_owned());
        }
        "sentinel_password" => {
            sentinel.set_password(given.password()).map_err(of("nodes.sentinel_password"))?;
        }
        "sentinel_password_file" => {
            let secret = given.secret_in_file("nodes.sentinel_password_file");
            sentinel.set_password(secret).map_err(of("nodes.sentinel_password_file"))?;
        }
        "sentinel_password_env" => {
            let secret = given.secret_in_environment("nodes.sentinel_password_env");
            sentinel.set_password(secret).map_err(of("nodes.sentinel_password_env"))?;
        }
        "tls_ca_file" => tls.ca_file = Some(given.path().map_err(of("nodes.tls_ca_file"))?),
        "tls_cert_file" => tls.cert_file = Some(given.path().map_err(of("nodes.tls_cert_file"))?),
        "tls_key_file" => tls.key_file = Some(given.path().map_err(of("nodes.tls_key_file"))?),
        _ => tls.server_name = Some(given.text().map_err(of("nodes.tls_server_name"))?.to_owned()),
    }
    Ok(())
}

/// Whether `name` is a table of settings, such as `retry`.
fn is_table(name: &str) -> bool {
    Setting::all().any(|setting| setting.name().split_once('.').is_some_and(|(table, _)| table == name))
}

fn raw<'v>(value: &'v DeValue<'_>) -> Raw<'v> {
    match value {
        DeValue::String(text) => Raw::Text(text),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("not a number of 64 bits"), Raw::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or(Raw::Other("a number"), Raw::Float),
        DeValue::Boolean(yes) => Raw::Boolean(*yes),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(_) => Raw::Other("a list"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}
