//! The shared file: one number, read and written in place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Decimal digits of the largest number.
const WIDTH: usize = 20;

#[derive(Debug)]
pub(crate) struct Counter(File);

impl Counter {
    /// Creates a file that contains 0.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        let counter = Self(file);
        counter.write(0)?;
        Ok(counter)
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).open(path).map(Self)
    }

    pub(crate) fn read(&self) -> io::Result<u64> {
        let mut digits = [0; WIDTH];
        self.0.read_exact_at(&mut digits, 0)?;
        let text = String::from_utf8_lossy(&digits);
        text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} is no number")))
    }

    pub(crate) fn write(&self, value: u64) -> io::Result<()> {
        self.0.write_all_at(format!("{value:0WIDTH$}\n").as_bytes(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_another_handle_has_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counter");
        let (ours, theirs) = (Counter::create(&path).unwrap(), Counter::open(&path).unwrap());
        for value in [0, 9, 10, u64::MAX, 3] {
            ours.write(value).unwrap();
            assert_eq!(theirs.read().unwrap(), value);
        }
    }
}
