//! Settings of the time that leases and answers may take.

use super::{Access, DefaultText, Setting};
use crate::config::{MinValidity, Settings};

pub(super) static SETTINGS: [Setting; 7] = [
    Setting {
        name: "ttl",
        default: DefaultText::Value,
        bounds: "10ms to max_ttl",
        what: "Time to live of a lease; each lock may choose its own.",
        why: "shorter: a crashed holder blocks others for less; longer: slow nodes and pauses cost no locks",
        access: Access::Duration(|builder, ttl| builder.ttl = ttl, Settings::ttl),
    },
    Setting {
        name: "max_ttl",
        default: DefaultText::Value,
        bounds: "10ms to 24h",
        what: "The longest TTL that a lock may ask for.",
        why: "a node that restarted has no vote for a little longer than this",
        access: Access::Duration(|builder, ttl| builder.max_ttl = ttl, Settings::max_ttl),
    },
    Setting {
        name: "min_validity",
        default: DefaultText::Words { default: "a quarter of the ttl", example: r#""2500ms""# },
        bounds: "below the ttl less its drift",
        what: "How much of a lease must be left when it is handed over.",
        why: "what the protected work takes at least, where the lease is not renewed",
        access: Access::Duration(
            |builder, validity| builder.min_validity = MinValidity::Fixed(validity),
            Settings::min_validity,
        ),
    },
    Setting {
        name: "clock_drift_factor",
        default: DefaultText::Value,
        bounds: "0 to below 0.1",
        what: "By how much the clocks of nodes and clients may run apart.",
        why: "0.09 where chrony may slew at its fastest, 8.3 %",
        access: Access::Other {
            unit: "share of the ttl",
            set: |builder, given| {
                builder.drift.factor = given.ratio()?;
                Ok(())
            },
            show: |settings| Some(settings.drift.factor.to_string()),
        },
    },
    Setting {
        name: "clock_drift_floor",
        default: DefaultText::Value,
        bounds: "below what the drift factor leaves of the ttl",
        what: "Added to the drift, whatever the TTL: Redis counts in milliseconds.",
        why: "hardly ever",
        access: Access::Duration(
            |builder, floor| builder.drift.floor = floor,
            |settings| settings.drift.floor,
        ),
    },
    Setting {
        name: "node_timeout",
        default: DefaultText::Value,
        bounds: "above zero, below the ttl",
        what: "How long one attempt waits for the nodes' answers.",
        why: "longer where a round trip takes more than some 100 ms",
        access: Access::Duration(
            |builder, timeout| builder.node_timeout = timeout,
            |settings| settings.node_timeout,
        ),
    },
    Setting {
        name: "connect_timeout",
        default: DefaultText::Value,
        bounds: "above zero",
        what: "How long a connection to one node may take to become usable.",
        why: "longer where the network is slow to connect; only the start waits for it",
        access: Access::Duration(
            |builder, timeout| builder.connect_timeout = timeout,
            |settings| settings.connect_timeout,
        ),
    },
];
