//! `redlock completions` and `redlock man`, generated from the definitions of the command line.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Print a script that makes a shell complete redlock's commands and options
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  redlock completions bash > /etc/bash_completion.d/redlock
  redlock completions zsh > ~/.zfunc/_redlock
  redlock completions fish > ~/.config/fish/completions/redlock.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell to complete for.
    shell: Shell,
}

/// Print the manual page
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  redlock man | man -l -
  redlock man doctor | man -l -
  redlock man config show | man -l -
  redlock man --directory /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Print the page of this subcommand instead.
    subcommand: Vec<String>,
    /// Write the pages of redlock and of all subcommands into this directory instead.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "subcommand")]
    directory: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs, command: &Command) -> Result<Exit, Failure> {
    let mut command = visible(command);
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "redlock", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::SUCCESS)
}

/// The command line without hidden subcommands, which the generator would show.
fn visible(command: &Command) -> Command {
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set()).cloned();
    Command::new("redlock")
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments())
        .subcommands(shown)
}

pub(crate) fn man(args: ManArgs, command: Command) -> Result<Exit, Failure> {
    let ManArgs { subcommand, directory } = args;
    let system = |action| move |source: io::Error| Failure::System { action, source };
    let mut command = without_help(command);
    if let Some(directory) = directory {
        fs::create_dir_all(&directory).map_err(system("make the directory"))?;
        clap_mangen::generate_to(command, directory).map_err(system("write the manual pages"))?;
        return Ok(Exit::SUCCESS);
    }
    command.build();
    let mut of = &command;
    for name in subcommand {
        let found = of.find_subcommand(&name).filter(|found| !found.is_hide_set());
        of = found.ok_or(Failure::Usage("there is no such subcommand; redlock --help lists them"))?;
    }
    let mut page = Vec::new();
    Man::new(of.clone()).render(&mut page).map_err(system("write the manual page"))?;
    output::print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::SUCCESS)
}

/// Removes the `help` subcommands, which have no pages of their own.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
