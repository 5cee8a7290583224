//! Where the brokers are and how to speak with them. Values of extra properties never reach `Debug`.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::BusError;

/// The largest record that the bus carries, either way.
pub const RECORD_LIMIT_BYTES: usize = 64 << 20;

/// What a consumer holds in memory ahead of its reader, in kilobytes. One larger record still passes, alone.
const PREFETCH_KB: usize = 32 << 10;
/// What one fetch brings at most; a larger record still passes, alone.
const FETCH_BYTES: usize = 16 << 20;
/// What a producer holds before `send` waits, in kilobytes.
const OUTBOX_KB: usize = 128 << 10;

/// Properties on which our promises rest. They are not for a configuration to change.
const OURS: [&str; 9] = [
    "bootstrap.servers",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "auto.offset.reset",
    "enable.idempotence",
    "acks",
    "message.timeout.ms",
];

/// How to reach Kafka.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `host:port,host:port`.
    pub brokers: String,
    /// The consumer group; only a feed needs one.
    pub group: String,
    /// Further librdkafka properties, as for TLS and SASL. They may hold secrets, so they are never written back.
    #[serde(skip_serializing)]
    pub properties: BTreeMap<String, String>,
}

impl Default for Settings {
    /// No brokers; the group `wardstream`.
    fn default() -> Self {
        Self::new("", "wardstream")
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.properties.keys().map(String::as_str).collect();
        f.debug_struct("Settings").field("brokers", &self.brokers).field("group", &self.group).field("properties", &names).finish()
    }
}

impl Settings {
    /// Settings with nothing but addresses.
    pub fn new(brokers: impl Into<String>, group: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), group: group.into(), properties: BTreeMap::new() }
    }

    /// Refuses what would break the bus's promises: a property that is its own, or no address.
    pub fn check(&self) -> Result<(), BusError> {
        if self.brokers.trim().is_empty() {
            return Err(BusError::Property { key: "brokers".to_owned(), reason: "it is empty; give host:port".to_owned() });
        }
        match self.properties.keys().find(|key| OURS.contains(&key.as_str())) {
            Some(key) => {
                Err(BusError::Property { key: key.clone(), reason: "it is the bus's own; delivery promises rest on it".to_owned() })
            }
            None => Ok(()),
        }
    }

    pub(crate) fn client(&self) -> Result<ClientConfig, BusError> {
        self.check()?;
        let mut config = ClientConfig::new();
        config.set("client.id", "wardstream");
        config.set("message.max.bytes", RECORD_LIMIT_BYTES.to_string());
        config.set("receive.message.max.bytes", (2 * RECORD_LIMIT_BYTES).to_string());
        config.set("topic.metadata.refresh.interval.ms", "5000");
        config.set("reconnect.backoff.max.ms", "1000");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        Ok(config)
    }

    pub(crate) fn consumer(&self) -> Result<ClientConfig, BusError> {
        if self.group.trim().is_empty() {
            return Err(BusError::Property { key: "group".to_owned(), reason: "it is empty; a feed needs a consumer group".to_owned() });
        }
        let defaults = [
            ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
            ("queued.max.messages.kbytes", PREFETCH_KB.to_string()),
            ("queued.min.messages", "20000".to_owned()),
            ("fetch.max.bytes", FETCH_BYTES.to_string()),
            ("fetch.message.max.bytes", (4 << 20).to_string()),
            // The client raises `fetch.max.bytes` to this limit; it limits what is sent, and a consumer sends nothing.
            ("message.max.bytes", FETCH_BYTES.to_string()),
            ("fetch.wait.max.ms", "100".to_owned()),
            ("fetch.error.backoff.ms", "100".to_owned()),
            ("session.timeout.ms", "10000".to_owned()),
            ("heartbeat.interval.ms", "1000".to_owned()),
        ];
        let mut merged = self.client()?;
        self.default_to(&mut merged, &defaults);
        merged.set("group.id", &self.group);
        merged.set("enable.auto.commit", "false");
        merged.set("enable.auto.offset.store", "false");
        // In a trickling feed every record is the last of its partition: to tell so each time costs more than the record.
        merged.set("enable.partition.eof", "false");
        merged.set("auto.offset.reset", "earliest");
        merged.set("allow.auto.create.topics", "false");
        Ok(merged)
    }

    pub(crate) fn producer(&self) -> Result<ClientConfig, BusError> {
        let mut merged = self.client()?;
        let defaults = [
            ("queue.buffering.max.kbytes", OUTBOX_KB.to_string()),
            ("queue.buffering.max.messages", "100000".to_owned()),
            ("linger.ms", "5".to_owned()),
            ("compression.codec", "zstd".to_owned()),
        ];
        self.default_to(&mut merged, &defaults);
        merged.set("enable.idempotence", "true");
        merged.set("acks", "all");
        // Zero is for ever: a broker that is away is waited for, and the bounded queue holds the caller back.
        merged.set("message.timeout.ms", "0");
        Ok(merged)
    }

    /// Sets what the configuration leaves open.
    fn default_to(&self, config: &mut ClientConfig, defaults: &[(&str, String)]) {
        for (key, value) in defaults {
            if !self.properties.contains_key(*key) {
                config.set(*key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password in a configuration must not reach a log.
    #[test]
    fn debug_shows_names_of_properties_and_no_value() {
        let mut settings = Settings::new("kafka:9092", "ingest");
        settings.properties.insert("sasl.password".to_owned(), "hunter2".to_owned());
        let shown = format!("{settings:?}");
        assert!(shown.contains("sasl.password"));
        assert!(!shown.contains("hunter2"));
    }

    /// Not even the error about a property may show its value.
    #[test]
    fn a_refused_property_is_named_and_its_value_is_not() {
        let mut settings = Settings::new("kafka:9092", "ingest");
        settings.properties.insert("no.such.property".to_owned(), "hunter2".to_owned());
        let error = crate::Publisher::new(&settings).err().expect("librdkafka refuses unknown properties");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("no.such.property"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    /// What our delivery promises rest on is not configurable.
    #[test]
    fn a_configuration_cannot_turn_on_automatic_commits() {
        let mut settings = Settings::new("kafka:9092", "ingest");
        settings.properties.insert("enable.auto.commit".to_owned(), "true".to_owned());
        assert!(matches!(settings.check(), Err(BusError::Property { key, .. }) if key == "enable.auto.commit"));
    }

    /// A misspelt key is found when the file is read.
    #[test]
    fn an_unknown_field_is_refused() {
        let read: Result<Settings, _> = serde_json::from_str(r#"{"brokers": "a:1", "gruop": "x"}"#);
        assert!(read.is_err());
    }
}
