//! Settings of `lock` while another owner holds the lock.

use super::{Access, DefaultText, Setting, text};
use crate::config::Settings;
use crate::config::raw::Wrong;
use crate::config::retry::RetryKind;

const STRATEGIES: &str = "\"fifo\", \"exponential\" or \"fixed\"";

pub(super) static SETTINGS: [Setting; 6] = [
    Setting {
        name: "max_wait",
        default: DefaultText::Value,
        bounds: "any; 0s is a single attempt",
        what: "How long `lock` waits in all.",
        why: "longer than what holders do; a waiter that never gives up hides an outage",
        access: Access::Duration(|builder, wait| builder.max_wait = wait, |settings| settings.max_wait),
    },
    Setting {
        name: "retry.strategy",
        default: DefaultText::Value,
        bounds: "one of these",
        what: "How `lock` waits: until it is its turn, or by trying again.",
        why: "where locks are held by other implementations, that call nobody; \"fixed\" is the classic \"5 tries, 200 ms apart\"",
        access: Access::Other {
            unit: STRATEGIES,
            set: |builder, given| {
                builder.retry.kind = match given.text()? {
                    "fifo" => RetryKind::Fifo,
                    "exponential" => RetryKind::Exponential,
                    "fixed" => RetryKind::Fixed,
                    _ => return Err(Wrong::Kind(STRATEGIES)),
                };
                Ok(())
            },
            show: |settings| {
                let name = match settings.retry.kind {
                    RetryKind::Fifo => "fifo",
                    RetryKind::Exponential => "exponential",
                    RetryKind::Fixed => "fixed",
                };
                Some(name.to_owned())
            },
        },
    },
    Setting {
        name: "retry.first",
        default: DefaultText::Value,
        bounds: "any; not for \"fixed\"",
        what: "The first pause is drawn from zero to this; the limit doubles with each attempt. In turn only in outages.",
        why: "about the time that it takes to lock",
        access: Access::Other {
            unit: "duration",
            set: |builder, given| {
                builder.retry.first = given.duration()?;
                Ok(())
            },
            show: |settings| unless_fixed(settings, text(settings.retry.first)),
        },
    },
    Setting {
        name: "retry.longest",
        default: DefaultText::Value,
        bounds: "any; not for \"fixed\"",
        what: "Where that limit stops.",
        why: "longer: less load by many waiters; shorter: a free lock is taken sooner",
        access: Access::Other {
            unit: "duration",
            set: |builder, given| {
                builder.retry.longest = given.duration()?;
                Ok(())
            },
            show: |settings| unless_fixed(settings, text(settings.retry.longest)),
        },
    },
    Setting {
        name: "retry.attempts",
        default: DefaultText::Value,
        bounds: "1 to 4294967295; only for \"fixed\"",
        what: "How many attempts in all.",
        why: "so many as fit into max_wait",
        access: Access::Other {
            unit: "whole number",
            set: |builder, given| {
                let attempts = u32::try_from(given.count()?).ok().filter(|attempts| *attempts > 0);
                builder.retry.attempts =
                    attempts.ok_or(Wrong::Kind("a whole number from 1 to 4294967295"))?;
                Ok(())
            },
            show: |settings| if_fixed(settings, settings.retry.attempts.to_string()),
        },
    },
    Setting {
        name: "retry.delay",
        default: DefaultText::Value,
        bounds: "any; only for \"fixed\"",
        what: "The pause between any two attempts.",
        why: "equal delays let clients that collided once collide again",
        access: Access::Other {
            unit: "duration",
            set: |builder, given| {
                builder.retry.delay = given.duration()?;
                Ok(())
            },
            show: |settings| if_fixed(settings, text(settings.retry.delay)),
        },
    },
];

fn if_fixed(settings: &Settings, value: String) -> Option<String> {
    (settings.retry.kind == RetryKind::Fixed).then_some(value)
}

fn unless_fixed(settings: &Settings, value: String) -> Option<String> {
    (settings.retry.kind != RetryKind::Fixed).then_some(value)
}
