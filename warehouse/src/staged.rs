//! A folder of files that is there as a whole or not at all: written beside its place under another name, synced, then renamed.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::columnar::Digested;

/// Files could not be written: mend the folder, then repeat the command.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody's files lie there.
    #[error("{} is not empty and holds no {mark} of an earlier run; name another folder", path.display())]
    Taken {
        /// Which folder.
        path: PathBuf,
        /// What would show that it is ours.
        mark: &'static str,
    },
    /// The file system.
    #[error("could not write {}", path.display())]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A column has no such form: a bug.
    #[error("could not write rows to {}", path.display())]
    Encode {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },
}

/// A folder under way. Dropped before it is finished, it leaves nothing.
pub struct Staged {
    target: PathBuf,
    staging: PathBuf,
    finished: bool,
}

/// A file of such a folder.
pub type StagedFile = Digested<BufWriter<File>>;

impl Staged {
    /// Begins a folder that will stand at `target`, in whose place there may be nothing, an empty folder, or an earlier one that holds `mark`.
    pub fn begin(target: &Path, mark: &'static str) -> Result<Self, FolderError> {
        let target = std::path::absolute(target).map_err(|source| FolderError::Write { path: target.to_owned(), source })?;
        let filled = std::fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_some());
        if (filled && !target.join(mark).is_file()) || target.is_file() {
            return Err(FolderError::Taken { path: target, mark });
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        // The process's number keeps two that write the same folder apart: the last to finish wins, whole.
        let staging = target.with_file_name(format!(".{name}.partial-{}", std::process::id()));
        let failed = |source| FolderError::Write { path: staging.clone(), source };
        if staging.exists() {
            std::fs::remove_dir_all(&staging).map_err(failed)?;
        }
        std::fs::create_dir_all(&staging).map_err(failed)?;
        Ok(Self { target, staging, finished: false })
    }

    /// A new file, by its path within the folder.
    pub fn create(&self, name: &str) -> Result<StagedFile, FolderError> {
        let path = self.staging.join(name);
        let failed = |source| FolderError::Write { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        Ok(Digested::new(BufWriter::new(File::create(&path).map_err(failed)?)))
    }

    /// Syncs a file; its size in bytes and its SHA-256.
    pub fn close(&self, name: &str, file: StagedFile) -> Result<(u64, String), FolderError> {
        let failed = |source| FolderError::Write { path: self.staging.join(name), source };
        let (buffer, bytes, digest) = file.end();
        let file = buffer.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok((bytes, digest))
    }

    /// A refused row of a file.
    pub fn encoding<'a>(&'a self, name: &'a str) -> impl Fn(parquet::errors::ParquetError) -> FolderError + 'a {
        move |source| FolderError::Encode { path: self.target.join(name), source }
    }

    /// Writes a small file whole.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let mut file = self.create(name)?;
        let failed = |source| FolderError::Write { path: self.staging.join(name), source };
        std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
        self.close(name, file).map(|_| ())
    }

    /// Puts the folder in its place; what stood there is removed once the new one does.
    pub fn finish(mut self) -> Result<(), FolderError> {
        let failed = |source| FolderError::Write { path: self.target.clone(), source };
        let old = self.staging.with_extension("old");
        if self.target.exists() {
            std::fs::rename(&self.target, &old).map_err(failed)?;
        }
        std::fs::rename(&self.staging, &self.target).map_err(failed)?;
        self.finished = true;
        if old.exists() {
            std::fs::remove_dir_all(&old).map_err(failed)?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.finished {
            let _left = std::fs::remove_dir_all(&self.staging);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_not_finished_is_not_there() -> Result<(), FolderError> {
        let place = std::env::temp_dir().join(format!("wardstream-staged-{}", std::process::id()));
        let target = place.join("set");
        let staged = Staged::begin(&target, "mark")?;
        staged.put("part", b"half")?;
        drop(staged);
        assert_eq!(std::fs::read_dir(&place).expect("was made").count(), 0);
        let staged = Staged::begin(&target, "mark")?;
        staged.put("mark", b"whole")?;
        staged.finish()?;
        // The same again takes its place; what is not ours is left alone.
        let staged = Staged::begin(&target, "mark")?;
        staged.put("other", b"")?;
        staged.finish()?;
        assert!(target.join("other").exists() && !target.join("mark").exists());
        assert!(matches!(Staged::begin(&target, "mark"), Err(FolderError::Taken { .. })));
        std::fs::remove_dir_all(&place).expect("was made");
        Ok(())
    }
}
