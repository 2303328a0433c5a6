//! Every nemesis has its effect on the nodes that support it, and is refused on all others.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redlock_quorum::{LockError, Redlock};
use redlock_testing::{
    ClientFault, Clients, ClockStep, Data, FaultDuration, Link, Linked, LocalCluster, Nemesis, NemesisError,
    NodeState, Nodes, Refusal, RemoteNodes, Reply,
};

/// TTL of a key, far longer than any test.
const LONG_MS: &str = "600000";
/// Extra time for steps that a busy machine delays.
const SLACK: Duration = Duration::from_secs(20);

fn all() -> Vec<Nemesis> {
    let link = Link::Slow { latency: Duration::from_millis(1), jitter: Duration::ZERO };
    vec![
        Nemesis::Kill { data: Data::Kept },
        Nemesis::Kill { data: Data::Lost },
        Nemesis::Restart { data: Data::Kept },
        Nemesis::Pause,
        Nemesis::Cut,
        Nemesis::Link { from: Clients::One(0), link },
        Nemesis::ClockStep { step: ClockStep::Backward(Duration::from_secs(1)) },
        Nemesis::ClockRate { ppm: 100_000 },
        Nemesis::MemoryFull,
        Nemesis::FlushAll,
        Nemesis::ScriptFlush,
    ]
}

/// Whether a key can be set within the time limit of a command.
fn takes_writes(nodes: &dyn Nodes, node: usize) -> bool {
    matches!(nodes.ask(node, &["SET", "probe", "1"]), Ok(Reply::Simple(_)))
}

fn pttl(nodes: &dyn Nodes, node: usize, key: &str) -> i64 {
    nodes.ask(node, &["PTTL", key]).unwrap().int().unwrap()
}

#[test]
fn every_nemesis_of_linked_local_nodes_is_applied_and_healed() {
    let cluster = LocalCluster::builder().nodes(1).adjustable_clocks().start().unwrap();
    let linked = Linked::new(cluster, 1).unwrap();
    for nemesis in all() {
        assert_eq!(linked.check(&nemesis), Ok(()), "{nemesis}");
        linked.apply(0, &nemesis).unwrap();
        let broken = [
            Nemesis::Kill { data: Data::Kept },
            Nemesis::Kill { data: Data::Lost },
            Nemesis::Pause,
            Nemesis::MemoryFull,
        ];
        assert_eq!(takes_writes(&linked, 0), !broken.contains(&nemesis), "{nemesis}");
        linked.heal(0, &nemesis).unwrap();
        assert!(takes_writes(&linked, 0), "after {nemesis}");
        assert_eq!(linked.nodes().state(0), NodeState::Running);
    }
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let cluster = LocalCluster::start(1).unwrap();
    let remote = RemoteNodes::new([cluster.url(0)]).unwrap();
    for nemesis in all() {
        let is_way = matches!(nemesis, Nemesis::Cut | Nemesis::Link { .. });
        let is_clock = matches!(nemesis, Nemesis::ClockStep { .. } | Nemesis::ClockRate { .. });
        let of_local = match (is_way, is_clock) {
            (true, _) => Err(Refusal::NoProxy),
            (_, true) => Err(Refusal::MachineClock),
            _ => Ok(()),
        };
        let of_remote = match (is_way, nemesis == Nemesis::ScriptFlush) {
            (true, _) => Err(Refusal::NoProxy),
            (_, true) => Ok(()),
            _ => Err(Refusal::NotOurs),
        };
        assert_eq!(cluster.check(&nemesis), of_local, "{nemesis}");
        assert_eq!(remote.check(&nemesis), of_remote, "{nemesis}");
        if let Err(expected) = of_local {
            let error = cluster.apply(0, &nemesis).unwrap_err();
            assert!(matches!(error, NemesisError::Refused { reason, .. } if reason == expected), "{error}");
        }
    }
    assert_eq!(Nemesis::FlushAll.span(), FaultDuration::Momentary);
    assert_eq!(Nemesis::Pause.span(), FaultDuration::Lasting);
}

#[test]
fn clocks_are_stepped_and_run_at_another_rate() {
    let cluster = LocalCluster::builder().nodes(2).adjustable_clocks().start().unwrap();
    for node in 0..2 {
        cluster.command(node, &["SET", "key", "1", "PX", LONG_MS]).unwrap();
    }
    cluster.step_clock(0, ClockStep::Forward(Duration::from_secs(601))).unwrap();
    assert_eq!(pttl(&cluster, 0, "key"), -2, "it has expired by the node's clock");
    assert!(pttl(&cluster, 1, "key") > 500_000, "the other node's clock is left alone");
    cluster.step_clock(1, ClockStep::Backward(Duration::from_secs(100))).unwrap();
    assert!(pttl(&cluster, 1, "key") > 600_000);

    // The clock survives the process, as the machine's clock does.
    cluster.restart(0, Data::Kept).unwrap();
    let ahead = seconds(&cluster, 0) - seconds(&cluster, 1);
    assert!((690..=720).contains(&ahead), "{ahead}");

    // The clock runs a thousand times too fast: it gains a second for each millisecond between the two questions.
    cluster.set_clock_rate(1, 1_000_000_000).unwrap();
    let before = seconds(&cluster, 1);
    std::thread::sleep(Duration::from_millis(50));
    cluster.set_clock_rate(1, 0).unwrap();
    let gained = seconds(&cluster, 1) - before;
    assert!(gained >= 49, "{gained}");
    let before = seconds(&cluster, 1);
    assert!(seconds(&cluster, 1) - before <= 20, "it keeps what it has gained, and no more");
}

fn seconds(cluster: &LocalCluster, node: usize) -> i64 {
    let Reply::Array(time) = cluster.command(node, &["TIME"]).unwrap() else { panic!("TIME is a list") };
    time[0].text().unwrap().parse().unwrap()
}

#[test]
fn memory_that_was_full_has_the_limit_that_it_had() {
    let cluster = LocalCluster::builder().nodes(1).directive("maxmemory", "64mb").start().unwrap();
    cluster.apply(0, &Nemesis::MemoryFull).unwrap();
    let Reply::Error(text) = cluster.command(0, &["SET", "key", "1"]).unwrap() else {
        panic!("a full node takes no write")
    };
    assert!(text.starts_with("OOM"), "{text}");
    cluster.heal(0, &Nemesis::MemoryFull).unwrap();
    let limit = cluster.command(0, &["CONFIG", "GET", "maxmemory"]).unwrap();
    assert_eq!(limit, Reply::Array(vec![Reply::Bulk("maxmemory".into()), Reply::Bulk("67108864".into())]));
}

#[tokio::test]
async fn one_client_is_cut_off_and_the_other_one_is_not() {
    let linked = Linked::new(LocalCluster::start(3).unwrap(), 2).unwrap();
    // Longer than a machine stands still.
    let connect =
        |client| Redlock::builder().nodes(linked.urls(client)).node_timeout(Duration::from_secs(4)).connect();
    let (ours, theirs) = (connect(0).await.unwrap(), connect(1).await.unwrap());
    for node in 0..2 {
        linked.set_link(Clients::One(0), node, Link::Cut);
    }
    let error = ours.mutex("a").unwrap().try_lock().await.unwrap_err();
    assert!(matches!(error, LockError::NoQuorum { .. }), "{error}");
    theirs.mutex("b").unwrap().try_lock().await.unwrap().release().await.unwrap();

    for node in 0..2 {
        linked.set_link(Clients::One(0), node, Link::Open);
    }
    ours.mutex("a").unwrap().lock().await.unwrap().release().await.unwrap();
}

/// A connection to the only node, through the proxy.
fn connect(linked: &Linked<LocalCluster>) -> TcpStream {
    let url = linked.urls(0).remove(0);
    let stream = TcpStream::connect(url.trim_start_matches("redis://")).unwrap();
    stream.set_read_timeout(Some(SLACK)).unwrap();
    stream
}

/// Sends a PING and returns the time until its answer.
fn ping(stream: &mut TcpStream) -> std::io::Result<Duration> {
    let asked = now();
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"+PONG\r\n");
    Ok(asked.elapsed())
}

#[expect(clippy::disallowed_methods, reason = "measures real connections")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn ways_get_slow_narrow_and_lossy_and_well_again() {
    let linked = Linked::new(LocalCluster::start(1).unwrap(), 1).unwrap();
    let mut stream = connect(&linked);
    ping(&mut stream).unwrap();
    let latency = Duration::from_millis(50);
    linked.set_link(Clients::All, 0, Link::Slow { latency, jitter: Duration::ZERO });
    assert!(ping(&mut stream).unwrap() >= 2 * latency);

    // Each PING takes six bytes to the node and seven back.
    linked.set_link(Clients::All, 0, Link::Narrow { bytes_per_second: 50 });
    assert!(ping(&mut stream).unwrap() >= Duration::from_millis(260));

    // Half of the packets are lost. The chance that none of eighty packets is lost is 1 to 10^24.
    linked.set_link(Clients::All, 0, Link::Lossy { percent: 50 });
    assert!((0..40).any(|_| ping(&mut stream).unwrap() >= Duration::from_millis(200)));

    linked.set_link(Clients::All, 0, Link::Open);
    let fastest = (0..20).map(|_| ping(&mut stream).unwrap()).min().unwrap();
    assert!(fastest < latency, "{fastest:?}");
}

#[test]
fn what_a_cut_holds_up_arrives_when_it_is_mended() {
    let linked = Linked::new(LocalCluster::start(1).unwrap(), 1).unwrap();
    let mut stream = connect(&linked);
    ping(&mut stream).unwrap();
    linked.set_link(Clients::All, 0, Link::Cut);
    stream.write_all(b"SET key 1\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(stream.read(&mut [0; 5]).is_err(), "nothing arrives");
    assert_eq!(linked.ask(0, &["GET", "key"]).unwrap(), Reply::Nil);
    linked.set_link(Clients::All, 0, Link::Open);
    stream.set_read_timeout(Some(SLACK)).unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
}

#[test]
fn connections_are_reset_and_new_ones_too() {
    let linked = Linked::new(LocalCluster::start(1).unwrap(), 1).unwrap();
    let mut stream = connect(&linked);
    ping(&mut stream).unwrap();
    linked.set_link(Clients::All, 0, Link::Reset);
    assert!(ping(&mut stream).is_err());
    assert!(ping(&mut connect(&linked)).is_err());
    linked.set_link(Clients::All, 0, Link::Open);
    ping(&mut connect(&linked)).unwrap();
}

#[test]
fn clients_are_paused_and_killed() {
    let mut client = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    ClientFault::Pause.apply(&client).unwrap();
    ClientFault::Pause.heal(&client).unwrap();
    assert!(client.try_wait().unwrap().is_none());
    // A stopped process can be killed, too.
    ClientFault::Pause.apply(&client).unwrap();
    ClientFault::Kill.apply(&client).unwrap();
    assert_eq!(client.wait().unwrap().signal(), Some(9));
}
