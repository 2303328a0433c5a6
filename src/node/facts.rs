//! The facts that a node reports of itself when we observe it, and whether the node may vote.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::failure;
use super::stream::Management;
use crate::error::NodeFailure;
use crate::protocol::Durability;
use crate::types::{Eviction, Persistence};

/// The lowest version of Redis (major, minor) that has every command and option that we use. Valkey 7.2 calls itself
/// Redis 7.2.
const VERSION_MIN: (u32, u32) = (6, 2);

/// The names of the field with the server's mode (`standalone`, `cluster`, `sentinel`). Valkey 8 and later use the
/// second name, unless configured to be more compatible with Redis.
const MODES: [&str; 2] = ["redis_mode", "server_mode"];
/// The mode in which a server votes.
const STANDALONE: &str = "standalone";
/// The options that decide whether a write survives the server. `CONFIG GET` may be forbidden; then durability is
/// unknown. A single pattern covers both options, because several options in one call need Redis 7.
const OPTIONS: &str = "*appendfsync*";
/// Fields that an answer to `INFO` must have.
const MARKS: [&str; 4] = ["run_id", "master_replid", "maxmemory", "aof_enabled"];

/// The facts that a server reported of itself when the client last observed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    role: String,
    /// `None` for a server that has none of the [`MODES`].
    mode: Option<String>,
    software: String,
    version: String,
    run_id: String,
    uptime: Duration,
    max_memory: u64,
    eviction_policy: String,
    persistence: Persistence,
    append_fsync: Option<String>,
    replication_id: String,
    was_replica: bool,
    replicas: u64,
    is_rewriting: bool,
    was_rewritten: bool,
    evicted_keys: u64,
}

/// Adds the commands for all facts; the replies are for [`NodeFacts::parse`].
pub(super) fn ask(pipeline: &mut Pipeline) {
    // `INFO` is asked for its default sections, because several named sections in one call need Redis 7, and one call
    // for each costs more.
    pipeline.cmd("INFO").cmd("CONFIG").arg("GET").arg(OPTIONS);
}

/// The number of replies to [`ask`].
pub(super) const REPLIES: usize = 2;

impl NodeFacts {
    /// Parses the replies to [`ask`].
    ///
    /// # Errors
    ///
    /// The node does not answer `INFO`, or answers otherwise than Redis does.
    pub(super) fn parse(replies: Vec<Value>) -> Result<Self, NodeFailure> {
        let mut replies = replies.into_iter();
        let reply = replies.next().unwrap_or(Value::Nil);
        let reply = reply.extract_error().map_err(|error| failure::of_connect(&error))?;
        let text: String =
            redis::from_redis_value_ref(&reply).map_err(|_| failure::of_reply("INFO", &reply))?;
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        let info: HashMap<_, _> = fields.map(|(field, value)| (field.to_owned(), value.to_owned())).collect();
        if MARKS.iter().any(|mark| !info.contains_key(*mark)) {
            // A sentinel reports little more than its mode.
            return match mode(&info) {
                Some(mode) if mode != STANDALONE => Err(NodeFailure::NotStandalone { mode }),
                Some(_) | None => Err(failure::of_reply("INFO", &reply)),
            };
        }
        let options = replies.next().and_then(|reply| reply.extract_error().ok());
        let options: HashMap<String, String> =
            options.and_then(|reply| redis::from_redis_value(reply).ok()).unwrap_or_default();
        let [append_fsync, lazy_on_rewrite] =
            ["appendfsync", "no-appendfsync-on-rewrite"].map(|option| options.get(option).cloned());
        let field = |name: &str| info.get(name).cloned().unwrap_or_default();
        let number = |name: &str| info.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        let (software, version) = match info.get("valkey_version") {
            Some(version) => ("Valkey", version.clone()),
            None => ("Redis", field("redis_version")),
        };
        let append_only = field("aof_enabled") == "1" && field("aof_last_write_status") != "err";
        let persistence = match (append_fsync.as_deref(), lazy_on_rewrite.as_deref()) {
            _ if !append_only => Persistence::Weak,
            (Some("always"), Some("no")) => Persistence::Durable,
            (None, _) | (_, None) => Persistence::NotTold,
            (Some(_), Some(_)) => Persistence::Weak,
        };
        Ok(Self {
            role: if field("role") == "slave" { "replica".into() } else { field("role") },
            mode: mode(&info),
            software: software.into(),
            version,
            run_id: field("run_id"),
            uptime: Duration::from_secs(number("uptime_in_seconds")),
            max_memory: number("maxmemory"),
            eviction_policy: field("maxmemory_policy"),
            persistence,
            append_fsync: append_fsync.filter(|_| append_only),
            replication_id: field("master_replid"),
            was_replica: field("second_repl_offset") != "-1",
            replicas: number("connected_slaves"),
            is_rewriting: field("aof_rewrite_in_progress") != "0" || field("aof_rewrite_scheduled") != "0",
            was_rewritten: field("aof_last_rewrite_time_sec") != "-1",
            evicted_keys: number("evicted_keys"),
        })
    }

    /// Whether the node may vote at all.
    pub(super) fn check(&self) -> Result<(), NodeFailure> {
        match self.mode.as_deref() {
            Some(STANDALONE) => {}
            Some(mode) => return Err(NodeFailure::NotStandalone { mode: mode.to_owned() }),
            None => {
                let detail = format!("INFO server has none of {}", MODES.join(" and "));
                return Err(NodeFailure::Unexpected { detail });
            }
        }
        if self.role != "master" {
            return Err(NodeFailure::NotMaster { role: self.role.clone() });
        }
        if version(&self.version) < VERSION_MIN {
            return Err(NodeFailure::TooOld { version: self.version.clone() });
        }
        Ok(())
    }

    /// Whether the node may vote although it may throw locks away. Checked when the record is written, because the
    /// record has to say that the node could not keep every write: its count of evictions ends with its process.
    pub(super) fn check_eviction(&self, eviction: Eviction) -> Result<(), NodeFailure> {
        match eviction {
            Eviction::Refused if self.may_evict() => {
                Err(NodeFailure::MayEvict { policy: self.eviction_policy.clone() })
            }
            Eviction::Refused | Eviction::Allowed => Ok(()),
        }
    }

    fn may_evict(&self) -> bool {
        self.max_memory > 0 && self.eviction_policy != "noeviction"
    }

    /// The durability from which the rules of the record judge the memory of locks. A server with replicas, or one
    /// that sentinels manage, is never durable: the server that takes its place has its record, but may lack its last
    /// grants. Nor is one that may evict.
    pub(super) fn durability(&self, management: Management) -> Durability {
        let is_fixed = match management {
            Management::Direct => self.replicas == 0,
            Management::BySentinel => false,
        };
        Durability {
            syncs: is_fixed && !self.may_evict() && self.persistence == Persistence::Durable,
            is_rewriting: self.is_rewriting,
            was_rewritten: self.was_rewritten,
        }
    }

    /// The current replication id. A promotion changes it, but other events do so as well.
    pub(super) fn replication_id(&self) -> &str {
        &self.replication_id
    }

    /// Whether the server has been a replica, as far as it remembers.
    pub(super) fn was_replica(&self) -> bool {
        self.was_replica
    }

    /// The number of keys that the server has evicted since it started.
    pub(super) fn evicted_keys(&self) -> u64 {
        self.evicted_keys
    }

    /// The role: `master` or `replica`.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The software: `Redis` or `Valkey`.
    #[must_use]
    pub fn software(&self) -> &str {
        &self.software
    }

    /// The version of the software, such as `7.0.15`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The random id of the server process, which changes with each restart.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// How long the process had been running, in whole seconds.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.uptime
    }

    /// `maxmemory` in bytes; 0 means no limit.
    #[must_use]
    pub fn max_memory(&self) -> u64 {
        self.max_memory
    }

    /// `maxmemory-policy`.
    #[must_use]
    pub fn eviction_policy(&self) -> &str {
        &self.eviction_policy
    }

    /// Whether the node's grants survive its death.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// `appendfsync`; `None` where there is no append-only file, or the client may not read the option.
    #[must_use]
    pub fn append_fsync(&self) -> Option<&str> {
        self.append_fsync.as_deref()
    }
}

fn mode(info: &HashMap<String, String>) -> Option<String> {
    MODES.iter().find_map(|name| info.get(*name)).cloned()
}

/// Parses the major and the minor number; 0 for a missing one.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn replies() -> Vec<Value> {
        let info = [
            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:ab\r\nuptime_in_seconds:60\r\n",
            "role:master\r\nmaster_replid:cd\r\nsecond_repl_offset:-1\r\nconnected_slaves:0\r\n",
            "maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nevicted_keys:0\r\n",
            "aof_enabled:1\r\naof_last_write_status:ok\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\n",
            "aof_last_rewrite_time_sec:-1\r\n",
        ];
        let options = ["appendfsync", "always", "no-appendfsync-on-rewrite", "no"].map(text);
        vec![text(&info.concat()), Value::Array(options.into())]
    }

    /// The facts from the usual replies, with some text replaced.
    fn facts(from: &str, to: &str) -> NodeFacts {
        let replace = |reply: Value| {
            let Value::BulkString(bytes) = reply else { return reply };
            text(&String::from_utf8(bytes).unwrap().replace(from, to))
        };
        NodeFacts::parse(replies().into_iter().map(replace).collect()).unwrap()
    }

    #[test]
    fn who_may_vote() {
        let check = |from, to| facts(from, to).check();
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(
            check("role:master", "role:slave"),
            Err(NodeFailure::NotMaster { role: "replica".into() })
        );
        let cluster = NodeFailure::NotStandalone { mode: "cluster".into() };
        assert_eq!(check("standalone", "cluster"), Err(cluster));
        for (version, refused) in [("6.1.9", true), ("6.2.0", false), ("7.2.4", false), ("10.0", false)] {
            assert_eq!(check("7.0.15", version).is_err(), refused, "{version}");
        }
        // Valkey 8 and 9 report a Redis version as well, for clients that read only that.
        let valkey = |mode| {
            let server = format!(
                "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n{mode}:standalone"
            );
            facts("redis_version:7.0.15\r\nredis_mode:standalone", &server)
        };
        for mode in ["server_mode", "redis_mode"] {
            let facts = valkey(mode);
            assert_eq!((facts.check(), facts.software(), facts.version()), (Ok(()), "Valkey", "9.1.2"));
        }
        assert_eq!(check("redis_mode", "server_mode"), Ok(()));
        assert!(matches!(check("redis_mode", "node_mode"), Err(NodeFailure::Unexpected { .. })));
    }

    #[test]
    fn a_node_that_may_evict_has_no_vote_and_keeps_no_write() {
        let (evicts, keeps) = (facts("maxmemory:0", "maxmemory:1"), facts("", ""));
        let refused = NodeFailure::MayEvict { policy: "allkeys-lru".into() };
        assert_eq!(evicts.check_eviction(Eviction::Refused), Err(refused));
        assert_eq!(evicts.check_eviction(Eviction::Allowed), Ok(()));
        assert_eq!(keeps.check_eviction(Eviction::Refused), Ok(()));
        let syncs = |facts: &NodeFacts| facts.durability(Management::Direct).syncs;
        assert_eq!((syncs(&evicts), syncs(&keeps)), (false, true));
    }

    #[test]
    fn only_an_append_only_file_that_is_always_synced_is_durable() {
        assert_eq!(facts("", "").persistence, Persistence::Durable);
        assert_eq!(facts("aof_enabled:1", "aof_enabled:0").persistence, Persistence::Weak);
        assert_eq!(facts("status:ok", "status:err").persistence, Persistence::Weak);
        let with = |options: Value| {
            let mut replies = replies();
            replies[1] = options;
            NodeFacts::parse(replies).unwrap().persistence
        };
        let list = |fsync, lazy| {
            Value::Array(["appendfsync", fsync, "no-appendfsync-on-rewrite", lazy].map(text).into())
        };
        assert_eq!(with(list("everysec", "no")), Persistence::Weak);
        assert_eq!(with(list("always", "yes")), Persistence::Weak);
        assert_eq!(with(Value::Array(vec![])), Persistence::NotTold);
        let map = [("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")];
        let map = Value::Map(map.map(|(name, value)| (text(name), text(value))).into());
        assert_eq!(with(map), Persistence::Durable, "as RESP3 says it");
    }

    #[test]
    fn a_node_that_is_copied_or_chosen_by_others_is_not_durable() {
        let syncs = |facts: NodeFacts, management| facts.durability(management).syncs;
        assert!(syncs(facts("", ""), Management::Direct));
        assert!(!syncs(facts("connected_slaves:0", "connected_slaves:1"), Management::Direct));
        assert!(!syncs(facts("", ""), Management::BySentinel));
        let rewriting = facts("in_progress:0", "in_progress:1").durability(Management::Direct);
        assert!(rewriting.is_rewriting && !rewriting.was_rewritten);
        assert!(facts("time_sec:-1", "time_sec:0").durability(Management::Direct).was_rewritten);
    }

    #[test]
    fn what_is_not_from_redis_is_no_fact() {
        assert!(NodeFacts::parse(vec![]).is_err());
        assert!(NodeFacts::parse(vec![text("hello")]).is_err());
        let sentinel = NodeFacts::parse(vec![text("redis_mode:sentinel\r\nrun_id:ab\r\n"), text("")]);
        assert_eq!(sentinel, Err(NodeFailure::NotStandalone { mode: "sentinel".into() }));
    }
}
