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

/// Bytes that one look at a page may bring along on either side: the system maps a whole piece of its cache at once, of 2 MB at most.
const BROUGHT_ALONG: usize = 1 << 21;

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

    /// Gives the pages of a range back to the system, which reads them again should anybody look, and with them those that came along: of rows
    /// that end within a page, the next ones bring back what lies before them. Without it a model that is being packed stands twice in memory.
    /// Where the system refuses, nothing changes.
    pub fn release(&self, range: Range<usize>) {
        if range.start < range.end && range.end <= self.map.len() {
            let start = range.start.saturating_sub(BROUGHT_ALONG);
            let end = range.end.saturating_add(BROUGHT_ALONG).min(self.map.len());
            #[expect(unsafe_code, reason = "giving pages back is unsafe for maps that were written to; this one never is")]
            // SAFETY: the mapping is read-only and backed by the file, so a page given back holds the same bytes when it is next read.
            let _refused = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
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

    /// Kilobytes of a mapped file that are resident.
    #[cfg(target_os = "linux")]
    fn resident(file: &Path) -> std::io::Result<u64> {
        let said = std::fs::read_to_string("/proc/self/smaps")?;
        let name = file.display().to_string();
        let told = said.lines().skip_while(|line| !line.ends_with(&name)).find_map(|line| line.strip_prefix("Rss:"));
        let kilobytes = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
        kilobytes.ok_or_else(|| Error::other("the mapping is not told of"))
    }

    /// As weights are packed: some rows after the others, which end within a page.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_was_read_in_pieces_is_not_resident() -> std::io::Result<()> {
        use std::io::Write as _;
        const ROWS: usize = 18_432;
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("numbers");
        let mut written = File::create(&file)?;
        // As large pieces as a copy writes, which the system keeps and maps as pieces, too.
        for _ in 0..16 {
            written.write_all(&vec![7; 1 << 20])?;
        }
        let mapping = Mapping::open(&file)?;
        assert!(mapping.bytes().iter().all(|byte| *byte == 7));
        assert!(resident(&file)? > 1 << 13, "all of it was looked at");
        mapping.release(0..mapping.bytes().len());
        for (index, rows) in mapping.bytes().chunks(ROWS).enumerate() {
            assert!(rows.iter().all(|byte| *byte == 7));
            mapping.release(index * ROWS..index * ROWS + rows.len());
        }
        let left = resident(&file)?;
        assert!(left < 1 << 12, "{left} kB are resident");
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
