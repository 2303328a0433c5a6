//! Counts instructions and allocations of the client for each cycle of lock and release, on five local masters.
//!
//! `make counts` compares the counts with those in `counts.json`, and exits with 1 when one is more than 5 % higher.
//! `make counts ARGS=--record` writes that file anew. Counts hardly depend on the machine and on its load, so CI can
//! compare them.
//!
//! The program runs itself as the client, with one task on a current-thread runtime. A counting allocator counts
//! allocations. Callgrind counts instructions; the servers run natively meanwhile. Callgrind's profile of each side is
//! left in `target/counts/`, for `callgrind_annotate`. Where valgrind is not installed, no instructions are counted.

#![allow(clippy::disallowed_methods, reason = "the rule is for the library")]

use std::alloc::System;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use redlock_bench::Error;
use redlock_bench::sides::{Floor, Ours, Side, Variant};
use redlock_quorum::testing::{Durability, LocalCluster};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NODES: usize = 5;
const SIDES: [&str; 3] = ["default", "no fencing", "floor"];
/// Cycles that are not counted. They fill the client's buffers.
const WARM_UP: usize = 50;
/// Cycles that are counted. Some observations of the nodes fall among them, and cost less than 1 % of all.
const CYCLES: usize = 1000;
/// Runs of each side. The smallest count of all runs counts, because load on the machine only adds to it.
const RUNS: usize = 5;
/// How much higher than the recorded count a count may be.
const BAR: f64 = 1.05;

/// The counts of one side by their names, for each cycle.
type Counts = BTreeMap<String, f64>;

fn main() -> Result<ExitCode, Error> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // The program starts itself as the client that is measured.
        ["client", side, ref urls @ ..] => client(side, urls).map(|()| ExitCode::SUCCESS),
        [] => compare(&measure()?),
        ["--record"] => record(&measure()?),
        _ => Err("usage: counts [--record]".into()),
    }
}

fn measure() -> Result<BTreeMap<String, Counts>, Error> {
    let cluster = LocalCluster::builder().nodes(NODES).durability(Durability::Volatile).start()?;
    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    if !has_valgrind {
        println!("valgrind is not installed: only allocations are counted");
    }
    let mut sides = BTreeMap::new();
    for side in SIDES {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let mut counts = allocations(side, &cluster.urls())?;
            if has_valgrind {
                counts.insert("instructions".into(), instructions(side, &cluster.urls())?);
            }
            runs.push(counts);
        }
        let smallest = |name: &String| {
            let count = runs.iter().map(|counts| counts[name]).fold(f64::INFINITY, f64::min);
            (name.clone(), count.round())
        };
        sides.insert(side.to_owned(), runs[0].keys().map(smallest).collect());
    }
    Ok(sides)
}

fn allocations(side: &str, urls: &[String]) -> Result<Counts, Error> {
    let output = Command::new(env::current_exe()?).args(["client", side]).args(urls).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn instructions(side: &str, urls: &[String]) -> Result<f64, Error> {
    let profiles = manifest_dir().join("../target/counts");
    fs::create_dir_all(&profiles)?;
    let profile = profiles.join(format!("{}.callgrind", side.replace(' ', "-")));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured_cycles*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args(["client", side])
        .args(urls)
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    let collected =
        told.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<f64>().ok());
    match collected {
        #[expect(clippy::cast_precision_loss)]
        Some(collected) if output.status.success() => Ok(collected / CYCLES as f64),
        Some(_) | None => Err(told.into()),
    }
}

fn client(side: &str, urls: &[&str]) -> Result<(), Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
    match side {
        "default" => count(&runtime, &runtime.block_on(Ours::connect_patiently(&urls, Variant::Default))?),
        "no fencing" => {
            count(&runtime, &runtime.block_on(Ours::connect_patiently(&urls, Variant::NoFencing))?)
        }
        "floor" => count(&runtime, &runtime.block_on(Floor::connect(&urls))?),
        _ => Err("no such side".into()),
    }
}

fn count(runtime: &Runtime, side: &impl Side) -> Result<(), Error> {
    runtime.block_on(cycles(side, WARM_UP))?;
    let region = Region::new(ALLOCATOR);
    measured_cycles(runtime, side)?;
    let change = region.change();
    #[expect(clippy::cast_precision_loss)]
    let each = |count: usize| count as f64 / CYCLES as f64;
    let (allocations, bytes) = (change.allocations + change.reallocations, change.bytes_allocated);
    println!("{}", json!({ "allocations": each(allocations), "bytes allocated": each(bytes) }));
    Ok(())
}

/// Callgrind counts while this function runs. The function must keep its name and may not be inlined.
#[inline(never)]
fn measured_cycles(runtime: &Runtime, side: &impl Side) -> Result<(), Error> {
    runtime.block_on(cycles(side, CYCLES))
}

async fn cycles(side: &impl Side, cycles: usize) -> Result<(), Error> {
    for cycle in 0..cycles {
        side.cycle(&format!("count:{cycle:06}")).await?;
    }
    Ok(())
}

fn record(sides: &BTreeMap<String, Counts>) -> Result<ExitCode, Error> {
    fs::write(recorded(), format!("{:#}\n", json!(sides)))?;
    print!("{}", fs::read_to_string(recorded())?);
    Ok(ExitCode::SUCCESS)
}

fn compare(sides: &BTreeMap<String, Counts>) -> Result<ExitCode, Error> {
    let recorded: BTreeMap<String, Counts> = serde_json::from_slice(&fs::read(recorded())?)?;
    let mut is_missed = false;
    println!("{:<12}{:<18}{:>10}{:>10}{:>8}", "side", "for each cycle", "recorded", "now", "ratio");
    for (side, counts) in sides {
        for (name, count) in counts {
            let before = recorded.get(side).and_then(|counts| counts.get(name)).copied().unwrap_or(0.0);
            let ratio = count / before;
            let verdict = if ratio <= BAR { "" } else { "   MISSED: at most 1.05" };
            is_missed |= ratio > BAR;
            println!("{side:<12}{name:<18}{before:>10}{count:>10}{ratio:>8.3}{verdict}");
        }
    }
    Ok(ExitCode::from(u8::from(is_missed)))
}

fn recorded() -> PathBuf {
    manifest_dir().join("counts.json")
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
