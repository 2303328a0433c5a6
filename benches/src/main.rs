//! Compares redlock-quorum with the bare exchange on redis-rs (the floor) and with other crates; see README.md.

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

mod bars;
mod batch;
mod bed;
mod plan;
mod plot;
mod report;

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use redlock_bench::Error;
use tokio::runtime::Builder;

use bed::{Bed, Runtimes};
use plan::{Condition, DEFAULT, NO_FENCING, PLAIN, Plan, Random, RuntimeName, Section, SideName};
use report::{Report, Setting};

/// Latency, throughput and CPU of redlock-quorum, its floor and other crates, interleaved, against local masters.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// How long to measure in all
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=36_000))]
    seconds: u64,
    /// Order of the batches
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure only this section: tasks, nodes, links, faults or guards
    #[arg(long, value_name = "SECTION")]
    only: Option<String>,
    /// Where to write RESULTS.md, results.json and the plots; `benches` for those that are kept
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Exit with 1 when a bar is missed
    #[arg(long)]
    check: bool,
    /// Only run the cycles of one side for --seconds, for a profiler to look at
    #[arg(long, value_name = "SIDE")]
    profile_mode: Option<Profiled>,
    /// Tasks of --profile-mode
    #[arg(long, requires = "profile_mode", default_value_t = 64)]
    tasks: u16,
    /// Let --profile-mode use tokio's current-thread runtime
    #[arg(long, requires = "profile_mode")]
    current_thread: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profiled {
    Ours,
    NoFencing,
    Floor,
    Rslock,
}

fn main() -> Result<ExitCode, Error> {
    let options = Options::parse();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match options.profile_mode {
            Some(side) => profile(&options, side).await.map(|()| ExitCode::SUCCESS),
            None => measure(&options).await,
        }
    })
}

async fn measure(options: &Options) -> Result<ExitCode, Error> {
    let mut sections = plan::sections();
    sections.retain(|section| options.only.as_deref().is_none_or(|only| only == section.name));
    let parts =
        u32::try_from(sections.len()).ok().filter(|parts| *parts > 0).ok_or("--only: no such section")?;
    let (runtimes, mut random) = (Runtimes::start()?, Random(options.seed));
    let mut records = Vec::new();
    for section in &sections {
        let length = Duration::from_secs(options.seconds) / parts;
        let mut plan = Plan { section, runtimes: &runtimes, length, random: &mut random };
        records.extend(plan.run(|round, left| progress(section, round, left)).await?);
    }
    eprintln!();
    let setting = Setting {
        machine: machine()?,
        server: Bed::start(&PLAIN)?.server()?,
        command: format!("make bench ARGS=\"{}\"", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        seed: options.seed,
    };
    let counts = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.json");
    let counts = serde_json::from_slice(&fs::read(counts)?)?;
    let report = Report::new(setting, &sections, &records, counts);
    write(&options.out, &report)?;
    let missed = options.check && !report.passes();
    Ok(ExitCode::from(u8::from(missed)))
}

/// Prints the report, and writes it with its plots.
fn write(out: &Path, report: &Report) -> Result<(), Error> {
    fs::create_dir_all(out)?;
    let plots = plot::plots(report);
    for (name, plot) in &plots {
        fs::write(out.join(name).with_extension("svg"), plot)?;
    }
    let names: Vec<_> = plots.iter().map(|(name, _)| *name).collect();
    let text = report.markdown(&names);
    fs::write(out.join("RESULTS.md"), &text)?;
    fs::write(out.join("results.json"), format!("{:#}\n", report.json()))?;
    print!("{text}");
    eprintln!("\nwritten to {}", out.display());
    Ok(())
}

fn progress(section: &Section, round: usize, left: Duration) {
    let line = format!("{:<8}round {round:>4}, {:>4} s left", section.name, left.as_secs());
    if std::io::stderr().is_terminal() {
        eprint!("\r{line}");
        let _ = std::io::stderr().flush();
    } else if round == 1 {
        eprintln!("{line}");
    }
}

/// Cores, processor and kernel.
fn machine() -> Result<String, Error> {
    let cores = std::thread::available_parallelism()?;
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor = processor.map_or("unknown processor", |(_, name)| name);
    let kernel = Command::new("uname").args(["-s", "-r"]).output()?;
    Ok(format!("{cores} cores, {processor}, {}", String::from_utf8_lossy(&kernel.stdout).trim()))
}

async fn profile(options: &Options, side: Profiled) -> Result<(), Error> {
    let side = match side {
        Profiled::Ours => DEFAULT,
        Profiled::NoFencing => NO_FENCING,
        Profiled::Floor => SideName::Floor,
        Profiled::Rslock => SideName::Rslock,
    };
    let runtime = if options.current_thread { RuntimeName::CurrentThread } else { RuntimeName::MultiThread };
    let condition = Condition { runtime, tasks: options.tasks.into(), ..PLAIN };
    let (runtimes, mut bed) = (Runtimes::start()?, Bed::start(&condition)?);
    bed.connect(&runtimes, runtime, side).await?;
    let batch = plan::batch(runtime, side, condition.tasks, Duration::from_secs(options.seconds));
    let sample = bed.run(&runtimes, runtime, side, batch).await?;
    println!(
        "{side}: {} cycles, {:.0} per second, p50 {:?}, p99 {:?}, CPU {:?} for each",
        sample.cycles, sample.cycles_per_second, sample.p50, sample.p99, sample.cpu
    );
    Ok(())
}
