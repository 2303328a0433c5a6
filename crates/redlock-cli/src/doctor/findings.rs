//! Findings: problems and possible improvements, each with advice. Pure: computed from the observed facts alone.

use std::time::Duration;

use redlock_quorum::{NodeFailure, OtherClients, Persistence, QuarantineCause, Settings};

use super::examined::Examined;
use super::finding::{Finding, note, problem};
use super::tuning::Bounds;
use crate::members::with_names;
use crate::output::short;

/// All findings, the worst first.
pub(super) fn of(nodes: &[Examined], settings: &Settings, longest_max_ttl: Duration) -> Vec<Finding> {
    let bounds = Bounds::new(settings, longest_max_ttl);
    let mut findings: Vec<_> = nodes.iter().filter_map(lost_vote).collect();
    findings.extend(other_members(nodes));
    findings.extend(eviction(nodes));
    findings.extend(forgetful(nodes, settings.quarantine()));
    findings.extend(bounds.findings(nodes));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn names<'a>(nodes: impl IntoIterator<Item = &'a Examined>) -> Vec<String> {
    nodes.into_iter().map(|node| node.name.clone()).collect()
}

fn lost_vote(node: &Examined) -> Option<Finding> {
    let failure = node.failure.as_ref()?;
    Some(problem(vec![node.name.clone()], failure.to_string(), advice(failure)))
}

/// Advice for a node whose vote does not count.
fn advice(failure: &NodeFailure) -> &'static str {
    match failure {
        NodeFailure::Connecting | NodeFailure::ConnectionLost { .. } => {
            "Run this again in a moment; if the problem persists, see the server's log."
        }
        NodeFailure::Unreachable { .. } => {
            "Start it, or see what keeps this machine from it: address, port, firewall."
        }
        NodeFailure::NoAnswer { .. } => {
            "It hangs or is overloaded: see its log and its load, and SLOWLOG GET for commands that keep it busy."
        }
        NodeFailure::Authentication { .. } => {
            "Correct the user and the password: in the node's URL, or by username, password_file and password_env."
        }
        NodeFailure::File { .. } => "Correct the file; redlock reads it again for every connection.",
        NodeFailure::Credentials { .. } => "Correct the program that provides the credentials.",
        NodeFailure::Tls { .. } => "Correct the certificates, or the tls settings of this node.",
        NodeFailure::Sentinel { .. } => {
            "Start its sentinels, and see that they and the settings call the service by one name: SENTINEL MASTERS."
        }
        NodeFailure::Permission { .. } => "Extend the ACL rule of the user by the named permission.",
        NodeFailure::TooManyClients => {
            "Raise maxclients, and with it the limit of open files; CLIENT LIST shows who is connected."
        }
        NodeFailure::OutOfMemory => "Raise maxmemory, or keep other data elsewhere.",
        NodeFailure::Quarantined { cause, .. } => match cause {
            QuarantineCause::NewOrWiped => {
                "Wait; its vote counts again by itself. Only if it is new and nobody can hold a lock on it: redlock init."
            }
            QuarantineCause::NotDurable => {
                "Wait; its vote counts again by itself. With appendonly yes and appendfsync always it would count at once."
            }
            QuarantineCause::DurabilityUnknown => {
                "Wait; its vote counts again by itself. Permit CONFIG GET to the user: ACL SETUSER NAME +config|get."
            }
            QuarantineCause::Restarted => {
                "Wait; its vote counts again by itself. With appendonly yes and appendfsync always, and no replicas, \
                 restarts cost it no vote."
            }
            QuarantineCause::Replaced => {
                "Wait; its vote counts again by itself. Only if no client uses the other server any more and nobody can \
                 hold a lock there: redlock nodes forget."
            }
            QuarantineCause::RolledBack => {
                "Wait; its vote counts again by itself. Load no backups into lock nodes."
            }
            QuarantineCause::Evicted => {
                "CONFIG SET maxmemory-policy noeviction, and in its redis.conf; then its vote counts again by itself."
            }
            QuarantineCause::Stepped => {
                "Wait; its vote counts again by itself. Slew its clock instead of stepping it, and see why it ran ahead."
            }
            QuarantineCause::Promoted | _ => "Wait; its vote counts again by itself.",
        },
        NodeFailure::NodesNotYetInUse => {
            "Name both lists (next_nodes) until redlock members says that the next one is enough."
        }
        NodeFailure::NodesGivenUp => {
            "Name the nodes that the other clients use now: redlock members shows them."
        }
        NodeFailure::NotMaster { .. } => {
            "List its master instead, unless that is one of the other nodes already. Each node has to be a master of \
             its own, because a replica grants nothing by itself."
        }
        NodeFailure::NotStandalone { .. } => "List servers that run by themselves, with cluster-enabled no.",
        NodeFailure::Duplicate { .. } => {
            "Remove one of the two names, or let it name another server, because one server must not vote twice."
        }
        NodeFailure::TooOld { .. } => "Upgrade the server.",
        NodeFailure::MayEvict { .. } => {
            "CONFIG SET maxmemory-policy noeviction, and in its redis.conf: a lock that is thrown away is granted again."
        }
        NodeFailure::ReadOnly { .. } => {
            "See its role with INFO replication; a master needs min-replicas-to-write 0 or its replicas back."
        }
        NodeFailure::Loading => "Wait until it has read its files.",
        NodeFailure::Refused { .. } | NodeFailure::Unexpected { .. } => {
            "See the server's log, and that it is Redis or Valkey and no proxy."
        }
        NodeFailure::ShutDown | _ => "See the server's log.",
    }
}

/// Findings about clients with other nodes or another quorum, grouped by what those clients use.
fn other_members(nodes: &[Examined]) -> Vec<Finding> {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for node in nodes {
        let OtherClients::Different(theirs) = &node.others else { continue };
        match groups.iter_mut().find(|(members, _)| members == theirs) {
            Some((_, names)) => names.push(node.name.clone()),
            None => groups.push((theirs, vec![node.name.clone()])),
        }
    }
    let finding = |(theirs, names): (&str, Vec<String>)| {
        let what = format!(
            "another client uses other nodes or another quorum ({}): its quorum and yours may have no node in common, \
             and then two clients hold one lock",
            with_names(theirs, |id| nodes
                .iter()
                .find(|node| node.id.as_deref() == Some(id))
                .map(|node| &*node.name))
        );
        let replaced = match replaced(theirs, nodes).as_slice() {
            [] => String::new(),
            names => format!(
                ", or if it is only that {} lost its data or was replaced since that client connected",
                names.join(" and ")
            ),
        };
        let advice = format!(
            "Give all clients the same nodes and quorum, and restart those that had others. When that is done{replaced}, \
             these nodes forget it by themselves once the longest lease would have expired; at once by: redlock nodes \
             forget."
        );
        problem(names, what, advice)
    };
    groups.into_iter().map(finding).collect()
}

/// Our nodes that the others may know by an earlier id, because a node that loses its data gets a new one. Empty unless
/// the others use as many nodes as we do.
fn replaced(members: &str, nodes: &[Examined]) -> Vec<String> {
    let theirs: Vec<_> = members.split_once(" of ").map_or("", |(_, ids)| ids).split(' ').collect();
    let is_theirs = |node: &&Examined| node.id.as_deref().is_some_and(|id| theirs.contains(&id));
    let missing = names(nodes.iter().filter(|node| !is_theirs(node)));
    if theirs.len() == nodes.len() { missing } else { Vec::new() }
}

/// Concerns only nodes that a setting lets vote in spite of eviction: without the setting such a node has no vote.
fn eviction(nodes: &[Examined]) -> Option<Finding> {
    let evicting = names(nodes.iter().filter(|node| node.votes() && node.may_evict()));
    (!evicting.is_empty()).then(|| {
        problem(
            evicting,
            "may evict locks when its memory is full, and dangerous_allow_eviction lets it vote".to_owned(),
            "CONFIG SET maxmemory-policy noeviction, and in redis.conf; then remove the setting.",
        )
    })
}

fn forgetful(nodes: &[Examined], quarantine: Duration) -> Vec<Finding> {
    let of = |wanted| nodes.iter().filter(move |node| node.votes() && node.persistence() == Some(wanted));
    let cost = || match quarantine {
        Duration::ZERO => "the locks that it granted are forgotten".to_owned(),
        quarantine => format!("each restart costs it its vote for {}", short(quarantine)),
    };
    let mut findings = Vec::new();
    let weak = names(of(Persistence::Weak));
    if !weak.is_empty() {
        findings.push(note(
            weak,
            format!("does not keep every write: {}", cost()),
            "appendonly yes, appendfsync always and no-appendfsync-on-rewrite no in its redis.conf.",
        ));
    }
    let silent = names(of(Persistence::NotTold));
    if !silent.is_empty() {
        findings.push(note(
            silent,
            format!("does not report whether it keeps every write: {}", cost()),
            "Permit CONFIG GET to the user: ACL SETUSER NAME +config|get.",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_first_and_other_clients_nodes_are_called_by_the_names_that_are_known() {
        let node = |name: &str, others| Examined {
            name: name.to_owned(),
            id: Some(format!("id-{name}")),
            failure: None,
            facts: None,
            others,
            measured: None,
        };
        let nodes =
            [node("a", OtherClients::Same), node("b", OtherClients::Different("2 of id-b 77".into()))];
        let [one] = &other_members(&nodes)[..] else { panic!() };
        assert_eq!(one.nodes, ["b"]);
        assert!(one.advice.contains("or if it is only that a lost its data or was replaced"), "{one:?}");
        assert!(one.advice.contains("these nodes forget it by themselves"), "{one:?}");
        assert!(one.advice.ends_with("at once by: redlock nodes forget."), "{one:?}");
        assert!(one.what.contains("(2 of 2: b, one that is none of yours, id 77)"), "{one:?}");
        assert!(super::super::finding::Severity::Problem < super::super::finding::Severity::Note);
    }
}
