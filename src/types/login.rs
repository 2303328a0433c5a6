//! Who we are to a server.

use super::Secret;

/// Who we are to a server: a password, and a user where that is not Redis's `default`. What a provider of credentials
/// answers; see [`RedlockBuilder::credentials`](crate::RedlockBuilder::credentials). Shows no password.
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
    /// With a password; the user is the one that the settings name, else `default`.
    #[must_use]
    pub fn new(password: impl Into<String>) -> Self {
        Self { username: None, password: Some(Secret::new(password.into())) }
    }

    /// The ACL user, whatever the settings say.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }
}
