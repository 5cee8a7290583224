//! Files into the warehouse without Kafka. Each file is a partition of its own, named by what it is called and what it
//! holds, so that repeating a backfill adds nothing, wherever the file lies by then.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use maps::Mapped;
use schemas::{Digest, Facility, Source};
use warehouse::{AppendError, Batch, Positions, ReadError, Warehouse};

use crate::reading::{self, Raw};

/// A batch is committed when it holds this many bytes.
const BATCH_BYTES: usize = 32 << 20;
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
}

/// What a backfill did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Backfilled {
    /// Files read.
    pub files: usize,
    /// Records in them.
    pub records: usize,
    /// Records that were new.
    pub added: usize,
}

/// Reads `files` as records of `facility` and appends what the tables do not hold yet.
///
/// # Errors
/// Where a file cannot be read or the tables cannot be reached.
pub async fn run(warehouse: &Warehouse, facility: &Facility, files: &[PathBuf]) -> Result<Backfilled, BackfillError> {
    let mut done = Backfilled::default();
    let mut batch = Batch::default();
    let mut bytes = 0;
    for file in files {
        let found = records(file, facility)?;
        let held = warehouse.held(&found.iter().map(|(raw, _)| raw.source.topic_partition()).collect()).await?;
        done.files += 1;
        done.records += found.len();
        for (raw, parts) in found {
            if is_held(&held, &raw.source) {
                continue;
            }
            done.added += 1;
            bytes += raw.payload.as_ref().map_or(0, Vec::len);
            reading::stamp(raw, facility, Some(parts), &mut batch);
            if bytes >= BATCH_BYTES || batch.messages.len() >= BATCH_RECORDS {
                warehouse.append(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
    }
    if !batch.messages.is_empty() {
        warehouse.append(batch).await?;
    }
    Ok(done)
}

fn is_held(held: &Positions, source: &Source) -> bool {
    let tables = held.get(&source.topic_partition());
    tables.is_some_and(|tables| schemas::Table::ALL.iter().all(|table| tables.get(table).is_some_and(|last| source.offset <= *last)))
}

/// The records of one file with what the maps make of them, each at the instant at which it was sent, by its own words.
fn records(file: &Path, facility: &Facility) -> Result<Vec<(Raw, Vec<Mapped>)>, BackfillError> {
    let cannot_read = |source| BackfillError::File { file: file.to_owned(), source };
    let bytes = std::fs::read(file).map_err(cannot_read)?;
    let topic = format!("backfill.{}.{}", facility.name, fingerprint(file, &bytes));
    let bytes = maps::split::unzip(bytes).map_err(cannot_read)?;
    let mapped: Vec<_> = maps::split::records(&bytes).into_iter().map(|payload| (payload, maps::map_record(payload, facility))).collect();
    let mut known_at = mapped.iter().find_map(|(_, parts)| own_time(parts)).unwrap_or(Timestamp::UNIX_EPOCH);
    let stamped = mapped.into_iter().zip(0..).map(|((payload, parts), offset)| {
        known_at = own_time(&parts).unwrap_or(known_at);
        let source = Source { topic: topic.clone(), partition: 0, offset };
        (Raw { source, known_at, key: None, headers: "{}".to_owned(), payload: Some(payload.to_vec()), skip: None }, parts)
    });
    Ok(stamped.collect())
}

/// Sixteen digits for a file by name and content. The name itself stays out of the tables: it may name a patient.
fn fingerprint(file: &Path, bytes: &[u8]) -> String {
    let mut whole = file.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    whole.push(0);
    whole.extend_from_slice(bytes);
    Digest::of(&whole).to_string().chars().take(16).collect()
}

/// When a record says it was sent; else the latest instant it states.
#[must_use]
pub fn own_time(parts: &[Mapped]) -> Option<Timestamp> {
    let sent = parts.iter().filter_map(|part| part.sent_at).max();
    sent.or_else(|| parts.iter().filter_map(|part| part.stated_at).max())
}
