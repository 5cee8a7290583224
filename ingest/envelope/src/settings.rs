//! The part of the configuration that tells where schemas are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How records are unwrapped.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The schema registry; without one, Avro and Protobuf are read only where they hold nothing but one text.
    pub registry: Option<Registry>,
}

/// A schema registry that speaks Confluent's interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// `https://registry:8081`.
    pub url: String,
    /// The name for basic authentication,
    #[serde(default)]
    pub user: Option<String>,
    /// and the file that holds its password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Or the file that holds a bearer token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Roots besides the system's, in PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How long one question may take.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// How long a batch waits for a registry that is away. Less than Kafka's `max.poll.interval.ms`, or the partitions move on.
    #[serde(default = "patience_ms")]
    pub patience_ms: u64,
    /// The pause between two attempts.
    #[serde(default = "retry_ms")]
    pub retry_ms: u64,
    /// So many schemas are kept.
    #[serde(default = "schemas")]
    pub schemas: usize,
}

fn timeout_ms() -> u64 {
    5_000
}

fn patience_ms() -> u64 {
    180_000
}

fn retry_ms() -> u64 {
    1_000
}

fn schemas() -> usize {
    1_000
}
