//! One record as it came, what became of it, and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::topic::TopicPartition;

/// Where a row came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// Kafka topic; `backfill.<facility>` for files that never were on one.
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
}

impl Source {
    /// The partition this record stood in.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

/// What the bytes turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// HL7 v2 in its pipe encoding, alone, framed or batched.
    Hl7v2,
    /// One FHIR resource, a Bundle, an array or NDJSON of them.
    Fhir,
    /// One of Wardstream's own topics.
    Wardstream,
    /// A record without a value.
    Tombstone,
    /// Zero bytes.
    Empty,
    /// None of these.
    Unknown,
}

impl Format {
    /// The name in `messages.format`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hl7v2 => "hl7v2",
            Self::Fhir => "fhir",
            Self::Wardstream => "wardstream",
            Self::Tombstone => "tombstone",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything in it that concerns us became rows.
    Mapped,
    /// Some did; the rest are rejects.
    Partly,
    /// Understood, and nothing for us.
    Ignored,
    /// Nothing could be mapped.
    Rejected,
}

impl Outcome {
    /// The name in `messages.outcome`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Partly => "partly",
            Self::Ignored => "ignored",
            Self::Rejected => "rejected",
        }
    }
}

/// How far a record came before a part of it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Unframing, unzipping, sniffing.
    Wire,
    /// Charset and escapes.
    Decode,
    /// Segments, JSON.
    Parse,
    /// Fields to facts.
    Map,
}

impl Stage {
    /// The name in `messages.reject_stage`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Decode => "decode",
            Self::Parse => "parse",
            Self::Map => "map",
        }
    }
}

/// What could not be used: the place and the reason, never the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// How far it came.
    pub stage: Stage,
    /// `OBX[3]-5`, `Bundle.entry[2].resource.period`, `byte 120`.
    pub position: String,
    /// A fixed sentence; a `&'static str` cannot carry a patient's data.
    pub reason: std::borrow::Cow<'static, str>,
}

/// What was doubtful and how it was decided: the place and a fixed sentence, never the content. A flag costs nothing; a reject does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// `MSH-9`, `EVN-2`, `Bundle.entry[2].resource.period`.
    pub position: String,
    /// A fixed sentence; a `&'static str` cannot carry a patient's data.
    pub decision: std::borrow::Cow<'static, str>,
}

/// Why the offsets before a record hold none that we could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// They never held a record for a reader: markers of transactions, or keys that were compacted away.
    Void,
    /// Their records were deleted by the broker before we read them.
    Deleted,
}

impl Skipped {
    /// The name in `messages.skipped_because`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Deleted => "deleted",
        }
    }
}

/// Offsets directly before a record that hold none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// How many.
    pub offsets: i64,
    /// Why.
    pub because: Skipped,
}

/// One row of `messages`: one Kafka record, whatever it held.
#[derive(Clone)]
pub struct Message {
    /// Where it stood.
    pub source: Source,
    /// The broker's timestamp.
    pub known_at: Timestamp,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's headers as a JSON object; values that are not UTF-8 in base64.
    pub headers: String,
    /// The exact bytes; `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// SHA-256 of the payload, hexadecimal.
    pub digest: String,
    /// What the bytes are.
    pub format: Format,
    /// `ADT^A01`, `Encounter`, `Bundle/transaction`; of the first part where there are several.
    pub trigger: Option<String>,
    /// MSH-10, or the resource's id.
    pub control_id: Option<String>,
    /// Whose record it is.
    pub facility: String,
    /// What became of it: the worst of its parts.
    pub outcome: Outcome,
    /// Everything that could not be used.
    pub rejects: Vec<Reject>,
    /// What was doubtful and how it was decided.
    pub flags: Vec<Flag>,
    /// The charset that its text was read in, as its WHATWG name, where it is text whose charset had to be decided.
    pub charset: Option<&'static str>,
    /// Rows of `events` that it gave.
    pub events: i32,
    /// Rows of `notes` that it gave.
    pub notes: i32,
    /// The offsets directly before it that hold no record.
    pub skip: Option<Skip>,
    /// Digest of those rows: two readings with the same digest say the same.
    pub rows_digest: String,
    /// The reading whose `events` and `notes` stand: an earlier one where this one says the same.
    pub rows_reading: i64,
    /// Version of the maps that read it.
    pub parser_version: i32,
    /// Which reading of the record this is: 0 as it came, the number of the replay, or below zero that of the attempt to land it.
    pub reading: i64,
}
