//! Everything a batch passes through on its way to the tables: the maps, the notes' topic, the commit, and the dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Outgoing, Publisher, Record, cloudevents::CloudEvent};
use schemas::{CanonicalNote, Facility, Outcome, Source, TopicPartition, topic};
use tokio_util::sync::CancellationToken;
use warehouse::{AppendError, Batch, Warehouse};

use super::RunError;
use super::placing::topic_of;
use crate::metrics;
use crate::reading::{self, Raw};
use crate::settings::Routes;

/// What a batch needs on its way. Clones share all of it.
#[derive(Clone)]
pub struct Sink {
    pub routes: Arc<Routes>,
    pub publisher: Publisher,
    pub warehouse: Warehouse,
    pub retry: Duration,
    pub dead_letters: bool,
    pub stop: CancellationToken,
}

/// A batch that is durable.
pub struct Landed {
    pub upto: BTreeMap<TopicPartition, i64>,
    outcomes: Vec<(Outcome, usize)>,
    newest: Option<jiff::Timestamp>,
    began: Instant,
}

impl Landed {
    /// Counts it.
    pub fn measure(&self) {
        self.outcomes.iter().for_each(|(outcome, bytes)| metrics::landed(*outcome, *bytes));
        self.newest.into_iter().for_each(metrics::watermark);
        metrics::committed(self.began.elapsed());
    }
}

impl Sink {
    /// Maps, publishes and commits; `None` where the process was told to stop before it was done.
    pub async fn append(self, records: Vec<Record>) -> Result<Option<Landed>, RunError> {
        let began = Instant::now();
        let (routes, dead_letters) = (Arc::clone(&self.routes), self.dead_letters);
        let (batch, letters) = tokio::task::spawn_blocking(move || map(records, &routes, dead_letters)).await?;
        if !self.publish(&batch).await? {
            return Ok(None);
        }
        let outcomes =
            batch.messages.iter().map(|message| (message.outcome, message.payload.as_ref().map_or(0, Vec::len))).collect::<Vec<_>>();
        let newest = batch.messages.iter().map(|message| message.known_at).max();
        let batch = Arc::new(batch);
        if !self.commit(&batch).await? {
            return Ok(None);
        }
        self.copy_dead(letters).await;
        Ok(Some(Landed { upto: batch.upto.clone(), outcomes, newest, began }))
    }

    /// Publishes the batch's notes and waits until the broker has them all; `false` where `stop` came first.
    async fn publish(&self, batch: &Batch) -> Result<bool, RunError> {
        loop {
            let Err(error) = self.send_notes(batch).await else {
                return Ok(true);
            };
            tracing::warn!(%error, "could not publish canonical notes; trying again");
            metrics::retried();
            if self.pause().await {
                return Ok(false);
            }
        }
    }

    /// Writes the notes down one by one, as the queue takes them.
    async fn send_notes(&self, batch: &Batch) -> Result<(), bus::BusError> {
        let mut deliveries = Vec::with_capacity(batch.notes.len());
        for note in &batch.notes {
            if let Some(outgoing) = outgoing(&note.canonical()) {
                deliveries.push(self.publisher.send(outgoing).await?);
            }
        }
        for delivery in deliveries {
            delivery.done().await?;
        }
        Ok(())
    }

    /// Commits the batch, however long the store is away; `false` where `stop` came first.
    async fn commit(&self, batch: &Arc<Batch>) -> Result<bool, RunError> {
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

    /// Copies what was rejected to its topic's dead letters. The row in `messages` is the truth, so a copy that cannot be delivered costs
    /// a warning and stops nothing.
    async fn copy_dead(&self, letters: Vec<Outgoing>) {
        let count = letters.len();
        if count > 0
            && let Err(error) = self.publisher.send_all(letters).await
        {
            tracing::warn!(%error, count, "could not copy rejected records to their dead-letter topic; they stand in messages");
        }
    }

    async fn pause(&self) -> bool {
        tokio::select! {
            () = tokio::time::sleep(self.retry) => false,
            () = self.stop.cancelled() => true,
        }
    }
}

fn map(records: Vec<Record>, routes: &Routes, dead_letters: bool) -> (Batch, Vec<Outgoing>) {
    let mut batch = Batch::default();
    let own = Facility::new(reading::OWN);
    let letters = Vec::new();
    for record in records {
        let facility = routes.facility(topic_of(&record.topic)).unwrap_or(&own);
        let headers = headers(&record.headers);
        let source = Source { topic: record.topic, partition: record.partition, offset: record.offset };
        let raw = Raw { source, known_at: record.timestamp, key: record.key, headers, payload: record.payload, skip: record.skip };
        reading::read(raw, facility, &mut batch);
    }
    let _ = dead_letters;
    (batch, letters)
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
