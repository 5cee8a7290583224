//! The rows of a statement on their way: watched batch by batch, and written as the protocol sends them.

use std::num::{IntErrorKind, ParseIntError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result as EngineResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldInfo};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::data::DataRow;
use futures::{StreamExt, stream};
use tokio::sync::Mutex;

use super::answer::error;
use super::connection::Connection;
use super::values;
use crate::roles::fault::{self, Asked, Refusal};
use crate::roles::turn::panicked;

/// Batches as they come, or what stopped them.
pub(super) type Batches = stream::BoxStream<'static, Result<RecordBatch, Refusal>>;

/// What is told of a statement when its rows stop.
pub(super) struct Watch {
    pub sql: String,
    pub notes: bool,
    pub limit: u64,
}

/// The rows of a statement as long as somebody reads them. Those that nobody reads are given up: they hold memory of the pool that all share.
pub(super) struct Held {
    rows: Mutex<Option<SendableRecordBatchStream>>,
    read: AtomicBool,
}

impl Held {
    fn of(rows: SendableRecordBatchStream) -> Arc<Self> {
        Arc::new(Self { rows: Mutex::new(Some(rows)), read: AtomicBool::new(true) })
    }

    /// Somebody has read a row.
    pub(super) fn touch(&self) {
        self.read.store(true, Ordering::Relaxed);
    }

    /// Gives the rows up where nobody has read any since this was asked before.
    pub(super) fn look(&self) {
        if !self.read.swap(false, Ordering::Relaxed) {
            self.give_up();
        }
    }

    fn give_up(&self) {
        // Where they are locked, somebody waits for the next of them.
        if let Ok(mut rows) = self.rows.try_lock() {
            *rows = None;
        }
    }

    async fn next(&self) -> Result<Option<EngineResult<RecordBatch>>, Refusal> {
        let mut rows = self.rows.lock().await;
        let Some(left) = rows.as_mut() else {
            return Err(Refusal::new("57014", "the rows were given up: nobody has read any for ten minutes").with_hint("ask anew"));
        };
        let batch = left.next().await;
        self.touch();
        if batch.is_none() {
            *rows = None;
        }
        Ok(batch)
    }
}

/// The rows, each batch within the turn that the connection then has, and no more of them than the role may have.
pub(super) fn watched(connection: &Arc<Connection>, rows: SendableRecordBatchStream, watch: Watch) -> (Batches, Arc<Held>) {
    let held = Held::of(rows);
    connection.hold(&held);
    // Rows of a cursor lie with their connection: if they held it in turn, neither would ever go.
    let connection = Arc::downgrade(connection);
    let (watch, source) = (Arc::new(watch), Arc::clone(&held));
    let batches = stream::unfold(Some(0_u64), move |seen| {
        let (connection, watch, source) = (Weak::clone(&connection), Arc::clone(&watch), Arc::clone(&source));
        async move {
            let seen = seen?;
            let failed = |refusal| {
                source.give_up();
                Some((Err(refusal), None))
            };
            let Some(turn) = connection.upgrade().map(|connection| connection.turn()) else {
                return failed(Refusal::new("08003", "the connection has ended"));
            };
            match turn.run(source.next()).await.and_then(|next| next) {
                Err(refusal) => failed(refusal),
                Ok(None) => None,
                Ok(Some(Err(error))) => failed(fault::refusal(&error, Asked { sql: &watch.sql, notes: watch.notes })),
                Ok(Some(Ok(batch))) => {
                    let seen = seen.saturating_add(u64::try_from(batch.num_rows()).unwrap_or(u64::MAX));
                    if watch.limit > 0 && seen > watch.limit {
                        return failed(
                            Refusal::new("54000", format!("the statement gives more than the {} rows that its role may have", watch.limit))
                                .with_hint("add LIMIT, or group the rows"),
                        );
                    }
                    Some((Ok(batch), Some(seen)))
                }
            }
        }
    });
    (batches.boxed(), held)
}

/// The rows of a batch, one after the other, or what stands in their place. Many may point to one long text: what is made of them is made of one at a time, as
/// it is asked for.
pub(super) fn one_by_one(batch: Result<RecordBatch, Refusal>) -> impl Iterator<Item = Result<(Arc<RecordBatch>, usize), Refusal>> {
    let (batch, refused) = match batch {
        Ok(batch) => (Some(Arc::new(batch)), None),
        Err(refusal) => (None, Some(Err(refusal))),
    };
    let rows = batch.into_iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| Ok((Arc::clone(&batch), row))));
    refused.into_iter().chain(rows)
}

/// The rows of a batch as the protocol sends them, up to one that cannot be written, in whose place stands why.
pub(super) fn encoded(fields: Arc<Vec<FieldInfo>>, batch: Result<RecordBatch, Refusal>) -> impl Iterator<Item = PgWireResult<DataRow>> {
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    let mut has_failed = false;
    one_by_one(batch).map_while(move |place| {
        if has_failed {
            return None;
        }
        let row = place.map_err(error).and_then(|(batch, row)| {
            let write = std::panic::AssertUnwindSafe(|| written(&mut encoder, &fields, (batch.as_ref(), row)));
            std::panic::catch_unwind(write).unwrap_or_else(|panic| Err(error(panicked(panic))))
        });
        has_failed = row.is_err();
        Some(row)
    })
}

fn written(encoder: &mut DataRowEncoder, fields: &[FieldInfo], (batch, row): (&RecordBatch, usize)) -> PgWireResult<DataRow> {
    for ((array, field), wire) in batch.columns().iter().zip(batch.schema_ref().fields()).zip(fields) {
        values::write(encoder, array, row, (field, wire))?;
    }
    Ok(encoder.take_row())
}

/// A parameter that cannot be read as its type.
pub(super) fn parameter(error: &PgWireError) -> Refusal {
    match error {
        PgWireError::UserError(info) if info.code == "22023" => Refusal::new("22023", info.message.clone()),
        PgWireError::FailedToParseParameter(cause) => Refusal::new(unread(cause.as_ref()), "a parameter is none of its type"),
        _ => Refusal::new("22P02", "a parameter is none of its type"),
    }
}

/// The class of a text that could not be read: the protocol's library says of numbers why, and of times what stood there.
fn unread(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> &'static str {
    if let Some(error) = cause.downcast_ref::<ParseIntError>() {
        return if matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) { "22003" } else { "22P02" };
    }
    let words = cause.to_string();
    match words.strip_prefix("Unable to parse date").and_then(|words| words.split_once(": ")) {
        Some((_, text)) if fault::begins_as_date(text) => "22008",
        Some(_) => "22007",
        None => "22P02",
    }
}

/// A statement has a value for each of its parameters. More are let pass: some that clients put are not asked for any more when the engine plans.
pub(super) fn suffices(supplied: usize, required: usize) -> Result<(), Refusal> {
    if supplied < required {
        let words = format!("bind message supplies {supplied} parameters, but the prepared statement requires {required}");
        return Err(Refusal::new("08P01", words));
    }
    Ok(())
}

/// A client may name one format for all columns or one for each.
pub(super) fn fits(format: &Format, columns: usize) -> Result<(), Refusal> {
    match format {
        Format::Individual(formats) if formats.len() != columns => {
            Err(Refusal::new("08P01", format!("bind message has {} result formats but query has {columns} columns", formats.len())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, UInt64Array};
    use datafusion::common::ScalarValue;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion_postgres::pgwire::api::Type;
    use datafusion_postgres::pgwire::api::results::FieldFormat;

    use super::*;

    #[test]
    fn rows_end_with_the_first_that_cannot_be_written() {
        let fields = Arc::new(vec![FieldInfo::new("yes".to_owned(), None, None, Type::INT8, FieldFormat::Text)]);
        let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![None, Some(u64::MAX), Some(2)]));
        let rows = encoded(fields, Ok(RecordBatch::try_from_iter([("yes", numbers)]).expect("a batch")));
        assert_eq!(rows.map(|row| row.is_ok()).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_parameter_that_cannot_be_read_has_the_class_of_its_type() {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| parameter(&PgWireError::FailedToParseParameter(cause)).code;
        let number = |text: &str| text.parse::<i32>().expect_err("is none of the type").into();
        for (cause, code) in [
            (number("99999999999"), "22003"),
            (number("1x"), "22P02"),
            ("Unable to parse datetime: nodate".into(), "22007"),
            ("Unable to parse datetime: 2024-01-01 25:00".into(), "22008"),
            ("Unable to parse date: 2024-02-30".into(), "22008"),
            ("Invalid text value for bool".into(), "22P02"),
        ] {
            let words = format!("{cause:?}");
            assert_eq!(failed(cause), code, "{words}");
        }
    }

    #[test]
    fn every_parameter_has_a_value() {
        assert_eq!(suffices(0, 1).expect_err("there is none").code, "08P01");
        assert!(suffices(1, 1).is_ok() && suffices(2, 1).is_ok());
    }

    /// All of them would take a hundred gigabytes.
    #[test]
    fn rows_that_point_to_one_long_text_are_written_as_they_are_asked_for() {
        let text = ScalarValue::Utf8View(Some("x".repeat(1 << 20))).to_array_of_size(100_000).expect("a column");
        let fields = Arc::new(vec![FieldInfo::new("text".to_owned(), None, None, Type::TEXT, FieldFormat::Text)]);
        let mut rows = encoded(fields, Ok(RecordBatch::try_from_iter([("text", text)]).expect("a batch")));
        for _ in 0..2 {
            let row = rows.next().expect("a row").expect("is written");
            assert!((1 << 20..1 << 21).contains(&row.data.len()), "{}", row.data.len());
        }
    }

    #[tokio::test]
    async fn rows_that_nobody_reads_are_given_up() {
        let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).expect("a batch");
        let rows = stream::iter([0; 3].map(|_| EngineResult::<RecordBatch>::Ok(batch.clone())));
        let held = Held::of(Box::pin(RecordBatchStreamAdapter::new(batch.schema(), rows)));
        held.look();
        assert!(held.next().await.is_ok_and(|batch| batch.is_some()), "they have just been opened");
        held.look();
        held.touch();
        held.look();
        assert!(held.next().await.is_ok_and(|batch| batch.is_some()), "a row of a batch was read");
        held.look();
        held.look();
        assert_eq!(held.next().await.expect_err("they are gone").code, "57014");
    }
}
