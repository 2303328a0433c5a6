//! The first program of the command's process: asks the kernel to kill the process when its parent dies, and becomes
//! the command.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, getppid};

use super::system::{die_with_parent, is_peer, socket_address};
use crate::exit::Exit;
use crate::failure::Failure;

/// A limit on reading, which should not block, because the line is written right after the connection is made.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// The options of the program that the guardian starts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The socket for the error of a command that cannot be executed.
    #[arg(long)]
    socket: String,
    /// The process whose death kills the command.
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Does not return if the command can be executed.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    let Args { socket, parent, command } = args;
    die_with_parent()
        .map_err(|source| Failure::System { action: "be told of the end of its parent", source })?;
    if getppid() != Pid::from_raw(parent) {
        // The parent died before the kernel was asked.
        return Ok(Exit::INTERNAL);
    }
    let Some((program, arguments)) = command.split_first() else { return Ok(Exit::INTERNAL) };
    let error = Command::new(program).args(arguments).exec();
    // Nobody listens if `redlock run` has died.
    let _ = tell(&socket, &error);
    Ok(Failure::Command { program: program.clone(), source: error }.exit())
}

fn tell(socket: &str, error: &io::Error) -> io::Result<()> {
    let number = error.raw_os_error().unwrap_or_default();
    UnixStream::connect_addr(&socket_address(socket)?)?.write_all(number.to_string().as_bytes())
}

/// The error if the command could not be executed; `None` if the process has ended for another reason.
pub(super) fn failure(listener: &UnixListener) -> Option<io::Error> {
    while let Ok((mut stream, _)) = listener.accept() {
        if !is_peer(&stream, None) {
            continue;
        }
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_read_timeout(Some(READ_LIMIT));
        let mut number = String::new();
        let _ = stream.read_to_string(&mut number);
        if let Ok(number) = number.parse::<i32>() {
            return Some(io::Error::from_raw_os_error(number));
        }
    }
    None
}
