//! The `redlock` tool: the library's public API on a command line.

mod bench;
mod break_lock;
mod chaos;
mod clock;
mod complaint;
mod config;
mod confirm;
mod demo;
mod dev;
mod dice;
mod doctor;
mod durations;
mod exit;
mod failure;
mod forget;
mod init;
mod inspect;
mod leader;
mod lost;
mod members;
mod nodes;
mod output;
mod paper;
mod report;
mod run;
mod signals;
mod stderr;
mod usage;

use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::{Report, ReportArgs};

/// Locks over N independent Redis masters: a majority decides, a minority may die.
#[derive(Parser)]
#[command(name = "redlock", version, after_help = exit::table(), subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    report: ReportArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    Break(break_lock::Args),
    Chaos(chaos::Args),
    #[command(hide = true)]
    ChaosClient(chaos::client::Args),
    Completions(paper::CompletionsArgs),
    Config(config::Args),
    Demo(demo::Args),
    Dev(dev::Args),
    Doctor(doctor::Args),
    Elect(run::elect::Args),
    Init(init::Args),
    Inspect(inspect::Args),
    Leader(leader::Args),
    Man(paper::ManArgs),
    Members(members::Args),
    Nodes(forget::NodesArgs),
    Run(run::Args),
    #[command(hide = true)]
    RunExec(run::exec::Args),
    #[command(hide = true)]
    RunGuardian(run::guardian::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::tell(&error),
    };
    let report = cli.report.start();
    let exit = match catch_unwind(|| carry_out(cli.command, report)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            stderr::end_log();
            // Flushed first, because a log that fills the queue would displace the last message.
            stderr::flush();
            report.notice(&failure);
            failure.exit()
        }
        // The panic hook has printed where.
        Err(_) => Exit::INTERNAL,
    };
    stderr::flush();
    exit.into()
}

fn carry_out(command: Command, report: Report) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|source| Failure::System { action: "start the tool's threads", source })?;
    let result = runtime.block_on(async {
        match command {
            Command::Bench(args) => bench::run(args, report).await,
            Command::Break(args) => break_lock::run(args, report).await,
            Command::Chaos(args) => chaos::run(args, report).await,
            Command::ChaosClient(args) => chaos::client::run(args).await,
            Command::Completions(args) => paper::completions(&args, &Cli::command()),
            Command::Config(args) => config::run(args),
            Command::Demo(args) => demo::run(args, report).await,
            Command::Dev(args) => dev::run(args, report).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Elect(args) => run::elect::run(args, report).await,
            Command::Init(args) => init::run(args, report).await,
            Command::Inspect(args) => inspect::run(args).await,
            Command::Leader(args) => leader::run(args).await,
            Command::Man(args) => paper::man(args, Cli::command()),
            Command::Members(args) => members::run(args).await,
            Command::Nodes(args) => forget::run(args, report).await,
            Command::Run(args) => run::run(args, report).await,
            Command::RunExec(args) => run::exec::run(args),
            Command::RunGuardian(args) => run::guardian::run(args).await,
        }
    });
    // Dropping the runtime would wait for look-ups of host names, which may hang.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
