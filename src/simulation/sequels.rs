//! What often follows a fault where people or machines run the nodes: a node that lost data gets a replica, and a process
//! that has started again with other settings meets nodes that are wiped. Such pairs are rare among independent faults.

use std::ops::Range;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::faults::{Begins, Fault, Loss, Size, What, any_length};

/// How often a fault has a sequel, when after its end, and for how long.
const SHARE: f64 = 0.5;
const FIRST_LASTS: Range<Duration> = Duration::from_millis(50)..Duration::from_secs(4);
const REPLICA_AFTER: Range<Duration> = Duration::from_millis(30)..Duration::from_secs(1);
const WIPED_AFTER: Range<Duration> = Duration::from_millis(30)..Duration::from_secs(3);
const LASTS: Range<Duration> = Duration::from_millis(20)..Duration::from_millis(500);

/// Adds sequels to the faults of a run. `nodes` are as many as are a quorum.
pub(super) fn add(random: &mut StdRng, size: Size, nodes: &[usize], list: &mut Vec<Fault>) {
    for i in 0..list.len() {
        let what: Vec<_> = if let What::Crash(server, Loss::LastSecond | Loss::Everything) = list[i].what {
            vec![What::Replica(server)]
        } else if let What::Kill(_) = list[i].what {
            nodes.iter().map(|node| What::Crash(*node, Loss::Everything)).collect()
        } else {
            continue;
        };
        let pause = if what.len() == 1 { &REPLICA_AFTER } else { &WIPED_AFTER };
        // Soon enough for the sequel to be over with the faults, and to hit what is still held.
        let first = list[i].lasts.min(any_length(random, &FIRST_LASTS));
        let at = list[i].at + first + any_length(random, pause);
        let lasts = any_length(random, &LASTS);
        if !random.random_bool(SHARE) || at + lasts >= size.faults_end {
            continue;
        }
        list[i].lasts = first;
        for what in what {
            let sequel = Fault { at, begins: Begins::AtOnce, lasts, what };
            let overlaps = |other: &Fault| sequel.overlaps(other) || other.overlaps(&sequel);
            if !list.iter().any(overlaps) {
                list.push(sequel);
            }
        }
    }
}
