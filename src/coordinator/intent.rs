//! The intent of a waiting writer, which keeps new readers out.

use std::sync::Arc;

use super::Coordinator;
use super::lock::LockRequest;
use crate::node::Intend;
use crate::types::{Resource, Token};

/// The intent of one wait. Dropping it lets readers in again; if the process dies, the intent ends by itself.
pub(super) struct Intent<'a> {
    coordinator: &'a Arc<Coordinator>,
    /// The lock whose readers are kept out; `None` if the request keeps nobody out.
    of: Option<&'a Resource>,
    /// The token of this wait once it is announced.
    announced: Option<Token>,
}

impl<'a> Intent<'a> {
    pub(super) fn new(coordinator: &'a Arc<Coordinator>, request: &LockRequest<'a>) -> Self {
        let of = request.keeps_readers_out.then_some(request.claim.first());
        Self { coordinator, of, announced: None }
    }

    /// Keeps new readers out for a while. Called again while the wait goes on, at least every second.
    pub(super) fn announce(&mut self) {
        if let Some(resource) = self.of {
            let new = || Token::new(&self.coordinator.settings.owner, self.coordinator.random());
            let intend = Intend::new(resource, self.announced.get_or_insert_with(new));
            self.tell_all(&intend);
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
        if let (Some(wait), Some(resource)) = (&self.announced, self.of) {
            self.tell_all(&Intend::no_more(resource, wait));
        }
    }
}
