//! Files that settings name. Each is read with a limit on its size, and read again for every connection.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::SettingsError;
#[cfg(feature = "config")]
use crate::types::Secret;

/// Largest password file in bytes. A larger file is not a password file.
#[cfg(feature = "config")]
const SECRET_BYTES_MAX: u64 = 4096;

/// # Errors
///
/// Returns the error of the operating system, or that the file is too long.
pub(super) fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    // The limit is on what is read, because a pipe has no size to check.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("longer than {bytes_max} bytes"));
    }
    Ok(bytes)
}

/// # Errors
///
/// As [`read_bytes`], or that the file is not UTF-8.
#[cfg(feature = "config")]
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    String::from_utf8(read_bytes(path, bytes_max)?).map_err(|_| "not UTF-8".to_owned())
}

/// A file whose content may change. The file has been read once, so that it is known to be readable.
#[derive(Clone)]
pub(crate) struct Rereadable {
    setting: &'static str,
    /// The path as given.
    shown: String,
    path: PathBuf,
    bytes_max: u64,
    /// The content of what can be read only once, such as a pipe.
    kept: Option<Vec<u8>>,
}

impl Rereadable {
    /// Opens the file and also returns its present content.
    ///
    /// # Errors
    ///
    /// [`SettingsError::File`] when the file cannot be read.
    pub(super) fn open(
        setting: &'static str,
        shown: String,
        path: &Path,
        bytes_max: u64,
    ) -> Result<(Self, Vec<u8>), SettingsError> {
        let mut this = Self { setting, shown, path: path.to_owned(), bytes_max, kept: None };
        let bytes = read_bytes(path, bytes_max).map_err(|problem| this.wrong(&problem))?;
        // The working directory may have changed by the next read.
        this.path = std::path::absolute(path).map_err(|error| this.wrong(&error.to_string()))?;
        if !is_regular(path).map_err(|problem| this.wrong(&problem))? {
            this.kept = Some(bytes.clone());
        }
        Ok((this, bytes))
    }

    /// The present content of the file. Blocks.
    pub(super) fn read(&self) -> Result<Vec<u8>, SettingsError> {
        if let Some(kept) = &self.kept {
            return Ok(kept.clone());
        }
        // Opening a pipe would wait for somebody to write to it.
        let is_regular = is_regular(&self.path).map_err(|problem| self.wrong(&problem))?;
        if !is_regular {
            return Err(self.wrong("not a file any more"));
        }
        read_bytes(&self.path, self.bytes_max).map_err(|problem| self.wrong(&problem))
    }

    /// Name of the setting, and the path as given.
    pub(crate) fn name(&self) -> (&'static str, &str) {
        (self.setting, &self.shown)
    }

    pub(super) fn wrong(&self, problem: &str) -> SettingsError {
        SettingsError::File { setting: self.setting, path: self.shown.clone(), problem: problem.to_owned() }
    }
}

impl fmt::Debug for Rereadable {
    /// Omits the content, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rereadable").field("path", &self.path).finish_non_exhaustive()
    }
}

fn is_regular(path: &Path) -> Result<bool, String> {
    std::fs::metadata(path).map(|metadata| metadata.is_file()).map_err(|error| error.to_string())
}

/// A file with a password in it.
#[cfg(feature = "config")]
#[derive(Clone, Debug)]
pub(crate) struct SecretFile(Rereadable);

#[cfg(feature = "config")]
impl SecretFile {
    /// # Errors
    ///
    /// [`SettingsError::File`] when the file cannot be read or is not UTF-8.
    pub(super) fn open(setting: &'static str, shown: &str, path: &Path) -> Result<Self, SettingsError> {
        let (file, bytes) = Rereadable::open(setting, shown.to_owned(), path, SECRET_BYTES_MAX)?;
        let this = Self(file);
        this.parse(bytes).map(|_| this)
    }

    /// The password in the file, without a line end behind it. Blocks.
    pub(crate) fn read(&self) -> Result<Secret, SettingsError> {
        self.0.read().and_then(|bytes| self.parse(bytes))
    }

    pub(crate) fn file(&self) -> &Rereadable {
        &self.0
    }

    fn parse(&self, bytes: Vec<u8>) -> Result<Secret, SettingsError> {
        let text = String::from_utf8(bytes).map_err(|_| self.0.wrong("not UTF-8"))?;
        let line =
            text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(Secret::new(line.to_owned()))
    }
}
