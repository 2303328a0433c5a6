//! The keys that are left on the nodes when all clients have ended.

use std::sync::Arc;
use std::time::Duration;

use redlock_testing::history::LeftKey;
use tokio::time::sleep;

use super::arena::{self, Arena};
use super::log::Log;
use crate::clock;

/// How long releases may take to arrive after the clients have ended. At most a third of the TTL is used, because a
/// leaked key has to be observed before it expires.
const KEYS_LIMIT: Duration = Duration::from_secs(2);
const KEYS_INTERVAL: Duration = Duration::from_millis(50);

/// The keys that are left on any node after [`KEYS_LIMIT`], except those of killed clients.
pub(crate) async fn left(
    arena: &Arc<Arena>,
    keys: &[String],
    ttl: Duration,
    log: &Log,
) -> Result<Vec<LeftKey>, String> {
    let began_at = clock::now();
    let limit = KEYS_LIMIT.min(ttl / 3);
    loop {
        let nodes = (0..arena.count()).collect();
        let found = arena::values(arena, nodes, keys.to_vec()).await?;
        let left: Vec<LeftKey> = found
            .into_iter()
            .filter(|sight| !log.is_of_killed(&sight.value))
            .map(|sight| LeftKey { node: log.node_label(sight.node), resource: keys[sight.key].clone() })
            .collect();
        if left.is_empty() || clock::since(began_at) >= limit {
            return Ok(left);
        }
        sleep(KEYS_INTERVAL).await;
    }
}
