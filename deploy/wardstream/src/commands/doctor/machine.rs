//! What this machine has: a folder to write to, room on its disk, memory, and what its processor multiplies with.

use std::io;
use std::path::Path;

use model::Settings;

use super::finding::Finding;
use super::local;
use crate::config::Config;

const STATE: &str = "state folder";
const DISK: &str = "disk";
const MEMORY: &str = "memory";
const PROCESSOR: &str = "processor";
/// With less than this left, the next merge of files or the next query that spills may fail.
const LEAST_FREE_MB: u64 = 1_024;

/// Looks. `unread` is why what lies in the state folder cannot be read, where it cannot.
pub fn look(config: &Config, unread: Option<&anyhow::Error>) -> [Finding; 4] {
    [state(&config.state.folder, unread), disk(config), memory(config), processor(&config.scorer.answering())]
}

fn state(folder: &Path, unread: Option<&anyhow::Error>) -> Finding {
    let named = folder.display();
    if let Some(error) = unread {
        let advice = "give this user the right to, or remove what is named where neither `wardstream up` nor `wardstream services` runs";
        return Finding::wrong(STATE, format!("{error:#}"), advice);
    }
    if !folder.exists() {
        return Finding::not_asked(STATE, format!("{named} is not there yet"), "`wardstream up` makes it");
    }
    match tempfile::tempfile_in(folder) {
        Ok(_) => Finding::ok(STATE, format!("{named} can be written")),
        Err(error) => {
            Finding::wrong(STATE, format!("{named} cannot be written: {error}"), "give this user the right to, or set state.folder")
        }
    }
}

fn disk(config: &Config) -> Finding {
    match least_room(config) {
        Ok((free_mb, folder)) => of_disk(free_mb, folder),
        Err(error) => Finding::not_asked(DISK, format!("the system does not say how much is free: {error}"), ""),
    }
}

/// The disk with least room of those on which state, tables and weights lie: megabytes, and what lies there.
fn least_room(config: &Config) -> io::Result<(u64, &Path)> {
    let home = config.state.folder.as_path();
    let mut others = [&config.warehouse.url, &config.weights.url].into_iter().filter_map(|url| local(url));
    others.try_fold((free_mb(home)?, home), |least, folder| Ok(least.min((free_mb(folder)?, folder))))
}

fn of_disk(free_mb: u64, folder: &Path) -> Finding {
    let found = format!("{free_mb} MB are free where {} lies", folder.display());
    if free_mb < LEAST_FREE_MB {
        return Finding::wrong(DISK, found, format!("make room for {LEAST_FREE_MB} MB at least"));
    }
    Finding::ok(DISK, found)
}

/// Megabytes that are free for this user where a folder lies, or will.
fn free_mb(folder: &Path) -> io::Result<u64> {
    let folder = std::path::absolute(folder)?;
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(there)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize) >> 20)
}

fn memory(config: &Config) -> Finding {
    let said = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    let limit_mb = u64::try_from(config.warehouse.memory_limit_mb).unwrap_or(u64::MAX);
    let Some((all_mb, free_mb)) = mb_of(&said, "MemTotal:").zip(mb_of(&said, "MemAvailable:")) else {
        return Finding::not_asked(MEMORY, "the system does not say how much there is", "");
    };
    // A group without a limit says so by a word.
    let allowed_mb = group.trim().parse::<u64>().map_or(all_mb, |bytes| all_mb.min(bytes >> 20));
    of_memory(limit_mb, allowed_mb, free_mb)
}

/// A line of the system's, in megabytes.
fn mb_of(said: &str, name: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 10)
}

fn of_memory(limit_mb: u64, allowed_mb: u64, free_mb: u64) -> Finding {
    let found = format!(
        "queries may hold {limit_mb} MB (warehouse.memory_limit_mb) of the {allowed_mb} MB that there are, of which {free_mb} MB are free now"
    );
    if limit_mb >= allowed_mb {
        return Finding::wrong(MEMORY, found, "set warehouse.memory_limit_mb to half of what there is, or give this process more");
    }
    Finding::ok(MEMORY, found)
}

/// What answers, as the scorer's part of the configuration has it.
fn processor(answering: &Settings) -> Finding {
    let (usual, quickest) = (answering.precision(), answering.for_shift(Some(0.0)).precision());
    let (kernels, device) = (answering.instructions().as_str(), answering.device);
    let or_else = if quickest == usual {
        String::new()
    } else {
        format!(", or in {} where 8 bits were found not to move its answers", quickest.as_str())
    };
    let sets = model::bench::instruction_sets();
    Finding::ok(PROCESSOR, format!("it has {sets}; a model answers on {device} by kernels for {kernels}, in {}{or_else}", usual.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::finding::render;
    use super::*;

    #[test]
    fn limits_beyond_what_there_is_are_wrong() {
        assert!(of_memory(1_536, 1_536, 1_000).is_wrong());
        assert!(!of_memory(1_536, 4_096, 1_000).is_wrong(), "what another process holds may be ours");
        assert!(of_disk(1_023, Path::new("here")).is_wrong());
        assert!(!of_disk(1_024, Path::new("here")).is_wrong());
        assert_eq!(mb_of("MemTotal:        8052 kB\nMemFree: 1 kB\n", "MemTotal:"), Some(7));
        assert_eq!(mb_of("", "MemTotal:"), None);
    }

    /// Not as a model answers of which the configuration says nothing.
    #[test]
    fn what_answers_is_told_as_the_scorer_is_configured() -> anyhow::Result<()> {
        let answering =
            Settings { precision: Some(model::Precision::F32), instructions: Some(model::InstructionSet::Portable), ..Settings::default() };
        let told = render(&[processor(&answering)], warehouse::Format::Csv)?;
        assert!(told.contains("a model answers on cpu by kernels for portable, in f32") && !told.contains("8 bits"), "{told}");
        let told = render(&[processor(&Settings { precision: None, ..answering })], warehouse::Format::Csv)?;
        assert!(told.contains("portable, in f32") && !told.contains("8 bits"), "{told}");
        Ok(())
    }

    #[test]
    fn a_folder_that_is_not_there_lies_where_it_will() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        let there = free_mb(place.path())?;
        let within = free_mb(&place.path().join("not/there"))?;
        assert!(there > 0 && within.abs_diff(there) < 1_024, "{there} MB and {within} MB");
        Ok(())
    }

    #[test]
    fn a_state_folder_is_tried() -> io::Result<()> {
        let place = tempfile::tempdir()?;
        assert!(!state(&place.path().join("none"), None).is_wrong());
        assert!(!state(place.path(), None).is_wrong());
        assert!(state(place.path(), Some(&anyhow::anyhow!("could not read the addresses"))).is_wrong());
        let file = place.path().join("file");
        std::fs::write(&file, "")?;
        assert!(state(&file, None).is_wrong(), "a file is no folder");
        assert_eq!(std::fs::read_dir(place.path())?.count(), 1, "trying leaves nothing");
        Ok(())
    }
}
