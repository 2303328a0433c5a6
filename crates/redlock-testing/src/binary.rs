//! Finds the server program.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::ClusterError;

/// The environment variable that names the server program, and takes precedence over `PATH`.
const VARIABLE: &str = "REDIS_SERVER";

/// The programs that are searched on the `PATH`, in this order.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// Finds the server: `REDIS_SERVER` if it is set, else the first of `redis-server` and `valkey-server` on `PATH`.
pub(super) fn find() -> Result<PathBuf, ClusterError> {
    let path = env::var_os("PATH").unwrap_or_default();
    match env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        Some(wanted) => resolve(Path::new(&wanted), &path)
            .ok_or_else(|| not_found(format!("{VARIABLE} names {}, which is no program", wanted.display()))),
        None => NAMES.iter().find_map(|name| resolve(Path::new(name), &path)).ok_or_else(|| {
            not_found(format!("{VARIABLE} is not set, and neither {} is on the PATH", NAMES.join(" nor ")))
        }),
    }
}

/// Finds the program that the caller named, by path or by a name on `PATH`.
pub(super) fn named(program: &Path) -> Result<PathBuf, ClusterError> {
    resolve(program, &env::var_os("PATH").unwrap_or_default())
        .ok_or_else(|| not_found(format!("{} is no program", program.display())))
}

/// The absolute path of a program, because servers are started in another directory.
fn resolve(program: &Path, path: &OsStr) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if program.components().count() > 1 {
        vec![program.to_path_buf()]
    } else {
        env::split_paths(path).map(|directory| directory.join(program)).collect()
    };
    let found = candidates.into_iter().find(|candidate| is_program(candidate))?;
    std::path::absolute(found).ok()
}

fn is_program(candidate: &Path) -> bool {
    candidate.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn not_found(looked_for: String) -> ClusterError {
    ClusterError::ServerNotFound { looked_for }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_on_the_path_and_a_path_is_taken_as_it_is() {
        let path = OsStr::new("/nonexistent:/bin");
        assert_eq!(resolve(Path::new("sh"), path), Some(PathBuf::from("/bin/sh")));
        assert_eq!(resolve(Path::new("/bin/sh"), OsStr::new("")), Some(PathBuf::from("/bin/sh")));
        assert_eq!(resolve(Path::new("sh"), OsStr::new("/nonexistent")), None);
    }

    #[test]
    fn a_directory_and_a_plain_file_are_no_programs() {
        assert_eq!(resolve(Path::new("/bin"), OsStr::new("")), None);
        assert_eq!(resolve(Path::new("/etc/passwd"), OsStr::new("")), None);
    }

    #[test]
    fn the_error_says_how_to_get_a_server() {
        let text = named(Path::new("/nonexistent/redis-server")).unwrap_err().to_string();
        for hint in ["/nonexistent/redis-server", "apt-get", "dnf", "brew", "make setup", "REDIS_SERVER"] {
            assert!(text.contains(hint), "{hint} is missing in: {text}");
        }
    }
}
