//! The options for nodes and settings, the same for every subcommand that connects.

use std::env;
use std::path::PathBuf;

use redlock_quorum::{Redlock, RedlockBuilder, Settings};

use crate::failure::Failure;

/// The environment variable that names the settings file where `--config` is absent.
const FILE_VARIABLE: &str = "REDLOCK_CONFIG";

/// The environment variables, as `--help` explains them.
pub(crate) const ENVIRONMENT: &str = "\
Settings, the later ones winning: the file, the environment, --node and --set, the other options.

Environment:
  REDLOCK_NODES   the masters, comma-separated; every client of a lock
                  must name the same ones
  REDLOCK_CONFIG  the settings file, where no --config is given
  REDLOCK_...     every other setting: its name in capitals, such as
                  REDLOCK_TTL=5s; retry.first is REDLOCK_RETRY__FIRST";

/// Sources of the settings. Has no `Debug`, because URLs hold passwords.
#[derive(Default, clap::Args)]
pub(crate) struct NodeArgs {
    #[arg(
        long = "node",
        value_name = "URL",
        help = "A master, as redis://[user:password@]host[:port][/db], rediss:// with TLS, or \
                redis+sentinel://host,host,host/service; once for each [default: REDLOCK_NODES]"
    )]
    nodes: Vec<String>,
    /// A settings file in TOML; `redlock config example` prints one with every setting.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, as `--set quorum=3`; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

pub(crate) fn assignment(text: &str) -> Result<(String, String), String> {
    let (setting, value) = text.split_once('=').ok_or("must be SETTING=VALUE, such as quorum=3")?;
    Ok((setting.trim().to_owned(), value.trim().to_owned()))
}

impl NodeArgs {
    /// The settings as given, not yet checked.
    pub(crate) fn builder(self) -> RedlockBuilder {
        self.over(Redlock::builder())
    }

    /// The settings as given, on top of those of `builder`.
    pub(crate) fn over(self, mut builder: RedlockBuilder) -> RedlockBuilder {
        let Self { nodes, config, set } = self;
        let file =
            config.or_else(|| env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(Into::into));
        if let Some(file) = file {
            builder = builder.file(file);
        }
        builder = builder.environment();
        if !nodes.is_empty() {
            builder = builder.flag("--node", "nodes", &nodes.join(","));
        }
        set.iter().fold(builder, |builder, (setting, value)| {
            builder.flag(&format!("--set {setting}"), setting, value)
        })
    }

    /// Replaces `--config` by `file`, if there is one.
    pub(crate) fn with_file(mut self, file: Option<PathBuf>) -> Self {
        self.config = file.or(self.config);
        self
    }
}

/// Checks the settings.
///
/// # Errors
///
/// All mistakes in the settings.
pub(crate) fn checked(builder: RedlockBuilder) -> Result<Settings, Failure> {
    builder.settings().map_err(Failure::Settings)
}
