//! Stored records through the maps again: after the maps were improved or a facility's zone or charset was set right.
//!
//! History is not rewritten: a reading that says something else stands beside the earlier one, under a number of its own, and the views
//! take the newest. A reading that says the same adds no facts and no notes, and one that is the same in everything adds nothing at
//! all, so that a second replay changes nothing. What became known when does not change by reading it again: `known_at` stays.

use bus::{BusError, Publisher};
use envelope::{Envelopes, Hints, Schemas};
use schemas::{Facility, Message, Source};
use warehouse::{AppendError, Batch, NEWEST, QueryError, Stored, StoredReading, Warehouse};

use crate::consumer::{outgoing, topic_of};
use crate::reading::{self, Raw};

/// The most records that are read and committed together,
const RUN_RECORDS: usize = 250;
/// the bytes of them that a run is meant to hold, of which replay needs about three times as much,
const RUN_BYTES: usize = 32 << 20;
/// and the records of the first run, before anything is known of their size.
const FIRST_RECORDS: usize = 4;

/// What is read again where nothing else is said: what was refused, in whole or in part, or read by maps of another version.
#[must_use]
pub fn outdated() -> String {
    format!("outcome IN ('rejected', 'partly') OR parser_version <> {}", maps::PARSER_VERSION)
}

/// Why a replay stopped. What was committed stays, and repeating the command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The condition is none, or the tables cannot be read.
    #[error("could not read the stored records")]
    Read(#[from] QueryError),
    /// The notes cannot be published.
    #[error("could not publish the notes that were found")]
    Publish(#[from] BusError),
    /// The tables cannot be written, or another replay is at work.
    #[error("could not append the new readings; if another replay is running, let it end first")]
    Append(#[from] AppendError),
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Replayed {
    /// Records read again.
    pub read: usize,
    /// Records whose facts or notes are other than before.
    pub changed: usize,
    /// Records whose facts and notes are the same, and something else is not: the maps' version, a reject, a flag.
    pub restated: usize,
    /// Notes published.
    pub published: usize,
}

/// Whether a reading that says the same facts and notes writes them again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rewriting {
    /// Only what is said otherwise is written.
    WhereItDiffers,
    /// Everything is, so that rows which are missing stand again.
    Always,
}

/// How stored records are read again.
pub struct Replay<'a> {
    /// The facility of a topic's records, or of the name they stand under where no route has the topic.
    pub facility: &'a (dyn Fn(&str, &str) -> Facility + Sync),
    /// What takes their wrappings off.
    pub envelopes: &'a Envelopes,
    /// Puts the notes of changed records on `clinical.note.v1`, before their rows are committed.
    pub publisher: Option<&'a Publisher>,
    /// What is written.
    pub rewriting: Rewriting,
}

impl Replay<'_> {
    /// Reads the records that meet `condition` again, and those with the same bytes.
    ///
    /// # Errors
    /// Where the condition is wrong or the tables cannot be reached.
    pub async fn run(&self, warehouse: &Warehouse, condition: &str) -> Result<Replayed, ReplayError> {
        let found = warehouse.find(condition).await?;
        let mut done = Replayed::default();
        let (mut rest, mut records) = (found.as_slice(), FIRST_RECORDS);
        while let Some(first) = rest.first() {
            let of_one = rest.iter().take(records).take_while(|one| same_partition(first, one)).count();
            let (run, after) = rest.split_at(of_one);
            rest = after;
            let stored = warehouse.stored(run).await?;
            records = paced(stored.len(), stored.iter().map(|one| one.payload.as_ref().map_or(0, Vec::len)).sum());
            let batch = self.read(stored, &mut done).await;
            if batch.messages.is_empty() {
                continue;
            }
            if let Some(publisher) = self.publisher {
                let notes: Vec<_> = batch.notes.iter().filter_map(|note| outgoing(&note.canonical())).collect();
                done.published += publisher.send_all(notes).await?.len();
            }
            let reading = warehouse.append_reading(batch).await?;
            tracing::info!(reading, read = done.read, changed = done.changed, "read again");
        }
        Ok(done)
    }

    async fn read(&self, stored: Vec<Stored>, done: &mut Replayed) -> Batch {
        let mut batch = Batch::default();
        let schemas = self.envelopes.prepare(stored.iter().filter_map(|one| one.payload.as_deref())).await;
        for one in stored {
            done.read += 1;
            let facility = (self.facility)(topic_of(&one.source.topic), &one.facility);
            match add(one, &facility, (&schemas, self.rewriting), &mut batch) {
                Said::TheSame => {}
                Said::TheSameRows => done.restated += 1,
                Said::OtherRows => done.changed += 1,
            }
        }
        batch
    }
}

/// How many records the next run holds, where the last one held so many of so many bytes.
fn paced(records: usize, bytes: usize) -> usize {
    let fitting = records.max(1).saturating_mul(RUN_BYTES) / bytes.max(1);
    fitting.clamp(1, records.max(1).saturating_mul(4).min(RUN_RECORDS))
}

fn same_partition(one: &Source, other: &Source) -> bool {
    (&one.topic, one.partition) == (&other.topic, other.partition)
}

/// Adds what a new reading says otherwise than the stored one.
fn add(stored: Stored, facility: &Facility, (schemas, rewriting): (&Schemas, Rewriting), batch: &mut Batch) -> Said {
    let mut fresh = Batch::default();
    let Stored { source, known_at, headers, payload, reading: before, .. } = stored;
    let hints = Hints::of_stored(&headers);
    reading::read(Raw { source, known_at, key: None, headers, payload, skip: None, hints }, facility, schemas, &mut fresh);
    let Some(mut message) = fresh.messages.pop() else { return Said::TheSame };
    // The bytes and the headers stand in the record's own row.
    (message.payload, message.headers) = (None, "{}".to_owned());
    let now = stated(&message, before.rows_reading);
    let rewritten = rewriting == Rewriting::Always;
    if now == before && !rewritten {
        return Said::TheSame;
    }
    let said = if now.rows_digest == before.rows_digest && !rewritten {
        message.rows_reading = before.rows_reading;
        Said::TheSameRows
    } else {
        message.rows_reading = NEWEST;
        batch.events.append(&mut fresh.events);
        batch.notes.append(&mut fresh.notes);
        Said::OtherRows
    };
    batch.messages.push(message);
    said
}

/// What a new reading says, beside the stored one.
enum Said {
    TheSame,
    TheSameRows,
    OtherRows,
}

/// A reading as `messages` would state it.
fn stated(message: &Message, rows_reading: i64) -> StoredReading {
    fn json<T: serde::Serialize>(list: &[T]) -> Option<String> {
        if list.is_empty() { None } else { serde_json::to_string(list).ok() }
    }
    StoredReading {
        format: Some(message.format.as_str().to_owned()),
        trigger: message.trigger.clone(),
        control_id: message.control_id.clone(),
        outcome: Some(message.outcome.as_str().to_owned()),
        rejects: json(&message.rejects),
        flags: json(&message.flags),
        charset: message.charset.map(str::to_owned),
        rows_digest: Some(message.rows_digest.clone()),
        parser_version: i64::from(message.parser_version),
        rows_reading,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scanned documents of megabytes are read a few at a time, or a replay of what was refused would take more memory than ingest ever did.
    #[test]
    fn a_run_holds_as_many_records_as_their_size_allows() {
        let (mut records, mut runs) = (FIRST_RECORDS, Vec::new());
        for _ in 0..5 {
            runs.push(records);
            records = paced(records, records * 3_000);
        }
        assert_eq!(runs, [4, 16, 64, 250, 250]);
        assert_eq!(paced(250, 250 * (4 << 20)), 8);
        assert_eq!((paced(8, 8 * (60 << 20)), paced(1, 60 << 20), paced(0, 0), paced(4, 0)), (1, 1, 4, 16));
    }
}
