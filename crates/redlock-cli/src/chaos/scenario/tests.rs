//! Ready scenarios can be read, and mistakes are reported.

use super::*;

const HEAD: &str = "about = \"x\"\nduration = \"10s\"\n";

fn mistakes(text: &str) -> Vec<String> {
    let given = Given::default();
    parse("test", "t.toml", text, &given).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_ready_ones_hold_together() {
    for (name, text) in READY {
        let scenario = parse(name, name, text, &Given::default()).unwrap_or_else(|error| panic!("{error:?}"));
        assert!(!scenario.about.is_empty() && (!scenario.faults.is_empty() || scenario.random.is_some()));
    }
}

#[test]
fn a_mistake_is_told_with_what_is_wrong_and_where() {
    let table = [
        ("tempo = 1", "t.toml:3:1: tempo: no such field"),
        ("node = 3", "node: no such field; did you mean nodes?"),
        ("nodes = 32", "t.toml:3:9: nodes: 32; must be a whole number between 1 and 31"),
        ("work = 3", "work: 3; must be a table"),
        ("[work]\nhold = \"fast\"", "t.toml:4:8: work.hold: \"fast\"; must be a duration with a unit"),
        ("[work]\nshortest_ttl = \"5ms\"", "work.shortest_ttl: \"5ms\"; must be at least 10ms"),
        ("[work]\nhalt = \"1s\"", "work.halt: no such field; did you mean hold?"),
        ("[[fault]]\nnemesis = \"kill\"", "t.toml:3:1: the nemesis \"kill\" needs for"),
        ("[[fault]]\nfor = \"1s\"", "a fault needs nemesis"),
        ("[[fault]]\nnemesis = \"flush\"\nfor = \"1s\"", "t.toml:5:1: for: the nemesis \"flush\" has no for"),
        (
            "[[fault]]\nnemesis = \"kil\"\nfor = \"1s\"",
            "t.toml:4:11: nemesis: \"kil\"; must be one of kill, ",
        ),
        ("[[fault]]\nnemesis = \"paus\"\nfor = \"1s\"", "did you mean pause?"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nnodes = \"some\"", "must be one of minority, "),
        (
            "[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nnodes = [1, 5]",
            "there is no node 5: the nodes are 0 to 4",
        ),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nnodes = [\"node 7\"]", "there is no node \"node 7\""),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nnodes = []", "must name a node"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nnodes = 6", "between 1 and 5"),
        (
            "nodes = 2\n[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nnodes = \"minority\"",
            "there is no minority",
        ),
        ("[[fault]]\nnemesis = \"kill-client\"\nfor = \"1s\"\nclients = 9", "between 1 and 8"),
        (
            "[[fault]]\nnemesis = \"pause\"\nat = \"8s\"\nfor = \"1s\"",
            "t.toml:5:6: at: 8s; the faults of this run",
        ),
        ("[[fault]]\nnemesis = \"pause\"\nfor = [\"2s\", \"1s\"]", "longer one"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = 3", "must be a duration"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nevery = \"1ms\"", "must be at least 10ms"),
        ("[[fault]]\nnemesis = \"slow\"\nfor = \"1s\"", "needs latency"),
        ("[[fault]]\nnemesis = \"lossy\"\nfor = \"1s\"\npercent = 100", "between 1 and 90"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nppm = 3", "has no ppm"),
        ("[[fault]]\nnemesis = \"clock-step\"\nby = \"soon\"", "soon"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nweight = 2", "random.fault"),
        ("[random]\nevery = \"1s\"\nfault = []", "at least one"),
        (
            "[random]\nevery = \"1s\"\n[[random.fault]]\nnemesis = \"flush\"\nat = \"1s\"",
            "at: is for [[fault]]",
        ),
        ("[settings]\nnodes = [\"a\"]", "settings.nodes"),
        ("[settings]\ntll = \"3s\"", "t.toml:4:1: settings.tll: no such setting; did you mean ttl?"),
        ("[settings]\nttl = \"3\"", "t.toml:4:7: settings.ttl: "),
        ("nodes = ", "t.toml:3:9: not TOML"),
    ];
    for (text, expected) in table {
        let mistakes = mistakes(&format!("{HEAD}{text}"));
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:#?}");
        assert!(mistakes[0].contains(expected), "{text}: {mistakes:?}");
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let faults = "[[fault]]\nnemesis = \"kil\"\n[[fault]]\nnemesis = \"pause\"\nnodes = [9]\ntempo = 1\n";
    let mistakes = mistakes(&format!("clients = 99\n{faults}"));
    let expected = [
        "t.toml:1:1: a scenario needs about",
        "t.toml:1:1: a scenario needs duration",
        "t.toml:1:11: clients: 99; ",
        "t.toml:3:11: nemesis: \"kil\"; ",
        "t.toml:4:1: the nemesis \"pause\" needs for",
        "t.toml:6:9: nodes: [9]; there is no node 9",
        "t.toml:7:1: tempo: no such field",
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.starts_with(expected), "{mistake} is not {expected}");
    }
}

#[test]
fn nodes_are_called_by_their_numbers_and_by_their_names() {
    let given = Given { nodes: Some(vec!["a:1".into(), "b:1".into(), "c:1".into()]), ..Given::default() };
    let text = format!("{HEAD}[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nnodes = [\"c:1\", 0]\n");
    let scenario = parse("test", "t.toml", &text, &given).unwrap();
    assert_eq!(scenario.faults[0].reach, Reach::These(vec![2, 0]));
    let wrong = parse("test", "t.toml", &text.replace("c:1", "d:1"), &given).unwrap_err();
    assert!(wrong[0].to_string().contains("0 to 2, or a:1, b:1, c:1"), "{wrong:?}");
}

#[test]
fn a_run_that_is_made_shorter_leaves_faults_out_instead_of_being_refused() {
    let given = Given { duration: Some(Duration::from_secs(5)), ..Given::default() };
    let text = format!("{HEAD}[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nat = \"7s\"\n");
    assert_eq!(parse("test", "t.toml", &text, &given).unwrap().duration, Duration::from_secs(5));
}

#[test]
fn an_unknown_name_is_answered_with_the_ready_ones() {
    let error = Scenario::load("minority-don", &Given::default()).unwrap_err().to_string();
    assert!(error.contains("random; did you mean minority-down?"), "{error}");
}
