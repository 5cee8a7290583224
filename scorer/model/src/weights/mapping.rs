//! A file seen through the system's page cache: the one place of loading with `unsafe`.
//!
//! Nothing is read before it is looked at, and what was looked at can be given back. Bytes are only ever taken as bytes, whatever they
//! are. A file that another process cuts while it is mapped ends this process with SIGBUS, as it does every program that maps files;
//! models are replaced by renaming, never in place.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Mapping {
    file: PathBuf,
    map: Mmap,
}

impl Mapping {
    /// Maps a regular file.
    pub fn open(file: &Path) -> std::io::Result<Self> {
        // Asked before it is opened, for a pipe would wait for its other end.
        if !std::fs::metadata(file)?.is_file() {
            return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        let opened = File::open(file)?;
        #[expect(unsafe_code, reason = "memmap2 cannot know that nobody cuts the file")]
        // SAFETY: the mapping is read-only and owned by this value; its bytes are read as `u8`, for which every value is valid. A change
        // of the file by somebody else changes numbers and breaks no invariant of ours; the digest of the version would not be met.
        let map = unsafe { Mmap::map(&opened)? };
        Ok(Self { file: file.to_owned(), map })
    }

    /// Which file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Gives the pages of a range back to the system, which reads them again should anybody look. Without it a model that is being packed
    /// stands twice in memory. Where the system refuses, nothing changes.
    pub fn release(&self, range: Range<usize>) {
        if range.start < range.end && range.end <= self.map.len() {
            #[expect(unsafe_code, reason = "giving pages back is unsafe for maps that were written to; this one never is")]
            // SAFETY: the mapping is read-only and backed by the file, so a page given back holds the same bytes when it is next read.
            let _refused = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_read_again() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("numbers");
        let bytes: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
        std::fs::write(&file, &bytes)?;
        let mapping = Mapping::open(&file)?;
        assert_eq!(mapping.bytes(), bytes);
        for range in [0..100_000, 5_000..5_001, 99_999..100_000, 0..0, 99_999..200_000] {
            mapping.release(range);
            assert_eq!(mapping.bytes(), bytes);
        }
        Ok(())
    }

    #[test]
    fn a_folder_is_no_file_and_an_empty_file_is_empty() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(Mapping::open(dir.path()).is_err());
        std::fs::write(dir.path().join("empty"), b"")?;
        assert_eq!(Mapping::open(&dir.path().join("empty"))?.bytes(), b"");
        Ok(())
    }
}
