//! Where queries put what their memory does not hold: a folder of this process within the state folder. In the system's folder the rows of patients that a
//! killed process had put there would stay; here the next process removes them.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use warehouse::claimed;

/// The folder within the state folder.
const FOLDER: &str = "spill";

static OURS: OnceLock<Option<Ours>> = OnceLock::new();

/// The folder of one process, locked for as long as the process lives, however it ends.
struct Ours {
    folder: PathBuf,
    _held: File,
}

/// Makes all queries of this process spill within the state folder, from the first time that this is said. What processes left there that are no more
/// is removed. Where the folder cannot be used, the system's is.
pub fn within(state: &Path) {
    OURS.get_or_init(|| match claim(&state.join(FOLDER)) {
        Ok(ours) => {
            // The query engine asks the same crate for its folder, once it needs one.
            let _first = tempfile::env::override_temp_dir(&ours.folder);
            Some(ours)
        }
        Err(error) => {
            tracing::warn!(%error, state = %state.display(), "queries spill to the system's temporary folder");
            None
        }
    });
}

/// Removes this process's folder, at its end.
pub fn end() {
    if let Some(Some(ours)) = OURS.get() {
        let _left = std::fs::remove_dir_all(&ours.folder);
    }
}

/// A new folder in `spill`, without what others left there.
fn claim(spill: &Path) -> io::Result<Ours> {
    std::fs::create_dir_all(spill)?;
    let spill = std::path::absolute(spill)?;
    // One at a time: a folder that is made and not locked yet would pass for one that is left.
    let _gate = claimed::hold(&spill)?;
    for entry in std::fs::read_dir(&spill)? {
        claimed::remove_left(&entry?.path())?;
    }
    let (folder, held) = claimed::claim(DirBuilder::new().mode(0o700), |number| spill.join(number))?;
    Ok(Ours { folder, _held: held? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_spilled_is_removed_and_what_a_living_one_needs_stays() -> io::Result<()> {
        let state = tempfile::tempdir()?;
        let spill = state.path().join(FOLDER);
        let left = spill.join("1-0");
        std::fs::create_dir_all(left.join("datafusion-a"))?;
        std::fs::write(left.join("datafusion-a/rows"), "of a patient")?;
        let living = claim(&spill)?;
        assert!(!left.exists());
        std::fs::write(living.folder.join("rows"), "of a patient")?;
        let other = claim(&spill)?;
        assert_ne!(living.folder, other.folder);
        assert!(living.folder.join("rows").exists());
        // As the system lets go of what a killed process held.
        let gone = living.folder.clone();
        drop(living);
        // Its name may be given anew, and what it held is gone.
        claim(&spill)?;
        assert!(!gone.join("rows").exists() && other.folder.exists());
        Ok(())
    }
}
