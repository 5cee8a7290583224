//! How long a message takes to become a prediction, measured from outside: from the moment the broker has the raw
//! record to the moment a consumer of `prediction.v1` reads the answer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bus::{Feed, Publisher, Received, Start};
use schemas::{CanonicalNote, NoteVersionId, Prediction, Source, TopicPartition, topic};

use super::report::Latency;

/// Records a second while latency is measured.
const RATE: u32 = 40;
/// Without news for this long, the measurement ends.
const QUIET: Duration = Duration::from_secs(3);

/// Publishes `records` one by one at a steady rate, and reads the topics beside it.
///
/// # Errors
/// Where Kafka cannot be reached.
pub async fn measure(settings: &bus::Settings, publisher: &Publisher, records: Vec<bus::Outgoing>) -> anyhow::Result<Latency> {
    let topics = [topic::CLINICAL_NOTE.to_owned(), topic::PREDICTION.to_owned()];
    let ends = bus::end_offsets(settings, &topics).await.context("could not ask for the topics' ends")?;
    let mut feed = Feed::subscribe(settings, &topics, move |partition: &TopicPartition| {
        ends.get(partition).map_or(Start::Beginning, |end| Start::At(*end))
    })
    .await?;
    wait_for_assignment(&mut feed).await?;
    let publish = async {
        let mut sent = BTreeMap::new();
        for record in records {
            let due = Instant::now() + Duration::from_secs(1) / RATE;
            let topic = record.topic.clone();
            for (partition, offset) in publisher.send_all(vec![record]).await.context("could not publish")? {
                sent.insert(Source { topic: topic.clone(), partition, offset }, Instant::now());
            }
            tokio::time::sleep_until(due.into()).await;
        }
        anyhow::Ok(sent)
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let read = read(&mut feed, stop.clone());
    let (published, read) = tokio::join!(
        async {
            let published = publish.await;
            tokio::time::sleep(QUIET).await;
            stop.cancel();
            published
        },
        read
    );
    let (sent, (notes, answered)) = (published?, read?);
    let mut waits: Vec<f64> = answered
        .iter()
        .filter_map(|(version, at)| Some(at.saturating_duration_since(*sent.get(notes.get(version)?)?).as_secs_f64() * 1e3))
        .collect();
    waits.sort_by(f64::total_cmp);
    let quantile =
        |permille: usize| waits.get((waits.len() * permille / 1_000).min(waits.len().saturating_sub(1))).copied().unwrap_or(f64::NAN);
    Ok(Latency { p50: quantile(500), p99: quantile(990) })
}

async fn wait_for_assignment(feed: &mut Feed) -> anyhow::Result<()> {
    loop {
        if let Received::Assigned(_) =
            tokio::time::timeout(Duration::from_secs(30), feed.recv()).await.context("Kafka assigned no partition")??
        {
            return Ok(());
        }
    }
}

type Seen = (BTreeMap<NoteVersionId, Source>, BTreeMap<NoteVersionId, Instant>);

/// Which raw record each note came from, and when its first answer was read.
async fn read(feed: &mut Feed, stop: tokio_util::sync::CancellationToken) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    loop {
        let received = tokio::select! {
            received = feed.recv() => received?,
            () = stop.cancelled() => return Ok(seen),
        };
        let Received::Record(record) = received else { continue };
        let payload = record.payload.as_deref().unwrap_or_default();
        if record.topic == topic::CLINICAL_NOTE {
            let note: CanonicalNote = serde_json::from_slice(payload).context("clinical.note.v1 holds a record that is no note")?;
            seen.0.insert(note.note_version_id, note.source);
        } else {
            let prediction: Prediction = serde_json::from_slice(payload).context("prediction.v1 holds a record that is no prediction")?;
            seen.1.entry(prediction.note_version_id).or_insert_with(Instant::now);
        }
    }
}
