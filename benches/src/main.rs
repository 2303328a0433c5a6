//! Compares redlock-quorum with the bare exchange on redis-rs (the floor) and with the crate rslock; see README.md.

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

mod batch;
mod plan;
mod report;


use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use batch::Batch;
use plan::{Bed, Plan, Random, SideName, names};
use report::{Report, Setting};

use redlock_bench::Error;

/// Latency and throughput of redlock-quorum, its floor and rslock, interleaved, against five local masters.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// How long to measure
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Concurrent tasks of the throughput figures, each with a name of its own
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    tasks: u16,
    /// Order of the batches
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print all figures as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Exit with 1 when a bar is missed
    #[arg(long)]
    check: bool,
    /// Measure on tokio's current-thread runtime
    #[arg(long, conflicts_with = "workers")]
    current_thread: bool,
    /// Workers of the multi-thread runtime [default: one for each core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Only run the cycles of one side with --tasks tasks for --seconds, for a profiler to look at
    #[arg(long, value_name = "SIDE")]
    profile_mode: Option<Profiled>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profiled {
    Ours,
    Fenced,
    Floor,
    Rslock,
}

fn main() -> Result<ExitCode, Error> {
    let options = Options::parse();
    let (runtime, described) = runtime(&options)?;
    match options.profile_mode {
        Some(side) => runtime.block_on(profile(&options, side)),
        None => runtime.block_on(measure(&options, described)),
    }
}

fn runtime(options: &Options) -> Result<(tokio::runtime::Runtime, String), Error> {
    use tokio::runtime::Builder;
    if options.current_thread {
        return Ok((Builder::new_current_thread().enable_all().build()?, "tokio, current thread".into()));
    }
    let workers = match options.workers {
        Some(workers) => usize::from(workers),
        None => std::thread::available_parallelism()?.get(),
    };
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    Ok((runtime, format!("tokio, multi-thread, {workers} workers")))
}

async fn measure(options: &Options, runtime: String) -> Result<ExitCode, Error> {
    let tasks = usize::from(options.tasks);
    let length = Duration::from_secs(options.seconds);
    let (healthy, paused) = (Bed::make().await?, Bed::make().await?);
    let setting = Setting { runtime, tasks, seed: options.seed, server: healthy.server()? };
    let records = Plan { length, tasks, random: Random(options.seed) }.run(&healthy, &paused).await?;
    let report = Report::new(setting, &records);
    if options.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    let missed = options.check && !report.passes();
    Ok(ExitCode::from(u8::from(missed)))
}

async fn profile(options: &Options, side: Profiled) -> Result<ExitCode, Error> {
    let side = match side {
        Profiled::Ours => SideName::Ours,
        Profiled::Fenced => SideName::Fenced,
        Profiled::Floor => SideName::Floor,
        Profiled::Rslock => SideName::Rslock,
    };
    let tasks = usize::from(options.tasks);
    let batch = Batch { names: names(side, tasks), tasks, length: Duration::from_secs(options.seconds) };
    let sample = Bed::make().await?.run(side, &batch).await?;
    println!(
        "{side:?}: {} cycles, {:.0} per second, p50 {:?}, p99 {:?}",
        sample.cycles, sample.cycles_per_second, sample.p50, sample.p99
    );
    Ok(ExitCode::SUCCESS)
}
