//! Arrow batches as Flight carries them.

use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamWriter};
use datafusion::arrow::array::{Array as _, ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use super::messages::FlightData;
use crate::spelling::apart;
use crate::written::{self, Views};

/// A frame holds about this much: clients refuse large ones.
const FRAME_BYTES: usize = 1 << 20;

/// The columns as they are sent: not every client knows the views of texts and bytes, and with each frame whole buffers would go that they point into.
pub(super) fn sent(schema: &Schema) -> SchemaRef {
    let sent = |field: &FieldRef| Field::new(apart::called(field.name()), plain(field.data_type()), field.is_nullable());
    Arc::new(Schema::new(schema.fields().iter().map(sent).collect::<Vec<_>>()))
}

fn plain(kind: &DataType) -> DataType {
    let of = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())));
    match kind {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) => DataType::List(of(field)),
        DataType::LargeList(field) => DataType::LargeList(of(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(of(field), *length),
        DataType::Map(field, is_sorted) => DataType::Map(of(field), *is_sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(of).collect()),
        other => other.clone(),
    }
}

/// The batch in parts of which each makes a frame. Rows may all point to one long text, which is sent with each of them: all of a batch that are written out at
/// once could take thousands of times its memory.
pub(super) fn parts(batch: &RecordBatch) -> Vec<RecordBatch> {
    written::parts(batch, FRAME_BYTES, |rows| {
        let columns = batch.columns().iter();
        columns.fold(0, |sum: usize, column| sum.saturating_add(written::bytes(column.as_ref(), rows.clone(), Views::Written)))
    })
}

/// The column, whose lists have no elements of other rows beside them: all that lie there would be written out with those of these rows.
fn alone(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !column.data_type().is_nested() {
        return Ok(Arc::clone(column));
    }
    let rows = u32::try_from(column.len()).map_err(|_| ArrowError::InvalidArgumentError("a batch has too many rows".to_owned()))?;
    take(column, &UInt32Array::from_iter_values(0..rows), None)
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

    /// Of one of [`parts`].
    pub(super) fn rows(&mut self, part: &RecordBatch) -> Result<Vec<FlightData>, ArrowError> {
        let columns = part.columns().iter().zip(self.schema.fields()).map(|(array, field)| cast(&alone(array)?, field.data_type()));
        let part = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?)?;
        let (dictionaries, rows) = self.generator.encode(&part, &mut self.dictionaries, &self.options, &mut self.context)?;
        let frame =
            |encoded: EncodedData| FlightData { data_header: encoded.ipc_message, data_body: encoded.arrow_data, ..FlightData::default() };
        Ok(dictionaries.into_iter().chain([rows]).map(frame).collect())
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
    use datafusion::arrow::array::{Int32Array, ListArray, StringViewArray};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::common::ScalarValue;

    /// The frames of all parts, and what is read of the first.
    fn framed(batch: &RecordBatch) -> (Vec<FlightData>, RecordBatch) {
        let mut frames = Frames::new(sent(&batch.schema()));
        let columns = frames.columns();
        let rows: Vec<FlightData> = parts(batch).iter().flat_map(|part| frames.rows(part).expect("is framed")).collect();
        let first = read(&columns, &rows).expect("is read").expect("has rows");
        assert_eq!(first.schema(), sent(&batch.schema()));
        (rows, first)
    }

    #[test]
    fn what_is_framed_is_read_again() {
        let words: ArrayRef =
            Arc::new(StringViewArray::from_iter((0..40_000).map(|n| Some(format!("a word that is longer than a view {n}")))));
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter(0..40_000));
        let (rows, first) = framed(&RecordBatch::try_from_iter([("n", numbers), ("word", words)]).expect("fits"));
        assert!(rows.len() > 1 && rows.iter().all(|frame| frame.data_body.len() < 2 * FRAME_BYTES));
        assert!(first.num_rows() > 0);
    }

    /// All of a column's rows would take gigabytes, as would its texts with each list of them.
    #[test]
    fn rows_that_point_to_one_long_text_are_parted_before_they_are_written_out() {
        let text = ScalarValue::Utf8View(Some("x".repeat(600_000))).to_array_of_size(8_192).expect("a column");
        let field = Arc::new(Field::new("item", DataType::Utf8View, true));
        let lists = ListArray::new(field, OffsetBuffer::from_lengths(std::iter::repeat_n(2, 4_096)), Arc::clone(&text), None);
        for (rows, column) in [(8_192, text), (4_096, Arc::new(lists) as ArrayRef)] {
            let batch = RecordBatch::try_from_iter([("text", column)]).expect("a batch");
            let parts = parts(&batch);
            assert_eq!((parts.len(), parts.iter().map(RecordBatch::num_rows).sum::<usize>()), (rows, rows));
            let (frames, first) = framed(&batch.slice(0, 2));
            assert_eq!((frames.len(), first.num_rows()), (2, 1));
            assert!(frames.iter().all(|frame| frame.data_body.len() < 2 * FRAME_BYTES));
        }
    }
}
