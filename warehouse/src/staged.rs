//! A folder of files that is there as a whole or not at all: written beside its place under another name, synced, then renamed.

mod left;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::columnar::Digested;
use crate::{claimed, durable};

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
    /// What says that somebody is at it, for as long as this lives.
    _held: Option<File>,
    finished: bool,
}

/// A file of such a folder.
pub type StagedFile = Digested<BufWriter<File>>;

impl Staged {
    /// Begins a folder that will stand at `target`, in whose place there may be nothing, an empty folder, or an earlier one that holds `mark`.
    /// What an earlier one left that was killed is removed.
    pub fn begin(target: &Path, mark: &'static str) -> Result<Self, FolderError> {
        let target = std::path::absolute(target).map_err(|source| FolderError::Write { path: target.to_owned(), source })?;
        let failed = |source| FolderError::Write { path: target.clone(), source };
        left::clear(&target, mark).map_err(failed)?;
        let filled = std::fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_some());
        if (filled && !target.join(mark).is_file()) || target.is_file() {
            return Err(FolderError::Taken { path: target, mark });
        }
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let (staging, held) = left::claim(&target).map_err(failed)?;
        Ok(Self { target, staging, _held: held, finished: false })
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

    /// Puts the folder in its place; what stood there is removed once the new one does. Of two that write the same, the last to finish wins, whole.
    pub fn finish(mut self) -> Result<(), FolderError> {
        let old = left::beside(&self.target, "old");
        let placed = self.place(&old).map_err(|source| FolderError::Write { path: self.target.clone(), source })?;
        self.finished = true;
        if !placed {
            return Ok(());
        }
        match std::fs::remove_dir_all(&old) {
            // Somebody who has begun meanwhile has removed it.
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| FolderError::Write { path: old, source }),
        }
    }

    /// Puts the folder in its place; whether an earlier one has made room for it, which is now `old`.
    fn place(&self, old: &Path) -> io::Result<bool> {
        durable::sync_all_names(&self.staging)?;
        let earlier = self.target.exists();
        // Whoever begins meanwhile must not take the earlier one for left.
        let _held = earlier.then(|| claimed::hold(&self.target));
        if earlier {
            std::fs::rename(&self.target, old)?;
        }
        if let Err(error) = std::fs::rename(&self.staging, &self.target) {
            if earlier {
                std::fs::rename(old, &self.target)?;
            }
            return Err(error);
        }
        self.target.parent().map_or(Ok(()), durable::sync)?;
        Ok(earlier)
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

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("was made");
        let mut names: Vec<String> = entries.map(|entry| entry.expect("can be read").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A folder with one file.
    fn made(folder: &Path, file: &str) {
        std::fs::create_dir_all(folder).expect("can be made");
        std::fs::write(folder.join(file), "text of a note").expect("can be written");
    }

    #[test]
    fn a_folder_that_was_not_finished_is_not_there() -> Result<(), FolderError> {
        let place = tempfile::tempdir().expect("room");
        let target = place.path().join("set");
        let staged = Staged::begin(&target, "mark")?;
        staged.put("part", b"half")?;
        drop(staged);
        assert!(names(place.path()).is_empty());
        let staged = Staged::begin(&target, "mark")?;
        staged.put("mark", b"whole")?;
        staged.finish()?;
        // The same again takes its place; what is not ours is left alone.
        let staged = Staged::begin(&target, "mark")?;
        staged.put("other", b"")?;
        staged.finish()?;
        assert!(target.join("other").exists() && !target.join("mark").exists());
        assert!(matches!(Staged::begin(&target, "mark"), Err(FolderError::Taken { .. })));
        assert_eq!(names(place.path()), ["set"]);
        Ok(())
    }

    #[test]
    fn what_a_killed_export_left_is_gone_when_the_next_begins() -> Result<(), FolderError> {
        let place = tempfile::tempdir().expect("room");
        let target = place.path().join("set");
        // Killed after it took the place of the earlier one, and before the earlier one was gone; and others while they wrote.
        made(&target, "mark");
        made(&place.path().join(".set.old"), "mark");
        made(&place.path().join(".set.partial-1"), "part");
        made(&place.path().join(".set.partial-7-0/data"), "part");
        made(&place.path().join(".other.partial-1"), "part");
        let staged = Staged::begin(&target, "mark")?;
        staged.put("mark", b"whole")?;
        assert_eq!(names(place.path()).iter().filter(|name| name.contains("set.partial")).count(), 1, "{:?}", names(place.path()));
        staged.finish()?;
        assert_eq!(names(place.path()), [".other.partial-1", "set"]);
        assert_eq!(std::fs::read(target.join("mark")).expect("is there"), b"whole");
        Ok(())
    }

    #[test]
    fn the_earlier_folder_stands_again_where_none_took_its_place() -> Result<(), FolderError> {
        let place = tempfile::tempdir().expect("room");
        let target = place.path().join("set");
        made(&place.path().join(".set.old"), "mark");
        drop(Staged::begin(&target, "mark")?);
        assert_eq!(names(place.path()), ["set"]);
        assert!(target.join("mark").exists());
        Ok(())
    }

    #[test]
    fn what_somebody_is_still_writing_is_left_alone() -> Result<(), FolderError> {
        let place = tempfile::tempdir().expect("room");
        let target = place.path().join("set");
        let first = Staged::begin(&target, "mark")?;
        first.put("data/part", b"first")?;
        let second = Staged::begin(&target, "mark")?;
        second.put("mark", b"second")?;
        second.finish()?;
        first.put("mark", b"first")?;
        first.finish()?;
        assert_eq!(std::fs::read(target.join("data/part")).expect("is there"), b"first");
        assert_eq!(names(place.path()), ["set"]);
        Ok(())
    }
}
