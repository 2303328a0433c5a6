//! The faults of nodes.

use super::{Config, Data, Fault, Lost, Message, State};

impl State {
    /// Applies a fault; `None` if the fault is impossible.
    pub(super) fn happens(&mut self, fault: Fault) -> Option<()> {
        match fault {
            Fault::Observe(..) => None,
            Fault::Restart(node, lost, config) => self.restart(node, lost, config),
            Fault::Attach(node) => self.attach(node),
            Fault::Promote(node) => self.promote(node),
            Fault::Swap(node, server) => self.swap(node, server),
            Fault::Save(node) => {
                self.saved = Some(self.servers[self.names[node]].data.clone());
                Some(())
            }
            Fault::Load(node) => self.load(node),
        }
    }

    fn restart(&mut self, node: usize, lost: Lost, config: Config) -> Option<()> {
        let server = self.names[node];
        if !self.is_met(server) && self.servers[server].was_replica {
            return None;
        }
        let data = self.servers[server].data.clone();
        let data = match (lost, self.servers[server].config) {
            (Lost::Nothing, _) => data,
            (Lost::Locks, Config::Weak) => Data { key: None, ..data },
            // A durable server loses all of its data or none of it.
            (Lost::Locks, Config::Durable) => return None,
            (Lost::All, _) => Data { record: None, key: None },
        };
        self.begin_process(node);
        self.servers[server].data = data;
        self.servers[server].config = config;
        Some(())
    }

    fn attach(&mut self, node: usize) -> Option<()> {
        let server = &mut self.servers[self.names[node]];
        let is_first = !std::mem::replace(&mut server.has_replica, true);
        server.was_replica = false;
        server.replication += 1;
        is_first.then_some(())
    }

    fn promote(&mut self, node: usize) -> Option<()> {
        let server = self.names[node];
        if !self.servers[server].has_replica {
            return None;
        }
        self.begin_process(node);
        let server = &mut self.servers[server];
        server.was_replica = true;
        server.data.key = None;
        Some(())
    }

    fn swap(&mut self, node: usize, server: usize) -> Option<()> {
        if self.names.contains(&server) {
            return None;
        }
        self.disconnect(node);
        self.names[node] = server;
        Some(())
    }

    fn load(&mut self, node: usize) -> Option<()> {
        let server = self.names[node];
        let saved = self.saved.clone()?;
        let latest = &self.servers[server].data.record.as_ref()?.run;
        if saved.record.as_ref().is_some_and(|record| record.run == *latest) {
            return None;
        }
        self.begin_process(node);
        self.servers[server].data = saved;
        Some(())
    }

    fn is_met(&self, server: usize) -> bool {
        let record = self.servers[server].data.record.as_ref();
        record.is_some_and(|record| record.run == self.run_id(server))
    }

    fn begin_process(&mut self, node: usize) {
        self.disconnect(node);
        let server = &mut self.servers[self.names[node]];
        server.run += 1;
        server.replication += 1;
        (server.was_replica, server.has_replica) = (false, false);
    }

    /// Commands that were not executed never are, and a client must observe the node again before it uses it.
    fn disconnect(&mut self, node: usize) {
        for client in &mut self.clients {
            if let Message::Sent(command) = client.messages[node] {
                client.messages[node] = Message::Lost(command);
            }
            if let Some(seen) = &mut client.seen[node] {
                seen.is_up = false;
            }
        }
    }
}
