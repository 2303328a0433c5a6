//! The owner label, which shows who holds a lock to anybody who inspects its key.

use std::sync::Arc;

use crate::error::SettingsError;
use crate::types::OWNER_BYTES_MAX;

/// Checks the label; the default is `host:pid`.
pub(super) fn parse(owner: Option<String>) -> Result<Arc<str>, SettingsError> {
    let owner = match owner {
        Some(label) => label,
        None => format!("{}:{}", host_name(), std::process::id()),
    };
    if owner.is_empty() || owner.len() > OWNER_BYTES_MAX || owner.chars().any(char::is_control) {
        return Err(SettingsError::OutOfRange {
            setting: "owner",
            value: format!("{owner:?}"),
            bound: format!("1 to {OWNER_BYTES_MAX} bytes without control characters"),
        });
    }
    Ok(owner.into())
}

#[cfg(unix)]
fn host_name() -> String {
    let name = rustix::system::uname();
    let name: String =
        name.nodename().to_string_lossy().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "localhost".to_owned())
}
