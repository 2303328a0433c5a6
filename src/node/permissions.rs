//! Whether our user may run the commands that a lock needs after it was granted.

use redis::{Pipeline, Value};

use super::failure;
use super::scripts::PERMISSIONS;
use crate::error::NodeFailure;
use crate::types::internal_key;

/// An internal key that never exists.
const NONE: &str = "none";

/// Adds the question to the handshake; the reply is for [`check`]. An error in place of the reply says that our user
/// may not run `EVAL`, which is needed on a node that has forgotten its scripts.
pub(super) fn ask(pipeline: &mut Pipeline) {
    let mut by_hash = PERMISSIONS.by_hash(1);
    by_hash.arg(internal_key(NONE));
    pipeline.add_command(PERMISSIONS.by_text(&by_hash));
}

/// Checks the reply to [`ask`].
///
/// # Errors
///
/// [`NodeFailure::Permission`] with the names of the commands.
pub(super) fn check(reply: &Value) -> Result<(), NodeFailure> {
    let refused: String = redis::from_redis_value_ref(reply).map_err(|_| failure::of_reply("EVAL", reply))?;
    if refused.is_empty() {
        return Ok(());
    }
    let detail = failure::detail(&format!("scripts of this user may not run {refused}"));
    Err(NodeFailure::Permission { detail })
}
