//! The consumer loop: one place that waits, one place that commits.
//!
//! Offsets ride in the commit that holds the rows, so a crash at any point repeats work and changes nothing. Canonical
//! notes are published before the commit that records them: a crash between the two repeats them under the same ids.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bus::{Feed, Limits, Outgoing, Pending, Publisher, Received, Record, SeekTo, Start, cloudevents::CloudEvent};
use schemas::{CanonicalNote, Facility, Source, TopicPartition, topic};
use tokio_util::sync::CancellationToken;
use warehouse::{AppendError, Batch, Warehouse};

use crate::metrics;
use crate::reading::{self, Raw};
use crate::settings::{RouteError, Routes, Settings};

/// Why the loop ended before it was told to. The reaction is always the same: start it again; nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The routes are wrong.
    #[error("could not use the routes of the configuration")]
    Routes(#[from] RouteError),
    /// The broker refused what no waiting mends.
    #[error("could not use the message bus")]
    Bus(#[from] bus::BusError),
    /// The tables could not be read.
    #[error("could not read the positions of the tables")]
    Positions(#[from] warehouse::ReadError),
    /// Another process has taken over one of our partitions.
    #[error("another consumer has advanced the tables past this one's batch")]
    Fenced(#[source] AppendError),
    /// The maps died, which they promise not to.
    #[error("could not map a batch")]
    Map(#[from] tokio::task::JoinError),
}

/// Where each partition goes on: after the last offset that every table holds.
#[derive(Clone, Default)]
struct Held(Arc<RwLock<BTreeMap<TopicPartition, i64>>>);

impl Held {
    async fn refresh(&self, warehouse: &Warehouse) -> Result<(), warehouse::ReadError> {
        let next = warehouse.positions().await?.into_iter().map(|(partition, tables)| {
            let behind = schemas::Table::ALL.iter().map(|table| tables.get(table).copied().unwrap_or(-1)).min().unwrap_or(-1);
            (partition, behind + 1)
        });
        let next = next.collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

impl SeekTo for Held {
    fn start(&self, partition: &TopicPartition) -> Start {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.get(partition).map_or(Start::Beginning, |next| Start::At(*next))
    }
}

/// Consumes until `stop`. Start it again after a [`RunError`].
///
/// # Errors
/// Where waiting would not help: see [`RunError`].
pub async fn run(settings: &Settings, bus: &bus::Settings, warehouse: &Warehouse, stop: &CancellationToken) -> Result<(), RunError> {
    let held = Held::default();
    held.refresh(warehouse).await?;
    let mut topics: Vec<String> = settings.routes.iter().map(|route| route.topic.clone()).collect();
    topics.extend(topic::READ_BACK.map(str::to_owned));
    let mut feed = Feed::subscribe(bus, &topics, held.clone()).await?;
    let sink = Sink {
        routes: Arc::new(Routes::new(&settings.routes)?),
        publisher: Publisher::new(bus)?,
        warehouse: warehouse.clone(),
        retry: Duration::from_millis(settings.retry_ms),
    };
    let mut pending = Pending::new(Limits {
        records: settings.batch_records,
        bytes: settings.batch_bytes,
        age: Duration::from_millis(settings.batch_age_ms),
    });
    let back_age = Duration::from_millis(settings.read_back_age_ms);
    loop {
        tokio::select! {
            received = feed.recv() => match received? {
                // Nobody waits for what we published ourselves: it fills fewer, larger files.
                Received::Record(record) if topic::READ_BACK.contains(&record.topic.as_str()) => pending.push_patiently(record, back_age),
                Received::Record(record) => pending.push(record),
                Received::Assigned(_) => held.refresh(warehouse).await?,
                Received::Revoked(partitions) => pending.forget(&partitions),
                Received::Gap { partition, wanted, found } => tracing::error!(%partition, wanted, found, "records between these offsets no longer exist on the topic"),
            },
            () = pending.deadline() => {}
            () = stop.cancelled() => break,
        }
        if pending.is_due() {
            sink.append(pending.take(), &feed, stop).await?;
        }
    }
    // What is pending was never committed: the next start reads it again.
    Ok(())
}

/// Everything a batch passes through on its way to the tables.
struct Sink {
    routes: Arc<Routes>,
    publisher: Publisher,
    warehouse: Warehouse,
    retry: Duration,
}

impl Sink {
    async fn append(&self, records: Vec<Record>, feed: &Feed, stop: &CancellationToken) -> Result<(), RunError> {
        let began = Instant::now();
        let routes = Arc::clone(&self.routes);
        let batch = tokio::task::spawn_blocking(move || map(records, &routes)).await?;
        if !self.publish(&batch, stop).await? {
            return Ok(());
        }
        let next = batch.upto.iter().map(|(partition, last)| (partition.clone(), last + 1)).collect();
        let landed: Vec<_> = batch.messages.iter().map(|message| (message.outcome, message.payload.as_ref().map_or(0, Vec::len))).collect();
        let newest = batch.messages.iter().map(|message| message.known_at).max();
        if !self.commit(batch, stop).await? {
            return Ok(());
        }
        feed.commit(&next)?;
        landed.into_iter().for_each(|(outcome, bytes)| metrics::landed(outcome, bytes));
        newest.into_iter().for_each(metrics::watermark);
        metrics::committed(began.elapsed());
        Ok(())
    }

    /// Publishes the batch's notes and waits until the broker has them all; `false` where `stop` came first.
    async fn publish(&self, batch: &Batch, stop: &CancellationToken) -> Result<bool, RunError> {
        loop {
            let notes = batch.notes.iter().filter_map(|note| outgoing(&note.canonical())).collect();
            let Err(error) = self.publisher.send_all(notes).await else {
                return Ok(true);
            };
            tracing::warn!(%error, "could not publish canonical notes; trying again");
            metrics::retried();
            if self.pause(stop).await {
                return Ok(false);
            }
        }
    }

    /// Commits the batch, however long the store is away; `false` where `stop` came first.
    async fn commit(&self, batch: Batch, stop: &CancellationToken) -> Result<bool, RunError> {
        loop {
            match self.warehouse.append(batch.clone()).await {
                Ok(()) => return Ok(true),
                Err(error @ AppendError::Fenced { .. }) => return Err(RunError::Fenced(error)),
                Err(error) => tracing::warn!(%error, cause = ?std::error::Error::source(&error), "could not commit a batch; trying again"),
            }
            metrics::retried();
            if self.pause(stop).await {
                return Ok(false);
            }
        }
    }

    async fn pause(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = tokio::time::sleep(self.retry) => false,
            () = stop.cancelled() => true,
        }
    }
}

fn map(records: Vec<Record>, routes: &Routes) -> Batch {
    let mut batch = Batch::default();
    let own = Facility::new(reading::OWN);
    for record in records {
        let facility = routes.facility(&record.topic).unwrap_or(&own);
        let headers = headers(&record.headers);
        let source = Source { topic: record.topic, partition: record.partition, offset: record.offset };
        let raw = Raw { source, known_at: record.timestamp, key: record.key, headers, payload: record.payload, skip: record.skip };
        reading::read(raw, facility, &mut batch);
    }
    batch
}

/// Headers as a JSON object of arrays, since a name may repeat; bytes that are not UTF-8 as `base64:...`.
fn headers(pairs: &[(String, Option<Vec<u8>>)]) -> String {
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
fn outgoing(note: &CanonicalNote) -> Option<Outgoing> {
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
