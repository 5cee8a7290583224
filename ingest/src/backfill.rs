//! Files into the warehouse without Kafka. Each file is a partition of its own, named by what it is called and what it
//! holds, so that repeating a backfill adds nothing, wherever the file lies by then.
//!
//! Files are read in runs; while one run is committed the next one is mapped on all cores.

mod chunks;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envelope::{Hints, Schemas};
use jiff::Timestamp;
use maps::Mapped;
use maps::split::{Split, Splitter};
use schemas::{Facility, Source, TopicPartition};
use tokio::task::JoinSet;
use warehouse::{AppendError, Batch, ReadError, Warehouse};

use self::chunks::Chunks;
use crate::reading::{self, Raw};

/// A batch is committed when it holds this many bytes.
const BATCH_BYTES: usize = 24 << 20;
/// Or this many records.
const BATCH_RECORDS: usize = 10_000;

/// Why a backfill stopped. What was committed stays, and repeating the command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The file cannot be read.
    #[error("could not read {}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The tables cannot be read.
    #[error("could not read the positions of the tables")]
    Positions(#[from] ReadError),
    /// The tables cannot be written.
    #[error("could not append to the tables")]
    Append(#[from] AppendError),
    /// The maps died, which they promise not to.
    #[error("could not map a file")]
    Map(#[from] tokio::task::JoinError),
}

/// What a backfill did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Backfilled {
    /// Files read.
    pub files: usize,
    /// Records in them.
    pub records: usize,
    /// Records that were new.
    pub added: usize,
    /// Files that cannot be read, or not to their end. What was read of them stays.
    pub unreadable: Vec<Unreadable>,
}

/// A file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unreadable {
    /// Which.
    pub file: PathBuf,
    /// In the system's words.
    pub reason: String,
}

/// Reads `files` as records of `facility` and appends what the tables do not hold yet. A folder stands for the files in it and below.
///
/// # Errors
/// Where a file cannot be read or the tables cannot be reached.
pub async fn run(warehouse: &Warehouse, facility: &Facility, files: &[PathBuf]) -> Result<Backfilled, BackfillError> {
    let facility = Arc::new(facility.clone());
    let mut done = Backfilled::default();
    let mut commits =
        Commits { warehouse: warehouse.clone(), begun: BTreeSet::new(), pending: Batch::default(), bytes: 0, work: JoinSet::new() };
    for file in all(files, &mut BTreeSet::new())? {
        done.files += 1;
        match backfill(&file, &facility, &mut commits, &mut done).await {
            // One file costs itself: the others land.
            Err(BackfillError::File { file, source }) => done.unreadable.push(Unreadable { file, reason: source.to_string() }),
            other => other?,
        }
    }
    commits.begin().await?;
    commits.settle().await?;
    Ok(done)
}

async fn backfill(file: &Path, facility: &Arc<Facility>, commits: &mut Commits, done: &mut Backfilled) -> Result<(), BackfillError> {
    let cannot_read = |source| BackfillError::File { file: file.to_owned(), source };
    let topic = format!("backfill.{}.{}", facility.name, chunks::fingerprint(file).map_err(cannot_read)?);
    let partition = TopicPartition { topic, partition: 0 };
    // The same file twice in one run: its records may still be on their way.
    if !commits.begun.insert(partition.clone()) {
        return Ok(());
    }
    let begun = commits.warehouse.begun(&[partition.clone()].into()).await?;
    let held = commits.warehouse.held(&[partition.clone()].into()).await?;
    let held = warehouse::held_by_all(held.get(&partition));
    let mut chunks = Chunks::open(file).map_err(cannot_read)?;
    let mut splitter = Splitter::default();
    let mut place = Place { topic: partition.topic.into(), offset: 0, known_at: None, held };
    loop {
        let (facility, now) = (Arc::clone(facility), place.clone());
        let run;
        (run, chunks, splitter) = tokio::task::spawn_blocking(move || {
            let bytes = chunks.next_run();
            let run = bytes.map(|run| run.map(|run| read(splitter.split(&run.bytes, run.rest), &facility, now)));
            (run, chunks, splitter)
        })
        .await?;
        let Some(Run { mut batch, next, records }) = run.map_err(cannot_read)? else { return Ok(()) };
        done.records += records;
        done.added += batch.messages.len();
        place = next;
        batch.resume(&begun);
        commits.add(batch).await?;
    }
}

/// Batches on their way to the tables: one is being committed while the next one gathers.
struct Commits {
    warehouse: Warehouse,
    /// Files of this run.
    begun: BTreeSet<TopicPartition>,
    pending: Batch,
    bytes: usize,
    work: JoinSet<Result<(), AppendError>>,
}

impl Commits {
    async fn add(&mut self, batch: Batch) -> Result<(), BackfillError> {
        self.bytes += batch.messages.iter().map(|message| message.payload.as_ref().map_or(0, Vec::len)).sum::<usize>();
        self.pending.append(batch);
        if self.bytes >= BATCH_BYTES || self.pending.messages.len() >= BATCH_RECORDS {
            self.begin().await?;
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), BackfillError> {
        self.settle().await?;
        let (warehouse, mut batch) = (self.warehouse.clone(), std::mem::take(&mut self.pending));
        self.bytes = 0;
        if !batch.messages.is_empty() {
            self.work.spawn(async move { warehouse.append(&mut batch).await });
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), BackfillError> {
        while let Some(committed) = self.work.join_next().await {
            committed??;
        }
        Ok(())
    }
}

/// Where a file has been read up to.
#[derive(Clone)]
struct Place {
    topic: Arc<str>,
    /// Of the next record.
    offset: i64,
    /// Of the record before it; `None` where none has stated an instant yet.
    known_at: Option<Timestamp>,
    /// The last offset that every table holds.
    held: i64,
}

/// What a run gave.
struct Run {
    batch: Batch,
    next: Place,
    records: usize,
}

/// Maps the records of a run on all cores, each at the instant at which it was sent, by its own words.
fn read(split: Split<'_>, facility: &Facility, mut place: Place) -> Run {
    let records = &split.records;
    let mapped: Vec<(Vec<Mapped>, Option<Timestamp>)> = in_parts(records, |part| {
        let map = |record: &&[u8]| {
            let parts = reading::mapped(record, Hints::default(), facility, &Schemas::default());
            let own = own_time(&parts);
            (parts, own)
        };
        part.iter().map(map).collect()
    });
    let first = mapped.iter().find_map(|(_, own)| *own).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut batch = Batch::default();
    for (index, (record, (mut parts, own))) in records.iter().zip(mapped).enumerate() {
        split.flag(index, &mut parts);
        let known_at = own.or(place.known_at).unwrap_or(first);
        let source = Source { topic: place.topic.to_string(), partition: 0, offset: place.offset };
        place.offset += 1;
        place.known_at = Some(known_at);
        if source.offset > place.held {
            let raw = Raw {
                source,
                known_at,
                key: None,
                headers: "{}".to_owned(),
                payload: Some(record.to_vec()),
                skip: None,
                hints: Hints::default(),
            };
            reading::stamp(raw, facility, Some(parts), &mut batch);
        }
    }
    Run { batch, records: records.len(), next: place }
}

/// Does `work` on as many parts as there are cores, side by side; what they give in the order of the parts.
fn in_parts<T: Sync, R: Send>(all: &[T], work: impl Fn(&[T]) -> Vec<R> + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let size = all.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = all.chunks(size).map(|part| scope.spawn(|| work(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// The files, those of folders in the order of their names. A folder is gone through once, however many links lead back to it.
fn all(files: &[PathBuf], folders: &mut BTreeSet<PathBuf>) -> Result<Vec<PathBuf>, BackfillError> {
    let mut found = Vec::new();
    for file in files {
        if !file.is_dir() {
            found.push(file.clone());
            continue;
        }
        let cannot_read = |source| BackfillError::File { file: file.clone(), source };
        if !folders.insert(file.canonicalize().map_err(cannot_read)?) {
            continue;
        }
        let below = std::fs::read_dir(file).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(cannot_read)?;
        let mut below: Vec<PathBuf> = below.into_iter().map(|entry| entry.path()).collect();
        below.sort();
        found.extend(all(&below, folders)?);
    }
    Ok(found)
}

/// When a record says it was sent; else the latest instant it states.
#[must_use]
pub fn own_time(parts: &[Mapped]) -> Option<Timestamp> {
    let sent = parts.iter().filter_map(|part| part.sent_at).max();
    sent.or_else(|| parts.iter().filter_map(|part| part.stated_at).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that holds links to itself has as many files as it has, and is not gone through two to the fortieth times.
    #[test]
    fn links_that_lead_back_are_not_followed() -> std::io::Result<()> {
        let folder = std::env::temp_dir().join(format!("wardstream-links-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("one.hl7"), "MSH|")?;
        for name in ["a", "b", "c"] {
            std::os::unix::fs::symlink(&folder, folder.join(name))?;
        }
        let found = all(std::slice::from_ref(&folder), &mut BTreeSet::new());
        std::fs::remove_dir_all(&folder)?;
        assert_eq!(found.expect("the folder can be read"), [folder.join("one.hl7")]);
        Ok(())
    }
}
