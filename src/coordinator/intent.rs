//! The intent of a waiting writer, which keeps new readers out.

use std::sync::Arc;

use super::Coordinator;
use super::lock::LockRequest;
use crate::node::Intend;
use crate::types::Resource;

/// The intent of one wait. Dropping it lets readers in again; if the process dies, the intent ends by itself.
pub(super) struct Intent<'a> {
    coordinator: &'a Arc<Coordinator>,
    /// The lock whose readers are kept out; `None` if the request keeps nobody out.
    of: Option<&'a Resource>,
    is_announced: bool,
}

impl<'a> Intent<'a> {
    pub(super) fn new(coordinator: &'a Arc<Coordinator>, request: &LockRequest<'a>) -> Self {
        let of = request.keeps_readers_out.then_some(request.claim.first());
        Self { coordinator, of, is_announced: false }
    }

    /// Keeps new readers out for a while. Called again while the wait goes on, at least every second.
    pub(super) fn announce(&mut self) {
        if let Some(resource) = self.of {
            self.is_announced = true;
            self.tell_all(&Intend::new(resource));
        }
    }

    fn tell_all(&self, intend: &Intend) {
        for node in self.coordinator.node_ids() {
            self.coordinator.node(node).notify(intend.clone());
        }
    }
}

impl Drop for Intent<'_> {
    fn drop(&mut self) {
        if let (true, Some(resource)) = (self.is_announced, self.of) {
            self.tell_all(&Intend::no_more(resource));
        }
    }
}
