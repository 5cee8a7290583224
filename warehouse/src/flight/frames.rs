//! Arrow batches as Flight carries them.

use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamWriter};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use super::messages::FlightData;

/// A frame holds about this much: clients refuse large ones.
const FRAME_BYTES: usize = 1 << 20;

/// The columns as they are sent: not every client knows the views of texts and bytes.
pub(super) fn sent(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| {
        let kind = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            other => other.clone(),
        };
        Field::new(field.name(), kind, field.is_nullable())
    };
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// The columns as a message of their own.
pub(super) fn schema_bytes(schema: &Schema) -> Result<Vec<u8>, ArrowError> {
    StreamWriter::try_new(Vec::new(), schema)?.into_inner().map(|bytes| message_alone(&bytes))
}

/// What stands before the mark of the end.
fn message_alone(bytes: &[u8]) -> Vec<u8> {
    const END: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
    bytes.strip_suffix(&END).unwrap_or(bytes).to_vec()
}

/// Makes frames of batches: the columns first, then rows.
pub(super) struct Frames {
    schema: SchemaRef,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl Frames {
    pub(super) fn new(schema: SchemaRef) -> Self {
        let (generator, dictionaries) = (IpcDataGenerator::default(), DictionaryTracker::new(false));
        Self { schema, generator, dictionaries, options: IpcWriteOptions::default(), context: IpcWriteContext::default() }
    }

    pub(super) fn columns(&mut self) -> FlightData {
        let encoded = self.generator.schema_to_bytes_with_dictionary_tracker(&self.schema, &mut self.dictionaries, &self.options);
        FlightData { data_header: encoded.ipc_message, ..FlightData::default() }
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>, ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(array, field)| cast(array, field.data_type()));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?)?;
        let rows = (batch.num_rows() * FRAME_BYTES / batch.get_array_memory_size().max(1)).max(1);
        let mut frames = Vec::new();
        for from in (0..batch.num_rows()).step_by(rows) {
            let part = batch.slice(from, rows.min(batch.num_rows() - from));
            let (dictionaries, encoded) = self.generator.encode(&part, &mut self.dictionaries, &self.options, &mut self.context)?;
            for encoded in dictionaries.into_iter().chain([encoded]) {
                frames.push(FlightData { data_header: encoded.ipc_message, data_body: encoded.arrow_data, ..FlightData::default() });
            }
        }
        Ok(frames)
    }
}

/// The first batch that was put, where there is one; `columns` and `rows` are its first two frames.
pub(super) fn read(columns: &FlightData, rows: &[FlightData]) -> Result<Option<RecordBatch>, ArrowError> {
    let mut bytes = Vec::new();
    for frame in std::iter::once(columns).chain(rows) {
        let header = &frame.data_header;
        let padded = header.len().next_multiple_of(8);
        let length = u32::try_from(padded).map_err(|_| ArrowError::IpcError("a header is too long".to_owned()))?;
        bytes.extend([0xFF; 4]);
        bytes.extend(length.to_le_bytes());
        bytes.extend(header);
        bytes.resize(bytes.len() + padded - header.len(), 0);
        bytes.extend(&frame.data_body);
    }
    StreamReader::try_new(bytes.as_slice(), None)?.next().transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int32Array, StringViewArray};

    #[test]
    fn what_is_framed_is_read_again() {
        let schema = Schema::new(vec![Field::new("n", DataType::Int32, true), Field::new("word", DataType::Utf8View, true)]);
        let words: StringViewArray = (0..40_000).map(|number| Some(format!("a word that is longer than a view {number}"))).collect();
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(Int32Array::from_iter(0..40_000)), Arc::new(words)]);
        let mut frames = Frames::new(sent(&schema));
        let columns = frames.columns();
        let rows = frames.rows(&batch.expect("fits")).expect("is framed");
        assert!(rows.len() > 1 && rows.iter().all(|frame| frame.data_body.len() < 2 * FRAME_BYTES));
        let first = read(&columns, &rows).expect("is read").expect("has rows");
        assert_eq!(first.schema(), sent(&schema));
        assert!(first.num_rows() > 0);
    }
}
