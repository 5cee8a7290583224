//! When a name is on the disk: a file whose bytes are synced may still be lost with its name, until its folder is synced too.

use std::fs::File;
use std::io;
use std::path::Path;

/// Syncs the bytes of a file, or the names in a folder, not those below it.
///
/// # Errors
/// Where it cannot be opened or written. A file system that syncs no folders has nothing to be asked for.
pub fn sync(place: &Path) -> io::Result<()> {
    match File::open(place)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Syncs the names in a folder and in all folders below it.
///
/// # Errors
/// Where one of them cannot be read or written.
pub fn sync_all_names(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all_names(&entry.path())?;
        }
    }
    sync(folder)
}
