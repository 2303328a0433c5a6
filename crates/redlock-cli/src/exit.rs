//! Exit codes. The tool's own codes come from `sysexits.h` and the shell, because few commands use those themselves.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use rustix::process::Signal;

/// A shell reports 128 + n for a command that was ended by signal n.
const SIGNAL_BASE: u8 = 128;

/// The exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    pub(crate) const SUCCESS: Self = Self(0);
    pub(crate) const UNCLEAN: Self = Self(1);
    pub(crate) const INCONCLUSIVE: Self = Self(2);
    pub(crate) const USAGE: Self = Self(64);
    pub(crate) const NO_QUORUM: Self = Self(69);
    pub(crate) const INTERNAL: Self = Self(70);
    pub(crate) const SYSTEM: Self = Self(71);
    pub(crate) const LOCK_LOST: Self = Self(74);
    pub(crate) const CONTENDED: Self = Self(75);
    pub(crate) const CONFIGURATION: Self = Self(78);
    pub(crate) const NOT_EXECUTABLE: Self = Self(126);
    pub(crate) const NOT_FOUND: Self = Self(127);

    /// A code that the user has chosen.
    pub(crate) fn chosen(code: u8) -> Self {
        Self(code)
    }

    /// The code that a shell reports for a command that was ended by this signal.
    pub(crate) fn by_signal(signal: Signal) -> Self {
        Self::by_signal_number(signal.as_raw())
    }

    /// The code that a shell reports for a command with this status.
    pub(crate) fn of_command(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).map_or(Self::INTERNAL, Self),
            (None, Some(signal)) => Self::by_signal_number(signal),
            (None, None) => Self::INTERNAL,
        }
    }

    fn by_signal_number(signal: i32) -> Self {
        u8::try_from(signal).map_or(Self::INTERNAL, |signal| Self(SIGNAL_BASE.saturating_add(signal)))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// The meaning of each code, for `--help`, the manual pages and the README. The lines are short enough for all three.
const MEANINGS: [(Exit, &str); 12] = [
    (Exit::SUCCESS, "success. doctor: healthy. inspect, leader: there is one"),
    (
        Exit::UNCLEAN,
        "not as it should be. doctor: a problem, though a quorum votes.\n\
         inspect, leader: there is none. break, init, nodes: answered\n\
         with no. bench, chaos, demo, init, nodes: not all went well.\n\
         members: a change of the nodes is under way",
    ),
    (Exit::INCONCLUSIVE, "chaos: nothing is wrong, but not all was tested"),
    (Exit::USAGE, "wrong usage, or no nodes given"),
    (Exit::NO_QUORUM, "no quorum: too few nodes answered, or too slowly"),
    (Exit::INTERNAL, "a bug of redlock; please report it"),
    (Exit::SYSTEM, "the operating system refused something"),
    (Exit::LOCK_LOST, "run: the lock was lost while the command ran, which was ended"),
    (
        Exit::CONTENDED,
        "another owner holds the lock; try again later.\n\
         run: or the code of --conflict-exit-code",
    ),
    (
        Exit::CONFIGURATION,
        "a setting, key or node URL cannot be used.\n\
         run, elect: other clients use other nodes or another quorum",
    ),
    (Exit::NOT_EXECUTABLE, "run, elect: the command was found but cannot be executed"),
    (Exit::NOT_FOUND, "run, elect: the command was not found"),
];

/// The table of exit codes as `--help` prints it.
pub(crate) fn table() -> String {
    let mut table = String::from("Exit codes:\n");
    for (Exit(code), meaning) in MEANINGS {
        let meaning = meaning.replace('\n', &format!("\n{:9}", ""));
        let _ = writeln!(table, "  {code:>5}  {meaning}");
    }
    table.push_str("  128+n  ended by signal n\n  other  run, elect: the command's own exit code");
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_s_end_is_reported_as_by_a_shell() {
        // The status of wait(2): the code in the second byte, the signal in the low seven bits.
        let table = [(0, 0), (3 << 8, 3), (255 << 8, 255), (9, 137), (15, 143), (2 | 0x80, 130)];
        for (raw, expected) in table {
            assert_eq!(Exit::of_command(ExitStatus::from_raw(raw)), Exit(expected), "{raw:#x}");
        }
        assert_eq!(Exit::by_signal(Signal::INT), Exit(130));
    }

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(MEANINGS.is_sorted_by_key(|(exit, _)| exit.0));
        assert!(table().contains("   75  another owner"));
    }
}
