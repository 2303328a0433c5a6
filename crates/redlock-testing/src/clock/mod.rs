//! Wall clocks of local servers that can be stepped and run at a wrong rate, by a small preloaded library.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};

use super::error::ClusterError;
use super::nemesis::ClockStep;

const SOURCE: &str = include_str!("shim.c");
/// The environment variable that names the clock file to the preloaded library.
const VARIABLE: &str = "REDLOCK_CLOCK";
/// The compiler on every Unix; `CC` may name another one.
const COMPILER: &str = "cc";
/// The slowest rate: a clock that runs much slower would go backwards.
const PPM_MIN: i32 = -900_000;

/// The clock that the servers of a cluster read.
#[derive(Debug)]
pub(super) enum Clocks {
    Machine,
    Adjustable { library: PathBuf },
}

impl Clocks {
    /// Compiles the library into `directory`.
    ///
    /// # Errors
    ///
    /// [`ClusterError::ClocksNotAdjustable`] with the reason.
    pub(super) fn adjustable(directory: &Path) -> Result<Self, ClusterError> {
        if !cfg!(target_os = "linux") {
            return Err(not_adjustable("only Linux loads a library before a server in this way"));
        }
        Self::compiled(directory, &std::env::var_os("CC").unwrap_or_else(|| COMPILER.into()))
    }

    fn compiled(directory: &Path, compiler: &OsStr) -> Result<Self, ClusterError> {
        let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
        fs::write(&source, SOURCE).map_err(|error| system("write", &source, error))?;
        let compiled = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| not_adjustable(&format!("{} cannot be run: {error}", compiler.display())))?;
        if !compiled.status.success() {
            let said = String::from_utf8_lossy(&compiled.stderr);
            return Err(not_adjustable(&format!("{} failed: {}", compiler.display(), said.trim())));
        }
        Ok(Self::Adjustable { library })
    }

    /// Whether a running server has loaded the library.
    pub(super) fn are_loaded_by(&self, pid: u32) -> bool {
        match self {
            Self::Machine => false,
            Self::Adjustable { library } => {
                let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
                maps.contains(&*library.to_string_lossy())
            }
        }
    }

    /// Makes a server that is about to start read its own clock.
    pub(super) fn lend(&self, server: &mut Command, clock: &Clock) {
        match self {
            Self::Machine => {}
            Self::Adjustable { library } => {
                server.env("LD_PRELOAD", library).env(VARIABLE, &clock.path);
            }
        }
    }
}

/// The clock of one server; equal to the machine's until it is changed. The clock advances while the server is down.
#[derive(Debug)]
pub(super) struct Clock {
    path: PathBuf,
    record: Mutex<Record>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Record {
    /// Which of the two records in the file this is.
    place: u8,
    offset_micros: i64,
    ppm: i32,
    since_micros: i64,
}

impl Clock {
    pub(super) fn new(directory: &Path) -> Result<Self, ClusterError> {
        let clock = Self { path: directory.join("clock"), record: Mutex::default() };
        fs::write(&clock.path, [0; 7 * 8]).map_err(|error| system("write", &clock.path, error))?;
        Ok(clock)
    }

    pub(super) fn step(&self, step: ClockStep) -> Result<(), ClusterError> {
        let (by, sign) = match step {
            ClockStep::Forward(by) => (by, 1),
            ClockStep::Backward(by) => (by, -1),
        };
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX / 2).min(i64::MAX / 2);
        self.change(|record| record.offset_micros = record.offset_micros.saturating_add(sign * micros))
    }

    /// Changes the rate. The time that the clock has gained so far remains.
    pub(super) fn set_rate(&self, ppm: i32) -> Result<(), ClusterError> {
        let now = machine_micros();
        self.change(|record| {
            let gained = (now - record.since_micros) / 1000 * i64::from(record.ppm) / 1000;
            record.offset_micros = record.offset_micros.saturating_add(gained);
            record.ppm = ppm.max(PPM_MIN);
            record.since_micros = now;
        })
    }

    fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), ClusterError> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut record);
        record.place ^= 1;
        write(&self.path, *record).map_err(|error| system("write", &self.path, error))
    }
}

fn write(path: &Path, record: Record) -> io::Result<()> {
    let Record { place, offset_micros, ppm, since_micros } = record;
    let file = File::options().write(true).open(path)?;
    let values = [offset_micros, i64::from(ppm), since_micros].map(i64::to_ne_bytes).concat();
    file.write_all_at(&values, 8 + 24 * u64::from(place))?;
    file.write_all_at(&i64::from(place).to_ne_bytes(), 0)
}

fn machine_micros() -> i64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

fn not_adjustable(reason: &str) -> ClusterError {
    ClusterError::ClocksNotAdjustable { reason: reason.to_owned() }
}

fn system(action: &'static str, path: &Path, source: io::Error) -> ClusterError {
    ClusterError::System { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_compiler_the_reason_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let table = [("/nonexistent/cc", "/nonexistent/cc cannot be run"), ("false", "false failed")];
        for (compiler, reason) in table {
            let error = Clocks::compiled(directory.path(), OsStr::new(compiler)).unwrap_err();
            assert!(matches!(&error, ClusterError::ClocksNotAdjustable { .. }), "{error}");
            assert!(error.to_string().contains(reason) && error.to_string().contains("install"), "{error}");
        }
    }
}
