//! Compares our wall clock with the nodes' clocks. Only a confirmed clock may be used to delete old fencing tokens; the
//! rule is in `protocol/wall_clock.rs`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::node::{self, NodeClock};
use crate::protocol::{Quorum, wall_clock};
use crate::types::{Ambient, NodeId};

/// The clocks of the connected nodes, each read within the last ten minutes.
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
    fn handle_clock(&self, node: NodeId, clock: NodeClock) {
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
                // Never an error: `self` owns the sender.
                let _ = told.changed().await;
            }
        })
    }
}
