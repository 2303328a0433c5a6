//! Messages about a wrong command line.

use std::env;
use std::ffi::OsString;
use std::iter;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::Cli;
use crate::exit::Exit;
use crate::stderr;

/// Prints clap's message and returns the exit code: 0 for help and version, 64 for wrong usage, where clap itself would
/// exit with 2.
pub(crate) fn tell(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::USAGE } else { Exit::SUCCESS };
    // With stderr or stdout closed the message is lost.
    let _ = error.print();
    if let Some(meant) = forgotten_dashes(error, env::args_os().skip(1).collect()) {
        stderr::say(
            format!("\nredlock: the command must follow `--`; did you mean\n  redlock {meant}\n")
                .into_bytes(),
        );
        stderr::flush();
    }
    exit.into()
}

/// The command line with the missing `--` inserted, if it is `run KEY COMMAND`. The first word after the options is taken
/// for the key, and the second for the command.
fn forgotten_dashes(error: &clap::Error, arguments: Vec<OsString>) -> Option<String> {
    let words: Vec<String> =
        arguments.into_iter().map(OsString::into_string).collect::<Result<_, _>>().ok()?;
    let is_mistaken = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument);
    let run = words.iter().position(|word| word == "run")?;
    if !is_mistaken || words.iter().any(|word| word == "--") {
        return None;
    }
    let meant = |command: &usize| {
        let (before, command) = words.split_at(*command);
        let words = iter::once("redlock").chain(before.iter().map(String::as_str));
        let words = words.chain(iter::once("--")).chain(command.iter().map(String::as_str));
        Cli::try_parse_from(words).is_ok()
    };
    let (before, command) = words.split_at((run + 2..words.len()).find(meant)?);
    Some(format!("{} -- {}", quoted(before), quoted(command)))
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// Quotes a word for a shell.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
