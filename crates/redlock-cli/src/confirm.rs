//! Questions before an irreversible action.

use std::io::{self, IsTerminal as _, Write as _};

use tokio::task::spawn_blocking;

use crate::failure::Failure;

const NO_TERMINAL: &str = "there is no terminal to ask on; --yes does it without asking";

/// The option of every subcommand that asks.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ConfirmArgs {
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Yes,
    No,
}

impl ConfirmArgs {
    /// Fails before anything else is done, so that the result does not depend on what is found later.
    ///
    /// # Errors
    ///
    /// There is no terminal to ask on, and no `--yes`.
    pub(crate) fn check(self) -> Result<(), Failure> {
        if self.yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Ok(());
        }
        Err(Failure::Usage(NO_TERMINAL))
    }

    /// Shows `known` and asks, unless `--yes` was given. Writes to stderr, because stdout is for results.
    pub(crate) async fn ask(self, known: &str, question: &str) -> Result<Word, Failure> {
        if self.yes {
            return Ok(Word::Yes);
        }
        let text = format!("{known}\n{question} [y/N] ");
        let asked = spawn_blocking(move || {
            io::stderr().write_all(text.as_bytes())?;
            let mut answer = String::new();
            io::stdin().read_line(&mut answer)?;
            Ok(answer)
        });
        let answer = asked.await.map_err(|panic| Failure::Internal(panic.to_string()))?;
        let answer = answer.map_err(|source| Failure::System { action: "ask on the terminal", source })?;
        Ok(match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Word::Yes,
            _ => Word::No,
        })
    }
}
