//! Which nodes: the same options for every subcommand that connects.

use std::env::{self, VarError};

use crate::failure::Failure;

/// Names the nodes where `--node` does not.
const VARIABLE: &str = "REDLOCK_NODES";

/// The environment, as `--help` explains it.
pub(crate) const ENVIRONMENT: &str = "\
Environment:
  REDLOCK_NODES  the masters, comma-separated, where no --node is given. Every client of a lock
                 must name the same ones. A comma in a password is written %2C.";

/// The nodes to connect to. Has no `Debug`: URLs hold passwords.
#[derive(clap::Args)]
pub(crate) struct NodeArgs {
    #[arg(
        long = "node",
        value_name = "URL",
        help = "A master, as redis://[user:password@]host[:port][/db]; once for each [default: REDLOCK_NODES]"
    )]
    given: Vec<String>,
}

impl NodeArgs {
    /// The URLs, unchecked but for their presence.
    pub(crate) fn urls(self) -> Result<Vec<String>, Failure> {
        choose(self.given, env::var(VARIABLE))
    }
}

fn choose(given: Vec<String>, variable: Result<String, VarError>) -> Result<Vec<String>, Failure> {
    if !given.is_empty() {
        return Ok(given);
    }
    match variable {
        Ok(list) if !list.trim().is_empty() => Ok(list.split(',').map(|url| url.trim().to_owned()).collect()),
        Ok(_) | Err(VarError::NotPresent) => Err(Failure::Usage(
            "no nodes given: repeat --node URL for each master, or set REDLOCK_NODES to a comma-separated list of \
             URLs; `redlock dev` starts local ones to try",
        )),
        Err(VarError::NotUnicode(_)) => {
            Err(Failure::Usage("REDLOCK_NODES is not UTF-8: percent-encode such bytes in its URLs"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_before_the_environment() {
        let variable = || Ok("redis://a, redis://b".to_owned());
        assert_eq!(choose(vec!["redis://c".into()], variable()).unwrap(), ["redis://c"]);
        assert_eq!(choose(Vec::new(), variable()).unwrap(), ["redis://a", "redis://b"]);
    }

    #[test]
    fn without_nodes_both_ways_are_named() {
        for variable in [Ok(String::new()), Ok(" ".into()), Err(VarError::NotPresent)] {
            let text = choose(Vec::new(), variable).unwrap_err().to_string();
            for way in ["--node URL", "REDLOCK_NODES", "redlock dev"] {
                assert!(text.contains(way), "{text}");
            }
        }
    }

    #[test]
    fn an_empty_place_in_the_list_is_not_skipped() {
        assert_eq!(choose(Vec::new(), Ok("redis://a,".into())).unwrap(), ["redis://a", ""]);
    }
}
