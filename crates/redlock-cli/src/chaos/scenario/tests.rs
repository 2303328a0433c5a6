//! Ready scenarios are read, and mistakes are told.

use super::*;

#[test]
fn the_ready_ones_hold_together() {
    for (name, text) in READY {
        let scenario = parse(name, text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!scenario.about.is_empty() && (!scenario.faults.is_empty() || scenario.random.is_some()));
    }
}

#[test]
fn a_mistake_is_told_with_what_is_wrong() {
    let head = "about = \"x\"\nduration = \"10s\"\n";
    let table = [
        ("tempo = 1", "tempo"),
        ("nodes = 32", "between 1 and 31"),
        ("[work]\nhold = \"fast\"", "no duration"),
        ("[[fault]]\nnemesis = \"kill\"", "needs for"),
        ("[[fault]]\nnemesis = \"flush\"\nfor = \"1s\"", "has no for"),
        ("[[fault]]\nnemesis = \"kil\"\nfor = \"1s\"", "kil"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nnodes = \"some\"", "minority"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = [\"2s\", \"1s\"]", "longer one"),
        ("[[fault]]\nnemesis = \"slow\"\nfor = \"1s\"", "needs latency"),
        ("[[fault]]\nnemesis = \"lossy\"\nfor = \"1s\"\npercent = 100", "1 to 90"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nppm = 3", "has no ppm"),
        ("[[fault]]\nnemesis = \"clock-step\"\nby = \"soon\"", "soon"),
        ("[[fault]]\nnemesis = \"pause\"\nfor = \"1s\"\nweight = 2", "random.fault"),
        ("[random]\nevery = \"1s\"\nfault = []", "at least one"),
        ("[settings]\nnodes = [\"a\"]", "settings.nodes"),
    ];
    for (text, expected) in table {
        let error = parse("test", &format!("{head}{text}")).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_ready_ones() {
    let error = Scenario::load("minority-up").unwrap_err().to_string();
    assert!(error.contains("minority-down") && error.contains("random"), "{error}");
}
