//! The defaults are valid together. Settings that are not are in `tests/bad_input.rs`.

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
