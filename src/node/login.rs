//! Credentials for a server, found anew for every connection.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use redis::RedisConnectionInfo;

use crate::error::NodeFailure;
use crate::types::Login;

/// A function that is asked each time for a value that may change.
pub(crate) type Ask<T> = Arc<dyn Fn() -> BoxFuture<'static, Result<T, NodeFailure>> + Send + Sync>;

/// The source of the credentials.
#[derive(Clone)]
pub(crate) enum LoginSource {
    Known(Login),
    Asked(Ask<Login>),
}

impl LoginSource {
    /// Returns the settings with which a connection to the database `db` begins.
    ///
    /// # Errors
    ///
    /// The reason why there are no credentials.
    pub(super) async fn info(&self, db: i64) -> Result<RedisConnectionInfo, NodeFailure> {
        let Login { username, password } = match self {
            Self::Known(login) => login.clone(),
            Self::Asked(ask) => ask().await?,
        };
        let mut info = RedisConnectionInfo::default().set_db(db).set_skip_set_lib_name();
        if let Some(username) = &username {
            info = info.set_username(username);
        }
        if let Some(password) = &password {
            info = info.set_password(password.reveal());
        }
        Ok(info)
    }
}
