//! Compares our wall clock with the nodes' clocks. Only a confirmed clock may be used to delete old fencing tokens; the
//! rule is in `protocol/wall_clock.rs`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::node::{self, NodeClock};
use crate::protocol::{Quorum, wall_clock};
use crate::types::{Ambient, NodeId, Published};

/// The clocks of the connected nodes, each read within the last ten minutes.
pub(super) struct WallClock {
    quorum: Quorum,
    max_skew: Duration,
    ambient: Arc<dyn Ambient>,
    told: Published<Vec<Option<NodeClock>>>,
}

impl WallClock {
    pub(super) fn new(quorum: Quorum, max_skew: Duration, ambient: Arc<dyn Ambient>) -> Self {
        Self { quorum, max_skew, ambient, told: Published::new(vec![None; quorum.nodes()]) }
    }
}

impl node::WallClock for WallClock {
    fn handle_clock(&self, node: NodeId, clock: NodeClock) {
        self.told.change(|told| told[node.0] = Some(clock));
    }

    fn handle_lost(&self, node: NodeId) {
        self.told.change(|told| told[node.0] = None);
    }

    fn confirmed(&self) -> BoxFuture<'_, u64> {
        Box::pin(async {
            loop {
                let version = self.told.version();
                let (now, ours) = (self.ambient.now(), self.ambient.wall_micros());
                let clocks: Vec<_> = self.told.with(|told| {
                    let clock = |(i, clock): (usize, &Option<NodeClock>)| {
                        Some((NodeId(i), clock.as_ref()?.wall_micros(now)))
                    };
                    told.iter().enumerate().filter_map(clock).collect()
                });
                if wall_clock::is_confirmed(self.quorum, clocks, ours, self.max_skew) {
                    return ours;
                }
                self.told.changed_since(version).await;
            }
        })
    }
}
