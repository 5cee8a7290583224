//! The four tables and their Arrow schemas. Everything else in the warehouse is a view over these.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A Delta table of the warehouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One Kafka record a row.
    Messages,
    /// One clinical fact a row.
    Events,
    /// One version of a note a row.
    Notes,
    /// One published prediction or retraction a row.
    Predictions,
}

/// Micro-second UTC, the only instant that is stored.
#[must_use]
pub fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl Table {
    /// All four, in the order in which a batch is committed: `messages` last, so that what it shows as landed is landed everywhere.
    pub const ALL: [Self; 4] = [Self::Events, Self::Notes, Self::Predictions, Self::Messages];

    /// The table's folder, and its name in messages to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Events => "events",
            Self::Notes => "notes",
            Self::Predictions => "predictions",
        }
    }

    /// Columns, in order. Every table ends in `known_at`, the source record and the reading of it that gave the row. Tables are not partitioned: rows arrive in the
    /// order of `known_at`, so the files' own statistics prune by time, and a commit of history is one file, not one a day.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        let mut fields = match self {
            Self::Messages => message_fields(),
            Self::Events => event_fields(),
            Self::Notes => note_fields(),
            Self::Predictions => prediction_fields(),
        };
        let source =
            if self == Self::Messages { ["topic", "partition", "offset"] } else { ["source_topic", "source_partition", "source_offset"] };
        fields.extend([
            Field::new("known_at", instant(), false),
            Field::new(source[0], DataType::Utf8, false),
            Field::new(source[1], DataType::Int32, false),
            Field::new(source[2], DataType::Int64, false),
            Field::new("reading", DataType::Int64, false),
        ]);
        Arc::new(Schema::new(fields))
    }
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn at(name: &str) -> Field {
    Field::new(name, instant(), true)
}

fn message_fields() -> Vec<Field> {
    vec![
        Field::new("key", DataType::Binary, true),
        text("headers"),
        Field::new("payload", DataType::Binary, true),
        text("digest"),
        text("format"),
        text("trigger"),
        text("control_id"),
        text("facility"),
        text("outcome"),
        text("reject_stage"),
        text("reject_position"),
        text("reject_reason"),
        text("rejects"),
        text("flags"),
        text("charset"),
        Field::new("event_count", DataType::Int32, true),
        Field::new("note_count", DataType::Int32, true),
        Field::new("skipped", DataType::Int64, true),
        text("skipped_because"),
        text("rows_digest"),
        Field::new("rows_reading", DataType::Int64, true),
        Field::new("parser_version", DataType::Int32, true),
    ]
}

fn event_fields() -> Vec<Field> {
    vec![
        text("event_id"),
        text("patient_id"),
        text("encounter_id"),
        text("facility"),
        text("patient_system"),
        text("patient_value"),
        text("visit_number"),
        text("code"),
        at("time"),
        at("asserted_at"),
        Field::new("numeric_value", DataType::Float64, true),
        text("text_value"),
        text("related"),
    ]
}

fn note_fields() -> Vec<Field> {
    vec![
        text("note_id"),
        text("note_version_id"),
        text("patient_id"),
        text("encounter_id"),
        text("facility"),
        text("document"),
        text("kind"),
        text("type_code"),
        text("status"),
        at("authored_at"),
        at("signed_at"),
        at("asserted_at"),
        text("text"),
        // Characters of the text, and a digest of its headings: what is watched of a note without reading it again.
        Field::new("length", DataType::Int64, true),
        text("template"),
        // Whether anything is left to read of the text once it is cleaned, as `cleaning::worth_reading` says: what is not readable is no prompt.
        Field::new("readable", DataType::Boolean, true),
        text("replaces"),
    ]
}

fn prediction_fields() -> Vec<Field> {
    vec![
        text("prediction_id"),
        text("task"),
        text("encounter_id"),
        text("patient_id"),
        text("note_id"),
        text("note_version_id"),
        at("predicted_at"),
        text("model_version"),
        text("dataset_id"),
        Field::new("probabilities", DataType::List(Arc::new(Field::new("element", DataType::Float64, true))), true),
        Field::new("probability", DataType::Float64, true),
        Field::new("threshold", DataType::Float64, true),
        Field::new("decision", DataType::Int32, true),
        text("mode"),
        Field::new("tokens_read", DataType::Int32, true),
        Field::new("truncated", DataType::Boolean, true),
        text("supersedes"),
        text("retracts"),
    ]
}
