//! The relations of records, made of what they were and of the records that came: `watermarks`, `readings` and `copies`.
//!
//! A record that came may repeat another: told by the heads of digests, all of which are held in order. Then the records of these digests alone are ranked
//! anew. Where a record was read anew, `readings` and `copies` are computed in whole.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::exec_datafusion_err;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{DataFrame, SessionContext};

use crate::computed::{Computed, Query};
use crate::kept::{Kept, KeptRows};
use crate::session::empty_session;
use crate::views;

/// What of a record that came is read.
pub const READ: &[&str] = &["facility", "known_at", "digest", "reading"];

/// Records that repeat others, from which on ranking all is as quick.
const MANY: usize = 10_000;

/// The heads of the digests of a relation of records.
///
/// # Errors
/// Where they cannot be read.
pub async fn heads(ctx: &SessionContext, relation: &str) -> Result<Vec<RecordBatch>> {
    ctx.sql(&format!("SELECT digest_head(digest) FROM {relation} WHERE digest IS NOT NULL")).await?.collect().await
}

/// Records that came since an earlier moment.
pub struct Arrived {
    /// Knows them as `new_messages`.
    ctx: SessionContext,
    /// Whether one was replayed, or landed by another attempt than the first.
    pub read_anew: bool,
    /// Heads of digests that one has and another record, too.
    pub repeated: Vec<i64>,
}

impl Arrived {
    /// The `new_messages` of a session, which are added to the `known` heads as those that came up to a version.
    ///
    /// # Errors
    /// Where they cannot be read, or memory has run out.
    pub async fn of(ctx: SessionContext, known: &mut Heads, upto: u64) -> Result<Self> {
        let repeated = known.add(&heads(&ctx, "new_messages").await?, upto)?;
        let read_anew = ctx.sql("SELECT 1 FROM new_messages WHERE reading <> 0 LIMIT 1").await?.collect().await?;
        Ok(Self { ctx, read_anew: read_anew.iter().any(|batch| batch.num_rows() > 0), repeated })
    }

    /// `watermarks` with them.
    ///
    /// # Errors
    /// Where it cannot be planned.
    pub async fn watermarks(&self, before: &Arc<Kept>) -> Result<DataFrame> {
        self.ctx.deregister_table("watermarks_then")?;
        self.ctx.register_table("watermarks_then", Arc::new(KeptRows(Arc::clone(before))))?;
        let sql = "SELECT facility, max(watermark) AS watermark FROM (SELECT facility, watermark FROM watermarks_then UNION ALL \
             SELECT facility, known_at AS watermark FROM new_messages WHERE facility <> 'wardstream') AS w GROUP BY facility";
        self.ctx.sql(sql).await
    }

    /// `copies` with them, where none was read anew; `all` knows every record. `None` where too many repeat another.
    ///
    /// # Errors
    /// Where records cannot be read.
    pub async fn copies(&self, before: &Arc<Kept>, all: SessionContext) -> Result<Option<DataFrame>> {
        if self.repeated.len() > MANY {
            return Ok(None);
        }
        let heads: ArrayRef = Arc::new(Int64Array::from(self.repeated.clone()));
        self.ctx.deregister_table("repeated")?;
        self.ctx.register_batch("repeated", RecordBatch::try_from_iter([("head", heads)])?)?;
        let sql = "SELECT DISTINCT n.digest FROM repeated AS r JOIN new_messages AS n ON digest_head(n.digest) = r.head";
        let digests = self.ctx.sql(sql).await?;
        let schema = Arc::clone(digests.schema().inner());
        all.register_table("repeated", Arc::new(MemTable::try_new(schema, vec![digests.collect().await?])?))?;
        all.register_table("standing_messages", all.sql(views::source("standing_messages")?).await?.into_view())?;
        let sql = "SELECT s.* FROM repeated AS r JOIN (SELECT topic, \"partition\", \"offset\", known_at, facility, digest, rows_reading, event_count \
             FROM standing_messages WHERE event_count > 0) AS s ON s.digest = r.digest";
        let alike = Query::new(all.sql(sql).await?, all.runtime_env())?;
        // The view's own query, over the records of these digests alone.
        let ctx = empty_session(&all.runtime_env());
        ctx.register_table("standing_messages", Arc::new(Computed::once(alike)))?;
        ctx.register_table("copies_now", ctx.sql(views::source("copies")?).await?.into_view())?;
        ctx.register_table("copies_then", Arc::new(KeptRows(Arc::clone(before))))?;
        let sql = "SELECT topic, \"partition\", \"offset\" FROM copies_now UNION ALL \
             SELECT t.topic, t.\"partition\", t.\"offset\" FROM copies_then AS t LEFT ANTI JOIN standing_messages AS s \
             ON s.topic = t.topic AND s.\"partition\" = t.\"partition\" AND s.\"offset\" = t.\"offset\"";
        ctx.sql(sql).await.map(Some)
    }
}

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

    /// Adds records that came up to a version; returns the heads that one of them has and another record, too.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn add(&mut self, records: &[RecordBatch], upto: u64) -> Result<Vec<i64>> {
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
        let mut repeated: Vec<i64> = new.iter().copied().filter(|head| self.sorted.binary_search(head).is_ok()).collect();
        repeated.extend(new.array_windows().filter(|[one, next]| one == next).map(|[one, _]| *one));
        repeated.sort_unstable();
        repeated.dedup();
        // Two runs in order, which this sort joins.
        self.sorted.append(&mut new);
        self.sorted.sort();
        self.reservation.try_resize(self.sorted.capacity() * size_of::<i64>())?;
        self.upto = upto;
        Ok(repeated)
    }
}
