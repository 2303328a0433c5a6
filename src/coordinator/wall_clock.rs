//! Our wall clock beside the nodes', for those who forget old fencing tokens by it. `protocol/wall_clock.rs` has the rule.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::node::{self, NodeClock};
use crate::protocol::{Quorum, wall_clock};
use crate::types::{Ambient, NodeId};

/// What the nodes that are connected have said, each within the last ten minutes.
pub(super) struct WallClock {
    quorum: Quorum,
    max_skew: Duration,
    ambient: Arc<dyn Ambient>,
    told: watch::Sender<Vec<Option<NodeClock>>>,
}

impl WallClock {
    pub(super) fn new(quorum: Quorum, max_skew: Duration, ambient: Arc<dyn Ambient>) -> Self {
        Self { quorum, max_skew, ambient, told: watch::Sender::new(vec![None; quorum.nodes()]) }
    }
}

impl node::WallClock for WallClock {
    fn handle_told(&self, node: NodeId, clock: NodeClock) {
        self.told.send_modify(|told| told[node.0] = Some(clock));
    }

    fn handle_lost(&self, node: NodeId) {
        self.told.send_modify(|told| told[node.0] = None);
    }

    fn confirmed(&self) -> BoxFuture<'_, u64> {
        Box::pin(async {
            let mut told = self.told.subscribe();
            loop {
                let (now, ours) = (self.ambient.now(), self.ambient.wall_micros());
                let clocks: Vec<_> =
                    told.borrow_and_update().iter().flatten().map(|clock| clock.wall_micros(now)).collect();
                if wall_clock::is_confirmed(self.quorum, clocks, ours, self.max_skew) {
                    return ours;
                }
                // The sender is ours.
                let _ = told.changed().await;
            }
        })
    }
}
