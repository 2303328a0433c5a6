//! Measures the cost of holding a large number of locks on five local masters.
//!
//! `cargo run --release -p redlock-bench --bin held_locks -- --locks 100000 --ttl 30s --seconds 60`
//!
//! Takes a hundredth, a tenth and all of `--locks` (1,000, 10,000 and 100,000), each number in a process of its own, to
//! show the growth. Each process holds its locks for `--seconds` while their leases are renewed. Exits with 1 if any
//! lock was lost. The table shows:
//!
//! - `renewals/s`: renewals on each node, and the number of leases in one command
//! - `CPU`: CPU seconds of the process while it held the locks, and their share of one core
//! - `peak`: largest resident memory of the process, also while it took the locks; `bytes each`: the growth since
//!   before the first lock, for each lock
//! - `told after`: time from the deadline of a lease until `Guard::lost` reported the loss, for some other leases that
//!   were not renewed

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

#[cfg(target_os = "linux")]
fn main() -> measure::Result<std::process::ExitCode> {
    measure::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this program reads its memory from /proc, which only Linux has");
}

#[cfg(target_os = "linux")]
mod measure {
    use std::env;
    use std::error::Error;
    use std::fs;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, ExitCode, Stdio};
    use std::time::{Duration, Instant};

    use redlock_quorum::testing::LocalCluster;
    use redlock_quorum::{Guard, Redlock};
    use rustix::time::{ClockId, clock_gettime};

    pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

    const USAGE: &str = "usage: held_locks [--locks 100000] [--ttl 30s] [--seconds 60]";
    const NODES: usize = 5;
    /// Number of tasks that take the locks.
    const TAKERS: usize = 64;
    /// Most lost locks whose reason is shown.
    const LOST_SHOWN: usize = 5;
    /// Number of leases whose end is watched, one after the other.
    const WATCHED: u32 = 20;
    const WATCHED_TTL: Duration = Duration::from_millis(100);

    pub(crate) fn main() -> Result<ExitCode> {
        let arguments: Vec<String> = env::args().skip(1).collect();
        match arguments.split_first() {
            // The program starts itself once more for each number of locks.
            Some((word, arguments)) if word == "hold" => {
                let (options, nodes) = arguments.split_at(6);
                tokio::runtime::Runtime::new()?.block_on(hold(&Options::parse(options)?, nodes))
            }
            _ => compare(&Options::parse(&arguments)?),
        }
    }

    fn compare(options: &Options) -> Result<ExitCode> {
        let Options { locks, ttl, seconds } = *options;
        if locks < 100 {
            return Err("--locks: at least 100, for a hundredth of them are held as well".into());
        }
        let cluster = LocalCluster::start(NODES)?;
        println!("{NODES} masters, leases of {ttl:?}, each number of locks held for {seconds} s\n");
        println!(
            "  locks  lost  taken in  renewals/s (in one)      CPU of a core      peak  bytes each  told after"
        );
        let mut lost = 0;
        for locks in [locks / 100, locks / 10, locks] {
            let mut process = Command::new(env::current_exe()?)
                .args(["hold", "--locks", &locks.to_string(), "--ttl", &format!("{}ms", ttl.as_millis())])
                .args(["--seconds", &seconds.to_string()])
                .args(cluster.urls())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut lines = BufReader::new(process.stdout.take().ok_or("it has an output")?).lines();
            let mut told = || Result::Ok(lines.next().ok_or("the holder ended early")??);
            // The process prints a line when it has all locks, and a line at the end.
            told()?;
            let before = Renewals::of(&cluster)?;
            let held = Held::parse(&told()?)?;
            let renewals = Renewals::of(&cluster)?.since(&before);
            println!("{}", held.row(&renewals));
            lost += held.lost;
            process.wait()?;
        }
        Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn hold(options: &Options, nodes: &[String]) -> Result<ExitCode> {
        let Options { locks, ttl, seconds } = *options;
        let redlock =
            Redlock::builder().nodes(nodes).max_ttl(ttl.max(WATCHED_TTL)).ttl(ttl).connect().await?;
        // The memory of an empty client is measured after some locks, because memory that all locks share is no cost of
        // each.
        drop(take(&redlock, TAKERS).await?);
        let empty = memory("VmRSS:")?;
        let started = Instant::now();
        let guards = take(&redlock, locks).await?;
        let taken_in = started.elapsed();

        println!("begin");
        let (started, cpu) = (Instant::now(), cpu_time());
        let late = watch_losses(&redlock).await?;
        tokio::time::sleep(Duration::from_secs(seconds).saturating_sub(started.elapsed())).await;
        let (cpu, seconds) = (cpu_time() - cpu, started.elapsed().as_secs_f64());
        let lost: Vec<_> = guards.iter().filter(|guard| !guard.is_valid()).collect();
        for guard in lost.iter().take(LOST_SHOWN) {
            eprintln!("{}", guard.lost().await);
        }
        let lost = lost.len();
        let bytes = memory("VmHWM:")?;
        let held = Held { locks, lost, taken_in: taken_in.as_secs_f64(), cpu, seconds, bytes, empty, late };
        println!("{}", held.tell());
        redlock.shutdown().await;
        Ok(ExitCode::SUCCESS)
    }

    async fn take(redlock: &Redlock, locks: usize) -> Result<Vec<Guard>> {
        let take_some = |first: usize| {
            let redlock = redlock.clone();
            async move {
                let mut guards = Vec::new();
                for lock in (first..locks).step_by(TAKERS) {
                    guards.push(redlock.mutex(format!("order:{lock:09}"))?.lock().await?);
                }
                Result::Ok(guards)
            }
        };
        let takers: Vec<_> = (0..TAKERS).map(take_some).map(tokio::spawn).collect();
        let mut guards = Vec::with_capacity(locks);
        for taker in takers {
            guards.extend(taker.await??);
        }
        Ok(guards)
    }

    /// Time from the deadline until the loss is reported, in milliseconds: median and worst.
    async fn watch_losses(redlock: &Redlock) -> Result<[f64; 2]> {
        let mutex = redlock.mutex("watched")?.ttl(WATCHED_TTL).keep_alive(false);
        let mut late = Vec::new();
        for _ in 0..WATCHED {
            let guard = mutex.lock().await?;
            let deadline = guard.deadline();
            guard.lost().await;
            late.push(deadline.elapsed().as_secs_f64() * 1e3);
        }
        late.sort_unstable_by(f64::total_cmp);
        Ok([late[late.len() / 2], late[late.len() - 1]])
    }

    /// A process's report of the locks that it held.
    struct Held {
        locks: usize,
        lost: usize,
        taken_in: f64,
        cpu: f64,
        seconds: f64,
        bytes: f64,
        empty: f64,
        late: [f64; 2],
    }

    impl Held {
        fn tell(&self) -> String {
            let Self { locks, lost, taken_in, cpu, seconds, bytes, empty, late: [median, worst] } = self;
            format!("{locks} {lost} {taken_in} {cpu} {seconds} {bytes} {empty} {median} {worst}")
        }

        fn parse(line: &str) -> Result<Self> {
            let numbers = line.split(' ').map(str::parse).collect::<std::result::Result<Vec<f64>, _>>()?;
            let [locks, lost, taken_in, cpu, seconds, bytes, empty, median, worst] = numbers[..] else {
                return Err(line.into());
            };
            let [locks, lost] = [locks, lost].map(|number| number as usize);
            Ok(Self { locks, lost, taken_in, cpu, seconds, bytes, empty, late: [median, worst] })
        }

        fn row(&self, renewals: &Renewals) -> String {
            let Self { locks, lost, taken_in, cpu, seconds, bytes, empty, late: [median, worst] } = self;
            let rate = renewals.leases / NODES as f64 / seconds;
            let in_one = format!("({:.0})", renewals.leases / renewals.commands.max(1.0));
            let (part, each) = (100.0 * cpu / seconds, (bytes - empty) / *locks as f64);
            format!(
                "{locks:>7} {lost:>5} {taken_in:>7.1} s {rate:>10.0} {in_one:>8} {cpu:>6.2} s {part:>7.1} % \
                 {:>6.1} MB {each:>11.0}  {median:.1} ms, at most {worst:.1} ms",
                bytes / 1e6,
            )
        }
    }

    /// Renewals so far, on all nodes together.
    struct Renewals {
        leases: f64,
        commands: f64,
    }

    impl Renewals {
        fn of(cluster: &LocalCluster) -> Result<Self> {
            let mut renewals = Self { leases: 0.0, commands: 0.0 };
            for node in 0..cluster.len() {
                let reply = cluster.command(node, &["INFO", "commandstats"])?;
                let calls = |command: &str| -> Option<f64> {
                    let (_, rest) = reply.text()?.split_once(&format!("cmdstat_{command}:calls="))?;
                    rest.split(',').next()?.parse().ok()
                };
                renewals.leases += calls("pexpire").unwrap_or(0.0);
                renewals.commands += calls("evalsha").unwrap_or(0.0);
            }
            Ok(renewals)
        }

        fn since(&self, before: &Self) -> Self {
            // The watched leases are not renewed, but each is released by one command, which is subtracted.
            let watched = f64::from(WATCHED) * NODES as f64;
            let Self { leases, commands } = *before;
            Self { leases: self.leases - leases, commands: self.commands - commands - watched }
        }
    }

    #[derive(Clone, Copy)]
    struct Options {
        locks: usize,
        ttl: Duration,
        seconds: u64,
    }

    impl Options {
        fn parse(arguments: &[String]) -> Result<Self> {
            let mut options = Self { locks: 100_000, ttl: Duration::from_secs(30), seconds: 60 };
            let (options_given, rest) = arguments.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(USAGE.into());
            }
            for [name, value] in options_given {
                match name.as_str() {
                    "--locks" => options.locks = value.parse()?,
                    "--ttl" => options.ttl = duration(value)?,
                    "--seconds" => options.seconds = value.parse()?,
                    _ => return Err(USAGE.into()),
                }
            }
            Ok(options)
        }
    }

    /// Parses `30s` or `500ms`.
    fn duration(text: &str) -> Result<Duration> {
        if let Some(millis) = text.strip_suffix("ms") {
            return Ok(Duration::from_millis(millis.parse()?));
        }
        let seconds = text.strip_suffix('s').ok_or("--ttl: seconds or milliseconds, as in 30s or 500ms")?;
        Ok(Duration::from_secs(seconds.parse()?))
    }

    /// A memory figure in this process's `/proc` status, in bytes.
    fn memory(line: &str) -> Result<f64> {
        let status = fs::read_to_string("/proc/self/status")?;
        let (_, rest) = status.split_once(line).ok_or("no such line")?;
        let kilobytes = rest.split_whitespace().next().ok_or("no number")?;
        Ok(1024.0 * kilobytes.parse::<f64>()?)
    }

    /// CPU time of all threads of this process, in seconds.
    fn cpu_time() -> f64 {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    }
}
