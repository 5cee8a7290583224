//! Topics: making them, and asking where they end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use schemas::TopicPartition;

use crate::{BusError, Settings};

/// How long one question to a broker may take.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A topic that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Topic name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Topic configuration, as `retention.ms`.
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    /// A topic with the cluster's default configuration.
    #[must_use]
    pub fn new(name: &str, partitions: i32) -> Self {
        Self { name: name.to_owned(), partitions, config: BTreeMap::new() }
    }
}

/// Creates the topics that do not exist yet, with the cluster's default replication. One that exists is left as it is.
pub async fn create_topics(settings: &Settings, topics: &[TopicSpec]) -> Result<(), BusError> {
    let admin: AdminClient<DefaultClientContext> =
        settings.client()?.create().map_err(|source| BusError::building("create an admin client", source))?;
    let wanted: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|spec| {
            let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(-1));
            spec.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN)).operation_timeout(Some(ANSWER_WITHIN));
    let names = || topics.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
    let answers = admin.create_topics(&wanted, &options).await.map_err(|source| BusError::unanswered("create topics", names(), source))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(BusError::unanswered("create topic", name, KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

/// The names of all topics that the brokers hold.
///
/// # Errors
/// Where the client cannot be built, or the brokers do not answer within this time.
pub async fn topics(settings: &Settings, within: Duration) -> Result<BTreeSet<String>, BusError> {
    let (config, brokers) = (settings.client()?, settings.brokers.clone());
    let asking = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create().map_err(|source| BusError::building("create a client", source))?;
        let metadata = client.fetch_metadata(None, within);
        let metadata = metadata.map_err(|source| BusError::unanswered("ask for the topics of", brokers, source))?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    });
    asking.await.unwrap_or_else(|_| Err(BusError::Fatal { action: "ask for topics", source: KafkaError::Canceled }))
}

/// The offset after the last record of every partition of these topics. A topic that does not exist has no partitions.
pub async fn end_offsets(settings: &Settings, topics: &[String]) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
    let config = settings.client()?;
    let topics = topics.to_vec();
    let asking = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create().map_err(|source| BusError::building("create a client", source))?;
        let mut ends = BTreeMap::new();
        for topic in &topics {
            for (partition, _, high) in watermarks(&client, topic)? {
                ends.insert(TopicPartition { topic: topic.clone(), partition }, high);
            }
        }
        Ok(ends)
    });
    asking.await.unwrap_or_else(|_| Err(BusError::Fatal { action: "ask for end offsets", source: KafkaError::Canceled }))
}

/// Records of these topics that the group of `settings` has not committed yet.
///
/// # Errors
/// Where the brokers do not answer.
pub async fn lag(settings: &Settings, topics: &[String]) -> Result<i64, BusError> {
    let ends = end_offsets(settings, topics).await?;
    let config = settings.consumer()?;
    let asking = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create().map_err(|source| BusError::building("create a client", source))?;
        let mut list = TopicPartitionList::new();
        for partition in ends.keys() {
            list.add_partition(&partition.topic, partition.partition);
        }
        let committed = client
            .committed_offsets(list, ANSWER_WITHIN)
            .map_err(|source| BusError::unanswered("ask for offsets of", "the group", source))?;
        let behind = |(partition, end): (&TopicPartition, &i64)| {
            let done = committed.find_partition(&partition.topic, partition.partition).and_then(|one| one.offset().to_raw());
            end - done.filter(|done| *done >= 0).unwrap_or(0)
        };
        Ok(ends.iter().map(behind).sum())
    });
    asking.await.unwrap_or_else(|_| Err(BusError::Fatal { action: "ask for a group's offsets", source: KafkaError::Canceled }))
}

/// `(partition, low, high)` of every partition of a topic. Blocks.
fn watermarks(client: &BaseConsumer, topic: &str) -> Result<Vec<(i32, i64, i64)>, BusError> {
    let asked = |source| BusError::unanswered("ask for the offsets of topic", topic, source);
    let metadata = client.fetch_metadata(Some(topic), ANSWER_WITHIN).map_err(asked)?;
    let partitions = metadata.topics().iter().flat_map(|found| found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id));
    partitions
        .map(|partition| {
            let (low, high) = client.fetch_watermarks(topic, partition, ANSWER_WITHIN).map_err(asked)?;
            Ok((partition, low, high))
        })
        .collect()
}
