//! Messages about a wrong command line.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

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

/// The command line with the missing `--` inserted, if it is `run KEY COMMAND`.
fn forgotten_dashes(error: &clap::Error, arguments: Vec<OsString>) -> Option<String> {
    let words: Vec<String> =
        arguments.into_iter().map(OsString::into_string).collect::<Result<_, _>>().ok()?;
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return None };
    let is_word = error.kind() == ErrorKind::UnknownArgument && !unknown.starts_with('-');
    let run = words.iter().position(|word| word == "run")?;
    if !is_word
        || words.iter().any(|word| word == "--")
        || !words[..run].iter().all(|word| word.starts_with('-'))
    {
        return None;
    }
    // The key comes first and may be the same word as the command.
    let key = run + 1;
    let command = key + 1 + words.get(key + 1..)?.iter().position(|word| word == unknown)?;
    let (before, command) = words.split_at(command);
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
