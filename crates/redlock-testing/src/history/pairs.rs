//! Compares the checker with a plain comparison of all pairs.

use proptest::prelude::*;

use super::*;

/// The clients of each overlap; each client with too small a token, with the largest token that it should have
/// exceeded; and the number of reused tokens.
type Findings = (Vec<[String; 2]>, Vec<(String, u64, Order)>, usize);

proptest! {
    #[test]
    fn the_sweep_finds_what_comparing_all_pairs_finds(sections in histories()) {
        prop_assert_eq!(sweep(&sections), all_pairs(&sections));
    }
}

/// The rules exactly as the documentation of [`check`] states them.
fn all_pairs(sections: &[Section]) -> Findings {
    let mut overlaps = Vec::new();
    let mut behind = Vec::new();
    for later in sections {
        let mut above: Option<(u64, Order)> = None;
        for earlier in
            sections.iter().filter(|earlier| earlier.resource == later.resource && *earlier != later)
        {
            let (a, b) = (earlier.window(), later.window());
            let excluded = [earlier.sharing, later.sharing].contains(&Sharing::Exclusive);
            let valid = !a.is_empty() && !b.is_empty();
            if excluded && valid && a.start < b.end && b.start < a.end && earlier.client < later.client {
                overlaps.push([earlier.client.clone(), later.client.clone()]);
            }
            let order = if earlier.acquired_at < later.requested_at {
                Order::Requested
            } else if excluded && valid && a.end <= b.start {
                Order::Ended
            } else {
                continue;
            };
            let (Some(old), Some(new)) = (earlier.fencing_token, later.fencing_token) else {
                continue;
            };
            if old <= new {
                continue;
            }
            above = match above {
                Some((_, Order::Requested)) if order == Order::Ended => above,
                Some((_, Order::Ended)) if order == Order::Requested => Some((old, order)),
                Some((highest, _)) => Some((highest.max(old), order)),
                None => Some((old, order)),
            };
        }
        behind.extend(above.map(|(highest, order)| (later.client.clone(), highest, order)));
    }
    let mut tokens: Vec<_> =
        sections.iter().filter_map(|one| Some((&one.resource, one.fencing_token?))).collect();
    let all = tokens.len();
    tokens.sort();
    tokens.dedup();
    overlaps.sort();
    behind.sort_by(|a, b| a.0.cmp(&b.0));
    (overlaps, behind, all - tokens.len())
}

fn sweep(sections: &[Section]) -> Findings {
    let mut overlaps = Vec::new();
    let mut behind = Vec::new();
    let mut reused = 0;
    for violation in check(sections).violations() {
        match violation {
            Violation::Overlap { earlier, later } => {
                let mut pair = [earlier.client.clone(), later.client.clone()];
                pair.sort();
                overlaps.push(pair);
            }
            Violation::TokenNotGrown { earlier, later, order } => {
                behind.push((later.client.clone(), earlier.fencing_token.unwrap_or_default(), *order));
            }
            Violation::TokenReused { .. } => reused += 1,
            Violation::Misrecorded { .. }
            | Violation::TooMany { .. }
            | Violation::Stuck { .. }
            | Violation::KeyLeft { .. }
            | Violation::LossLate { .. }
            | Violation::Revived { .. }
            | Violation::StaleWrite { .. } => {}
        }
    }
    overlaps.sort();
    behind.sort_by(|a, b| a.0.cmp(&b.0));
    (overlaps, behind, reused)
}

/// Histories with few instants, tokens and resources, so that sections collide. Each section has its own client.
fn histories() -> impl Strategy<Value = Vec<Section>> {
    let section =
        (0..2_u8, any::<bool>(), 0..20_u64, 0..8_u64, 0..12_u64, any::<Option<u8>>(), any::<Option<u8>>());
    proptest::collection::vec(section, 0..24).prop_map(|sections| {
        let section = |(index, (resource, reads, requested_at, wait, ttl, ended, token))| {
            let acquired_at = requested_at + wait;
            let _: usize = index;
            Section {
                client: format!("{index:02}"),
                resource: u8::to_string(&resource),
                sharing: if reads { Sharing::Shared } else { Sharing::Exclusive },
                requested_at,
                acquired_at,
                deadline: acquired_at + ttl,
                ended_at: Option::<u8>::map(ended, |hold| acquired_at + u64::from(hold % 12)),
                fencing_token: Option::<u8>::map(token, |token| u64::from(token % 32)),
            }
        };
        sections.into_iter().enumerate().map(section).collect()
    })
}
