//! Differences between operating systems. On Linux all descendants of a command can be found; elsewhere only its
//! process group is known.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Pid;

use crate::dice::random_seed;
use crate::failure::Failure;

/// The name of a socket to which the guardian and the command's first program connect.
pub(super) fn socket_name() -> Result<String, Failure> {
    Ok(format!("redlock-run-{}-{:08x}", std::process::id(), random_seed()?))
}

/// The address of the named socket. On Linux the address is abstract, so that no file is left behind.
#[cfg(target_os = "linux")]
pub(super) fn socket_address(name: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn socket_address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(std::env::temp_dir().join(name))
}

pub(super) fn remove_socket(name: &str) {
    #[cfg(not(target_os = "linux"))]
    let _ = std::fs::remove_file(std::env::temp_dir().join(name));
    #[cfg(target_os = "linux")]
    let _ = name;
}

/// Whether the process at the other end belongs to our user and, where given, has this process id.
#[cfg(target_os = "linux")]
pub(super) fn is_peer(stream: &impl AsFd, pid: Option<Pid>) -> bool {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else { return false };
    peer.uid == rustix::process::geteuid() && pid.is_none_or(|pid| pid == peer.pid)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_peer(_: &impl AsFd, _: Option<Pid>) -> bool {
    true
}

/// This program, even if its file has been replaced meanwhile.
pub(super) fn this_program() -> io::Result<Command> {
    use std::os::unix::process::CommandExt as _;
    let path =
        if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { std::env::current_exe()? };
    let name = std::env::args_os().next().unwrap_or_else(|| OsString::from("redlock"));
    let mut command = Command::new(path);
    command.arg0(name);
    Ok(command)
}

/// From now on, orphans among our descendants become our children.
pub(super) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // Fails only on kernels before 3.4, where orphans outside the process group are then not found.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// From now on, and across the next `exec`, the end of our parent kills this process.
pub(super) fn die_with_parent() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// A process, as `/proc` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// The start time since boot. Together with the process id, the start time identifies one process for ever.
    pub(super) started: u64,
    pub(super) is_zombie: bool,
    pub(super) name: String,
}

/// All visible processes; none on systems without `/proc`.
pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

pub(super) fn process(pid: i32) -> Option<Process> {
    parse(&String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// Parses `/proc/PID/stat`. The name stands between the first and the last parenthesis, and may contain any character.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Process {
        pid: Pid::from_raw(pid.parse().ok()?)?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_what_separates_the_fields() {
        let fields = "S 7 8 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0";
        let process = parse(&format!("42 (a) (b Z 1 2) {fields}")).unwrap();
        assert_eq!((process.pid.as_raw_nonzero().get(), process.name.as_str()), (42, "a) (b Z 1 2"));
        assert_eq!((process.parent, process.group, process.started, process.is_zombie), (7, 8, 4711, false));
        assert!(parse("42 (gone) Z 7 8 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711").unwrap().is_zombie);
        assert_eq!(parse("42 (short) S 7"), None);
    }
}
