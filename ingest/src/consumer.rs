//! The consumer loop: one place that waits, one place that commits.
//!
//! Offsets ride in the commit that holds the rows, so a crash at any point repeats work and changes nothing. While one batch is
//! mapped and committed the next one gathers; no third is held. Canonical notes are published before the commit that records
//! them: a crash between the two repeats them under the same ids.

mod placing;
mod sink;

pub use self::placing::topic_of;
pub(crate) use self::sink::outgoing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Feed, Limits, Pending, Publisher, Received, Record};
use envelope::Envelopes;
use schemas::{TopicPartition, topic};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warehouse::{AppendError, Begun, Landmark, Warehouse};

use crate::consumer::placing::Places;
use crate::consumer::sink::{Landed, Letters, Sink};
use crate::metrics;
use crate::settings::{RouteError, Routes, Settings};

/// Dead letters, and notes that ingest publishes.
const NEVER_READ: &str = r"^.*\.dlq$,^clinical\.note\.v1$";

/// Why the loop ended before it was told to. The reaction is always the same: start it again; nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The routes are wrong.
    #[error("could not use the routes of the configuration")]
    Routes(#[from] RouteError),
    /// The schema registry of the configuration cannot be one.
    #[error("could not use the schema registry of the configuration")]
    Envelope(#[from] envelope::EnvelopeError),
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

/// Consumes until `stop`. Start it again after a [`RunError`].
///
/// # Errors
/// Where waiting would not help: see [`RunError`].
pub async fn run(settings: &Settings, bus: &bus::Settings, warehouse: &Warehouse, stop: &CancellationToken) -> Result<(), RunError> {
    let places = Places::starting(settings.start);
    places.refresh(warehouse).await?;
    let mut topics: Vec<String> = settings.routes.iter().map(|route| route.topic.clone()).collect();
    topics.extend(topic::READ_BACK.map(str::to_owned));
    let sink = Sink {
        routes: Arc::new(Routes::new(&settings.routes)?),
        publisher: Publisher::new(bus)?,
        warehouse: warehouse.clone(),
        envelopes: Arc::new(Envelopes::open(&settings.envelope)?),
        retry: Duration::from_millis(settings.retry_ms),
        letters: settings.dead_letters.then(|| Letters::new(bus)).transpose()?,
        stop: stop.clone(),
    };
    let mut bus = bus.clone();
    // An expression among the routes must not bring back what ingest itself writes.
    bus.properties.entry("topic.blacklist".to_owned()).or_insert_with(|| NEVER_READ.into());
    let feed = Feed::subscribe(&bus, &topics, places.clone()).await?;
    let pending = Pending::new(Limits {
        records: settings.batch_records,
        bytes: settings.batch_bytes,
        age: Duration::from_millis(settings.batch_age_ms),
    });
    let back_age = Duration::from_millis(settings.read_back_age_ms);
    let (landmarks, begun) = (BTreeMap::new(), BTreeMap::new());
    Loop { feed, pending, places, landmarks, begun, sink, work: JoinSet::new(), back_age }.run(stop).await
}

/// What is read, what waits, and the one batch that is being made durable.
struct Loop {
    feed: Feed,
    pending: Pending,
    places: Places,
    /// What the tables say of the record after which each partition is begun.
    landmarks: BTreeMap<TopicPartition, Landmark>,
    /// What somebody before us began to land and did not finish.
    begun: BTreeMap<TopicPartition, Begun>,
    sink: Sink,
    work: JoinSet<Result<Option<Landed>, RunError>>,
    back_age: Duration,
}

impl Loop {
    async fn run(mut self, stop: &CancellationToken) -> Result<(), RunError> {
        loop {
            let idle = self.work.is_empty();
            if idle && self.pending.is_due() {
                self.work.spawn(self.sink.clone().append(self.pending.take(), self.begun.clone()));
            }
            tokio::select! {
                Some(landed) = self.work.join_next() => self.landed(landed??)?,
                received = self.feed.recv(), if !self.pending.is_full() => self.take(received?).await?,
                () = self.pending.deadline(), if idle => {}
                () = stop.cancelled() => break,
            }
        }
        // What is pending was never committed: the next start reads it again. What is on its way ends by `stop` too.
        while let Some(landed) = self.work.join_next().await {
            self.landed(landed??)?;
        }
        Ok(())
    }

    async fn take(&mut self, received: Received) -> Result<(), RunError> {
        match received {
            Received::Record(mut record) => {
                // Nobody waits for what we published ourselves: it fills fewer, larger files.
                let is_ours = topic::READ_BACK.contains(&record.topic.as_str());
                self.places.name(&mut record);
                if is_ours {
                    self.pending.push_patiently(record, self.back_age);
                } else {
                    self.pending.push(record);
                }
            }
            Received::Assigned(partitions) => {
                self.settle().await?;
                self.places.refresh(&self.sink.warehouse).await?;
                let unread = self.places.unread(&partitions);
                if !unread.is_empty() {
                    self.places.begin(self.feed.beginnings(&unread).await?);
                }
                self.landmarks.extend(self.sink.warehouse.landmarks(&self.places.landmarks(&partitions)).await?);
                self.begun.extend(self.sink.warehouse.begun(&self.places.names(&partitions).into_iter().collect()).await?);
            }
            Received::Landmark(record) => self.compare(record).await?,
            Received::Revoked(partitions) => {
                self.pending.forget(&self.places.names(&partitions));
                // Whoever takes them over starts where the tables are by then.
                self.settle().await?;
            }
            Received::Gap { partition, wanted, found } if found < wanted => self.began_anew(&partition),
            Received::Gap { partition, wanted, found } => {
                tracing::error!(%partition, wanted, found, "records between these offsets were deleted before they were read; see conservation");
                metrics::lost(found - wanted);
            }
        }
        Ok(())
    }

    /// A topic may have been deleted, made anew, and have grown past our offset since we last looked: then another record stands there.
    async fn compare(&mut self, mut record: Record) -> Result<(), RunError> {
        let partition = record.topic_partition();
        self.places.name(&mut record);
        let known = self.landmarks.remove(&record.topic_partition());
        if known.is_some_and(|known| !known.is_of(record.timestamp, record.payload.as_deref())) {
            self.began_anew(&partition);
            self.feed.begin_anew(&partition).await?;
        }
        Ok(())
    }

    fn began_anew(&mut self, partition: &TopicPartition) {
        self.places.began_anew(partition);
        tracing::error!(%partition, "the topic was made anew: its records are read from the beginning, as those of another topic");
        metrics::began_anew();
    }

    /// Waits until nothing is on its way to the tables.
    async fn settle(&mut self) -> Result<(), RunError> {
        while let Some(landed) = self.work.join_next().await {
            self.landed(landed??)?;
        }
        Ok(())
    }

    fn landed(&mut self, landed: Option<Landed>) -> Result<(), RunError> {
        let Some(landed) = landed else { return Ok(()) };
        self.feed.commit(&Places::next_offsets(&landed.upto))?;
        self.begun.retain(|partition, begun| landed.upto.get(partition).is_none_or(|upto| *upto < begun.upto));
        landed.measure();
        Ok(())
    }
}
