//! The events of a shard that match a predicate, subject by subject. A code is matched once, not once a row.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use crate::config::{Config, Matches};
use crate::windows::Event;

/// Rows that are read at a time.
const BATCH: usize = 8_192;
/// Columns of a shard that are read.
const READ: [&str; 3] = ["subject_id", "time", "code"];

/// One shard, and how its columns are read.
pub(crate) struct Shard {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
}

/// Events of one subject, as they stand in the file.
#[derive(Debug)]
pub(crate) struct Subject {
    pub id: i64,
    pub events: Vec<Event>,
}

impl Shard {
    /// Opens a shard.
    ///
    /// # Errors
    /// Where it is no Parquet file, or lacks a column of MEDS.
    pub(crate) fn open(path: &Path) -> Result<Self, ParquetError> {
        let file = File::open(path)?;
        let plain = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?;
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let read = |field: &Arc<Field>| match field.name().as_str() {
            "code" => Field::new("code", text.clone(), field.is_nullable()),
            "time" => Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, None), field.is_nullable()),
            _ => field.as_ref().clone(),
        };
        let schema = Schema::new(plain.schema().fields().iter().map(read).collect::<Vec<_>>());
        if let Some(missing) = READ.iter().find(|name| schema.field_with_name(name).is_err()) {
            return Err(ParquetError::General(format!("the column {missing} of MEDS is missing")));
        }
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options)?;
        Ok(Self { path: path.to_owned(), metadata })
    }

    /// Rows of each row group.
    pub(crate) fn row_groups(&self) -> Vec<usize> {
        self.metadata.metadata().row_groups().iter().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).collect()
    }

    /// Gives `take` the subjects of some row groups one by one, in the order of the file; of the first and the last there may be more in the groups beside.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub(crate) fn read(&self, groups: Vec<usize>, config: &Config, mut take: impl FnMut(Subject)) -> Result<(), ParquetError> {
        let mut current: Option<Subject> = None;
        let mut known = HashMap::new();
        for batch in self.batches(groups)? {
            let batch = batch?;
            let [ids, times, codes] = READ.map(|name| batch.column_by_name(name));
            let (Some(ids), Some(times)) = (
                ids.and_then(|ids| ids.as_primitive_opt::<Int64Type>()),
                times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>()),
            ) else {
                return Err(ParquetError::General("subject_id and time are no columns of MEDS".to_owned()));
            };
            let matches = of_rows(codes, config, &mut known)?;
            for (row, &id) in ids.values().iter().enumerate() {
                let subject = match &mut current {
                    Some(subject) if subject.id == id => subject,
                    other => {
                        other.take().into_iter().for_each(&mut take);
                        other.insert(Subject { id, events: Vec::new() })
                    }
                };
                // What has no time holds of the subject for good, and is no event.
                if matches[row] != 0 && times.is_valid(row) {
                    subject.events.push(Event { at: times.value(row), matches: matches[row] });
                }
            }
        }
        current.into_iter().for_each(take);
        Ok(())
    }

    fn batches(&self, groups: Vec<usize>) -> Result<ParquetRecordBatchReader, ParquetError> {
        // Opened anew: what is read beside has a place in the file of its own.
        let file = File::open(&self.path)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mask = ProjectionMask::columns(builder.parquet_schema(), READ);
        builder.with_projection(mask).with_row_groups(groups).with_batch_size(BATCH).build()
    }
}

/// What each row's code matches.
fn of_rows(codes: Option<&ArrayRef>, config: &Config, known: &mut HashMap<String, Matches>) -> Result<Vec<Matches>, ParquetError> {
    let codes: Option<&DictionaryArray<Int32Type>> = codes.and_then(|codes| codes.as_dictionary_opt());
    let Some((codes, texts)) = codes.and_then(|codes| Some((codes, codes.values().as_string_opt::<i32>()?))) else {
        return Err(ParquetError::General("code is no text".to_owned()));
    };
    let mut matched = |text: &str| match known.get(text) {
        Some(matches) => *matches,
        None => *known.entry(text.to_owned()).or_insert_with(|| config.matches(text)),
    };
    let of_texts: Vec<Matches> = texts.iter().map(|text| text.map_or(0, &mut matched)).collect();
    Ok(codes.keys().iter().map(|key| key.and_then(|key| of_texts.get(usize::try_from(key).ok()?).copied()).unwrap_or(0)).collect())
}
