//! Parameters that a client puts, read only where what they say of themselves is so: the reader takes all the memory that its input states.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::{MessageHeader, root_as_message};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use futures::{Stream, StreamExt};
use tonic::Status;

use super::frames;
use super::messages::FlightData;
use crate::roles::fault::Refusal;

/// Frames that are taken of parameters that are put.
const FRAMES: usize = 16;
/// Bytes of all of them.
const BYTES: usize = 2 << 20;
/// Values that take no room, as NULLs of no type, in one batch.
const NOTHINGS: u64 = 4_096;

/// The frames of a call, as many as are looked at.
pub(super) async fn taken(mut frames: impl Stream<Item = Result<FlightData, Status>> + Unpin) -> Result<Vec<FlightData>, Status> {
    let mut taken = Vec::new();
    while taken.len() < FRAMES {
        let Some(frame) = frames.next().await else { break };
        taken.push(frame?);
        if bytes(&taken) > BYTES {
            return Err(Status::resource_exhausted(format!("54000: the parameters are longer than {BYTES} bytes")));
        }
    }
    Ok(taken)
}

/// How long these frames are.
pub(super) fn bytes(frames: &[FlightData]) -> usize {
    frames.iter().map(|frame| frame.data_header.len() + frame.data_body.len()).sum()
}

/// The one row that was put, or none; `columns` is the first frame.
///
/// # Errors
/// 22023 where it is none that is read here, 0A000 where there are several rows.
pub(super) fn read(columns: &FlightData, rows: &[FlightData]) -> Result<Option<RecordBatch>, Refusal> {
    let read = || {
        check_columns(columns)?;
        rows.iter().try_for_each(check_rows)?;
        frames::read(columns, rows).map_err(|_| unreadable())
    };
    // Some of what it does not expect the reader gives up by a panic.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(unreadable()))
}

fn unreadable() -> Refusal {
    Refusal::new("22023", "the parameters cannot be read")
}

fn check_columns(frame: &FlightData) -> Result<(), Refusal> {
    let message = root_as_message(&frame.data_header).map_err(|_| unreadable())?;
    let columns = message.header_as_schema().map(fb_to_schema).ok_or_else(unreadable)?;
    if !is_within(0, message.bodyLength(), frame.data_body.len()) {
        return Err(unreadable());
    }
    match columns.fields().iter().find(|field| !is_read(field.data_type())) {
        Some(field) => Err(Refusal::new("22023", format!("a parameter cannot be of the type {}", field.data_type()))),
        None => Ok(()),
    }
}

/// Not what says little and is much: elements of a list that all point at the same text.
fn is_read(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => is_plain(item.data_type()),
        DataType::Dictionary(_, value) => is_plain(value),
        DataType::Utf8View | DataType::BinaryView => true,
        other => is_plain(other),
    }
}

fn is_plain(kind: &DataType) -> bool {
    let is_text = matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary);
    is_text || matches!(kind, DataType::Null | DataType::Boolean | DataType::FixedSizeBinary(_)) || kind.is_primitive()
}

fn check_rows(frame: &FlightData) -> Result<(), Refusal> {
    let message = root_as_message(&frame.data_header).map_err(|_| unreadable())?;
    let body = frame.data_body.len();
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()),
        _ => None,
    };
    let batch = batch.ok_or_else(unreadable)?;
    if message.header_type() == MessageHeader::RecordBatch && batch.length() > 1 {
        return Err(Refusal::new("0A000", "one row of parameters is wanted"));
    }
    if batch.compression().is_some() {
        return Err(Refusal::new("22023", "parameters that are compressed are not read").with_hint("put them as they are"));
    }
    let mut buffers = batch.buffers().into_iter().flatten();
    let is_there = is_within(0, message.bodyLength(), body) && buffers.all(|buffer| is_within(buffer.offset(), buffer.length(), body));
    let nodes = batch.nodes().into_iter().flatten().map(|node| u64::try_from(node.length()).unwrap_or(u64::MAX));
    let values = nodes.fold(0_u64, |sum, length| sum.saturating_add(length));
    let most = u64::try_from(body).unwrap_or(u64::MAX).saturating_mul(8).saturating_add(NOTHINGS);
    if is_there && values <= most { Ok(()) } else { Err(unreadable()) }
}

fn is_within(offset: i64, length: i64, body: usize) -> bool {
    let ends = usize::try_from(offset).ok().zip(usize::try_from(length).ok()).and_then(|(offset, length)| offset.checked_add(length));
    ends.is_some_and(|end| end <= body)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
    use datafusion::arrow::array::{Array, ArrayRef, Int32Array, ListBuilder, StringArray, StringViewBuilder};

    use super::*;

    /// The column as a driver puts it.
    fn framed(column: ArrayRef, options: &IpcWriteOptions) -> (FlightData, FlightData) {
        let batch = RecordBatch::try_from_iter([("$1", column)]).expect("a batch");
        let (generator, mut dictionaries, mut context) =
            (IpcDataGenerator::default(), DictionaryTracker::new(false), IpcWriteContext::default());
        let frame = |part: EncodedData| FlightData { data_header: part.ipc_message, data_body: part.arrow_data, ..FlightData::default() };
        let columns = generator.schema_to_bytes_with_dictionary_tracker(&batch.schema(), &mut dictionaries, options);
        let (_, rows) = generator.encode(&batch, &mut dictionaries, options, &mut context).expect("is framed");
        (frame(columns), frame(rows))
    }

    fn text() -> ArrayRef {
        Arc::new(StringArray::from(vec!["x".repeat(2_000)]))
    }

    fn code(columns: &FlightData, rows: FlightData) -> Option<&'static str> {
        read(columns, &[rows]).err().map(|refusal| refusal.code)
    }

    #[test]
    fn a_row_is_read_as_it_was_put() {
        let (columns, rows) = framed(text(), &IpcWriteOptions::default());
        let batch = read(&columns, &[rows]).expect("is read").expect("has a row");
        assert_eq!(batch.column(0).to_data(), text().to_data());
        let (columns, _) = framed(text(), &IpcWriteOptions::default());
        assert_eq!(read(&columns, &[]).expect("is read"), None);
    }

    /// The reader would take as much memory as the header or the first bytes of a buffer say, and end the process where there is not so much.
    #[test]
    fn what_states_more_than_it_holds_is_refused_before_it_is_read() {
        let packed = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).expect("is known");
        let (columns, mut rows) = framed(text(), &packed);
        for at in 0..rows.data_body.len().saturating_sub(8) {
            if let Some(part) = rows.data_body.get_mut(at..at + 8)
                && *part == 2_000_i64.to_le_bytes()
            {
                part.copy_from_slice(&(1_i64 << 46).to_le_bytes());
            }
        }
        assert_eq!(code(&columns, rows), Some("22023"), "compressed");
        let (columns, mut rows) = framed(text(), &IpcWriteOptions::default());
        rows.data_body.truncate(64);
        assert_eq!(code(&columns, rows), Some("22023"), "cut short");
        let (columns, rows) = framed(text(), &IpcWriteOptions::default());
        assert_eq!(code(&columns, FlightData { data_header: b"nothing".to_vec(), ..rows }), Some("22023"), "no header");
        assert_eq!(code(&FlightData::default(), FlightData::default()), Some("22023"), "nothing at all");
        let (columns, rows) = framed(Arc::new(Int32Array::from(vec![1, 2])), &IpcWriteOptions::default());
        assert_eq!(code(&columns, rows), Some("0A000"), "two rows");
        let mut texts = ListBuilder::new(StringViewBuilder::new());
        texts.append_value([Some("one"), Some("two")]);
        let (columns, rows) = framed(Arc::new(texts.finish()), &IpcWriteOptions::default());
        assert_eq!(code(&columns, rows), Some("22023"), "a list of views");
    }

    #[tokio::test]
    async fn no_more_is_taken_than_is_read() {
        let frame = |bytes: usize| Ok(FlightData { data_body: vec![0; bytes], ..FlightData::default() });
        let many = futures::stream::iter((0..100).map(|_| frame(10)));
        assert_eq!(taken(many).await.map(|frames| frames.len()).ok(), Some(FRAMES));
        let long = futures::stream::iter((0..10).map(|_| frame(BYTES / 2)));
        assert_eq!(taken(long).await.map_err(|status| status.code()).err(), Some(tonic::Code::ResourceExhausted));
    }
}
