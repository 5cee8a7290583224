//! A whole file that is small if it is what its name says: read only when it is a regular file, and no further than its length.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _};
use std::path::Path;

use crate::load_error::LoadError;

/// All of `file`, which has at most `longest` bytes.
///
/// # Errors
/// If it is missing, unreadable, no regular file (a device may never end, and a pipe waits for its other end) or longer.
pub(crate) fn read(file: &Path, longest: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read { file: file.to_owned(), source };
    let about = std::fs::metadata(file).map_err(failed)?;
    if !about.is_file() {
        return Err(failed(Error::new(ErrorKind::InvalidInput, "not a regular file")));
    }
    if about.len() > longest {
        return Err(LoadError::Damaged { file: file.to_owned(), what: format!("it is {} bytes long", about.len()) });
    }
    let mut bytes = Vec::new();
    // What the kernel makes up while it is read, as under /proc, has no length, and may be waited for without end.
    File::open(file).and_then(|opened| opened.take(about.len()).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_its_length_and_no_other_thing() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("said");
        std::fs::write(&file, b"four")?;
        assert_eq!(read(&file, 4)?, b"four");
        assert!(matches!(read(&file, 3), Err(LoadError::Damaged { what, .. }) if what.contains("4 bytes")));
        assert!(matches!(read(dir.path(), 4), Err(LoadError::Read { .. })));
        assert!(matches!(read(Path::new("/dev/zero"), 4), Err(LoadError::Read { .. })));
        assert!(matches!(read(&dir.path().join("none"), 4), Err(LoadError::Read { source, .. }) if source.kind() == ErrorKind::NotFound));
        // It has no length, though somebody who reads on gets lines.
        let made_up = Path::new("/proc/self/status");
        assert!(!made_up.exists() || read(made_up, 4)?.is_empty());
        Ok(())
    }
}
