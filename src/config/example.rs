//! The text of `redlock.example.toml`, generated from the table of settings.

use std::fmt::Write as _;

use super::table::{GROUPS, Setting};

const HEAD: &str = "\
# Every setting of redlock-quorum. What is commented out shows the default, or an example where there is no plain one.
#
# Durations have a unit: 250ms, 10s, 1m30s, 24h, 7d. Each setting is an environment variable, too: REDLOCK_ and its
# name in capitals, as REDLOCK_TTL=5s and REDLOCK_RETRY__FIRST=1ms. Later ones win: this file, the environment, flags.
#
# `redlock config check FILE` finds mistakes, `redlock config show` tells what the settings mean together.
";

const NODE_TABLES: &str = r#"
# A node that needs more than a URL is a table. These stand at the end of a file, instead of the list at its beginning:
#
# [[nodes]]
# url = "redis://10.0.0.1:6379/0"             # must be given; [user:password@] may be in it; rediss:// for TLS;
#                                             # redis+sentinel://host,host,host/service for a master by its sentinels
# name = "a"                                  # what messages call it; 1 to 64 bytes; default: host and port
# username = "locks"                          # default: the `username` above
# password = "..."                            # or password_file, or password_env; default: the one above
# sentinel_username = "watcher"               # for its sentinels, as sentinel_password, ..._file, ..._env
# tls_ca_file = "ca.pem"                      # this, tls_cert_file, tls_key_file, tls_server_name; default: those above
"#;

impl Setting {
    /// The text of `redlock.example.toml`: a settings file with all settings and their descriptions.
    #[must_use]
    pub fn example_file() -> String {
        let mut text = HEAD.to_owned();
        for group in &GROUPS {
            let _ = write!(text, "\n# ---- {} {}\n", group.title, "-".repeat(110 - group.title.len()));
            let mut table = "";
            for setting in group.settings {
                let name = match setting.name().split_once('.') {
                    Some((inside, name)) => {
                        if table != inside {
                            let _ = write!(text, "\n[{inside}]\n");
                            table = inside;
                        }
                        name
                    }
                    None => setting.name(),
                };
                let _ = write!(text, "\n{}", entry(setting, name));
            }
        }
        text.push_str(NODE_TABLES);
        text
    }
}

fn entry(setting: &Setting, name: &str) -> String {
    let comment = if setting.name() == "nodes" { "" } else { "# " };
    let mut entry = String::new();
    let _ = writeln!(entry, "# {}", setting.what());
    let _ = writeln!(entry, "#   default: {}", setting.default_text());
    let _ = writeln!(entry, "#   unit:    {}", setting.unit());
    let _ = writeln!(entry, "#   range:   {}", setting.bounds());
    let _ = writeln!(entry, "#   change:  {}", setting.why());
    let _ = writeln!(entry, "{comment}{name} = {}", setting.example());
    entry
}
