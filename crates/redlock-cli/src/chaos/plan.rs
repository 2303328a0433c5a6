//! The plan: the seed decides before the start which fault hits which victim and when.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use redlock_testing::{ClientFault, Clients, Data, Nemesis};

use super::scenario::{Count, Fault, Harm, Reach, Scenario, Timing, faults_end};
use crate::dice::Dice;

/// How long a fault still counts as present after its end, in the choice of the next faults. Clients take up to a
/// second to reconnect to a node.
const AFTERMATH: Duration = Duration::from_secs(1);
/// The most faults of one run. A file with more would ask for a fault every few milliseconds.
const FAULTS_MAX: usize = 100_000;

/// One fault of one node or client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Since the clients have begun.
    pub(crate) at: Duration,
    pub(crate) until: Until,
    pub(crate) act: Act,
    /// The scenario's word for the fault.
    pub(crate) name: &'static str,
    pub(crate) origin: Origin,
}

/// The part of the scenario that a fault comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The number of the scheduled fault, and the number of its repetition.
    Scheduled {
        fault: usize,
        repetition: usize,
    },
    Random,
}

/// When the fault is healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Until {
    /// The fault needs no healing.
    Momentary,
    Healed(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Node { node: usize, nemesis: Nemesis },
    Client { client: usize, fault: ClientFault },
}

/// How many draws are made in search of a fault with a free victim, before the moment passes without a fault.
const DRAWS: u32 = 8;

/// The circumstances of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    pub(crate) duration: Duration,
    /// How long the vote of a node that has lost its data does not count.
    pub(crate) quarantine: Duration,
    pub(crate) seed: u64,
}

/// All faults, in the order of their start.
pub(crate) fn draw(scenario: &Scenario, scope: Scope) -> Vec<Planned> {
    let mut planner = Planner::new(scope);
    for (number, fault) in scenario.faults.iter().enumerate() {
        planner.schedule(number, fault);
    }
    if let Some(random) = &scenario.random {
        planner.draw_random(random);
    }
    planner.planned.retain(|planned| !scenario.leaves_out(planned.name));
    planner.planned.sort_by_key(|planned| planned.at);
    planner.planned
}

impl Fault {
    /// The number of acts in one repetition of a scheduled fault, if no victim is faulty already.
    pub(crate) fn acts(&self, nodes: usize, clients: usize) -> usize {
        let all = match self.harm {
            Harm::Client(_) => clients,
            Harm::Node(_) | Harm::Way { .. } => nodes,
        };
        let victims = match &self.reach {
            Reach::These(these) => these.iter().collect::<BTreeSet<_>>().len(),
            Reach::Drawn(count) => count.of(all),
        };
        let ways = match self.harm {
            Harm::Way { clients: some, .. } => some.of(clients),
            Harm::Node(_) | Harm::Client(_) => 1,
        };
        victims * ways
    }
}

impl Planned {
    /// The same end for a fault that begins later than planned.
    pub(crate) fn moved_to(self, at: Duration, end: Duration) -> Self {
        let until = match self.until {
            Until::Momentary => Until::Momentary,
            Until::Healed(healed) => Until::Healed((healed + at.saturating_sub(self.at)).min(end)),
        };
        Self { at, until, ..self }
    }
}

impl Act {
    /// Whether the two acts exclude each other: both have the same node or client as their victim, and do not only
    /// concern different ways.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Client { client, .. }, Self::Client { client: other, .. }) => client == other,
            (Self::Node { node, nemesis }, Self::Node { node: other, nemesis: second }) => {
                let is_way =
                    |nemesis: &Nemesis| matches!(nemesis, Nemesis::Link { from: Clients::One(_), .. });
                node == other && !(is_way(nemesis) && is_way(second))
            }
            (Self::Client { .. }, Self::Node { .. }) | (Self::Node { .. }, Self::Client { .. }) => false,
        }
    }
}

/// The times in which a victim is faulty.
#[derive(Debug, Clone, Default)]
struct Busy(Vec<Range<Duration>>);

impl Busy {
    /// Ends are inclusive: a victim that is healed at a moment is not hit again at the same moment.
    fn meets(&self, stretch: &Range<Duration>) -> bool {
        self.0.iter().any(|busy| busy.start <= stretch.end && stretch.start <= busy.end)
    }
}

struct Planner {
    scope: Scope,
    dice: Dice,
    /// When each victim is faulty and not to be hit again.
    nodes: Vec<Busy>,
    clients: Vec<Busy>,
    planned: Vec<Planned>,
}

impl Planner {
    fn new(scope: Scope) -> Self {
        Self {
            scope,
            dice: Dice::new(scope.seed),
            nodes: vec![Busy::default(); scope.nodes],
            clients: vec![Busy::default(); scope.clients],
            planned: Vec::new(),
        }
    }

    fn end(&self) -> Duration {
        faults_end(self.scope.duration)
    }

    fn schedule(&mut self, number: usize, fault: &Fault) {
        let (mut at, every) = match fault.timing {
            Timing::Once { at } => (at, None),
            Timing::Repeated { at, every } => (at, Some(every)),
            Timing::Random => return,
        };
        let mut repetition = 0;
        while at < self.end() && self.planned.len() < FAULTS_MAX {
            let stretch = self.stretch(fault, at);
            let victims = self.victims(fault, repetition, &stretch);
            let origin = Origin::Scheduled { fault: number, repetition };
            self.plan(fault, origin, stretch, &victims);
            repetition += 1;
            match every {
                Some(every) => at += every.draw(&mut self.dice),
                None => return,
            }
        }
    }

    fn draw_random(&mut self, random: &super::scenario::Random) {
        let weights: u64 = random.faults.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut at = random.every.draw(&mut self.dice);
        let most_nodes = random.nodes.of(self.scope.nodes);
        let most_clients = random.clients.of(self.scope.clients);
        while at < self.end() && self.planned.len() < FAULTS_MAX {
            for _ in 0..DRAWS {
                let mut drawn = self.dice.below(weights.max(1));
                let fault = random.faults.iter().find(|(weight, _)| {
                    let found = drawn < u64::from(*weight);
                    drawn = drawn.saturating_sub(u64::from(*weight));
                    found
                });
                let Some((_, fault)) = fault else { break };
                let stretch = self.stretch(fault, at);
                let room = match fault.harm {
                    Harm::Client(_) => most_clients.saturating_sub(busy(&self.clients, &stretch)),
                    // Neither fault keeps a node from voting.
                    Harm::Node(Nemesis::ScriptFlush | Nemesis::ClockStep { .. }) => self.scope.nodes,
                    Harm::Node(_) | Harm::Way { .. } => {
                        most_nodes.saturating_sub(busy(&self.nodes, &stretch))
                    }
                };
                let mut victims = self.victims(fault, 0, &stretch);
                victims.truncate(room);
                if !victims.is_empty() {
                    self.plan(fault, Origin::Random, stretch, &victims);
                    break;
                }
            }
            at += random.every.draw(&mut self.dice);
        }
    }

    /// From when until when a fault lasts; at most until the end of all faults.
    fn stretch(&mut self, fault: &Fault, at: Duration) -> Range<Duration> {
        let lasts = fault.lasts.map_or(Duration::ZERO, |range| range.draw(&mut self.dice));
        at..(at + lasts).min(self.end())
    }

    /// The free victims: as many as wanted, or as there are.
    fn victims(&mut self, fault: &Fault, repetition: usize, stretch: &Range<Duration>) -> Vec<usize> {
        let busy = match fault.harm {
            Harm::Client(_) => &self.clients,
            Harm::Node(_) | Harm::Way { .. } => &self.nodes,
        };
        let all = busy.len();
        let free: Vec<usize> = (0..all).filter(|one| !busy[*one].meets(stretch)).collect();
        match &fault.reach {
            Reach::These(these) => free.into_iter().filter(|one| these.contains(one)).collect(),
            Reach::Drawn(Count::Next) => free.into_iter().filter(|one| *one == repetition % all).collect(),
            Reach::Drawn(count) => shuffled(free, &mut self.dice).into_iter().take(count.of(all)).collect(),
        }
    }

    /// Plans a fault for its victims. Victims that are hit together are healed together.
    fn plan(&mut self, fault: &Fault, origin: Origin, stretch: Range<Duration>, victims: &[usize]) {
        if victims.is_empty() {
            return;
        }
        let at = stretch.start;
        let until = match fault.lasts {
            None => Until::Momentary,
            Some(_) => Until::Healed(stretch.end),
        };
        let clients = match &fault.harm {
            Harm::Way { clients, .. } => {
                let all: Vec<usize> = (0..self.scope.clients).collect();
                shuffled(all, &mut self.dice).into_iter().take(clients.of(self.scope.clients)).collect()
            }
            Harm::Node(_) | Harm::Client(_) => Vec::new(),
        };
        let aftermath = match origin {
            // The scenario itself decides when the next fault follows.
            Origin::Scheduled { .. } => Duration::ZERO,
            Origin::Random => self.aftermath(&fault.harm),
        };
        let name = fault.name;
        let busy = at..stretch.end + aftermath;
        for victim in victims {
            match &fault.harm {
                Harm::Client(harm) => {
                    self.clients[*victim].0.push(busy.clone());
                    let act = Act::Client { client: *victim, fault: *harm };
                    self.planned.push(Planned { at, until, act, name, origin });
                }
                Harm::Node(nemesis) => {
                    self.nodes[*victim].0.push(busy.clone());
                    let act = Act::Node { node: *victim, nemesis: nemesis.clone() };
                    self.planned.push(Planned { at, until, act, name, origin });
                }
                Harm::Way { link, .. } => {
                    self.nodes[*victim].0.push(busy.clone());
                    for client in &clients {
                        let nemesis = Nemesis::Link { from: Clients::One(*client), link: *link };
                        let act = Act::Node { node: *victim, nemesis };
                        self.planned.push(Planned { at, until, act, name, origin });
                    }
                }
            }
        }
    }

    fn aftermath(&self, harm: &Harm) -> Duration {
        match harm {
            Harm::Node(
                Nemesis::Kill { data: Data::Lost }
                | Nemesis::Restart { data: Data::Lost }
                | Nemesis::FlushAll,
            ) => self.scope.quarantine + AFTERMATH,
            // Neither fault keeps a node from voting.
            Harm::Node(Nemesis::ScriptFlush | Nemesis::ClockStep { .. }) => Duration::ZERO,
            Harm::Node(_) | Harm::Way { .. } | Harm::Client(_) => AFTERMATH,
        }
    }
}

fn busy(all: &[Busy], stretch: &Range<Duration>) -> usize {
    all.iter().filter(|busy| busy.meets(stretch)).count()
}

fn shuffled(mut these: Vec<usize>, dice: &mut Dice) -> Vec<usize> {
    for i in (1..these.len()).rev() {
        let j = usize::try_from(dice.below(i as u64 + 1)).unwrap_or(0);
        these.swap(i, j);
    }
    these
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Given, READY};
    use super::*;

    fn scope(seed: u64) -> Scope {
        let (duration, quarantine) = (Duration::from_secs(60), Duration::from_secs(5));
        Scope { nodes: 5, clients: 16, duration, quarantine, seed }
    }

    #[test]
    fn a_seed_decides_everything() {
        let scenario = Scenario::load("random", &Given::default()).unwrap();
        assert_eq!(draw(&scenario, scope(1)), draw(&scenario, scope(1)));
        assert_ne!(draw(&scenario, scope(1)), draw(&scenario, scope(2)));
    }

    #[test]
    fn what_is_left_out_changes_nothing_else() {
        let without = Given { without: vec!["clock-step".into(), "kill".into()], ..Given::default() };
        for name in ["clocks-in-turn", "random"] {
            let mut all = draw(&Scenario::load(name, &Given::default()).unwrap(), scope(1));
            let scenario = Scenario::load(name, &without).unwrap();
            assert!(all.iter().any(|planned| scenario.leaves_out(planned.name)));
            all.retain(|planned| !scenario.leaves_out(planned.name));
            assert_eq!(draw(&scenario, scope(1)), all);
        }
    }

    #[test]
    fn random_faults_leave_a_majority_and_are_many() {
        let scenario = Scenario::load("random", &Given::default()).unwrap();
        for seed in 0..200 {
            let plan = draw(&scenario, scope(seed));
            assert!(plan.len() >= 30, "{} faults", plan.len());
            for one in &plan {
                let at_once: BTreeSet<usize> = plan
                    .iter()
                    .filter(|other| other.at <= one.at && Until::Healed(one.at) < other.until)
                    .filter_map(|other| match other.act {
                        Act::Node { node, .. } => Some(node),
                        Act::Client { .. } => None,
                    })
                    .collect();
                assert!(at_once.len() <= 2, "{plan:#?}");
            }
        }
    }

    #[test]
    fn nobody_is_hit_twice_at_once_and_all_is_healed_before_the_end() {
        for (name, _) in READY {
            let scenario = Scenario::load(name, &Given::default()).unwrap();
            let plan = draw(&scenario, scope(7));
            assert!(!plan.is_empty(), "{name}");
            for (i, one) in plan.iter().enumerate() {
                let Until::Healed(healed) = one.until else { continue };
                assert!(healed <= Duration::from_secs(57), "{name}: {one:?}");
                for other in &plan[i + 1..] {
                    assert!(
                        !one.act.meets(&other.act) || other.at >= healed,
                        "{name}: {one:?} and {other:?}"
                    );
                }
            }
        }
    }
}
