//! All shards of an export, on several threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use parquet::errors::ParquetError;

use crate::config::Config;
use crate::events::{Shard, Subject};
use crate::windows::{Found, find};

/// Rows that one thread reads at a time.
const PART: usize = 262_144;

/// The files are not those of an export.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// Name the folder that holds `data`.
    #[error("no shards at {}/data: that is no export of MEDS", .0.display())]
    NoShards(PathBuf),
    /// Mend or leave out the file.
    #[error("could not read the shard {}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },
}

/// What one part of a shard gave.
#[derive(Default)]
struct Part {
    /// Of subjects that are whole here.
    found: Vec<Found>,
    /// The first and the last subject, of whom there may be more beside.
    edges: Vec<Subject>,
}

/// The triggers of an export that count, with their labels: shard by shard in the order of their paths, subjects in the order of the file.
///
/// # Errors
/// Where the folder is no export, or a file of it cannot be read.
pub fn extract(config: &Config, export: &Path, threads: usize) -> Result<Vec<Found>, ExtractError> {
    let mut found = Vec::new();
    for path in shards(export)? {
        let failed = |source| ExtractError::Shard { path: path.clone(), source };
        let shard = Shard::open(&path).map_err(failed)?;
        found.extend(stitched(config, parts(config, &shard, threads).map_err(failed)?));
    }
    Ok(found)
}

/// What the parts of a shard found, in their order, with the subjects that reach over several.
fn stitched(config: &Config, parts: Vec<Part>) -> Vec<Found> {
    let (mut found, mut open) = (Vec::new(), None::<Subject>);
    for part in parts {
        let mut edges = part.edges.into_iter();
        if let Some(first) = edges.next() {
            match &mut open {
                Some(last) if last.id == first.id => last.events.extend(first.events),
                _ => close(config, open.replace(first), &mut found),
            }
        }
        if let Some(last) = edges.next() {
            close(config, open.replace(last), &mut found);
            found.extend(part.found);
        }
    }
    close(config, open, &mut found);
    found
}

/// Of a subject there is no more.
fn close(config: &Config, subject: Option<Subject>, found: &mut Vec<Found>) {
    if let Some(whole) = subject {
        find(config, whole.id, &whole.events, found);
    }
}

fn shards(export: &Path) -> Result<Vec<PathBuf>, ExtractError> {
    let none = || ExtractError::NoShards(export.to_owned());
    let within = |folder: &Path| std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
    let splits = within(&export.join("data")).map_err(|_| none())?;
    let mut files: Vec<PathBuf> = splits.iter().filter(|path| path.is_dir()).flat_map(|split| within(split).unwrap_or_default()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    files.sort();
    if files.is_empty() { Err(none()) } else { Ok(files) }
}

fn parts(config: &Config, shard: &Shard, threads: usize) -> Result<Vec<Part>, ParquetError> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut rows = PART;
    for (nth, count) in shard.row_groups().into_iter().enumerate() {
        if rows >= PART {
            (rows, _) = (0, groups.push(Vec::new()));
        }
        rows += count;
        if let Some(last) = groups.last_mut() {
            last.push(nth);
        }
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(groups) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let part = part(config, shard, groups.clone());
            done.lock().unwrap_or_else(PoisonError::into_inner).push((groups[0], part));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(groups.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(first, _)| *first);
    done.into_iter().map(|(_, part)| part).collect()
}

fn part(config: &Config, shard: &Shard, groups: Vec<usize>) -> Result<Part, ParquetError> {
    let mut part = Part::default();
    let mut last: Option<Subject> = None;
    shard.read(groups, config, |subject| {
        if part.edges.is_empty() {
            part.edges.push(subject);
        } else if let Some(whole) = last.replace(subject) {
            find(config, whole.id, &whole.events, &mut part.found);
        }
    })?;
    part.edges.extend(last);
    Ok(part)
}

#[cfg(test)]
mod tests;
