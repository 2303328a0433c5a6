//! Credentials for a server.

use super::Secret;

/// Credentials for a server: a password, and a user unless the user is Redis's `default`. A provider of credentials
/// returns a `Login`; see [`RedlockBuilder::credentials`](crate::RedlockBuilder::credentials). `Debug` shows no
/// password.
///
/// ```
/// use redlock_quorum::Login;
///
/// let login = Login::new("hunter2").username("locks");
/// assert!(!format!("{login:?}").contains("hunter2"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl Login {
    /// Credentials with this password, for the user that the settings name, else for `default`.
    #[must_use]
    pub fn new(password: impl Into<String>) -> Self {
        Self { username: None, password: Some(Secret::new(password.into())) }
    }

    /// Sets the ACL user, which takes precedence over the user in the settings.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }
}
