//! Whether records that came say the same as others did before: by the heads of their digests, all of which are held in order.
//!
//! Two digests of one head are taken for a repeat: then more is computed anew than was needed, and nothing is wrong.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;

/// Heads of the digests of all records up to a version of their table.
pub struct Heads {
    sorted: Vec<i64>,
    pub upto: u64,
    reservation: MemoryReservation,
}

impl Heads {
    /// Of these records, whose first column is the head of a digest or NULL; their memory is counted in the runtime's.
    ///
    /// # Errors
    /// Where the column is no whole number, or memory has run out.
    pub fn of(records: &[RecordBatch], upto: u64, runtime: &RuntimeEnv) -> Result<Self> {
        let reservation = MemoryConsumer::new("digests").register(&runtime.memory_pool);
        let mut heads = Self { sorted: Vec::new(), upto, reservation };
        heads.add(records, upto)?;
        Ok(heads)
    }

    /// Adds records that came up to a version: whether one has a head that another has.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn add(&mut self, records: &[RecordBatch], upto: u64) -> Result<bool> {
        let rows: usize = records.iter().map(RecordBatch::num_rows).sum();
        // As much again while it is put in order.
        self.reservation.try_resize((self.sorted.len() + rows) * 2 * size_of::<i64>())?;
        let mut new = Vec::with_capacity(rows);
        for batch in records {
            let heads = batch.columns().first().and_then(|column| column.as_primitive_opt::<Int64Type>());
            let heads = heads.ok_or_else(|| exec_datafusion_err!("heads of digests are whole numbers"))?;
            new.extend(heads.iter().flatten());
        }
        new.sort_unstable();
        let repeats = new.iter().any(|head| self.sorted.binary_search(head).is_ok()) || new.array_windows().any(|[one, next]| one == next);
        // Two runs in order, which this sort joins.
        self.sorted.append(&mut new);
        self.sorted.sort();
        self.reservation.try_resize(self.sorted.capacity() * size_of::<i64>())?;
        self.upto = upto;
        Ok(repeats)
    }
}
