//! The topics that the services read and write, by the configuration, and how they are made.

use std::collections::BTreeSet;

use anyhow::Context as _;

use crate::config::Config;

/// Partitions of the topics that Wardstream makes itself.
const PARTITIONS: i32 = 1;

/// The names. A route that is an expression names none.
pub fn needed(config: &Config) -> BTreeSet<String> {
    let routed = config.ingest.routes.iter().map(|route| route.topic.as_str()).filter(|topic| !topic.starts_with('^'));
    let raw: BTreeSet<&str> = routed.chain(config.mllp.ports.iter().map(|port| port.topic.as_str())).collect();
    let letters = raw.iter().filter(|_| config.ingest.dead_letters).map(|topic| format!("{topic}{}", bus::DEAD_LETTERS));
    let own = [schemas::topic::CLINICAL_NOTE, schemas::topic::PREDICTION, schemas::topic::DRIFT_ALERT];
    raw.iter().map(|topic| (*topic).to_owned()).chain(own.map(str::to_owned)).chain(letters).collect()
}

/// Creates those that do not exist yet.
///
/// # Errors
/// Where Kafka cannot be reached.
pub async fn create(config: &Config) -> anyhow::Result<()> {
    let specs = needed(config).into_iter().map(|name| {
        let mut spec = bus::TopicSpec::new(&name, PARTITIONS);
        // A note may be as large as the record that it came in.
        spec.config.insert("max.message.bytes".to_owned(), bus::RECORD_LIMIT_BYTES.to_string());
        spec
    });
    let specs: Vec<bus::TopicSpec> = specs.collect();
    bus::create_topics(&config.bus, &specs).await.context("could not create the topics")
}
