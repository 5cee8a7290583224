//! Rows of the house as Arrow record batches, in the column order of `schemas::Table::schema`.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Float64Builder, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::Field;
use datafusion::arrow::error::ArrowError;
use jiff::Timestamp;
use schemas::cleaning::worth_reading;
use schemas::instant::nearest;
use schemas::{Event, Message, NoteRow, Source, Table};
use serde::Serialize;

use crate::append::PredictionRow;
use crate::template;

/// A text column without a copy a row.
fn text<'a, T>(rows: &[&'a T], of: impl Fn(&'a T) -> Option<&'a str>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| of(row)).collect::<StringArray>())
}

/// A text column of what has to be written down first.
fn shown<T, D: Display>(rows: &[&T], of: impl Fn(&T) -> Option<D>) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(rows.len(), rows.len() * 36);
    for row in rows {
        match of(row) {
            // Writing to memory does not fail.
            Some(value) => drop(write!(builder, "{value}").map(|()| builder.append_value(""))),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// A list as JSON; NULL where it is empty.
fn json<T, V: Serialize>(rows: &[&T], of: impl Fn(&T) -> &[V]) -> ArrayRef {
    shown(rows, |row| Some(of(row)).filter(|list| !list.is_empty()).and_then(|list| serde_json::to_string(list).ok()))
}

fn instant<T>(rows: &[&T], of: impl Fn(&T) -> Option<Timestamp>) -> ArrayRef {
    let micros = rows.iter().map(|row| of(row).map(|at| nearest(at).as_microsecond()));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// `known_at`, the source record and the reading of it, which end every row.
fn origin<T>(
    rows: &[&T],
    known_at: impl Fn(&T) -> Timestamp,
    source: impl for<'a> Fn(&'a T) -> &'a Source,
    reading: impl Fn(&T) -> i64,
) -> [ArrayRef; 5] {
    [
        instant(rows, |row| Some(known_at(row))),
        Arc::new(rows.iter().map(|row| Some(source(row).topic.as_str())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| source(row).partition).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| source(row).offset).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| reading(row)).collect::<Int64Array>()),
    ]
}

/// One Kafka record a row.
pub fn messages(rows: &[&Message]) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.key.as_deref()).collect::<BinaryArray>()),
        text(rows, |row| Some(row.headers.as_str())),
        Arc::new(rows.iter().map(|row| row.payload.as_deref()).collect::<BinaryArray>()),
        text(rows, |row| Some(row.digest.as_str())),
        text(rows, |row| Some(row.format.as_str())),
        text(rows, |row| row.trigger.as_deref()),
        text(rows, |row| row.control_id.as_deref()),
        text(rows, |row| Some(row.facility.as_str())),
        text(rows, |row| Some(row.outcome.as_str())),
        text(rows, |row| row.rejects.first().map(|reject| reject.stage.as_str())),
        text(rows, |row| row.rejects.first().map(|reject| reject.position.as_str())),
        text(rows, |row| row.rejects.first().map(|reject| reject.reason.as_ref())),
        json(rows, |row| &row.rejects),
        json(rows, |row| &row.flags),
        text(rows, |row| row.charset),
        Arc::new(rows.iter().map(|row| row.events).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.notes).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.skip.map(|skip| skip.offsets)).collect::<Int64Array>()),
        text(rows, |row| row.skip.map(|skip| skip.because.as_str())),
        text(rows, |row| Some(row.rows_digest.as_str())),
        Arc::new(rows.iter().map(|row| row.rows_reading).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.parser_version).collect::<Int32Array>()),
    ];
    columns.extend(origin(rows, |row| row.known_at, |row| &row.source, |row| row.reading));
    RecordBatch::try_new(Table::Messages.schema(), columns)
}

/// One clinical fact a row.
pub fn events(rows: &[&Event]) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = vec![
        shown(rows, |row| Some(row.event_id)),
        shown(rows, |row| row.patient_id),
        shown(rows, |row| row.encounter_id),
        text(rows, |row| Some(row.facility.as_str())),
        text(rows, |row| row.fact.patient.as_ref().map(|patient| patient.system.as_str())),
        text(rows, |row| row.fact.patient.as_ref().map(|patient| patient.value.as_str())),
        text(rows, |row| row.fact.encounter.as_deref()),
        text(rows, |row| Some(row.fact.code.as_str())),
        instant(rows, |row| row.fact.time),
        instant(rows, |row| row.fact.asserted_at),
        Arc::new(rows.iter().map(|row| row.fact.numeric_value).collect::<Float64Array>()),
        text(rows, |row| row.fact.text_value.as_deref()),
        text(rows, |row| row.fact.related.as_deref()),
    ];
    columns.extend(origin(rows, |row| row.known_at, |row| &row.source, |row| row.reading));
    RecordBatch::try_new(Table::Events.schema(), columns)
}

/// One version of a note a row.
pub fn notes(rows: &[&NoteRow]) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = vec![
        shown(rows, |row| Some(row.note_id)),
        shown(rows, |row| Some(row.note_version_id)),
        shown(rows, |row| row.patient_id),
        shown(rows, |row| row.encounter_id),
        text(rows, |row| Some(row.facility.as_str())),
        text(rows, |row| Some(row.note.document.as_str())),
        text(rows, |row| Some(row.note.kind.as_str())),
        text(rows, |row| row.note.type_code.as_deref()),
        text(rows, |row| Some(row.note.status.as_str())),
        instant(rows, |row| row.note.authored_at),
        instant(rows, |row| row.note.signed_at),
        instant(rows, |row| row.note.asserted_at),
        text(rows, |row| Some(row.note.text.as_str())),
        Arc::new(rows.iter().map(|row| i64::try_from(row.note.text.chars().count()).ok()).collect::<Int64Array>()),
        shown(rows, |row| Some(template::of(&row.note.text))),
        Arc::new(rows.iter().map(|row| Some(worth_reading(&row.note.text))).collect::<BooleanArray>()),
        shown(rows, |row| row.replaces),
    ];
    columns.extend(origin(rows, |row| row.known_at, |row| &row.source, |row| row.reading));
    RecordBatch::try_new(Table::Notes.schema(), columns)
}

/// One published prediction or retraction a row.
pub fn predictions(rows: &[&PredictionRow]) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = vec![
        shown(rows, |row| Some(row.prediction.prediction_id)),
        shown(rows, |row| Some(row.prediction.task)),
        shown(rows, |row| row.prediction.encounter_id),
        shown(rows, |row| row.prediction.patient_id),
        shown(rows, |row| Some(row.prediction.note_id)),
        shown(rows, |row| Some(row.prediction.note_version_id)),
        instant(rows, |row| Some(row.prediction.predicted_at)),
        text(rows, |row| Some(row.prediction.model_version.0.as_str())),
        text(rows, |row| row.prediction.dataset_id.as_ref().map(|id| id.0.as_str())),
        probabilities(rows),
        Arc::new(rows.iter().map(|row| row.prediction.probability).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.prediction.threshold).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.prediction.decision).collect::<Int32Array>()),
        text(rows, |row| Some(row.prediction.mode.as_str())),
        Arc::new(rows.iter().map(|row| i32::try_from(row.prediction.tokens_read).ok()).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| Some(row.prediction.truncated)).collect::<BooleanArray>()),
        shown(rows, |row| row.prediction.supersedes),
        shown(rows, |row| row.prediction.retracts),
    ];
    columns.extend(origin(rows, |row| row.known_at, |row| &row.source, |_| 0));
    RecordBatch::try_new(Table::Predictions.schema(), columns)
}

fn probabilities(rows: &[&PredictionRow]) -> ArrayRef {
    let item = Field::new("element", datafusion::arrow::datatypes::DataType::Float64, true);
    let mut builder = ListBuilder::new(Float64Builder::new()).with_field(item);
    for row in rows {
        builder.values().append_slice(&row.prediction.probabilities);
        builder.append(true);
    }
    Arc::new(builder.finish())
}
