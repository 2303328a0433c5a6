//! `redlock elect` and `redlock leader`.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Running, Scene, eventually};

/// A candidate whose command writes its term to the file `NAME-RUN`, and ends when there is a file `go`.
fn candidate(scene: &Scene, name: &str) -> Running {
    let script = format!(
        "run=1; while [ -e {name}-$run ]; do run=$((run + 1)); done; echo $REDLOCK_FENCING_TOKEN >{name}.new; \
         mv {name}.new {name}-$run; until [ -e go ]; do sleep 0.02; done; exit 7"
    );
    scene.start(&["elect", "--ttl", "5s", "--value", name, "job", "--", "sh", "-c", &script])
}

fn leader(scene: &Scene) -> Value {
    serde_json::from_str(&scene.run(&["leader", "--json", "job"]).stdout).unwrap()
}

fn term(scene: &Scene, file: &str) -> u64 {
    scene.appears(file);
    scene.read(file).trim().parse().unwrap()
}

#[test]
fn when_the_leader_is_killed_another_leads_with_a_higher_term() {
    let scene = Scene::new(3);
    let first = candidate(&scene, "first");
    let first_term = term(&scene, "first-1");
    let shown = leader(&scene);
    assert_eq!(
        (&shown["state"], &shown["value"], &shown["term"]),
        (&"leads".into(), &"first".into(), &first_term.into())
    );
    let told = scene.run(&["leader", "job"]);
    assert!(
        told.stdout.starts_with(&format!("first leads \"job\" in term {first_term}, since ")),
        "{told:?}"
    );
    assert_eq!(told.code, Some(0));

    let second = candidate(&scene, "second");
    let watch = scene.start(&["leader", "--watch", "--json", "job"]);
    eventually("the first leader is watched", || watch.stdout().contains("\"first\""));
    assert!(!scene.has("second-1"));
    first.signal(Signal::KILL);
    let second_term = term(&scene, "second-1");
    assert!(second_term > first_term, "{second_term} after {first_term}");
    eventually("the second leader is watched", || watch.stdout().contains("\"second\""));
    watch.signal(Signal::INT);
    assert_eq!(watch.finish().code, Some(130));

    scene.create("go");
    assert_eq!(second.finish().code, Some(7));
    let told = scene.run(&["leader", "job"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), "nobody leads \"job\"\n"));
}

#[test]
fn a_leader_that_is_lost_is_ended_and_a_candidate_again() {
    let scene = Scene::new(3);
    let candidate = candidate(&scene, "one");
    let first_term = term(&scene, "one-1");
    scene.delete("job", &[0, 1, 2]);
    let second_term = term(&scene, "one-2");
    assert!(second_term > first_term, "{second_term} after {first_term}");
    scene.create("go");
    let ended = candidate.finish();
    assert_eq!(ended.code, Some(7));
    assert!(ended.stderr.contains("was lost while the command ran"), "{ended:?}");
    scene.assert_no_keys();
}

#[test]
fn a_signal_ends_the_candidate_or_its_command() {
    let scene = Scene::new(3);
    let leads = candidate(&scene, "one");
    term(&scene, "one-1");
    let waits = scene.start(&["elect", "-v", "job", "--", "touch", "ran"]);
    eventually("it waits", || waits.stderr().contains("attempt failed"));
    waits.signal(Signal::TERM);
    assert_eq!(waits.finish().code, Some(143));
    leads.signal(Signal::TERM);
    assert_eq!(leads.finish().code, Some(143));
    assert!(!scene.has("ran"));
    scene.assert_no_keys();
}

#[test]
fn mistakes_are_explained() {
    let scene = Scene::new(1);
    let long = "x".repeat(257);
    for (arguments, text) in [
        (&["--value", &long][..], "value of a leader: 257 bytes; must be at most 256 bytes"),
        (&["--set", "fencing=false"], "fencing: false; must be true for an election"),
    ] {
        let ended = scene.run(&[&["elect"], arguments, &["job", "--", "touch", "ran"]].concat());
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains(text), "{ended:?}");
    }
    assert!(!scene.has("ran"));
}
