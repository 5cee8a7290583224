//! How much memory a model may still take: what the machine has free, or what the control group leaves, whichever is less.
//!
//! Read before anything is allocated, so that a model too big is refused in a sentence and not by the system's killer of processes.
//! Where nothing is known (no Linux), nothing is refused.

use std::path::{Path, PathBuf};

/// More than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom {
    /// Bytes asked for.
    pub needs: u64,
    /// Bytes that are free.
    pub available: u64,
}

/// Whether `needs` bytes fit into what is free now.
pub(crate) fn room_for(needs: u64) -> Result<(), NoRoom> {
    match available() {
        Some(available) if needs > available => Err(NoRoom { needs, available }),
        _ => Ok(()),
    }
}

fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemAvailable:"));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups_of(&groups).iter().filter_map(|group| left_in(group)).chain(machine).min()
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The folders of a process's own control group and of all above it, from the lines of `/proc/self/cgroup`; of version 2, and of
/// version 1's memory controller.
fn groups_of(lines: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in lines.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            names if names.split(',').any(|name| name == "memory") => Path::new("/sys/fs/cgroup/memory"),
            _ => continue,
        };
        let own = Path::new(path.trim_start_matches('/'));
        folders.extend(own.ancestors().map(|above| root.join(above)));
    }
    folders
}

/// What a group's limit leaves; pages of files count as free, for the kernel takes them back.
fn left_in(group: &Path) -> Option<u64> {
    let number = |name: &str| std::fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cached = ["active_file ", "inactive_file "].iter().filter_map(|name| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    });
    Some(limit.saturating_sub(used.saturating_sub(cached.sum())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_machine_has_is_refused_and_a_page_is_not() {
        assert_eq!(room_for(4096), Ok(()));
        let refused = room_for(u64::MAX);
        assert!(!cfg!(target_os = "linux") || refused.is_err_and(|no_room| no_room.available > 4096));
    }

    #[test]
    fn a_groups_limit_counts_with_those_above_it() {
        let paths = |lines| groups_of(lines).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(paths("0::/a/b\n"), ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"]);
        assert_eq!(paths("3:cpu,cpuacct:/x\n2:memory:/x\n"), ["/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/memory/"]);
    }

    #[test]
    fn pages_of_files_are_free() -> std::io::Result<()> {
        let group = tempfile::tempdir()?;
        std::fs::write(group.path().join("memory.max"), "1000\n")?;
        std::fs::write(group.path().join("memory.current"), "700\n")?;
        std::fs::write(group.path().join("memory.stat"), "anon 300\ninactive_file 250\nactive_file 150\n")?;
        assert_eq!(left_in(group.path()), Some(700));
        std::fs::write(group.path().join("memory.max"), "max\n")?;
        assert_eq!(left_in(group.path()), None);
        Ok(())
    }
}
