//! What holds while a lock is held, and after.

use super::{Access, Setting};
use crate::config::Fencing;

pub(super) static SETTINGS: [Setting; 2] = [
    Setting {
        name: "fencing",
        example: "true",
        default: "true",
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
        example: r#""1m""#,
        default: "1m",
        bounds: "above zero",
        what: "How far this machine's wall clock may be from the nodes' to get fencing tokens.",
        why: "hardly ever; the order of tokens depends on clocks only after a loss of data",
        access: Access::Duration(
            |builder, skew| builder.max_clock_skew = skew,
            |settings| settings.max_clock_skew,
        ),
    },
];
