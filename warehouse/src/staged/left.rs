//! What exports left that were killed: folders half written, with texts of notes in them, and the earlier folder that had just made room.

use std::fs::{DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{claimed, durable};

/// A name beside the target that says what it is for.
pub fn beside(target: &Path, what: &str) -> PathBuf {
    target.with_file_name(format!(".{}.{what}", target.file_name().unwrap_or_default().to_string_lossy()))
}

/// A new folder in which the target is written, under a name that nobody else has, and what holds it. Where the file system knows no locks there is nothing
/// to hold, and nothing is ever taken for left.
pub fn claim(target: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let (staging, held) = claimed::claim(&DirBuilder::new(), |number| beside(target, &format!("partial-{number}")))?;
    Ok((staging, held.ok()))
}

/// Removes what was left beside the target. An earlier folder that had made room, and in whose place there is none, stands again.
///
/// # Errors
/// Where the earlier folder cannot be brought back or removed: no other could make room.
pub fn clear(target: &Path, mark: &str) -> io::Result<()> {
    let name = beside(target, "partial-");
    let (Some(folder), Some(name)) = (target.parent(), name.file_name()) else { return Ok(()) };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(&*name.to_string_lossy()) {
            continue;
        }
        if is_begun(&path)
            && let Err(error) = claimed::remove_left(&path)
        {
            tracing::warn!(folder = %path.display(), %error, "an export that was killed left this, and it cannot be removed");
        }
    }
    settle(target, &beside(target, "old"), mark)
}

/// Whether somebody has written in it. One that is empty may be one that is just being claimed.
fn is_begun(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some_and(|entry| entry.is_ok()))
}

/// Brings the earlier folder back where the one that was to take its place never did, and removes it where it did.
fn settle(target: &Path, old: &Path, mark: &str) -> io::Result<()> {
    let Ok(held) = File::open(old) else { return Ok(()) };
    if claimed::is_held(&held) {
        // Somebody is just putting theirs in its place.
        return Ok(());
    }
    if target.join(mark).is_file() {
        return std::fs::remove_dir_all(old);
    }
    let is_room = std::fs::read_dir(target).map_or(!target.exists(), |mut entries| entries.next().is_none());
    if is_room && old.join(mark).is_file() {
        std::fs::rename(old, target)?;
        return target.parent().map_or(Ok(()), durable::sync);
    }
    Ok(())
}
