//! Files that settings name, read with a bound.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// # Errors
///
/// What the operating system says, or that it is too long.
pub(super) fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    // Instead of its size: a pipe has none.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("longer than {bytes_max} bytes"));
    }
    Ok(bytes)
}

/// # Errors
///
/// As [`read_bytes`], or that it is not UTF-8.
#[cfg(feature = "config")]
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    String::from_utf8(read_bytes(path, bytes_max)?).map_err(|_| "not UTF-8".to_owned())
}
