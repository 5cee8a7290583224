//! The scoring loop: notes in, predictions out, offsets committed only after delivery.
//!
//! A new model takes over between two batches: no note waits for it, none is asked twice. Before there is a model,
//! notes stay where they are, on the topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bus::{Feed, Limits, Outgoing, Pending, Publisher, Received, Record, Start, cloudevents::CloudEvent};
use jiff::{SignedDuration, Timestamp};
use schemas::{ModelVersion, Prediction, Source, TopicPartition, topic};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use warehouse::{Positions, Warehouse, held_by_all};

use crate::answering::{Answering, Arrived, Live, Standing};
use crate::metrics;
use crate::settings::Settings;

/// Of the log's time: within it a note's versions follow each other.
const RECENT: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How long a scorer that takes over partitions waits for the tables to hold all that was published before. Where nobody fills them, notes are answered without.
const LANDING: Duration = Duration::from_secs(20);
/// Pause between two looks at them.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why the loop ended before it was told to. Start it again: what was not delivered is read again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The broker refused what no waiting mends.
    #[error("could not use the message bus")]
    Bus(#[from] bus::BusError),
    /// The model could not answer.
    #[error("could not score a batch")]
    Score(#[from] model::ScoreError),
    /// A scoring thread died.
    #[error("could not finish a batch")]
    Died(#[from] tokio::task::JoinError),
    /// Earlier predictions could not be read.
    #[error("could not read what was published about notes before")]
    Published(#[from] warehouse::ReadError),
    /// A record could not be written as JSON.
    #[error("could not encode a prediction")]
    Encode(#[from] serde_json::Error),
}

/// A model that began to answer, and the next offset of each partition at that moment.
pub struct Takeover {
    /// Who took over.
    pub version: ModelVersion,
    /// From where on it answers.
    pub offsets: BTreeMap<TopicPartition, i64>,
}

/// What the loop works with.
pub struct Wiring {
    /// Kafka.
    pub bus: bus::Settings,
    /// For the predictions about notes that this process no longer remembers.
    pub warehouse: Warehouse,
    /// The champion, as it is promoted.
    pub champion: watch::Receiver<Option<Live>>,
    /// Where takeovers are told.
    pub takeovers: mpsc::UnboundedSender<Takeover>,
}

/// Scores until `stop`.
///
/// # Errors
/// See [`RunError`].
pub async fn run(settings: &Settings, mut wiring: Wiring, stop: &CancellationToken) -> Result<(), RunError> {
    let Some(live) = first_champion(&mut wiring.champion, stop).await else {
        return Ok(());
    };
    let mut feed = Feed::subscribe(&wiring.bus, &[topic::CLINICAL_NOTE.to_owned()], |_: &TopicPartition| Start::Committed).await?;
    let publisher = Publisher::new(&wiring.bus)?;
    let mut loop_state = Loop::new(live, settings);
    // Tokens are estimated at four bytes each.
    let mut pending = Pending::new(Limits {
        records: usize::MAX,
        bytes: settings.budget_tokens.saturating_mul(4),
        age: Duration::from_millis(settings.batch_age_ms),
    });
    loop {
        tokio::select! {
            received = feed.recv() => match received? {
                Received::Record(record) => pending.push(record),
                Received::Assigned(partitions) if !partitions.is_empty() => loop_state.hear(&wiring, stop).await?,
                Received::Revoked(partitions) => {
                    pending.forget(&partitions);
                    loop_state.forget(&partitions);
                }
                Received::Gap { partition, wanted, found } => tracing::error!(%partition, wanted, found, "notes between these offsets no longer exist on the topic"),
                // The group's own offsets say where to go on, so no landmark is asked for.
                Received::Assigned(_) | Received::Landmark(_) => {}
            },
            () = pending.deadline() => {}
            () = stop.cancelled() => break,
        }
        if !pending.is_due() {
            continue;
        }
        loop_state.swap(&mut wiring);
        let batch = pending.take();
        loop_state.tell(&batch, &wiring);
        let next = next_offsets(&batch);
        let records = loop_state.answer(batch, &wiring.warehouse).await?;
        if !deliver(&publisher, records, settings, stop).await? {
            break;
        }
        feed.commit(&next)?;
        loop_state.next.extend(next);
    }
    Ok(())
}

async fn first_champion(champion: &mut watch::Receiver<Option<Live>>, stop: &CancellationToken) -> Option<Live> {
    loop {
        if let Some(live) = champion.borrow_and_update().clone() {
            return Some(live);
        }
        tokio::select! {
            changed = champion.changed() => changed.ok()?,
            () = stop.cancelled() => return None,
        }
    }
}

struct Loop {
    live: Live,
    /// Lent to the scoring thread while a batch is answered.
    answering: Option<Answering>,
    next: BTreeMap<TopicPartition, i64>,
    /// From when on what others published was taken in; what is older is asked about note by note.
    heard: Option<Timestamp>,
    /// The model has not answered yet, and nobody was told of it.
    is_untold: bool,
}

impl Loop {
    fn new(live: Live, settings: &Settings) -> Self {
        let answering = Some(Answering::new(settings.remembered_notes));
        Self { live, answering, next: BTreeMap::new(), heard: None, is_untold: true }
    }

    fn swap(&mut self, wiring: &mut Wiring) {
        if !wiring.champion.has_changed().unwrap_or(false) {
            return;
        }
        let champion = wiring.champion.borrow_and_update().clone();
        if let Some(live) = champion {
            self.is_untold |= live.model.version() != self.live.model.version();
            self.live = live;
        }
    }

    /// Tells of a model that answers from this batch on.
    fn tell(&mut self, batch: &[Record], wiring: &Wiring) {
        if !std::mem::take(&mut self.is_untold) {
            return;
        }
        let takeover = Takeover { version: self.live.model.version().clone(), offsets: begins(&self.next, batch) };
        if wiring.takeovers.send(takeover).is_err() {
            tracing::warn!(model = %self.live.model.version(), "nobody records the takeover");
        }
    }

    /// Takes in what was published of late about notes that others may have read until now.
    async fn hear(&mut self, wiring: &Wiring, stop: &CancellationToken) -> Result<(), RunError> {
        let warehouse = &wiring.warehouse;
        let ends = bus::end_offsets(&wiring.bus, &[topic::PREDICTION.to_owned()]).await?;
        landed(warehouse, &ends, stop).await?;
        let since = warehouse.watermark().await?.and_then(|now| now.checked_sub(RECENT).ok());
        if let (Some(since), Some(answering)) = (since, &mut self.answering) {
            answering.hear(warehouse.published_since(since).await?, warehouse.replacements_since(since).await?);
            self.heard = Some(since);
        }
        Ok(())
    }

    /// Another process goes on with these partitions.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.next.retain(|partition, _| !partitions.contains(partition));
        if let Some(answering) = &mut self.answering {
            answering.forget(partitions);
        }
    }

    async fn answer(&mut self, batch: Vec<Record>, warehouse: &Warehouse) -> Result<Vec<Prediction>, RunError> {
        let began = Instant::now();
        let arrived: Vec<Arrived> = batch.iter().filter_map(arrived).collect();
        let mut answering = self.answering.take().unwrap_or_else(|| Answering::new(0));
        let due = arrived.iter().filter(|one| one.note.known_at > self.live.since);
        let touched: BTreeSet<_> = due.flat_map(|one| answering.touched(&one.note, self.heard)).collect();
        let forgotten: BTreeSet<_> = touched.iter().copied().filter(|note| !answering.knows(*note)).collect();
        let mut published = warehouse.published(if forgotten.is_empty() { &forgotten } else { &touched }).await?;
        for note in forgotten {
            answering.remember(note, Standing::of(published.remove(&note).unwrap_or_default()));
        }
        let live = self.live.clone();
        let (answering, records, notes) = tokio::task::spawn_blocking(move || {
            let records = answering.answer(&live, &arrived);
            (answering, records, arrived.len())
        })
        .await?;
        self.answering = Some(answering);
        let records = records?;
        metrics::scored(notes, records.len(), began.elapsed());
        Ok(records)
    }
}

/// Waits until the tables hold what lay on `prediction.v1` at `ends`: what was said last is on its way to them, and what takes a note back would find
/// nothing to take back.
async fn landed(warehouse: &Warehouse, ends: &BTreeMap<TopicPartition, i64>, stop: &CancellationToken) -> Result<(), RunError> {
    let partitions: BTreeSet<TopicPartition> = ends.keys().cloned().collect();
    let began = Instant::now();
    while is_behind(&warehouse.held(&partitions).await?, ends) {
        if began.elapsed() >= LANDING {
            tracing::warn!(
                "the tables do not hold all predictions yet: the last ones may not be superseded or taken back; see that ingest runs"
            );
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
    Ok(())
}

/// Whether records before these ends have not landed yet.
fn is_behind(held: &Positions, ends: &BTreeMap<TopicPartition, i64>) -> bool {
    ends.iter().any(|(partition, end)| held_by_all(held.get(partition)) + 1 < *end)
}

/// A record that is no canonical note is somebody else's mistake: counted, named in the log, and passed over.
fn arrived(record: &Record) -> Option<Arrived> {
    let note = serde_json::from_slice(record.payload.as_deref()?);
    if note.is_err() {
        metrics::unreadable();
        tracing::warn!(topic = record.topic, partition = record.partition, offset = record.offset, "not a canonical note; passed over");
    }
    let source = Source { topic: record.topic.clone(), partition: record.partition, offset: record.offset };
    Some(Arrived { note: note.ok()?, source })
}

/// Where each partition goes on with this batch: behind what was read of it, or where the batch begins.
fn begins(next: &BTreeMap<TopicPartition, i64>, batch: &[Record]) -> BTreeMap<TopicPartition, i64> {
    let mut begins = next.clone();
    for record in batch {
        begins.entry(record.topic_partition()).or_insert(record.offset);
    }
    begins
}

/// Where each partition goes on after this batch.
fn next_offsets(batch: &[Record]) -> BTreeMap<TopicPartition, i64> {
    let mut next = BTreeMap::new();
    for record in batch {
        let offset = next.entry(record.topic_partition()).or_insert(0);
        *offset = (record.offset + 1).max(*offset);
    }
    next
}

/// Publishes and waits until the broker has everything; `false` where `stop` came first.
async fn deliver(publisher: &Publisher, records: Vec<Prediction>, settings: &Settings, stop: &CancellationToken) -> Result<bool, RunError> {
    loop {
        let outgoing = records.iter().map(outgoing).collect::<Result<Vec<_>, _>>()?;
        let Err(error) = publisher.send_all(outgoing).await else {
            return Ok(true);
        };
        tracing::warn!(%error, "could not publish predictions; trying again");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(settings.retry_ms)) => {}
            () = stop.cancelled() => return Ok(false),
        }
    }
}

fn outgoing(prediction: &Prediction) -> Result<Outgoing, serde_json::Error> {
    Ok(Outgoing {
        topic: topic::PREDICTION.to_owned(),
        key: Some(prediction.note_id.to_string().into_bytes()),
        payload: Some(serde_json::to_vec(prediction)?),
        headers: CloudEvent {
            id: prediction.prediction_id.to_string(),
            source: "/wardstream/scorer".to_owned(),
            kind: "wardstream.prediction.v1".to_owned(),
            time: prediction.predicted_at,
        }
        .headers(),
        timestamp: Some(prediction.predicted_at),
    })
}

#[cfg(test)]
mod tests {
    use schemas::Table;

    use super::*;

    fn partition(partition: i32) -> TopicPartition {
        TopicPartition { topic: topic::PREDICTION.to_owned(), partition }
    }

    fn record((partition, offset): (i32, i64)) -> Record {
        let topic = topic::PREDICTION.to_owned();
        Record { topic, partition, offset, timestamp: Timestamp::UNIX_EPOCH, key: None, headers: Vec::new(), payload: None, skip: None }
    }

    /// A process that starts with a model that was promoted while none ran knows from which offsets on it answers, though it has read nothing yet.
    #[test]
    fn a_takeover_names_where_the_batch_begins() {
        let batch = [(0, 5), (1, 7), (0, 6)].map(record);
        let from = |next: &[(i32, i64)]| -> Vec<i64> {
            let next = next.iter().map(|(number, offset)| (partition(*number), *offset)).collect();
            begins(&next, &batch).into_values().collect()
        };
        assert_eq!(from(&[]), [5, 7]);
        assert_eq!(from(&[(0, 4), (2, 9)]), [4, 7, 9]);
    }

    #[test]
    fn what_every_table_holds_has_landed() {
        let ends = BTreeMap::from([(partition(0), 0), (partition(1), 3)]);
        let held =
            |last: i64| -> Positions { BTreeMap::from([(partition(1), Table::ALL.map(|table| (table, last)).into_iter().collect())]) };
        assert!(is_behind(&Positions::new(), &ends) && is_behind(&held(1), &ends));
        assert!(!is_behind(&held(2), &ends));
        let mut ahead = held(2);
        for tables in ahead.values_mut() {
            tables.insert(Table::Messages, 1);
        }
        assert!(is_behind(&ahead, &ends), "messages come last");
    }
}
