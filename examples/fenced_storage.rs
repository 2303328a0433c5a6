//! A storage that uses fencing tokens to refuse a holder that writes too late.
//!
//! `cargo run -p redlock-examples --example fenced_storage`
//!
//! Two processes lock the same account on three local masters. The first process is stopped between its last check and
//! its write, for longer than its lease lasts. The second process acquires the lock and writes. Then the first process
//! resumes and also writes, too late. The store has two tables: one checks the token, and the other does not. The exit
//! code is 0 only if the first table refused the late write and the second table accepted it.

#[cfg(unix)]
fn main() -> story::Result<std::process::ExitCode> {
    story::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this example stops a process by a signal, which only Unix has");
}

#[cfg(unix)]
mod story {
    use std::env;
    use std::error::Error;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::path::Path;
    use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
    use std::time::Duration;

    use redlock_quorum::Redlock;
    use redlock_quorum::testing::LocalCluster;
    use rusqlite::Connection;
    use rustix::process::{Pid, Signal, kill_process};

    pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

    /// A short TTL makes a short story. A crashed holder would block others for at most a TTL.
    const TTL: Duration = Duration::from_secs(1);
    const ACCOUNT: &str = "account:7";

    /// Tells the story, and starts this program twice more, as the two holders.
    pub(crate) fn main() -> Result<ExitCode> {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let runtime = tokio::runtime::Runtime::new()?;
        match arguments.as_slice() {
            [] => tell(),
            [name, store, nodes @ ..] => runtime.block_on(hold(name, Path::new(store), nodes)),
            [_] => Err("no arguments are expected".into()),
        }
    }

    fn tell() -> Result<ExitCode> {
        let cluster = LocalCluster::start(3)?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("store.sqlite");
        let store = Store::create(&path)?;
        println!(
            "Three masters are up. {ACCOUNT} is kept in two tables, one of which checks fencing tokens.\n"
        );

        let mut first = Holder::start("first", &path, &cluster)?;
        let smaller = first.told_token()?;
        println!("first:  I hold the lock, with token {smaller}. It is valid; I am about to write.");
        first.signal(Signal::STOP)?;
        println!(
            "        (It is stopped: SIGSTOP. A long garbage collection or a frozen host would do the same.)"
        );

        let mut second = Holder::start("second", &path, &cluster)?;
        println!("second: I want the lock, and wait until the lease of the first is over, {TTL:?} at most.");
        let larger = second.told_token()?;
        println!("second: I hold the lock, with token {larger}, which is larger.");
        let on_time = second.write()?;
        println!("second: I write. {on_time}");
        second.end()?;

        // When the first process resumes, the word "write" is already in its pipe.
        first.say("write")?;
        first.signal(Signal::CONT)?;
        println!("        (The first goes on: SIGCONT. It does not know that time has passed.)");
        let late = first.told()?;
        println!("first:  I write. {late}");
        first.end()?;

        let (checked, unchecked) = (store.written("checked")?, store.written("unchecked")?);
        println!("\nThe table with the check says that the last write was by the {checked}: right.");
        println!("The table without it says {unchecked}: the second's write is lost.");
        let as_told = smaller < larger && checked == "second" && unchecked == "first";
        if !as_told {
            println!("That is NOT how it should have gone.");
        }
        Ok(if as_told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Does what a service does: lock, check, write with the token. The story stops the process between check and
    /// write.
    async fn hold(name: &str, store: &Path, nodes: &[String]) -> Result<ExitCode> {
        let store = Store::open(store)?;
        let redlock = Redlock::connect(nodes).await?;
        let guard = redlock.mutex(ACCOUNT)?.ttl(TTL).lock().await?;
        let token = guard.fencing_token().get();
        if guard.is_valid() {
            println!("{token}");
            // The story stops the process here; in practice it can happen anywhere.
            std::io::stdin().read_line(&mut String::new())?;
            println!("{}; {}", store.write_checked(name, token)?, store.write_unchecked(name)?);
        }
        // A lease that has expired by now is no error.
        let _ = guard.release().await;
        redlock.shutdown().await;
        Ok(ExitCode::SUCCESS)
    }

    /// The protected resource.
    struct Store(Connection);

    impl Store {
        fn create(path: &Path) -> Result<Self> {
            let store = Self::open(path)?;
            store.0.execute_batch(
                "CREATE TABLE checked (account TEXT PRIMARY KEY, written_by TEXT, token INTEGER NOT NULL);
                 CREATE TABLE unchecked (account TEXT PRIMARY KEY, written_by TEXT);",
            )?;
            store.0.execute("INSERT INTO checked VALUES (?1, 'nobody', 0)", [ACCOUNT])?;
            store.0.execute("INSERT INTO unchecked VALUES (?1, 'nobody')", [ACCOUNT])?;
            Ok(store)
        }

        fn open(path: &Path) -> Result<Self> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            Ok(Self(connection))
        }

        /// All of fencing is one statement, so that no other write can come between the check and the write. An equal
        /// token is accepted, because a holder may write more than once.
        fn write_checked(&self, name: &str, token: u64) -> Result<&'static str> {
            let token = i64::try_from(token)?;
            let sql = "UPDATE checked SET written_by = ?1, token = ?2 WHERE account = ?3 AND token <= ?2";
            match self.0.execute(sql, (name, token, ACCOUNT))? {
                1 => Ok("With the check: accepted"),
                _ => Ok("With the check: REFUSED, for a larger token was seen"),
            }
        }

        fn write_unchecked(&self, name: &str) -> Result<&'static str> {
            self.0.execute("UPDATE unchecked SET written_by = ?1 WHERE account = ?2", [name, ACCOUNT])?;
            Ok("without: accepted")
        }

        fn written(&self, table: &str) -> Result<String> {
            let sql = format!("SELECT written_by FROM {table} WHERE account = ?1");
            Ok(self.0.query_row(&sql, [ACCOUNT], |row| row.get(0))?)
        }
    }

    /// A process that runs [`hold`]. Drop kills the process if it has not ended.
    struct Holder {
        process: Child,
        input: ChildStdin,
        output: BufReader<ChildStdout>,
    }

    impl Holder {
        fn start(name: &str, store: &Path, cluster: &LocalCluster) -> Result<Self> {
            let mut process = Command::new(env::current_exe()?)
                .arg(name)
                .arg(store)
                .args(cluster.urls())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let input = process.stdin.take().ok_or("it has an input")?;
            let output = BufReader::new(process.stdout.take().ok_or("it has an output")?);
            Ok(Self { process, input, output })
        }

        fn told_token(&mut self) -> Result<u64> {
            Ok(self.told()?.parse()?)
        }

        fn write(&mut self) -> Result<String> {
            self.say("write")?;
            self.told()
        }

        fn say(&mut self, word: &str) -> Result<()> {
            Ok(writeln!(self.input, "{word}")?)
        }

        fn told(&mut self) -> Result<String> {
            let mut line = String::new();
            self.output.read_line(&mut line)?;
            if line.is_empty() { Err("a holder ended early".into()) } else { Ok(line.trim_end().to_owned()) }
        }

        fn signal(&self, signal: Signal) -> Result<()> {
            Ok(kill_process(Pid::from_child(&self.process), signal)?)
        }

        fn end(mut self) -> Result<()> {
            let status = self.process.wait()?;
            if status.success() { Ok(()) } else { Err(format!("a holder ended with {status}").into()) }
        }
    }

    impl Drop for Holder {
        fn drop(&mut self) {
            // The process still runs only when the story went wrong.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
