//! Cleans up after a test process that ended without running its destructors.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::error::ClusterError;

/// Reads which process groups start and end, until the pipe closes, which happens however the writer ends. Then kills
/// the groups that are left and removes the directory. The second `rm` is for files that a killed process had open.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=
while read -r event group; do
    case $event in
        started) groups="$groups $group" ;;
        ended)
            left=
            for one in $groups; do [ "$one" = "$group" ] || left="$left $one"; done
            groups=$left
            ;;
    esac
done
for one in $groups; do kill -9 "-$one"; done
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"#;

/// A small shell process. When this process is killed, aborted or interrupted, the shell outlives it, ends the servers
/// and removes their directory. In all other cases, `Drop` of the cluster does the same.
#[derive(Debug)]
pub(super) struct Reaper {
    shell: Child,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Reaper {
    pub(super) fn start(directory: &Path) -> Result<Self, ClusterError> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "redlock-reaper"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(|source| ClusterError::System { action: "run", path: "/bin/sh".into(), source })?;
        let pipe = Mutex::new(shell.stdin.take());
        Ok(Self { shell, pipe })
    }

    pub(super) fn started(&self, group: u32) {
        self.tell("started", group);
    }

    pub(super) fn ended(&self, group: u32) {
        self.tell("ended", group);
    }

    fn tell(&self, event: &str, group: u32) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = pipe.as_mut() {
            // An error is ignored: a test must not fail because the reaper has ended, and `Drop` still cleans up.
            let _ = writeln!(pipe, "{event} {group}");
        }
    }
}

impl Drop for Reaper {
    /// Closes the pipe and waits for the shell, which at most removes an empty directory.
    fn drop(&mut self) {
        *self.pipe.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.shell.wait();
    }
}
