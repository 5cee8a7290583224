//! Everything a batch passes through on its way to the tables: the maps, the notes' topic, the commit, and the dead letters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bus::{Outgoing, Publisher, Record, cloudevents::CloudEvent};
use envelope::{Envelopes, Hints, Schemas};
use schemas::{CanonicalNote, Event, Facility, Identifier, NoteRow, Outcome, Source, TopicPartition, topic};
use tokio_util::sync::CancellationToken;
use warehouse::{AppendError, Batch, Begun, Warehouse};

use super::RunError;
use super::placing::topic_of;
use crate::metrics;
use crate::reading::{self, Raw};
use crate::settings::Routes;

/// How many bytes of facts and notes a commit may hold; the record that exceeds them is its last.
const ROWS_BYTES: usize = 64 << 20;
/// Bytes of a fact or a note beside its texts.
const EVENT_BYTES: usize = 256;
/// How long a batch waits for its dead letters,
const DEAD_LETTERS_WITHIN: Duration = Duration::from_secs(10);
/// and for how long none are tried after one has waited in vain.
const DEAD_LETTERS_AGAIN: Duration = Duration::from_secs(60);

/// What a batch needs on its way. Clones share all of it.
#[derive(Clone)]
pub struct Sink {
    pub routes: Arc<Routes>,
    pub publisher: Publisher,
    pub warehouse: Warehouse,
    pub envelopes: Arc<Envelopes>,
    pub retry: Duration,
    /// Where dead letters are wanted: a connection of their own, for a topic that takes none must not hold up the notes.
    pub letters: Option<Letters>,
    pub stop: CancellationToken,
}

/// What copies rejected records, and when it has last done so in vain. Clones share it.
#[derive(Clone)]
pub struct Letters {
    publisher: Publisher,
    in_vain: InVain,
}

impl Letters {
    /// Builds the client; does not wait for a broker.
    pub fn new(bus: &bus::Settings) -> Result<Self, bus::BusError> {
        Ok(Self { publisher: Publisher::giving_up(bus, DEAD_LETTERS_WITHIN)?, in_vain: InVain::default() })
    }
}

/// When something has last been waited for in vain.
#[derive(Clone, Default)]
struct InVain(Arc<Mutex<Option<Instant>>>);

impl InVain {
    fn note(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Whether that was so lately that it is not tried again.
    fn is_recent(&self, now: Instant) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| now.saturating_duration_since(last) < DEAD_LETTERS_AGAIN)
    }
}

/// A batch that is durable.
pub struct Landed {
    pub upto: BTreeMap<TopicPartition, i64>,
    outcomes: Vec<(Outcome, usize)>,
    newest: Option<jiff::Timestamp>,
    began: Instant,
}

impl Landed {
    fn take(&mut self, batch: Batch) {
        self.outcomes.extend(batch.messages.iter().map(|message| (message.outcome, message.payload.as_ref().map_or(0, Vec::len))));
        self.newest = self.newest.max(batch.messages.iter().map(|message| message.known_at).max());
        self.upto.extend(batch.upto);
    }

    /// Counts it.
    pub fn measure(&self) {
        self.outcomes.iter().for_each(|(outcome, bytes)| metrics::landed(*outcome, *bytes));
        self.newest.into_iter().for_each(metrics::watermark);
        metrics::committed(self.began.elapsed());
    }
}

impl Sink {
    /// Maps, publishes and commits; `None` where the process was told to stop before it was done. What unfolds to more than a batch's
    /// rows may take lands in several commits.
    pub async fn append(self, records: Vec<Record>, begun: BTreeMap<TopicPartition, Begun>) -> Result<Option<Landed>, RunError> {
        let mut landed = Landed { upto: BTreeMap::new(), outcomes: Vec::with_capacity(records.len()), newest: None, began: Instant::now() };
        let schemas = tokio::select! {
            schemas = self.envelopes.prepare(records.iter().filter_map(|record| record.payload.as_deref())) => schemas,
            () = self.stop.cancelled() => return Ok(None),
        };
        let mut reader =
            Reader { routes: Arc::clone(&self.routes), schemas, dead_letters: self.letters.is_some(), begun, records: records.into_iter() };
        while !reader.records.as_slice().is_empty() {
            let (mut batch, letters);
            (reader, batch, letters) = tokio::task::spawn_blocking(move || {
                let (batch, letters) = reader.read();
                (reader, batch, letters)
            })
            .await?;
            if !self.publish(&batch).await? || !self.commit(&mut batch).await? {
                return Ok(None);
            }
            self.copy_dead(letters).await;
            landed.take(batch);
        }
        Ok(Some(landed))
    }

    /// Publishes the batch's notes and waits until the broker has them all; `false` where `stop` came first.
    async fn publish(&self, batch: &Batch) -> Result<bool, RunError> {
        loop {
            let sent = tokio::select! {
                sent = self.send_notes(batch) => sent,
                () = self.stop.cancelled() => return Ok(false),
            };
            match sent {
                Ok(()) => return Ok(true),
                Err(error @ bus::BusError::Fatal { .. }) => return Err(RunError::Bus(error)),
                Err(error) => {
                    tracing::warn!(%error, cause = ?std::error::Error::source(&error), "could not publish canonical notes; trying again")
                }
            }
            metrics::retried();
            if self.pause().await {
                return Ok(false);
            }
        }
    }

    /// Writes the notes down one by one, as the queue takes them. A note that is larger than the topic takes would be so at every attempt:
    /// it stands in `notes`, and nobody is asked about it.
    async fn send_notes(&self, batch: &Batch) -> Result<(), bus::BusError> {
        let refused = |error: bus::BusError| {
            if !error.is_too_large() {
                return Err(error);
            }
            tracing::error!(%error, "a canonical note is larger than its topic takes; raise max.message.bytes of clinical.note.v1");
            metrics::oversized();
            Ok(())
        };
        let mut deliveries = Vec::with_capacity(batch.notes.len());
        for outgoing in batch.notes.iter().filter_map(|note| outgoing(&note.canonical())) {
            match self.publisher.send(outgoing).await {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => refused(error)?,
            }
        }
        for delivery in deliveries {
            delivery.done().await.map(drop).or_else(refused)?;
        }
        Ok(())
    }

    /// Commits the batch, however long the store is away; `false` where `stop` came first.
    async fn commit(&self, batch: &mut Batch) -> Result<bool, RunError> {
        loop {
            match self.warehouse.append(batch).await {
                Ok(()) => return Ok(true),
                Err(error @ AppendError::Fenced { .. }) => return Err(RunError::Fenced(error)),
                Err(error) => tracing::warn!(%error, cause = ?std::error::Error::source(&error), "could not commit a batch; trying again"),
            }
            metrics::retried();
            if self.pause().await {
                return Ok(false);
            }
        }
    }

    /// Copies what was rejected to its topic's dead letters. The row in `messages` is the truth, so a copy that is not delivered in time costs
    /// a warning and stops nothing.
    async fn copy_dead(&self, letters: Vec<Outgoing>) {
        let (count, began) = (letters.len(), Instant::now());
        let Some(Letters { publisher, in_vain }) = self.letters.as_ref().filter(|_| count > 0) else { return };
        if in_vain.is_recent(began) {
            return tracing::warn!(
                count,
                "rejected records are not copied: their dead-letter topic took none a moment ago; they stand in messages"
            );
        }
        let copied = tokio::select! {
            copied = publisher.send_all(letters) => copied,
            () = self.stop.cancelled() => return,
        };
        if let Err(error) = copied {
            tracing::warn!(%error, count, "could not copy rejected records to their dead-letter topic; they stand in messages");
            // What is refused at once, as for its size, costs no time.
            if began.elapsed() >= DEAD_LETTERS_WITHIN / 2 {
                in_vain.note(Instant::now());
            }
        }
    }

    async fn pause(&self) -> bool {
        tokio::select! {
            () = tokio::time::sleep(self.retry) => false,
            () = self.stop.cancelled() => true,
        }
    }
}

/// What is needed to read a batch, and what of it is still to be read.
struct Reader {
    routes: Arc<Routes>,
    schemas: Schemas,
    dead_letters: bool,
    begun: BTreeMap<TopicPartition, Begun>,
    records: std::vec::IntoIter<Record>,
}

impl Reader {
    /// The rows of the next records, and the dead letters of those that were rejected.
    fn read(&mut self) -> (Batch, Vec<Outgoing>) {
        let mut batch = Batch::default();
        let mut letters = Vec::new();
        let own = Facility::new(reading::OWN);
        let mut bytes = 0;
        while bytes < ROWS_BYTES
            && let Some(record) = self.records.next()
        {
            let copy = self.dead_letters.then(|| Record { topic: topic_of(&record.topic).to_owned(), ..record.clone() });
            let facility = self.routes.facility(topic_of(&record.topic)).unwrap_or(&own);
            let (events, notes) = (batch.events.len(), batch.notes.len());
            reading::read(raw(record), facility, &self.schemas, &mut batch);
            bytes += unfolded(&batch, events, notes);
            let rejected = batch.messages.last().filter(|message| message.outcome == Outcome::Rejected);
            let reject = rejected.and_then(|message| message.rejects.first());
            letters.extend(copy.zip(reject).and_then(|(record, reject)| bus::dead_letter(&record, reject)));
        }
        batch.resume(&self.begun);
        (batch, letters)
    }
}

/// Bytes of the rows from these on: what was compressed, or is repeated in many facts, is larger than the record that held it.
fn unfolded(batch: &Batch, events: usize, notes: usize) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let named = |patient: &Option<Identifier>| patient.as_ref().map_or(0, |patient| patient.system.len() + patient.value.len());
    let event = |Event { fact, .. }: &Event| {
        EVENT_BYTES + named(&fact.patient) + text(&fact.encounter) + text(&fact.text_value) + text(&fact.related)
    };
    let note = |NoteRow { note, .. }: &NoteRow| EVENT_BYTES + named(&note.patient) + text(&note.encounter) + note.text.len();
    let events = batch.events.iter().skip(events).map(event);
    events.chain(batch.notes.iter().skip(notes).map(note)).sum()
}

fn raw(record: Record) -> Raw {
    Raw {
        hints: Hints::of(&record.headers),
        headers: headers(&record.headers),
        source: Source { topic: record.topic, partition: record.partition, offset: record.offset },
        known_at: record.timestamp,
        key: record.key,
        payload: record.payload,
        skip: record.skip,
    }
}

/// Headers as a JSON object of arrays, since a name may repeat; bytes that are not UTF-8 as `base64:...`.
fn headers(pairs: &[(String, Option<Vec<u8>>)]) -> String {
    if pairs.is_empty() {
        return "{}".to_owned();
    }
    let mut object = BTreeMap::<&str, Vec<serde_json::Value>>::new();
    for (name, value) in pairs {
        let value = value.as_deref().map_or(serde_json::Value::Null, |bytes| match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => format!("base64:{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)).into(),
        });
        object.entry(name).or_default().push(value);
    }
    serde_json::to_string(&object).unwrap_or_else(|_| "{}".to_owned())
}

/// A canonical note as a record: keyed by the note, so that its versions stay in order.
pub fn outgoing(note: &CanonicalNote) -> Option<Outgoing> {
    let id = note.note_version_id.to_string();
    Some(Outgoing {
        topic: topic::CLINICAL_NOTE.to_owned(),
        key: Some(note.note_id.to_string().into_bytes()),
        payload: Some(serde_json::to_vec(note).ok()?),
        headers: CloudEvent {
            id,
            source: "/wardstream/ingest".to_owned(),
            kind: "wardstream.clinical.note.v1".to_owned(),
            time: note.known_at,
        }
        .headers(),
        timestamp: Some(note.known_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dead-letter topic that takes nothing holds up one batch a minute, not each.
    #[test]
    fn what_was_waited_for_in_vain_is_not_waited_for_by_the_next() {
        let (now, in_vain) = (Instant::now(), InVain::default());
        assert!(!in_vain.is_recent(now));
        in_vain.clone().note(now);
        assert!(in_vain.is_recent(now) && in_vain.is_recent(now + DEAD_LETTERS_AGAIN / 2));
        assert!(!in_vain.is_recent(now + DEAD_LETTERS_AGAIN));
    }

    /// A number that stands once in a record and in each of its facts counts with each of them, or a commit would hold more than it may.
    #[test]
    fn what_a_record_repeats_in_its_facts_is_counted() {
        let number = "1".repeat(1_000);
        let message = format!(
            "MSH|^~\\&|||||2020||ADT^A01|1|P|2.5\rPID|1||{number}^^^H^MR\rPV1|1|I|||||||||||||||||{number}\rDG1|1||A01\rDG1|2||B01\r"
        );
        let record = Record {
            topic: topic::HL7_RAW.to_owned(),
            partition: 0,
            offset: 0,
            timestamp: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            headers: Vec::new(),
            payload: Some(message.into_bytes()),
            skip: None,
        };
        let mut batch = Batch::default();
        reading::read(raw(record), &Facility::new("north"), &Schemas::default(), &mut batch);
        let of_stay = batch.events.iter().filter(|event| event.fact.encounter.is_some()).count();
        assert!(of_stay > 2 && unfolded(&batch, 0, 0) > of_stay * 2 * number.len());
    }
}
