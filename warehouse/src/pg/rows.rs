//! The rows of a statement on their way: watched batch by batch, and written as the protocol sends them.

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

/// The rows of a batch as the protocol sends them, up to one that cannot be written, in whose place stands why.
pub(super) fn encoded(fields: &Arc<Vec<FieldInfo>>, batch: Result<RecordBatch, Refusal>) -> Vec<PgWireResult<DataRow>> {
    match batch {
        Ok(batch) => std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| written(fields, &batch)))
            .unwrap_or_else(|panic| vec![Err(error(panicked(panic)))]),
        Err(refusal) => vec![Err(error(refusal))],
    }
}

fn written(fields: &Arc<Vec<FieldInfo>>, batch: &RecordBatch) -> Vec<PgWireResult<DataRow>> {
    let mut encoder = DataRowEncoder::new(Arc::clone(fields));
    let schema = batch.schema_ref();
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let mut columns = batch.columns().iter().zip(schema.fields()).zip(fields.iter());
        let failed = columns.find_map(|((array, field), wire)| values::write(&mut encoder, array, row, (field, wire)).err());
        if let Some(error) = failed {
            rows.push(Err(error));
            break;
        }
        rows.push(Ok(encoder.take_row()));
    }
    rows
}

/// A parameter that cannot be read as its type.
pub(super) fn parameter(error: &PgWireError) -> Refusal {
    match error {
        PgWireError::UserError(info) if info.code == "22023" => Refusal::new("22023", info.message.clone()),
        _ => Refusal::new("22P02", "a parameter is none of its type"),
    }
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
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use datafusion_postgres::pgwire::api::Type;
    use datafusion_postgres::pgwire::api::results::FieldFormat;

    use super::*;

    #[test]
    fn rows_end_with_the_first_that_cannot_be_written() {
        let fields = Arc::new(vec![FieldInfo::new("yes".to_owned(), None, None, Type::INT8, FieldFormat::Text)]);
        let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![None, Some(u64::MAX), Some(2)]));
        let rows = encoded(&fields, Ok(RecordBatch::try_from_iter([("yes", numbers)]).expect("a batch")));
        assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
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
