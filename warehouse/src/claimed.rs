//! Folders of one user each, most of them numbered, and held locked by whoever uses them. The system ends a lock with its process, however that ends; so what nobody holds
//! was left by somebody who is no more.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A new folder, where `named` says for a number that nobody else has, and what holds it until it is dropped: an error where the file system knows no locks.
///
/// # Errors
/// Where no folder can be made.
pub fn claim(builder: &DirBuilder, named: impl Fn(&str) -> PathBuf) -> io::Result<(PathBuf, io::Result<File>)> {
    let mut turn = 0_u32;
    loop {
        // Processes of two containers may have the same number, and one process may claim twice.
        let folder = named(&format!("{}-{turn}", std::process::id()));
        match builder.create(&folder) {
            Ok(()) => {
                let held = hold(&folder);
                return Ok((folder, held));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => turn += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Holds a folder until this is dropped; waits while somebody else does.
///
/// # Errors
/// Where there is none, or the file system knows no locks.
pub fn hold(folder: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

/// The file, made where it is not there, for one process alone until it is dropped; `None` while another one has it. A file system that knows no locks keeps
/// nobody out.
///
/// # Errors
/// Where the file, or the folder that it lies in, cannot be made.
pub fn alone(path: &Path) -> io::Result<Option<File>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = File::create(path)?;
    Ok(if is_held(&file) { None } else { Some(file) })
}

/// Whether somebody else holds what is open here; it is held here from now on where nobody does.
pub fn is_held(open: &File) -> bool {
    matches!(open.try_lock(), Err(TryLockError::WouldBlock))
}

/// Removes a folder that nobody holds. One that is claimed and not held yet passes for such a one: whoever asks must know better.
///
/// # Errors
/// Where it cannot be removed.
pub fn remove_left(folder: &Path) -> io::Result<()> {
    match File::open(folder) {
        Ok(open) if open.try_lock().is_ok() => std::fs::remove_dir_all(folder),
        _ => Ok(()),
    }
}
