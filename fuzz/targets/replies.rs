//! Nodes that answer anything: servers on loopback ports, whose replies the fuzzer's bytes decide. The client must not
//! panic, hang, or leave a task behind, and must not take a lock that no majority has granted.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use redlock_quorum::{Fencing, Redlock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// A bound for a busy machine. The client's work here takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);
const NODES: usize = 5;
/// Short, because the client keeps a release that is never answered for a TTL.
const TTL: Duration = Duration::from_millis(12);

pub(crate) fn run(data: &[u8]) {
    run_with(data, TTL);
}

/// Runs the target with another TTL, and returns how many locks were acquired, out of two.
pub(crate) fn run_with(data: &[u8], ttl: Duration) -> usize {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
    });
    runtime.block_on(async {
        let won = within("the client is done", meet(data, ttl)).await;
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let ended = async {
            while tasks() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within("every task has ended", ended).await;
        won
    })
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

async fn meet(data: &[u8], ttl: Duration) -> usize {
    let (mut urls, mut scripts, mut servers) = (Vec::new(), Vec::new(), Vec::new());
    for node in 0..NODES {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a port");
        urls.push(format!("redis://127.0.0.1:{}", listener.local_addr().expect("it has one").port()));
        // Every fifth byte goes to the same node, so that an additional byte changes little.
        let script =
            Arc::new(Mutex::new(Script::new(data.iter().skip(node).step_by(NODES).copied().collect())));
        servers.push(tokio::spawn(serve(listener, node, Arc::clone(&script))));
        scripts.push(script);
    }
    let redlock = Redlock::builder()
        .nodes(urls)
        .ttl(ttl)
        .max_ttl(ttl)
        .node_timeout(ttl / 4)
        .connect_timeout(ttl / 2)
        .max_wait(ttl / 2)
        // The server's clock may show any time.
        .max_clock_skew(Duration::from_secs(1000 * 24 * 60 * 60))
        .fence_retention(Duration::from_secs(3650 * 24 * 60 * 60))
        .fencing(if data.len().is_multiple_of(4) { Fencing::Off } else { Fencing::On })
        .keep_alive(data.len().is_multiple_of(2))
        .dangerous_no_restart_guard()
        .connect()
        .await
        .expect("the settings are right");
    let mutex = redlock.mutex("job").expect("a good name");
    let mut won = 0;
    for _ in 0..2 {
        let Ok(mut guard) = mutex.lock().await else { continue };
        let granted =
            scripts.iter().filter(|script| script.lock().unwrap_or_else(PoisonError::into_inner).said_ok);
        assert!(granted.count() > NODES / 2, "no majority has granted it");
        won += 1;
        let _ = guard.extend(ttl).await;
        let _ = redlock.inspect("job").await;
        let _ = guard.release().await;
    }
    let _ = format!("{redlock:?} {:?}", redlock.nodes());
    redlock.shutdown().await;
    drop((mutex, redlock));
    servers.iter().for_each(JoinHandle::abort);
    won
}

/// Serves one connection after the other, because the client has only one at a time.
async fn serve(listener: TcpListener, node: usize, script: Arc<Mutex<Script>>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Closes with a reset, because ports that wait for late bytes would run out.
        let _ = stream.set_zero_linger();
        let _ = stream.set_nodelay(true);
        let _ = answer(stream, node, &script).await;
    }
}

async fn answer(mut stream: TcpStream, node: usize, script: &Mutex<Script>) -> std::io::Result<()> {
    let mut unread = Vec::new();
    loop {
        if stream.read_buf(&mut unread).await? == 0 {
            return Ok(());
        }
        while let Some((command, length)) = command(&unread) {
            unread.drain(..length);
            let reply = script.lock().unwrap_or_else(PoisonError::into_inner).reply(node, &command);
            match reply {
                Some(reply) => stream.write_all(&reply).await?,
                None => return Ok(()),
            }
        }
    }
}

/// The first command and its length; `None` while the command is incomplete.
fn command(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let mut at = 0;
    let line = |kind: u8, at: &mut usize| -> Option<usize> {
        let rest = bytes[*at..].strip_prefix(&[kind])?;
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        let number = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        *at += 1 + end + 2;
        Some(number)
    };
    let count = line(b'*', &mut at)?;
    let mut arguments = Vec::new();
    for _ in 0..count {
        let length = (at < bytes.len()).then(|| line(b'$', &mut at)).flatten()?;
        arguments.push(String::from_utf8_lossy(bytes.get(at..at + length)?).into_owned());
        at += length + 2;
    }
    (at <= bytes.len()).then_some((arguments, at))
}

/// The replies of a node, as the bytes decide them.
struct Script {
    bytes: std::vec::IntoIter<u8>,
    /// Whether any reply could be taken for the grant of a lock.
    said_ok: bool,
}

impl Script {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_iter(), said_ok: false }
    }

    /// The next byte. After the last one 0, which stands for a regular reply.
    fn byte(&mut self) -> u8 {
        self.bytes.next().unwrap_or(0)
    }

    /// The next reply; `None` closes the connection.
    fn reply(&mut self, node: usize, command: &[String]) -> Option<Vec<u8>> {
        let reply = match self.byte() {
            0..160 => right(node, command),
            160..210 => self.value(4),
            210..220 => [&right(node, command)[..], &self.value(2)].concat(),
            220..230 => b"-ERR no\r\n".to_vec(),
            230..250 => self.raw(),
            // No reply, so that the client waits.
            250..253 => Vec::new(),
            253..=255 => return None,
        };
        // Also found within other values, because `+OK` may occur in any bytes.
        self.said_ok |= reply.windows(2).any(|window| window == b"OK");
        Some(reply)
    }

    fn raw(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte());
        self.bytes.by_ref().take(length).collect()
    }

    /// Any value of RESP2 or RESP3, up to some depth.
    fn value(&mut self, depth: u8) -> Vec<u8> {
        const NUMBERS: [&str; 10] = [
            "0",
            "1",
            "-1",
            "2",
            "12",
            "9223372036854775807",
            "-9223372036854775808",
            "99999999999999999999",
            "",
            "x",
        ];
        const KINDS: &[u8] = b":$+-*~%,_#(!=>|";
        let kind = KINDS[usize::from(self.byte()) % KINDS.len()];
        let number = NUMBERS[usize::from(self.byte()) % NUMBERS.len()];
        let mut value = vec![kind];
        match kind {
            // A length without the contents.
            _ if depth == 0 || self.byte() > 240 => value.extend(number.bytes()),
            b'$' | b'!' | b'=' => {
                let text = self.raw();
                value.extend(format!("{}\r\n", text.len()).bytes());
                value.extend(text);
            }
            b'+' | b'-' => value.extend(self.raw().into_iter().filter(|byte| !b"\r\n".contains(byte))),
            b'*' | b'~' | b'%' | b'>' | b'|' => {
                let count = self.byte() % 8;
                value.extend(format!("{count}\r\n").bytes());
                let values = if matches!(kind, b'%' | b'|') { count * 2 } else { count };
                (0..values).for_each(|_| value.extend(self.value(depth - 1)));
                return value;
            }
            b'#' => value.push(b't'),
            b'_' => {}
            _ => value.extend(number.bytes()),
        }
        value.extend(b"\r\n");
        value
    }
}

/// The regular reply of a server that no other client uses.
fn right(node: usize, command: &[String]) -> Vec<u8> {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let array = |texts: &[&str]| {
        let texts: String = texts.iter().copied().map(bulk).collect();
        format!("*{}\r\n{texts}", texts.matches('$').count())
    };
    let word = |i: usize| command.get(i).map_or("", String::as_str);
    let reply = match word(0) {
        "INFO" => bulk(&format!(
            "redis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:ab{node}\r\nuptime_in_seconds:60\r\nrole:master\r\n\
             master_replid:cd\r\nsecond_repl_offset:-1\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
             aof_enabled:1\r\naof_last_write_status:ok\r\n"
        )),
        "CONFIG" => array(&["appendfsync", "always", "no-appendfsync-on-rewrite", "no"]),
        // The record of a node that an operator has declared new. The record never changes.
        "HGETALL" => array(&[
            "id",
            &format!("n{node}"),
            "sequence",
            "1",
            "run",
            &format!("ab{node}"),
            "past",
            "",
            "replication_id",
            "cd",
            "made",
            "1",
            "whole",
            "1",
            "broken_by",
            "made",
            "declared",
            "1",
            "evicted_keys",
            "0",
        ]),
        "SCRIPT" => bulk("0123456789012345678901234567890123456789"),
        "TIME" => array(&["1800000000", "0"]),
        "SET" => "+OK\r\n".to_owned(),
        "GET" | "ZSCORE" => "$-1\r\n".to_owned(),
        "PTTL" => ":-2\r\n".to_owned(),
        // Every other node is too old for HELLO.
        "HELLO" if node % 2 == 1 => "%1\r\n+proto\r\n:3\r\n".to_owned(),
        "SUBSCRIBE" => format!(">3\r\n+subscribe\r\n{}:1\r\n", bulk(word(1))),
        "PUBLISH" => format!(">3\r\n+message\r\n{}{}:1\r\n", bulk(word(1)), bulk(word(2))),
        "EVALSHA" | "EVAL" => match (word(2), word(3), command.len()) {
            // Joining the queue of a lock, behind another waiter; and leaving it.
            ("2", _, 10) => format!("*2\r\n:2\r\n{}", bulk("1")),
            ("2", _, _) => ":1\r\n".to_owned(),
            // The record was written.
            (_, key, _) if key.ends_with(":node") => ":1\r\n".to_owned(),
            (_, key, _) if key.ends_with(":none") => bulk(""),
            (_, key, _) if key.ends_with(":fences") => ":0\r\n".to_owned(),
            // Released, with a token, a time and a queue; or extended, with a token and a time.
            (_, _, 7) => ":1\r\n".to_owned(),
            (_, _, _) => bulk("1"),
        },
        "ZADD" | "DEL" | "EXISTS" => ":1\r\n".to_owned(),
        _ => "-ERR unknown command\r\n".to_owned(),
    };
    reply.into_bytes()
}
