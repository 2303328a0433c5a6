//! `redlock members` through a change of node lists.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::Duration;

use redlock_testing::history::{Section, Sharing, check};
use serde_json::Value;

use crate::support::{Running, Scene, eventually, redlock};

/// The change takes as long as the longest lease, twice, and some seconds.
const SETTINGS: [&str; 4] = ["--set", "max_ttl=4s", "--set", "ttl=4s"];

/// Runs the command with these nodes, by number, as `nodes` and as `next_nodes`. Both kinds of output agree.
fn members(scene: &Scene, nodes: [usize; 3], next: &[usize]) -> (Option<i32>, Value) {
    let arguments = lists(scene, nodes, next);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = scene.run(&[&["members", "--json"], &arguments[..]].concat());
    let json: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    (ended.code, json)
}

/// The options of a client with these nodes.
fn lists(scene: &Scene, nodes: [usize; 3], next: &[usize]) -> Vec<String> {
    let url = |node: &usize| scene.cluster.url(*node);
    let mut arguments: Vec<String> = nodes.iter().flat_map(|node| ["--node".to_owned(), url(node)]).collect();
    if !next.is_empty() {
        let urls: Vec<_> = next.iter().map(url).collect();
        arguments.extend(["--set".to_owned(), format!("next_nodes={}", urls.join(","))]);
    }
    arguments.extend(SETTINGS.map(str::to_owned));
    arguments
}

#[test]
fn a_change_from_its_beginning_to_its_end() {
    let scene = Scene::new(5);
    let (code, steady) = members(&scene, [0, 1, 2], &[]);
    assert_eq!((code, &steady["stage"]), (Some(0), &"steady".into()), "{steady}");
    assert_eq!(steady["nodes"][0]["lists"][0]["state"], "in use", "{steady}");

    let (code, hindered) = members(&scene, [0, 1, 2], &[2, 3, 4]);
    assert_eq!((code, &hindered["stage"]), (Some(1), &"hindered".into()), "{hindered}");
    let name = |node: usize| format!("127.0.0.1:{}", scene.cluster.port(node));
    let advice = hindered["next"].as_str().unwrap();
    let named = [0, 1, 2, 3, 4].map(|node| advice.contains(&name(node)));
    assert_eq!(named, [true, true, true, false, false], "{advice}");
    assert_eq!(hindered["nodes"].as_array().unwrap().len(), 5);
    // The first client of the next list comes too early.
    let (code, early) = members(&scene, [2, 3, 4], &[]);
    assert_eq!((code, &early["stage"]), (Some(1), &"too early".into()), "{early}");

    eventually("the change is done", || {
        let (code, json) = members(&scene, [0, 1, 2], &[2, 3, 4]);
        assert!(["hindered", "waiting", "done"].iter().any(|stage| json["stage"] == *stage), "{json}");
        code == Some(0)
    });
    let (code, new) = members(&scene, [2, 3, 4], &[]);
    assert_eq!((code, &new["stage"]), (Some(0), &"steady".into()), "{new}");
    let (code, late) = members(&scene, [0, 1, 2], &[]);
    assert_eq!((code, &late["stage"]), (Some(1), &"too late".into()), "{late}");
    let old = [0, 1, 2].map(|node| format!("--node={}", scene.cluster.url(node)));
    let text = scene.run(&["members", &old[0], &old[1], &old[2]]);
    assert_eq!(text.code, Some(1), "{text:?}");
    assert!(
        text.stdout.contains("change done") && text.stdout.contains("\ntoo late: Name the nodes"),
        "{text:?}"
    );
}

/// The processes of an installation are restarted one by one, with both lists and then with the next one, while each of
/// them takes the lock again and again and raises a number in a file.
#[test]
fn a_rolling_change_under_load_by_processes() {
    let scene = Scene::new(5);
    scene.write("counter", &format!("{:020}\n", 0));
    let counted = || scene.read("counter").trim().parse::<usize>().unwrap_or(0);
    // Any process has had its turn by then, because waiters come first, first served.
    let goes_on = |since: usize| counted() >= since + 2 * SERVICES;
    let start = |service, nodes, next: &[usize]| start_service(&scene, service, &lists(&scene, nodes, next));
    let mut services: VecDeque<_> = (0..SERVICES).map(|service| start(service, [0, 1, 2], &[])).collect();
    eventually("all services take the lock", || goes_on(0));
    let mut told = Vec::new();
    let mut stop = |service: usize, mut running: Running| {
        running.close_stdin();
        let ended = running.finish();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "service {service}");
        told.push((service, ended.stdout));
    };
    for (nodes, next) in [([0, 1, 2], &[2, 3, 4][..]), ([2, 3, 4], &[])] {
        for service in 0..SERVICES {
            let before = counted();
            stop(service, services.pop_front().unwrap());
            services.push_back(start(service, nodes, next));
            eventually("the services go on", || goes_on(before));
        }
        if !next.is_empty() {
            eventually("the change is done", || members(&scene, nodes, next).0 == Some(0));
        }
    }
    services.into_iter().enumerate().for_each(|(service, running)| stop(service, running));
    let raised: usize = told.iter().map(|(_, told)| told.matches(r#""event":"counted""#).count()).sum();
    assert_eq!(counted(), raised, "a number was overwritten");
    let sections = told.iter().flat_map(|(service, told)| sections_of(*service, told));
    let mut sections: Vec<Section> = sections.collect();
    check(&sections).assert_ok();
    sections.sort_by_key(|section| section.acquired_at);
    let gap = |two: &[Section]| two[1].acquired_at.saturating_sub(two[0].acquired_at);
    let longest = Duration::from_nanos(sections.windows(2).map(gap).max().unwrap());
    println!("{} sections of {SERVICES} processes, longest gap {longest:?}", sections.len());
}

const SERVICES: usize = 8;

/// Starts a process that takes the lock again and again until its input ends.
fn start_service(scene: &Scene, service: usize, lists: &[String]) -> Running {
    let work = [
        ("--owner", &*format!("service-{service}")),
        ("--seed", &*service.to_string()),
        ("--counter", "counter"),
        ("--hold", "2000"),
        ("--rest", "1000"),
        ("--resources", "1"),
        ("--long-resources", "1"),
        ("--long-hold", "1"),
        ("--long-one-in", "0"),
        ("--shared-one-in", "0"),
        ("--multi-one-in", "0"),
        ("--slot-one-in", "0"),
        ("--lead-one-in", "0"),
        ("--slots", "1"),
        ("--shortest-ttl", "0"),
    ];
    let mut command = redlock();
    command.arg("chaos-client").args(lists).args(work.iter().flat_map(|(flag, value)| [flag, value]));
    command.stdin(Stdio::piped());
    scene.start_command(command)
}

/// The sections that a process has told of.
fn sections_of(service: usize, told: &str) -> Vec<Section> {
    let (mut sections, mut requested_at): (Vec<Section>, u64) = (Vec::new(), 0);
    for line in told.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let number = |field: &str| event[field].as_u64().unwrap_or_else(|| panic!("{line}"));
        match (event["event"].as_str().unwrap(), sections.last_mut()) {
            ("attempt", _) => requested_at = number("at"),
            ("acquired", _) => sections.push(Section {
                client: format!("service {service}"),
                resource: "counter".to_owned(),
                sharing: Sharing::Exclusive,
                requested_at,
                acquired_at: number("at"),
                deadline: number("deadline"),
                ended_at: None,
                fencing_token: Some(number("fencing_token")),
            }),
            ("renewed", Some(section)) => section.deadline = number("deadline"),
            ("released" | "lost", Some(section)) => section.ended_at = Some(number("at")),
            ("failed", _) => panic!("{line}"),
            _ => {}
        }
    }
    sections
}
