//! Applies faults when they are due, one at a time for each victim, and heals them.

use std::sync::Arc;
use std::time::Duration;

use redlock_testing::ClientFault;

use super::super::arena;
use super::super::plan::{Act, Planned};
use super::super::scenario::faults_end;
use super::{Done, Show, Stage};
use crate::clock;

impl<S: Show> Stage<S> {
    /// Begins the faults that are due and possible. Docker takes a second to start a container; the node's next fault
    /// waits for that.
    pub(super) fn hit_due(&mut self, elapsed: Duration) {
        let end = faults_end(self.script.duration);
        for planned in std::mem::take(&mut self.due) {
            if self.under_way.iter().any(|act| act.meets(&planned.act)) {
                if elapsed < end {
                    self.due.push(planned);
                }
            } else {
                self.under_way.push(planned.act.clone());
                self.hit(planned.moved_to(elapsed, end));
            }
        }
    }

    pub(super) fn is_over(&mut self, act: &Act) {
        if let Some(over) = self.under_way.iter().position(|under_way| under_way == act) {
            self.under_way.swap_remove(over);
        }
    }

    /// Begins a fault.
    fn hit(&mut self, planned: Planned) {
        let at = clock::now();
        match planned.act.clone() {
            Act::Node { node, nemesis } => {
                let arena = Arc::clone(&self.script.arena);
                self.tasks.spawn(async move {
                    let result = arena::apply(&arena, node, nemesis).await;
                    Done::Hit { planned, at, result }
                });
            }
            Act::Client { client, fault } => {
                let Some(crew) = &self.crew else { return };
                let result = crew.apply(client, fault).map_err(|error| error.to_string());
                if fault == ClientFault::Kill {
                    self.log.handle_kill(client, at);
                    self.killed.push((client, self.log.hits.len()));
                }
                self.handle_done(Done::Hit { planned, at, result });
            }
        }
    }

    /// Begins to heal the faults whose end is due.
    pub(super) fn heal_due(&mut self, elapsed: Duration) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.healings).into_iter().partition(|(_, until)| *until <= elapsed);
        self.healings = later;
        for (hit, until) in due {
            match self.log.hits[hit].act.clone() {
                Act::Node { node, nemesis } => {
                    let arena = Arc::clone(&self.script.arena);
                    self.tasks.spawn(async move {
                        Done::Healed { hit, result: arena::heal(&arena, node, nemesis).await }
                    });
                }
                Act::Client { client, fault } => {
                    let Some(crew) = &mut self.crew else { continue };
                    let result = match fault {
                        ClientFault::Pause => crew.heal(client, fault).map_err(|error| error.to_string()),
                        ClientFault::Kill if crew.is_alive(client) => {
                            // The killed client's pipe has not been read to its end yet.
                            self.healings.push((hit, until));
                            continue;
                        }
                        ClientFault::Kill => crew.revive(client).map_err(|error| error.to_string()),
                    };
                    self.killed.retain(|(killed, _)| *killed != client);
                    self.handle_done(Done::Healed { hit, result });
                }
            }
        }
    }
}
