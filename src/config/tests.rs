//! Defaults hold together, and mistakes are told with setting, value and bound.

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn three() -> RedlockBuilder {
    RedlockBuilder::new().nodes(["redis://a", "redis://b", "redis://c"])
}

#[test]
fn defaults_hold_together() {
    let settings = three().validate().unwrap();
    assert_eq!((settings.quorum.nodes(), settings.quorum.needed()), (3, 2));
    let terms = settings.lease_terms(settings.ttl.as_duration(), None).unwrap();
    assert_eq!(terms.min_validity, MS(2500));
}

#[test]
fn wrong_settings_name_the_setting_the_value_and_the_bound() {
    let cases: Vec<(RedlockBuilder, &str)> = vec![
        (RedlockBuilder::new(), "nodes: none given"),
        (
            RedlockBuilder::new().nodes((0..32).map(|i| format!("redis://h{i}"))),
            "nodes: 32 given, at most 31",
        ),
        (RedlockBuilder::new().nodes(["redis://a", "redis://A:6379/1"]), "a:6379 is listed twice"),
        (RedlockBuilder::new().nodes(["http://a"]), "scheme \"http\" is not supported"),
        (RedlockBuilder::new().nodes(["a:6379"]), "scheme \"a\" is not supported"),
        (RedlockBuilder::new().nodes([""]), "nodes: URL number 1: relative URL"),
        (RedlockBuilder::new().nodes(["redis://"]), "host"),
        (RedlockBuilder::new().nodes(["redis://a:0"]), "port 0"),
        (RedlockBuilder::new().nodes(["redis://a:99999"]), "invalid port number"),
        (RedlockBuilder::new().nodes(["redis://a/x"]), "database"),
        (RedlockBuilder::new().nodes(["redis://a/-1"]), "database"),
        (RedlockBuilder::new().nodes(["redis://a?x=1"]), "parameters"),
        (RedlockBuilder::new().nodes(["redis://user@a"]), "a user needs a password"),
        (three().quorum(1), "quorum: 1 of 3 nodes; must be between 2 (the majority) and 3"),
        (three().quorum(4), "quorum: 4 of 3 nodes"),
        (three().ttl(MS(9)), "ttl: 9ms; must be between 10ms and max_ttl = 20s"),
        (three().ttl(MS(20_001)), "ttl: 20.001s; must be between 10ms and max_ttl = 20s"),
        (three().max_ttl(MS(9)), "max_ttl: 9ms; must be between 10ms and 86400s"),
        (three().max_ttl(MS(86_400_001)), "max_ttl: 86400.001s"),
        (three().min_validity(MS(9_898)), "min_validity: 9.898s; must be below 9.898s"),
        (three().node_timeout(MS(10_000)), "node_timeout: 10s; must be above zero and below the ttl of 10s"),
        (three().node_timeout(MS(0)), "node_timeout: 0ns"),
        (three().connect_timeout(MS(0)), "connect_timeout: 0ns; must be above zero"),
        (three().clock_drift_factor(0.1), "clock_drift_factor: 0.1; must be at least 0 and below 0.1"),
        (three().clock_drift_factor(-0.01), "clock_drift_factor: -0.01"),
        (three().clock_drift_factor(f64::NAN), "clock_drift_factor: NaN"),
        (three().clock_drift_floor(MS(9_900)), "clock_drift_floor: 9.9s"),
        (three().fence_retention(MS(3_779_999)), "fence_retention: 3779.999s; must be between 3780s (three"),
        (three().fence_retention(Duration::MAX), "and 315360000s"),
        (three().max_clock_skew(MS(4_000_000)).fence_retention(MS(15_599_999)), "between 15600s"),
        (three().owner(""), "owner: \"\"; must be 1 to 128 bytes"),
        (three().owner("a\nb"), "owner: \"a\\nb\""),
    ];
    for (builder, expected) in cases {
        let error = builder.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    }
}
