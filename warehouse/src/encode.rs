//! Rows of the house as Arrow record batches, in the column order of `schemas::Table::schema`.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Float64Builder, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::Field;
use datafusion::arrow::error::ArrowError;
use jiff::Timestamp;
use schemas::{Event, Message, NoteRow, Source, Table};

use crate::append::PredictionRow;
use crate::template;

fn text<T>(rows: &[T], of: impl Fn(&T) -> Option<String>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<StringArray>())
}

fn instant<T>(rows: &[T], of: impl Fn(&T) -> Option<Timestamp>) -> ArrayRef {
    Arc::new(rows.iter().map(|row| of(row).map(Timestamp::as_microsecond)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// `known_at`, the source record and the reading of it, which end every row.
fn origin<T>(
    rows: &[T],
    known_at: impl Fn(&T) -> Timestamp,
    source: impl Fn(&T) -> &Source,
    reading: impl Fn(&T) -> i64,
) -> [ArrayRef; 5] {
    [
        instant(rows, |row| Some(known_at(row))),
        Arc::new(rows.iter().map(|row| Some(source(row).topic.as_str())).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| source(row).partition).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| source(row).offset).collect::<Int64Array>()),
        Arc::new(rows.iter().map(reading).collect::<Int64Array>()),
    ]
}

/// One Kafka record a row.
pub fn messages(rows: &[Message]) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.key.as_deref()).collect::<BinaryArray>()),
        text(rows, |row| Some(row.headers.clone())),
        Arc::new(rows.iter().map(|row| row.payload.as_deref()).collect::<BinaryArray>()),
        text(rows, |row| Some(row.digest.clone())),
        text(rows, |row| Some(row.format.as_str().to_owned())),
        text(rows, |row| row.trigger.clone()),
        text(rows, |row| row.control_id.clone()),
        text(rows, |row| Some(row.facility.clone())),
        text(rows, |row| Some(row.outcome.as_str().to_owned())),
        text(rows, |row| row.rejects.first().map(|reject| reject.stage.as_str().to_owned())),
        text(rows, |row| row.rejects.first().map(|reject| reject.position.clone())),
        text(rows, |row| row.rejects.first().map(|reject| reject.reason.to_string())),
        text(rows, |row| if row.rejects.is_empty() { None } else { serde_json::to_string(&row.rejects).ok() }),
        text(rows, |row| if row.flags.is_empty() { None } else { serde_json::to_string(&row.flags).ok() }),
        text(rows, |row| row.charset.map(str::to_owned)),
        Arc::new(rows.iter().map(|row| row.events).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.notes).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.skip.map(|skip| skip.offsets)).collect::<Int64Array>()),
        text(rows, |row| row.skip.map(|skip| skip.because.as_str().to_owned())),
        Arc::new(rows.iter().map(|row| row.parser_version).collect::<Int32Array>()),
    ];
    columns.extend(origin(rows, |row| row.known_at, |row| &row.source, |row| row.reading));
    RecordBatch::try_new(Table::Messages.schema(), columns)
}

/// One clinical fact a row.
pub fn events(rows: &[Event]) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = vec![
        text(rows, |row| Some(row.event_id.to_string())),
        text(rows, |row| row.patient_id.map(|id| id.to_string())),
        text(rows, |row| row.encounter_id.map(|id| id.to_string())),
        text(rows, |row| Some(row.facility.clone())),
        text(rows, |row| row.fact.patient.as_ref().map(|patient| patient.system.clone())),
        text(rows, |row| row.fact.patient.as_ref().map(|patient| patient.value.clone())),
        text(rows, |row| row.fact.encounter.clone()),
        text(rows, |row| Some(row.fact.code.as_str().to_owned())),
        instant(rows, |row| row.fact.time),
        instant(rows, |row| row.fact.asserted_at),
        Arc::new(rows.iter().map(|row| row.fact.numeric_value).collect::<Float64Array>()),
        text(rows, |row| row.fact.text_value.clone()),
        text(rows, |row| row.fact.related.clone()),
    ];
    columns.extend(origin(rows, |row| row.known_at, |row| &row.source, |row| row.reading));
    RecordBatch::try_new(Table::Events.schema(), columns)
}

/// One version of a note a row.
pub fn notes(rows: &[NoteRow]) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = vec![
        text(rows, |row| Some(row.note_id.to_string())),
        text(rows, |row| Some(row.note_version_id.to_string())),
        text(rows, |row| row.patient_id.map(|id| id.to_string())),
        text(rows, |row| row.encounter_id.map(|id| id.to_string())),
        text(rows, |row| Some(row.facility.clone())),
        text(rows, |row| Some(row.note.document.clone())),
        text(rows, |row| Some(row.note.kind.as_str().to_owned())),
        text(rows, |row| row.note.type_code.clone()),
        text(rows, |row| Some(row.note.status.as_str().to_owned())),
        instant(rows, |row| row.note.authored_at),
        instant(rows, |row| row.note.signed_at),
        instant(rows, |row| row.note.asserted_at),
        text(rows, |row| Some(row.note.text.clone())),
        Arc::new(rows.iter().map(|row| i64::try_from(row.note.text.chars().count()).ok()).collect::<Int64Array>()),
        text(rows, |row| Some(template::of(&row.note.text))),
        text(rows, |row| row.replaces.map(|id| id.to_string())),
    ];
    columns.extend(origin(rows, |row| row.known_at, |row| &row.source, |row| row.reading));
    RecordBatch::try_new(Table::Notes.schema(), columns)
}

/// One published prediction or retraction a row.
pub fn predictions(rows: &[PredictionRow]) -> Result<RecordBatch, ArrowError> {
    let of = |get: fn(&schemas::Prediction) -> Option<String>| text(rows, move |row: &PredictionRow| get(&row.prediction));
    let mut columns: Vec<ArrayRef> = vec![
        of(|row| Some(row.prediction_id.to_string())),
        of(|row| Some(row.task.to_string())),
        of(|row| row.encounter_id.map(|id| id.to_string())),
        of(|row| row.patient_id.map(|id| id.to_string())),
        of(|row| Some(row.note_id.to_string())),
        of(|row| Some(row.note_version_id.to_string())),
        instant(rows, |row| Some(row.prediction.predicted_at)),
        of(|row| Some(row.model_version.0.clone())),
        of(|row| row.dataset_id.as_ref().map(|id| id.0.clone())),
        probabilities(rows),
        Arc::new(rows.iter().map(|row| row.prediction.probability).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.prediction.threshold).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.prediction.decision).collect::<Int32Array>()),
        of(|row| Some(row.mode.as_str().to_owned())),
        Arc::new(rows.iter().map(|row| i32::try_from(row.prediction.tokens_read).ok()).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| Some(row.prediction.truncated)).collect::<BooleanArray>()),
        of(|row| row.supersedes.map(|id| id.to_string())),
        of(|row| row.retracts.map(|id| id.to_string())),
    ];
    columns.extend(origin(rows, |row| row.known_at, |row| &row.source, |_| 0));
    RecordBatch::try_new(Table::Predictions.schema(), columns)
}

fn probabilities(rows: &[PredictionRow]) -> ArrayRef {
    let item = Field::new("element", datafusion::arrow::datatypes::DataType::Float64, true);
    let mut builder = ListBuilder::new(Float64Builder::new()).with_field(item);
    for row in rows {
        builder.values().append_slice(&row.prediction.probabilities);
        builder.append(true);
    }
    Arc::new(builder.finish())
}
