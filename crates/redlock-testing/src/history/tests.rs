//! Tests of the checker with tables of histories.

use super::*;

/// An exclusive section of `r`, requested and acquired at `from` and ended at `to`.
fn held(client: &str, from: u64, to: u64, token: u64) -> Section {
    Section {
        client: client.to_owned(),
        resource: "r".to_owned(),
        sharing: Sharing::Exclusive,
        requested_at: from,
        acquired_at: from,
        deadline: from + 1_000,
        ended_at: Some(to),
        fencing_token: Some(token),
    }
}

fn read(client: &str, from: u64, to: u64, token: u64) -> Section {
    Section { sharing: Sharing::Shared, ..held(client, from, to, token) }
}

fn requested(requested_at: u64, section: Section) -> Section {
    Section { requested_at, ..section }
}

/// The violations of a history, each as its kind and its clients.
fn judge(sections: &[Section]) -> Vec<String> {
    check(sections).violations().iter().map(short).collect()
}

fn short(violation: &Violation) -> String {
    match violation {
        Violation::Misrecorded { section } => format!("misrecorded {}", section.client),
        Violation::Overlap { earlier, later } => {
            format!("overlap {} {}", earlier.client, later.client)
        }
        Violation::TooMany { permits, holders, later } => {
            let holders: Vec<&str> = holders.iter().map(|holder| holder.client.as_str()).collect();
            format!("{permits}: {} beside {}", later.client, holders.concat())
        }
        Violation::TokenReused { first, second } => {
            format!("reused {} {}", first.client, second.client)
        }
        Violation::TokenNotGrown { earlier, later, order } => {
            format!("{order:?} {} {}", earlier.client, later.client)
        }
        Violation::Stuck { waiter, .. } => format!("stuck {}", waiter.client),
        Violation::KeyLeft { key } => format!("left {} {}", key.node, key.resource),
        Violation::LossLate { loss, .. } => format!("late {}", loss.client),
        Violation::Revived { loss } => format!("revived {}", loss.client),
        Violation::StaleWrite { before, write } => format!("stale {} {}", before.client, write.client),
    }
}

#[test]
fn a_semaphore_has_no_more_holders_than_permits() {
    let three = [held("a", 10, 20, 1), held("b", 15, 30, 2), held("c", 20, 40, 3)];
    let judge = |sections: &[Section], permits| -> Vec<String> {
        check_permits(sections, permits).violations().iter().map(short).collect()
    };
    assert_eq!(judge(&three, 2), [""; 0]);
    assert_eq!(judge(&three, 1), ["1: b beside a", "1: c beside b"]);
    let fourth = [&three[..], &[held("d", 29, 31, 4)]].concat();
    assert_eq!(judge(&fourth, 2), ["2: d beside bc"]);
    let elsewhere = Section { resource: "other".to_owned(), ..held("d", 29, 31, 4) };
    assert_eq!(judge(&[&three[..], &[elsewhere]].concat(), 2), [""; 0]);
    let expired_on_arrival = Section { deadline: 29, ..held("d", 29, 31, 4) };
    assert_eq!(judge(&[&three[..], &[expired_on_arrival]].concat(), 2), [""; 0]);
    assert_eq!(judge(&[Section { requested_at: 11, ..held("a", 10, 20, 1) }], 2), ["misrecorded a"]);
}

#[test]
fn windows_of_one_resource_must_not_overlap() {
    let until_deadline = Section { deadline: 20, ended_at: None, ..held("a", 10, 0, 1) };
    let other = Section { resource: "other".to_owned(), ..held("b", 15, 25, 2) };
    let expired_on_arrival = Section { deadline: 15, ..held("b", 15, 25, 2) };
    let table: [(&str, Vec<Section>, &[&str]); 10] = [
        ("nothing", vec![], &[]),
        ("one after the other", vec![held("a", 10, 20, 1), held("b", 20, 30, 2)], &[]),
        ("a moment too early", vec![held("a", 10, 20, 1), held("b", 19, 30, 2)], &["overlap a b"]),
        ("in any order of recording", vec![held("b", 19, 30, 2), held("a", 10, 20, 1)], &["overlap a b"]),
        ("held until the deadline", vec![until_deadline.clone(), held("b", 20, 30, 2)], &[]),
        ("taken before the deadline", vec![until_deadline, held("b", 19, 30, 2)], &["overlap a b"]),
        ("another resource", vec![held("a", 10, 20, 1), other], &[]),
        ("an empty window", vec![held("a", 10, 20, 1), expired_on_arrival], &[]),
        (
            "every pair",
            vec![held("a", 10, 40, 1), held("b", 20, 40, 2), held("c", 30, 40, 3)],
            &["overlap a b", "overlap a c", "overlap b c"],
        ),
        (
            "one inside of another, and one after the inner",
            vec![held("a", 10, 40, 1), held("b", 15, 20, 2), held("c", 25, 30, 3)],
            &["overlap a b", "overlap a c"],
        ),
    ];
    for (name, sections, expected) in table {
        assert_eq!(judge(&sections), expected, "{name}");
    }
}

#[test]
fn readers_exclude_writers_only() {
    let table: [(&str, Vec<Section>, &[&str]); 3] = [
        ("readers", vec![read("a", 10, 30, 1), read("b", 15, 30, 2)], &[]),
        ("a writer among them", vec![read("a", 10, 30, 1), held("w", 15, 30, 2)], &["overlap a w"]),
        ("a reader with a writer", vec![held("w", 10, 30, 1), read("a", 15, 30, 2)], &["overlap w a"]),
    ];
    for (name, sections, expected) in table {
        assert_eq!(judge(&sections), expected, "{name}");
    }
}

#[test]
fn tokens_are_unique_and_grow() {
    let without = Section { fencing_token: None, ..held("n", 25, 28, 0) };
    let other = Section { resource: "other".to_owned(), ..held("b", 30, 40, 1) };
    // The client was paused between the grant and its recording, so the larger token of the other client is right.
    let paused = Section { deadline: 25, ..requested(5, held("b", 30, 40, 1)) };
    let table: [(&str, Vec<Section>, &[&str]); 9] = [
        ("growing", vec![held("a", 10, 20, 1), without, held("b", 30, 40, 2)], &[]),
        ("the same", vec![held("a", 10, 20, 5), held("b", 30, 40, 5)], &["reused a b"]),
        ("the same of another resource", vec![held("a", 10, 20, 1), other], &[]),
        ("smaller", vec![held("a", 10, 20, 5), held("b", 30, 40, 4)], &["Requested a b"]),
        (
            "smaller, with a wait",
            vec![held("a", 10, 20, 5), requested(5, held("b", 30, 40, 4))],
            &["Ended a b"],
        ),
        ("paused after its grant", vec![held("a", 10, 20, 5), paused], &[]),
        (
            "readers at once, in either order",
            vec![read("a", 10, 20, 5), requested(5, read("b", 30, 40, 4))],
            &[],
        ),
        (
            "a reader after a writer",
            vec![held("w", 10, 20, 5), requested(5, read("b", 30, 40, 4))],
            &["Ended w b"],
        ),
        (
            "the largest of several",
            vec![held("a", 10, 12, 8), held("b", 14, 16, 9), held("c", 30, 40, 4)],
            &["Requested b c"],
        ),
    ];
    for (name, sections, expected) in table {
        assert_eq!(judge(&sections), expected, "{name}");
    }
}

#[test]
fn times_in_an_impossible_order_are_reported() {
    assert_eq!(judge(&[held("a", 10, 9, 1)]), ["misrecorded a"]);
    assert_eq!(judge(&[requested(11, held("a", 10, 20, 1))]), ["misrecorded a"]);
}

#[test]
fn faults_of_timing_can_be_left_out() {
    let sections = [held("a", 10, 40, 5), held("b", 20, 40, 4), requested(5, held("c", 50, 60, 3))];
    assert_eq!(judge(&sections), ["overlap a b", "Requested a b", "Ended a c"]);
    let left = check(&sections).regardless_of_timing();
    assert_eq!(left.violations().iter().map(short).collect::<Vec<_>>(), ["Requested a b"]);
}

#[test]
fn a_broken_run_does_not_report_every_pair() {
    let sections: Vec<_> =
        (0..1_000).map(|client| held(&client.to_string(), 10 + client, 5_000, client)).collect();
    let verdict = check(&sections);
    assert_eq!(verdict.violations().len(), OVERLAP_LIMIT);
    let text = verdict.to_string();
    assert!(
        text.starts_with("10000 violations in 1000 sections:") && text.ends_with("- and 9980 more"),
        "{text}"
    );
}

#[test]
fn somebody_wins_within_the_bound() {
    const HEALED: u64 = 100;
    const BOUND: u64 = 50;
    let waiter = |requested_at, left_at| Waiter {
        client: "w".to_owned(),
        resource: "r".to_owned(),
        requested_at,
        left_at,
    };
    type Row<'a> = (&'a str, Vec<Section>, Vec<Waiter>, &'a [&'a str]);
    let table: [Row<'_>; 8] = [
        ("nobody waits", vec![], vec![], &[]),
        ("nobody wins", vec![], vec![waiter(10, 151)], &["stuck w"]),
        ("it left in time", vec![], vec![waiter(10, 150)], &[]),
        ("it came late", vec![], vec![waiter(130, 180)], &[]),
        ("it came late and waited", vec![], vec![waiter(130, 181)], &["stuck w"]),
        ("another one won", vec![held("a", 150, 160, 1)], vec![waiter(10, 200)], &[]),
        ("another one won too late", vec![held("a", 151, 160, 1)], vec![waiter(10, 200)], &["stuck w"]),
        ("it won too late itself", vec![requested(10, held("a", 151, 160, 1))], vec![], &["stuck a"]),
    ];
    for (name, sections, waiters, expected) in table {
        let verdict = check_progress(&sections, &waiters, HEALED, BOUND);
        assert_eq!(verdict.violations().iter().map(short).collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn no_key_outlives_its_release() {
    let left = |resource: &str| LeftKey { node: "n1".to_owned(), resource: resource.to_owned() };
    let crashed = Section { resource: "crashed".to_owned(), ended_at: None, ..held("b", 10, 0, 1) };
    let sections = [held("a", 10, 20, 1), crashed];
    let verdict = check_left_keys(&sections, &[left("r"), left("crashed"), left("never won")]);
    assert_eq!(
        verdict.violations().iter().map(short).collect::<Vec<_>>(),
        ["left n1 r", "left n1 never won"]
    );
}

#[test]
fn verdicts_read_as_sentences() {
    let overlap =
        check(&[held("a", 1_000_000_000, 3_500_000_000, 7), held("b", 1_000_000_500, 2_000_000_000, 8)]);
    assert_eq!(
        overlap.to_string(),
        "1 violation in 2 sections:\n\
         - a from 1.000000000 s to 1.000001000 s with token 7 and b from 1.000000500 s to 1.000001500 s with token 8 \
         both held r for 0.000000500 s"
    );
    assert_eq!(check(&[held("a", 1, 2, 1)]).to_string(), "no violation in 1 section");
    let both = check(&[]).and(check_left_keys(&[], &[LeftKey { node: "n1".into(), resource: "r".into() }]));
    assert!(both.to_string().contains("the key r is still on node n1"), "{both}");
}

#[test]
fn what_a_breach_allows_is_set_apart() {
    let breach = |from, until| Breach { assumption: Assumption::Clocks, from, until };
    // From 20 to 30, b holds while a still holds, with a larger token. c has a smaller token than b.
    let sections = [held("a", 10, 30, 1), held("b", 20, 40, 5), held("c", 50, 60, 4)];
    type Row<'a> = (&'a str, &'a [Breach], &'a [&'a str], &'a [&'a str]);
    let table: [Row<'_>; 4] = [
        ("none", &[], &["overlap a b", "Requested b c"], &[]),
        ("before it", &[breach(0, 19)], &["overlap a b", "Requested b c"], &[]),
        ("during it", &[breach(15, 25)], &["Requested b c"], &["overlap a b"]),
        ("after it", &[breach(31, 90)], &["overlap a b", "Requested b c"], &[]),
    ];
    for (name, breaches, left, excused) in table {
        let verdict = check(&sections).excusing(breaches);
        assert_eq!(verdict.violations().iter().map(short).collect::<Vec<_>>(), left, "{name}");
        assert_eq!(verdict.excused().iter().map(short).collect::<Vec<_>>(), excused, "{name}");
    }
    // Only nodes that forget their scores give a token twice.
    let twice = check(&[held("a", 10, 12, 1), held("b", 20, 22, 1)]);
    assert_eq!(twice.clone().excusing(&[breach(0, 90)]).excused().len(), 0);
    let forgot = Breach { assumption: Assumption::Memory, from: 0, until: 90 };
    assert_eq!(twice.excusing(&[forgot]).excused().len(), 1);
}

#[test]
fn a_loss_is_told_in_time_and_stays_one() {
    let loss = |told_at, valid_again_at| LossNotice {
        client: "a".to_owned(),
        resource: "r".to_owned(),
        deadline: 100,
        told_at,
        valid_again_at,
    };
    let stood = |client: &str, from, until| Standstill { client: client.to_owned(), from, until };
    let table: [(&str, LossNotice, &[Standstill], &[&str]); 8] = [
        ("early", loss(90, None), &[], &[]),
        ("in time", loss(110, None), &[], &[]),
        ("late", loss(111, None), &[], &["late a"]),
        ("paused over its deadline", loss(160, None), &[stood("a", 50, 150)], &[]),
        ("paused when it was due", loss(160, None), &[stood("a", 105, 150)], &[]),
        ("late after its pause", loss(161, None), &[stood("a", 50, 150)], &["late a"]),
        ("another one paused", loss(160, None), &[stood("b", 50, 150)], &["late a"]),
        ("held again", loss(100, Some(101)), &[], &["revived a"]),
    ];
    for (name, loss, standstills, expected) in table {
        let verdict = check_losses(&[loss], standstills, 10);
        assert_eq!(verdict.violations().iter().map(short).collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn a_store_accepts_no_smaller_token() {
    let write = |client: &str, resource: &str, fencing_token, answer| Write {
        client: client.to_owned(),
        resource: resource.to_owned(),
        fencing_token,
        at: 0,
        answer,
    };
    let writes = [
        write("a", "r", 5, Answer::Accepted),
        write("b", "r", 4, Answer::Refused),
        write("c", "s", 3, Answer::Accepted),
        write("d", "r", 5, Answer::Accepted),
        write("e", "r", 4, Answer::Accepted),
        write("f", "r", 6, Answer::Accepted),
    ];
    let verdict = check_writes(&writes);
    assert_eq!(verdict.violations().iter().map(short).collect::<Vec<_>>(), ["stale d e"]);
}
