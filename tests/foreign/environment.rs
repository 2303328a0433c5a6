//! The Python environment of the foreign clients, made once and then reused.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

/// The value `required` makes a missing Python or registry a failure.
const REQUIRED: &str = "FOREIGN_CLIENTS";

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/requirements.txt");

/// The oldest Python for the pinned redis-py, and for `match` in client.py.
const OLDEST_PYTHON: &str = "import sys; sys.exit(sys.version_info < (3, 10))";

const LIBRARIES: &str = "import pottery, redlock";

/// Appear in pip's output if the registry did not answer, or does not have the package at all. A missing version or
/// another hash than the pinned one reads differently, and is a failure.
const REGISTRY_MISSING: [&str; 2] = ["(from versions: none)", "ConnectionPool(host="];

/// The interpreter; `None` if the foreign clients are not available, with the reason printed.
///
/// # Panics
///
/// If the clients are required, or the environment cannot be made for any other reason.
pub(crate) fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| match (prepare(), is_required()) {
        (Ok(python), _) => Some(python),
        (Err(missing), true) => panic!("the foreign clients are required, but {missing}"),
        (Err(missing), false) => {
            say(&format!("SKIPPED: no contention with foreign clients, for {missing}"));
            None
        }
    });
    python.as_deref()
}

#[expect(clippy::explicit_write, reason = "what is printed by macros is shown of failed tests only")]
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").unwrap();
}

fn is_required() -> bool {
    match env::var(REQUIRED).as_deref() {
        Ok("required") => true,
        Ok("") | Err(env::VarError::NotPresent) => false,
        other => panic!("{REQUIRED} is `required` or not set, not {other:?}"),
    }
}

/// Prepares the environment. The error says what is missing.
fn prepare() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = target.join("foreign-clients");
    let python = directory.join("bin/python");
    let installed = directory.join("requirements.txt");
    let required = fs::read_to_string(REQUIREMENTS).unwrap();

    // The lock makes test processes that start at once wait for the first. The lock ends with the file's handle.
    let turn = File::create(target.join("foreign-clients.lock")).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    let is_complete = fs::read_to_string(&installed).is_ok_and(|installed| installed == required);
    // A complete environment may still not run, because it refers to the Python that made it.
    if is_complete
        && Command::new(&python).args(["-c", LIBRARIES]).output().is_ok_and(|ran| ran.status.success())
    {
        return Ok(python);
    }
    make(&directory, &python)?;
    fs::write(installed, required).unwrap();
    Ok(python)
}

fn make(directory: &Path, python: &Path) -> Result<(), String> {
    let old_enough = Command::new("python3").args(["-c", OLDEST_PYTHON]).output();
    if !old_enough.is_ok_and(|ran| ran.status.success()) {
        return Err("there is no python3 of 3.10 or newer".to_owned());
    }
    // Replaces an environment that is incomplete or belongs to another Python.
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory).output().unwrap();
    if !made.status.success() {
        // Some distributions have `venv` in a package of its own.
        return Err(format!("`python3 -m venv` does not work here: {}", text(&made)));
    }
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--retries",
        "2",
    ]);
    let ran = pip.args(["--require-hashes", "--requirement", REQUIREMENTS]).output().unwrap();
    if !ran.status.success() {
        let said = text(&ran);
        assert!(REGISTRY_MISSING.iter().any(|sign| said.contains(sign)), "pip: {said}");
        let error = said.lines().find(|line| line.starts_with("ERROR:")).unwrap_or(&said);
        return Err(format!("the registry of Python packages does not answer; pip says {error:?}"));
    }
    let ran = Command::new(python).args(["-c", LIBRARIES]).output().unwrap();
    assert!(ran.status.success(), "the libraries do not work: {}", text(&ran));
    Ok(())
}

fn text(output: &Output) -> String {
    let Output { status, stdout, stderr } = output;
    format!("{status}\n{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
}
