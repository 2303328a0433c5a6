//! What a server says of itself.

use crate::errors::{SYNTAX, error, unknown_subcommand};
use crate::reply::Reply;
use crate::settings::Persistence;
use crate::state::{Call, State};
use crate::time::WallTime;
use crate::version::Version;

pub(super) fn time(_: &mut State, call: &Call<'_>) -> Reply {
    let WallTime(micros) = call.now;
    let parts = [micros / 1_000_000, micros % 1_000_000];
    Reply::Array(parts.map(|part| Reply::text(&part.to_string())).into())
}

pub(super) fn config(state: &mut State, call: &Call<'_>) -> Reply {
    let has_many = call.arguments.len() != 3;
    if call.word(1) != "get" || (has_many && state.settings.version.is_6_2()) {
        return unknown_subcommand("config", call.argument(1), state.settings.version);
    }
    let patterns = &call.arguments[2..];
    let yes_or_no = |is: bool| if is { "yes" } else { "no" };
    let settings = &state.settings;
    let sync = if settings.persistence == Persistence::Always { "always" } else { "everysec" };
    let options = [
        ("appendfsync", sync.to_owned()),
        ("appendonly", yes_or_no(settings.persistence != Persistence::None).to_owned()),
        ("databases", settings.databases.to_string()),
        ("maxclients", settings.max_clients.to_string()),
        ("maxmemory", settings.max_memory.to_string()),
        ("maxmemory-policy", settings.max_memory_policy.clone()),
        ("no-appendfsync-on-rewrite", yes_or_no(settings.no_sync_on_rewrite).to_owned()),
    ];
    let wanted =
        options.iter().filter(|(name, _)| patterns.iter().any(|pattern| matches(pattern, name.as_bytes())));
    Reply::Map(wanted.map(|(name, value)| (Reply::text(name), Reply::text(value))).collect())
}

/// Whether a name fits a pattern of which only stars are understood.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((first, rest)) => name
            .split_first()
            .is_some_and(|(letter, name)| letter.eq_ignore_ascii_case(first) && matches(rest, name)),
    }
}

/// The fields that the library and its tests read, of the sections that are asked for.
pub(super) fn info(state: &mut State, call: &Call<'_>) -> Reply {
    let wanted = &call.arguments[1..];
    if state.settings.version.is_6_2() && wanted.len() > 1 {
        return error(SYNTAX);
    }
    let is_wanted = |section: &str| {
        let names = [section, "default", "all", "everything"];
        wanted.is_empty()
            || wanted.iter().any(|name| names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())))
    };
    let sections = sections(state, call.now).into_iter().filter(|(name, _)| is_wanted(name));
    let sections = sections.map(|(name, fields)| {
        let fields = fields.into_iter().map(|(name, value)| format!("{name}:{value}\r\n"));
        format!("# {name}\r\n{}", fields.collect::<String>())
    });
    Reply::Verbatim(sections.collect::<Vec<_>>().join("\r\n"))
}

type Fields = Vec<(&'static str, String)>;

fn sections(state: &State, now: WallTime) -> [(&'static str, Fields); 6] {
    let State { settings, process, replication, .. } = state;
    let flag = |is: bool| u8::from(is).to_string();
    let mut server = match settings.version {
        Version::Valkey8 => vec![
            ("redis_version", "7.2.4".to_owned()),
            ("server_name", "valkey".to_owned()),
            ("valkey_version", settings.version.number().to_owned()),
            ("server_mode", "standalone".to_owned()),
        ],
        Version::Redis6 | Version::Redis7 | Version::Redis8 | Version::Redis86 => vec![
            ("redis_version", settings.version.number().to_owned()),
            ("redis_mode", "standalone".to_owned()),
        ],
    };
    server.extend([
        ("run_id", process.run_id.clone()),
        ("server_time_usec", now.0.to_string()),
        ("uptime_in_seconds", now.seconds_since(process.started).to_string()),
    ]);
    let last_rewrite = if process.was_rewritten { "0" } else { "-1" };
    let none = "0".repeat(40);
    [
        ("Server", server),
        ("Clients", vec![("connected_clients", state.connections.len().to_string())]),
        (
            "Memory",
            vec![
                ("maxmemory", settings.max_memory.to_string()),
                ("maxmemory_policy", settings.max_memory_policy.clone()),
            ],
        ),
        (
            "Persistence",
            vec![
                ("loading", flag(state.is_loading)),
                ("aof_enabled", flag(settings.persistence != Persistence::None)),
                ("aof_rewrite_in_progress", flag(process.is_rewriting)),
                ("aof_rewrite_scheduled", "0".to_owned()),
                ("aof_last_rewrite_time_sec", last_rewrite.to_owned()),
                ("aof_last_write_status", if state.fails_to_append { "err" } else { "ok" }.to_owned()),
            ],
        ),
        ("Stats", vec![("evicted_keys", process.evicted_keys.to_string())]),
        (
            "Replication",
            vec![
                ("role", if replication.is_replica { "slave" } else { "master" }.to_owned()),
                ("connected_slaves", replication.replicas.to_string()),
                ("master_replid", replication.id.clone()),
                ("master_replid2", replication.second_id.clone().unwrap_or(none)),
                ("second_repl_offset", if replication.second_id.is_some() { "1" } else { "-1" }.to_owned()),
            ],
        ),
    ]
}
