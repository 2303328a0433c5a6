//! Settings of a lock while it is held, and of its fencing tokens.

use super::{Access, DefaultText, Setting, text};
use crate::config::{Fencing, KeepAlive, MaxHold};
use crate::types::{Eviction, Guarding};

pub(super) static SETTINGS: [Setting; 8] = [
    Setting {
        name: "keep_alive",
        default: DefaultText::Value,
        bounds: "each lock may choose its own",
        what: "Whether leases are renewed, at a third of their TTL, for as long as they are held.",
        why: "where a lease is to end by itself, however long its holder takes",
        access: Access::YesOrNo(
            |builder, yes| builder.keep.alive = KeepAlive::when(yes),
            |settings| settings.keep.alive == KeepAlive::Yes,
        ),
    },
    Setting {
        name: "max_hold",
        default: DefaultText::Words { default: "none, as long as the holder lives", example: r#""1h""# },
        bounds: "at least 10ms",
        what: "The longest that a lock may be held, renewals included.",
        why: "bounds what a holder that hangs, but lives, can do to the others",
        access: Access::Other {
            unit: "duration",
            set: |builder, given| {
                builder.keep.max_hold = MaxHold::For(given.duration()?);
                Ok(())
            },
            show: |settings| match settings.keep.max_hold {
                MaxHold::Unbounded => None,
                MaxHold::For(max_hold) => Some(text(max_hold)),
            },
        },
    },
    Setting {
        name: "fencing",
        default: DefaultText::Value,
        bounds: "the same for all clients of a resource that checks tokens",
        what: "Whether each lock has a token that is larger than those before it.",
        why: "where nothing checks the tokens, off saves a small command to each node",
        access: Access::YesOrNo(
            |builder, yes| builder.fencing = if yes { Fencing::On } else { Fencing::Off },
            |settings| settings.fencing == Fencing::On,
        ),
    },
    Setting {
        name: "max_clock_skew",
        default: DefaultText::Value,
        bounds: "above zero",
        what: "How far this machine's wall clock may be from the nodes' to get fencing tokens.",
        why: "hardly ever; the order of tokens depends on clocks only after a loss of data",
        access: Access::Duration(
            |builder, skew| builder.max_clock_skew = skew,
            |settings| settings.max_clock_skew,
        ),
    },
    Setting {
        name: "fence_retention",
        default: DefaultText::Value,
        bounds: "an hour and three times max_clock_skew to 3650days",
        what: "How long nodes remember the highest token of a name that nobody locks any more.",
        why: "less where many names are used once and memory is dear; about 100 bytes each",
        access: Access::Duration(
            |builder, retention| builder.fence_retention = retention,
            |settings| settings.fence_retention,
        ),
    },
    Setting {
        name: "dangerous_no_restart_guard",
        default: DefaultText::Value,
        bounds: "true counts the grants of nodes that may have forgotten locks",
        what: "Whether a node that restarted without proof of its memory votes at once.",
        why: "where restarts are delayed by other means, and in benchmarks; else two clients can hold one lock",
        access: Access::YesOrNo(
            |builder, yes| builder.guarding = if yes { Guarding::Off } else { Guarding::On },
            |settings| settings.guarding == Guarding::Off,
        ),
    },
    Setting {
        name: "dangerous_no_clock_guard",
        default: DefaultText::Value,
        bounds: "true counts the grants of nodes whose clocks were stepped ahead",
        what: "Whether a node votes at once after its clock ran ahead by more than the drift.",
        why: "where clocks are never stepped, and in benchmarks; else two clients can hold one lock",
        access: Access::YesOrNo(
            |builder, yes| builder.clock_guard = if yes { Guarding::Off } else { Guarding::On },
            |settings| settings.clock_guard == Guarding::Off,
        ),
    },
    Setting {
        name: "dangerous_allow_eviction",
        default: DefaultText::Value,
        bounds: "true takes nodes with a maxmemory-policy other than noeviction",
        what: "Whether a node votes that may throw locks away when its memory is full.",
        why: "where the policy cannot be changed and memory never fills; else two clients can hold one lock",
        access: Access::YesOrNo(
            |builder, yes| builder.eviction = if yes { Eviction::Allowed } else { Eviction::Refused },
            |settings| settings.eviction == Eviction::Allowed,
        ),
    },
];
