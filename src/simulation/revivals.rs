//! Whether a key comes back to a server after its lease has ended and the server had it no more. Nobody could remove such
//! a key before its TTL has passed.

use std::collections::{BTreeMap, BTreeSet};

/// A server and a lock.
type Place = (usize, &'static str);

/// The places of the keys of each owner token.
#[derive(Default)]
pub(super) struct Revivals(BTreeMap<String, Known>);

#[derive(Default)]
struct Known {
    /// Where the key has been.
    ever: BTreeSet<Place>,
    /// Where it was at the last look.
    now: BTreeSet<Place>,
    /// Whether the lease was over then.
    was_over: bool,
}

impl Revivals {
    /// Looks at the keys on all servers: server, lock and owner token. Returns what has come back, of those owners of
    /// which nothing may.
    pub(super) fn handle_look(
        &mut self,
        keys: Vec<(usize, &'static str, String)>,
        may_come_back: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut present: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
        for (server, lock, owner) in keys {
            present.entry(owner).or_default().insert((server, lock));
        }
        let mut back = Vec::new();
        for (owner, known) in &mut self.0 {
            let now = present.remove(owner).unwrap_or_default();
            let revived = now.intersection(&known.ever).find(|place| !known.now.contains(place));
            let is_over = !may_come_back(owner);
            if let Some((server, lock)) = revived
                && is_over
                && known.was_over
            {
                back.push(format!("server {server} has {lock} of {owner} again, whose lease is over"));
            }
            known.ever.extend(&now);
            (known.now, known.was_over) = (now, is_over);
        }
        let new = |(owner, now): (String, BTreeSet<Place>)| {
            (owner, Known { ever: now.clone(), now, was_over: false })
        };
        self.0.extend(present.into_iter().map(new));
        back
    }
}

/// The owner tokens in the requests of these bytes that acquire a lock. Where they arrive on a connection that the client
/// has left, the release may have been faster on the next one. Then the key comes back, or comes, and stays for its TTL.
pub(super) fn acquired_by(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut acquires = false;
    let mut owners = Vec::new();
    for line in text.split("\r\n") {
        if line.starts_with('*') {
            acquires = false;
        } else if line == "SET" || line == "EVAL" {
            acquires = true;
        } else if acquires && line.rsplit_once(':').is_some_and(|(_, random)| random.len() == 32) {
            owners.push(line.to_owned());
        }
    }
    owners
}
