//! Where the brokers are and how to speak with them. Values of extra properties never reach `Debug`.
//!
//! Secrets need not stand in the configuration: a property's value may lie in a file or in the environment, and a whole file
//! of properties may be named.

mod property;
mod security;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

pub use self::property::Property;
use self::property::{read_file, refused};
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
    /// Further librdkafka properties, as for TLS and SASL: a text, `{ file = ".." }` or `{ env = ".." }`. They may hold secrets, so
    /// they are never written back.
    #[serde(skip_serializing)]
    pub properties: BTreeMap<String, Property>,
    /// A file of such properties, `name=value` a line; what stands in `properties` wins.
    pub properties_file: Option<PathBuf>,
}

impl Default for Settings {
    /// No brokers; the group `wardstream`.
    fn default() -> Self {
        Self::new("", "wardstream")
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("properties", &self.properties)
            .field("properties_file", &self.properties_file)
            .finish()
    }
}

impl Settings {
    /// Settings with nothing but addresses.
    pub fn new(brokers: impl Into<String>, group: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), group: group.into(), properties: BTreeMap::new(), properties_file: None }
    }

    /// Takes from the environment what the properties say lies there. Called once, by whoever may read it.
    pub fn resolve(&mut self, environment: impl Fn(&str) -> Option<String>) {
        self.properties.values_mut().for_each(|property| property.resolve(&environment));
    }

    /// Refuses what would break the bus's promises or cannot work: a property that is its own, no address, a file that cannot be
    /// read, TLS or SASL that is set up by half.
    pub fn check(&self) -> Result<(), BusError> {
        self.effective().map(drop)
    }

    /// All properties, read from wherever they lie.
    fn effective(&self) -> Result<BTreeMap<String, String>, BusError> {
        if self.brokers.trim().is_empty() {
            return Err(refused("brokers", "it is empty; give host:port"));
        }
        let mut all = self.properties_file.as_deref().map(read_file).transpose()?.unwrap_or_default();
        for (key, property) in &self.properties {
            all.insert(key.clone(), property.read(key)?);
        }
        if let Some(key) = all.keys().find(|key| OURS.contains(&key.as_str())) {
            return Err(refused(key, "it is the bus's own; delivery promises rest on it"));
        }
        security::check(&all)?;
        Ok(all)
    }

    pub(crate) fn client(&self) -> Result<ClientConfig, BusError> {
        self.configured(&[])
    }

    /// The client's properties: ours by default, then the configuration's, then the address.
    fn configured(&self, defaults: &[(&str, String)]) -> Result<ClientConfig, BusError> {
        let mut config = ClientConfig::new();
        config.set("client.id", "wardstream");
        config.set("message.max.bytes", RECORD_LIMIT_BYTES.to_string());
        config.set("receive.message.max.bytes", (2 * RECORD_LIMIT_BYTES).to_string());
        config.set("topic.metadata.refresh.interval.ms", "5000");
        config.set("reconnect.backoff.max.ms", "1000");
        for (key, value) in defaults {
            config.set(*key, value);
        }
        for (key, value) in self.effective()? {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        Ok(config)
    }

    pub(crate) fn consumer(&self) -> Result<ClientConfig, BusError> {
        if self.group.trim().is_empty() {
            return Err(refused("group", "it is empty; a feed needs a consumer group"));
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
        let mut merged = self.configured(&defaults)?;
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
        let defaults = [
            ("queue.buffering.max.kbytes", OUTBOX_KB.to_string()),
            ("queue.buffering.max.messages", "100000".to_owned()),
            ("linger.ms", "5".to_owned()),
            ("compression.codec", "zstd".to_owned()),
        ];
        let mut merged = self.configured(&defaults)?;
        merged.set("enable.idempotence", "true");
        merged.set("acks", "all");
        // Zero is for ever: a broker that is away is waited for, and the bounded queue holds the caller back.
        merged.set("message.timeout.ms", "0");
        Ok(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A password in a configuration must not reach a log.
    #[test]
    fn debug_shows_names_of_properties_and_no_value() {
        let mut settings = Settings::new("kafka:9092", "ingest");
        settings.properties.insert("sasl.password".to_owned(), "hunter2".into());
        let shown = format!("{settings:?}");
        assert!(shown.contains("sasl.password"));
        assert!(!shown.contains("hunter2"));
    }

    /// Not even the error about a property may show its value.
    #[test]
    fn a_refused_property_is_named_and_its_value_is_not() {
        let mut settings = Settings::new("kafka:9092", "ingest");
        settings.properties.insert("no.such.property".to_owned(), "hunter2".into());
        let error = crate::Publisher::new(&settings).err().expect("librdkafka refuses unknown properties");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("no.such.property"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    /// What our delivery promises rest on is not configurable.
    #[test]
    fn a_configuration_cannot_turn_on_automatic_commits() {
        let mut settings = Settings::new("kafka:9092", "ingest");
        settings.properties.insert("enable.auto.commit".to_owned(), "true".into());
        assert!(matches!(settings.check(), Err(BusError::Property { key, .. }) if key == "enable.auto.commit"));
    }

    /// What stands in the configuration itself wins over the file; either may hold the secret.
    #[test]
    fn properties_come_from_a_file_and_from_the_configuration() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("kafka.properties");
        std::fs::write(&file, "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.username=ward\nsasl.password=hunter2\n")?;
        let read: Settings = serde_json::from_str(
            r#"{"brokers": "a:1", "properties": {"sasl.username": "scorer", "client.rack": {"env": "RACK"}}, "properties_file": "FILE"}"#
                .replace("FILE", &file.to_string_lossy())
                .as_str(),
        )?;
        let mut settings = read;
        assert!(settings.check().is_err_and(|error| error.to_string().contains("RACK")));
        settings.resolve(|name| (name == "RACK").then(|| "b".to_owned()));
        let config = settings.client()?;
        assert_eq!(config.get("sasl.username"), Some("scorer"));
        assert_eq!(config.get("sasl.password"), Some("hunter2"));
        assert_eq!(config.get("client.rack"), Some("b"));
        std::fs::write(&file, "acks=0\n")?;
        assert!(matches!(settings.check(), Err(BusError::Property { key, .. }) if key == "acks"));
        Ok(())
    }

    /// A misspelt key is found when the file is read.
    #[test]
    fn an_unknown_field_is_refused() {
        let read: Result<Settings, _> = serde_json::from_str(r#"{"brokers": "a:1", "gruop": "x"}"#);
        assert!(read.is_err());
    }
}
