//! What crashes, restarts, replicas and full memory leave of what a server knew.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::time::Duration;

use redlock_sim::{ConnectionId, Data, Persistence, Server, Settings, User, Version, WallTime};

const START: WallTime = WallTime(1_700_000_000_000_000);

/// So many milliseconds after the start.
fn at(millis: u64) -> WallTime {
    START.after(Duration::from_millis(millis))
}

fn server(persistence: Persistence) -> Server {
    Server::new("a", Settings { persistence, ..Settings::default() }, START)
}

/// Asks on a connection; the answer as it is on the wire.
fn ask(server: &mut Server, client: ConnectionId, words: &str, now: WallTime) -> String {
    let words: Vec<_> = words.split(' ').collect();
    let mut bytes = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| bytes += &format!("${}\r\n{word}\r\n", word.len()));
    server.receive(client, bytes.as_bytes(), now);
    String::from_utf8(server.take_output(client)).unwrap()
}

/// Asks on a connection of its own.
fn tell(server: &mut Server, words: &str, now: WallTime) -> String {
    let client = server.connect(now).unwrap();
    let answer = ask(server, client, words, now);
    server.disconnect(client);
    answer
}

fn info(server: &mut Server, name: &str, now: WallTime) -> String {
    let info = tell(server, "INFO", now);
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("{name} is missing in {info}")).to_owned()
}

fn keys(server: &mut Server, now: WallTime) -> Vec<String> {
    server.keys(0, now).into_iter().map(|key| String::from_utf8(key).unwrap()).collect()
}

#[test]
fn a_restart_keeps_what_the_disk_has() {
    let table = [
        (Persistence::Always, Data::Kept, vec!["early", "late"]),
        (Persistence::EverySec, Data::Kept, vec!["early", "late"]),
        (Persistence::EverySec, Data::LostLastSecond, vec!["early"]),
        (Persistence::Always, Data::LostLastSecond, vec!["early"]),
        (Persistence::None, Data::Kept, vec![]),
        (Persistence::None, Data::LostLastSecond, vec![]),
        (Persistence::Always, Data::Wiped, vec![]),
    ];
    for (persistence, data, kept) in table {
        let mut server = server(persistence);
        tell(&mut server, "SET early 1", at(0));
        tell(&mut server, "SET late 1", at(2_500));
        tell(&mut server, "SET early 2", at(2_600));
        server.crash(at(3_000));
        server.restart(at(9_000), data.clone());
        assert_eq!(keys(&mut server, at(9_000)), kept, "{persistence:?} {data:?}");
    }
}

#[test]
fn what_was_removed_in_the_last_second_is_back() {
    let mut server = server(Persistence::EverySec);
    tell(&mut server, "SET lock token PX 60000", at(0));
    tell(&mut server, "DEL lock", at(5_000));
    server.crash(at(5_100));
    server.restart(at(5_200), Data::LostLastSecond);
    assert_eq!(tell(&mut server, "PTTL lock", at(5_200)), ":54800\r\n");
}

#[test]
fn a_saved_copy_is_put_back() {
    let mut server = server(Persistence::Always);
    tell(&mut server, "SET old 1", at(0));
    let saved = server.snapshot();
    tell(&mut server, "SET new 1", at(0));
    server.restart(at(10), Data::Saved(saved));
    assert_eq!(keys(&mut server, at(10)), ["old"]);
}

#[test]
fn a_crash_ends_connections_and_forgets_scripts() {
    let mut server = server(Persistence::Always);
    let client = server.connect(START).unwrap();
    let hash = ask(&mut server, client, "SCRIPT LOAD return", START)[5..45].to_owned();
    assert!(ask(&mut server, client, &format!("EVALSHA {hash} 0"), START).starts_with('$'));
    let before = [info(&mut server, "run_id", START), info(&mut server, "master_replid", START)];

    server.crash(at(1));
    assert!(!server.is_up() && !server.is_open(client) && server.connect(at(1)).is_none());
    assert_eq!(ask(&mut server, client, "PING", at(1)), "");

    server.restart(at(4_000), Data::Kept);
    let client = server.connect(at(4_000)).unwrap();
    assert!(ask(&mut server, client, &format!("EVALSHA {hash} 0"), at(4_000)).starts_with("-NOSCRIPT"));
    assert_eq!(info(&mut server, "uptime_in_seconds", at(9_000)), "5");
    let after = [info(&mut server, "run_id", START), info(&mut server, "master_replid", START)];
    assert!(before[0] != after[0] && before[1] != after[1]);
}

#[test]
fn a_promoted_replica_lacks_the_last_writes_and_remembers_whom_it_copied() {
    let mut master = server(Persistence::Always);
    tell(&mut master, "SET early 1", at(0));
    let mut replica = master.attach_replica("b", at(0));
    assert_eq!(info(&mut master, "connected_slaves", at(0)), "1");
    tell(&mut master, "SET middle 1", at(1_000));
    tell(&mut master, "SET late 1", at(2_000));
    replica.follow(&master, Duration::from_millis(500), at(2_100));
    assert_eq!(info(&mut replica, "role", at(2_100)), "slave");
    assert!(tell(&mut replica, "SET own 1", at(2_100)).starts_with("-READONLY"));

    let copied = info(&mut replica, "master_replid", at(2_100));
    assert_eq!(copied, info(&mut master, "master_replid", at(2_100)));
    replica.promote();
    assert_eq!(tell(&mut replica, "SET own 1", at(2_200)), "+OK\r\n");
    assert_eq!(keys(&mut replica, at(2_200)), ["early", "middle", "own"]);
    assert_eq!(info(&mut replica, "master_replid2", at(2_200)), copied);
    assert_ne!(info(&mut replica, "master_replid", at(2_200)), copied);
    assert_ne!(info(&mut replica, "second_repl_offset", at(2_200)), "-1");
}

#[test]
fn keys_expire_by_the_clock_that_the_caller_sets() {
    let mut server = server(Persistence::Always);
    tell(&mut server, "SET lock token PX 1000", at(0));
    assert_eq!(tell(&mut server, "PTTL lock", at(1_000)), ":0\r\n");
    // Nobody has looked: a clock that is set back finds it alive.
    assert_eq!(tell(&mut server, "PTTL lock", at(400)), ":600\r\n");
    server.expire(at(1_001));
    assert_eq!(tell(&mut server, "PTTL lock", at(400)), ":-2\r\n");
}

#[test]
fn full_memory_refuses_and_evictions_are_counted() {
    let mut server = server(Persistence::Always);
    tell(&mut server, "SET lock token", at(0));
    server.set_full(true);
    assert!(tell(&mut server, "SET other token", at(0)).starts_with("-OOM"));
    assert_eq!(tell(&mut server, "DEL lock", at(0)), ":1\r\n");
    server.set_full(false);
    tell(&mut server, "SET lock token", at(0));
    server.evict(0, b"lock", at(0));
    server.evict(0, b"lock", at(0));
    assert_eq!(info(&mut server, "evicted_keys", at(0)), "1");
    assert_eq!(keys(&mut server, at(0)), Vec::<String>::new());
}

#[test]
fn rewrites_are_told() {
    let mut server = server(Persistence::Always);
    let told = |server: &mut Server| {
        ["aof_rewrite_in_progress", "aof_last_rewrite_time_sec"].map(|name| info(server, name, START))
    };
    assert_eq!(told(&mut server), ["0", "-1"]);
    server.set_rewriting(true);
    assert_eq!(told(&mut server), ["1", "-1"]);
    server.set_rewriting(false);
    assert_eq!(told(&mut server), ["0", "0"]);
}

#[test]
fn a_client_too_many_is_told_so_and_closed() {
    let mut server = Server::new("a", Settings { max_clients: 1, ..Settings::default() }, START);
    let first = server.connect(START).unwrap();
    let second = server.connect(START).unwrap();
    assert_eq!(server.take_output(second), b"-ERR max number of clients reached\r\n");
    assert!(server.is_open(first) && !server.is_open(second));
}

#[test]
fn a_password_is_wanted() {
    let mut settings = Settings { version: Version::Valkey8, ..Settings::default() };
    settings.users.insert("default".into(), User { password: Some("secret".into()), ..User::default() });
    let mut server = Server::new("a", settings, START);
    let client = server.connect(START).unwrap();
    assert_eq!(ask(&mut server, client, "GET k", START), "-NOAUTH Authentication required.\r\n");
    assert!(ask(&mut server, client, "HELLO 3", START).starts_with("-NOAUTH HELLO"));
    assert!(ask(&mut server, client, "AUTH wrong", START).starts_with("-WRONGPASS"));
    assert!(ask(&mut server, client, "HELLO 3 AUTH default secret", START).starts_with("%7\r\n"));
    assert_eq!(ask(&mut server, client, "GET k", START), "_\r\n");
}

#[test]
fn requests_come_in_pieces_and_several_at_once() {
    let mut server = server(Persistence::Always);
    let client = server.connect(START).unwrap();
    let bytes = b"*1\r\n$4\r\nPING\r\n*1\r\n$6\r\nDBSIZE\r\n*1\r\n$4\r\nPING\r\n";
    let (first, last) = bytes.split_at(bytes.len() - 3);
    server.receive(client, first, START);
    assert_eq!(server.take_output(client), b"+PONG\r\n:0\r\n");
    server.receive(client, last, START);
    assert_eq!(server.with_output().collect::<Vec<_>>(), [client]);
    assert_eq!(server.take_output(client), b"+PONG\r\n");
    server.receive(client, b"*1\r\n+PING\r\n", START);
    assert_eq!(server.take_output(client), b"-ERR Protocol error: expected '$', got '+'\r\n");
    assert!(!server.is_open(client));
}

/// A server can be handed to a task.
#[test]
fn a_server_can_be_sent() {
    fn is_send<T: Send>() {}
    is_send::<Server>();
}

#[test]
fn the_same_calls_have_the_same_answers() {
    let story = || {
        let mut server = server(Persistence::Always);
        let client = server.connect(START).unwrap();
        let mut said = String::new();
        for step in 0..50 {
            let words = format!("SET key{step} token PX {}", 1_000 + step);
            said += &ask(&mut server, client, &words, at(step));
        }
        for words in ["SCAN 0", "HELLO 3", "INFO", "TIME", "EVAL return{redis.call('TIME')} 0"] {
            said += &ask(&mut server, client, words, at(60));
        }
        said
    };
    assert_eq!(story(), story());
}
