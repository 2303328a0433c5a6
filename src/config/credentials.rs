//! Credentials for a node: from the settings, from a file, or from a provider in the program.

use std::fmt;
use std::fmt::Display;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};

#[cfg(feature = "config")]
use super::files::SecretFile;
use super::{NodeOptions, RedlockBuilder};
use crate::error::SettingsError;
use crate::types::{Login, Secret};

/// Credentials for a node, as far as they are configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Password>,
}

/// Where the password comes from.
#[derive(Clone, Debug)]
pub(crate) enum Password {
    Known(Secret),
    /// Read for every connection.
    #[cfg(feature = "config")]
    InFile(SecretFile),
    /// Returned by the provider, which is called for every connection.
    Provided(Provider),
}

/// The program's provider of credentials.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Provide>);

type Provide = dyn Fn(Arc<str>) -> BoxFuture<'static, Result<Login, String>> + Send + Sync;

impl Provider {
    fn new<F, T, E>(provide: F) -> Self
    where
        F: Fn(Arc<str>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Login, E>> + Send + 'static,
        E: Display,
    {
        Self(Arc::new(move |node| {
            provide(node).map(|login| login.map_err(|error| error.to_string())).boxed()
        }))
    }

    pub(crate) fn ask(&self, node: Arc<str>) -> BoxFuture<'static, Result<Login, String>> {
        (self.0)(node)
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

impl Credentials {
    /// Takes a user or password that is not set here from `common`.
    pub(super) fn or(&self, common: &Self) -> Self {
        let Self { username, password } = self.clone();
        Self {
            username: username.or_else(|| common.username.clone()),
            password: password.or_else(|| common.password.clone()),
        }
    }

    /// Checks credentials for sentinels, where no node is found by sentinels: none may be set.
    pub(super) fn check_unused(&self, [username, password]: [&'static str; 2]) -> Result<(), SettingsError> {
        let unused = |setting, value| SettingsError::Malformed {
            setting,
            value,
            expected: "given for redis+sentinel:// URLs only, and there is none",
        };
        match self {
            Self { username: Some(name), .. } => Err(unused(username, name.clone())),
            Self { password: Some(_), .. } => Err(unused(password, "***".to_owned())),
            Self { username: None, password: None } => Ok(()),
        }
    }

    /// Sets the password. If the password cannot be read, an empty one is set, so that the error does not cause a
    /// second one about a user without a password.
    #[cfg(feature = "config")]
    pub(super) fn set_password(
        &mut self,
        password: Result<Password, super::raw::Wrong>,
    ) -> Result<(), super::raw::Wrong> {
        let (password, result) = match password {
            Ok(password) => (password, Ok(())),
            Err(wrong) => (Password::known(""), Err(wrong)),
        };
        self.password = Some(password);
        result
    }
}

impl Password {
    pub(super) fn known(text: impl Into<String>) -> Self {
        Self::Known(Secret::new(text.into()))
    }

    #[cfg(test)]
    pub(super) fn reveal(&self) -> String {
        match self {
            Self::Known(secret) => secret.reveal().to_owned(),
            #[cfg(feature = "config")]
            Self::InFile(file) => file.read().unwrap().reveal().to_owned(),
            Self::Provided(_) => panic!("asks the program"),
        }
    }
}

impl NodeOptions {
    /// The ACL user of this node, instead of the client's user for all nodes. Not together with a user in the URL.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.credentials.username = Some(username.into());
        self
    }

    /// The password of this node, instead of the client's password for all nodes. Not together with a password in the
    /// URL.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.credentials.password = Some(Password::known(password));
        self
    }

    /// As [`RedlockBuilder::credentials`], for this node.
    pub fn credentials<F, T, E>(mut self, provider: F) -> Self
    where
        F: Fn(Arc<str>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Login, E>> + Send + 'static,
        E: Display,
    {
        self.credentials.password = Some(Password::Provided(Provider::new(provider)));
        self
    }

    /// The ACL user on this node's sentinels. Needs a password.
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel.username = Some(username.into());
        self
    }

    /// The password on this node's sentinels.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel.password = Some(Password::known(password));
        self
    }

    /// As [`RedlockBuilder::sentinel_credentials`], for this node.
    pub fn sentinel_credentials<F, T, E>(mut self, provider: F) -> Self
    where
        F: Fn(Arc<str>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Login, E>> + Send + 'static,
        E: Display,
    {
        self.sentinel.password = Some(Password::Provided(Provider::new(provider)));
        self
    }
}

impl RedlockBuilder {
    /// The ACL user on every node that names none itself. Needs a password.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.credentials.username = Some(username.into());
        self.given("username")
    }

    /// The password on every node that has none itself.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.credentials.password = Some(Password::known(password));
        self.given("password")
    }

    /// A provider that returns the password, and optionally the user, instead of [`password`](Self::password). Use a
    /// provider for credentials that change while the client lives, such as short-lived tokens of a cloud or of a
    /// vault. Where both are set, the one that was set last counts.
    ///
    /// The client calls the provider with the name of the node whenever it makes a connection, and never while the
    /// connection lives. The provider's time counts towards `connect_timeout`. An error, a panic, or a late answer is
    /// [`NodeFailure::Credentials`](crate::NodeFailure::Credentials) of that node, and the next attempt to connect
    /// calls the provider again. The provider's errors are shown, so they must not contain passwords.
    ///
    /// # Cancel safety
    ///
    /// The provider's future is dropped at the end of `connect_timeout`, and with the client. A provider that must not
    /// be interrupted does its work in a task of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use redlock_quorum::{Login, Redlock};
    ///
    /// # async fn fetch_token(_: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
    /// let builder = Redlock::builder()
    ///     .nodes(["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"])
    ///     .credentials(|node| async move {
    ///         let token = fetch_token(&node).await?;
    ///         Ok::<_, std::io::Error>(Login::new(token).username("locks"))
    ///     });
    /// ```
    pub fn credentials<F, T, E>(mut self, provider: F) -> Self
    where
        F: Fn(Arc<str>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Login, E>> + Send + 'static,
        E: Display,
    {
        self.credentials.password = Some(Password::Provided(Provider::new(provider)));
        self.given("password")
    }

    /// The ACL user on the sentinels of every node that names none itself. Needs a password.
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel.username = Some(username.into());
        self.given("sentinel_username")
    }

    /// The password on the sentinels of every node that has none itself.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel.password = Some(Password::known(password));
        self.given("sentinel_password")
    }

    /// As [`credentials`](Self::credentials), for the sentinels: the provider is called for every connection to a
    /// sentinel, with the name of the node that the sentinel watches.
    pub fn sentinel_credentials<F, T, E>(mut self, provider: F) -> Self
    where
        F: Fn(Arc<str>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Login, E>> + Send + 'static,
        E: Display,
    {
        self.sentinel.password = Some(Password::Provided(Provider::new(provider)));
        self.given("sentinel_password")
    }
}
