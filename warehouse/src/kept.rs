//! Rows that were computed and are kept: in memory while they are few, counted against the memory of all, and on disk beyond.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, exec_datafusion_err, internal_err};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinSet;

use crate::compact::own;
use run::Run;

mod run;

/// What a partition keeps in memory: when there is more, what is there goes to disk.
const PART_BYTES: usize = 16 << 20;

/// Batches are put together up to so many rows: what is joined to kept rows carries each buffer of theirs along.
const BATCH_ROWS: usize = 32_768;

/// Small ones are put together once a partition has so many: at every few moments, and not at each.
const SMALL: usize = 8;

/// And read in pieces of so many.
const READ_ROWS: usize = 8_192;

/// As whom the pool knows kept rows.
pub(crate) const CONSUMER: &str = "kept rows";

/// A column of no more different texts than this says how many they are: a join over such a column gives as many rows as the larger of its sides, which
/// is then not held in memory.
const FEW: usize = 64;

/// Rows of a batch that are looked at for that.
const LOOKED_AT: usize = 512;

/// One partition of rows: those on disk come first.
struct Part {
    runs: Vec<Run>,
    batches: Vec<RecordBatch>,
    /// What the batches are counted as.
    reservation: MemoryReservation,
    rows: usize,
    /// In memory, wherever they are.
    bytes: usize,
    /// Hashes of the texts of each column, while they are few.
    texts: Vec<Option<HashSet<u64>>>,
}

/// Rows on their way to be kept.
enum Piece {
    /// As they were kept before, on disk.
    Stored(Run),
    /// And in memory.
    Whole(RecordBatch),
    /// To be put together with others: one alone may be a part of much more.
    Loose(RecordBatch),
}

/// Which of the identities in a column still hold.
pub(crate) trait Holds: Fn(&ArrayRef) -> Result<BooleanArray> + Clone + Send + Sync + 'static {}

impl<F: Fn(&ArrayRef) -> Result<BooleanArray> + Clone + Send + Sync + 'static> Holds for F {}

/// Whether a batch is to be put together with others, where there are some.
fn is_small(batch: &RecordBatch) -> bool {
    batch.num_rows() < BATCH_ROWS / 2
}

/// What of a kept batch holds on. One of which all does is not touched, unless it is small and those are to be put together.
fn held_on(batch: RecordBatch, key: usize, holds: &impl Holds, small_stay: bool) -> Result<Piece> {
    let rows = holds(batch.column(key))?;
    match rows.true_count() {
        count if count == batch.num_rows() && (small_stay || !is_small(&batch)) => Ok(Piece::Whole(batch)),
        _ => Ok(Piece::Loose(filter_record_batch(&batch, &rows)?)),
    }
}

/// What of a run on disk holds on: the run itself, or its rows where many of them went.
async fn run_held_on(run: Run, key: usize, holds: impl Holds) -> Result<BoxStream<'static, Result<Piece>>> {
    if let Some(run) = run.without(key, &holds).await? {
        return Ok(stream::once(async { Ok(Piece::Stored(run)) }).boxed());
    }
    Ok(run.read(None).map(move |batch| held_on(batch?, key, &holds, false)).boxed())
}

/// The rows.
pub(crate) struct Kept {
    schema: SchemaRef,
    parts: Vec<Part>,
}

impl Kept {
    /// Takes all rows of the streams, each a partition. `runtime` has the memory and the disk of all.
    ///
    /// # Errors
    /// Where a stream fails, or the disk is full.
    pub(crate) async fn of(
        schema: &SchemaRef,
        streams: Vec<BoxStream<'static, Result<RecordBatch>>>,
        runtime: &Arc<RuntimeEnv>,
    ) -> Result<Self> {
        let texts = |_| schema.fields().iter().map(|field| (*field.data_type() == DataType::Utf8View).then(HashSet::new)).collect();
        Self::filled(schema, streams.into_iter().map(|stream| stream.map_ok(Piece::Loose).boxed()).collect(), texts, runtime).await
    }

    /// The rows of `before` that hold by what stands in the column `key`, and all rows of the streams behind them.
    ///
    /// # Errors
    /// As [`Self::of`], and where it cannot be told which rows hold.
    pub(crate) async fn renewed(
        before: &Self,
        key: usize,
        holds: impl Holds,
        streams: Vec<BoxStream<'static, Result<RecordBatch>>>,
        runtime: &Arc<RuntimeEnv>,
    ) -> Result<Self> {
        let mut pieces: Vec<BoxStream<'static, Result<Piece>>> = Vec::new();
        for part in &before.parts {
            let (of_runs, of_batches) = (holds.clone(), holds.clone());
            let on_disk = stream::iter(part.runs.clone()).then(move |run| run_held_on(run, key, of_runs.clone())).try_flatten();
            let are_few = part.batches.iter().filter(|batch| is_small(batch)).count() < SMALL;
            let in_memory = stream::iter(part.batches.clone()).map(move |batch| held_on(batch, key, &of_batches, are_few));
            pieces.push(on_disk.chain(in_memory).boxed());
        }
        pieces.resize_with(before.parts.len().max(1), || stream::empty().boxed());
        let parts = pieces.len();
        for (place, new) in streams.into_iter().enumerate() {
            if let Some(piece) = pieces.get_mut(place % parts) {
                let held = std::mem::replace(piece, stream::empty().boxed());
                *piece = held.chain(new.map_ok(Piece::Loose)).boxed();
            }
        }
        // Those of rows that went are still counted, which is as near as a guess of so many needs to be.
        let texts = |place: usize| before.parts.get(place).map(|part| part.texts.clone()).unwrap_or_default();
        Self::filled(&before.schema, pieces, texts, runtime).await
    }

    /// A partition of each of the streams. `texts` are those that a partition begins with.
    async fn filled(
        schema: &SchemaRef,
        pieces: Vec<BoxStream<'static, Result<Piece>>>,
        texts: impl Fn(usize) -> Vec<Option<HashSet<u64>>>,
        runtime: &Arc<RuntimeEnv>,
    ) -> Result<Self> {
        let mut taken = JoinSet::new();
        for (place, stream) in pieces.into_iter().enumerate() {
            let reservation = MemoryConsumer::new(CONSUMER).register(&runtime.memory_pool);
            let part = Part { runs: Vec::new(), batches: Vec::new(), reservation, rows: 0, bytes: 0, texts: texts(place) };
            let (schema, disk) = (Arc::clone(schema), Arc::clone(&runtime.disk_manager));
            taken.spawn(async move { part.filled(stream, &schema, &disk).await.map(|part| (place, part)) });
        }
        let mut found = Vec::new();
        while let Some(part) = taken.join_next().await {
            match part.map_err(|error| exec_datafusion_err!("rows were not computed: {error}")).flatten() {
                Ok(part) => found.push(part),
                Err(error) => {
                    // Nothing of theirs is held any more when somebody tries in another way.
                    taken.shutdown().await;
                    return Err(error);
                }
            }
        }
        found.sort_by_key(|(place, _)| *place);
        Ok(Self { schema: Arc::clone(schema), parts: found.into_iter().map(|(_, part)| part).collect() })
    }
}

impl Kept {
    /// Its columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The place of the column.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        Ok(self.schema.index_of(name)?)
    }

    /// How many different texts the column has, where they are few.
    fn different(&self, column: usize) -> Option<usize> {
        let mut all: HashSet<u64> = HashSet::new();
        for part in &self.parts {
            all.extend(part.texts.get(column)?.as_ref()?);
        }
        Some(all.len()).filter(|different| (1..=FEW).contains(different))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: fn(&Part) -> usize| self.parts.iter().map(count).sum::<usize>();
        let (rows, bytes, files) = (of(|part| part.rows), of(|part| part.bytes), of(|part| part.runs.len()));
        write!(f, "rows={rows} bytes={bytes} parts={} files={files}", self.parts.len())
    }
}

impl Part {
    /// With all rows of the stream.
    async fn filled(mut self, mut stream: BoxStream<'static, Result<Piece>>, schema: &SchemaRef, disk: &Arc<DiskManager>) -> Result<Self> {
        // One alone would not be copied.
        let empty = RecordBatch::new_empty(Arc::clone(schema));
        let (mut small, mut rows) = (vec![empty.clone()], 0);
        while let Some(piece) = stream.next().await {
            let batch = match piece? {
                Piece::Stored(run) => {
                    self.rows += run.rows();
                    self.bytes += run.bytes();
                    self.runs.push(run);
                    continue;
                }
                Piece::Whole(batch) => {
                    self.put(batch, schema, disk)?;
                    continue;
                }
                Piece::Loose(batch) => batch,
            };
            rows += batch.num_rows();
            small.push(batch);
            if rows >= BATCH_ROWS {
                self.put(own(&concat_batches(schema, &small)?, schema)?, schema, disk)?;
                (small, rows) = (vec![empty.clone()], 0);
            }
        }
        self.put(own(&concat_batches(schema, &small)?, schema)?, schema, disk)?;
        Ok(self)
    }

    /// The rows in these columns, those on disk first.
    fn rows(&self, schema: &SchemaRef, columns: Option<&Vec<usize>>) -> Result<SendableRecordBatchStream> {
        let in_memory = MemoryStream::try_new(self.batches.iter().flat_map(slices).collect(), Arc::clone(schema), columns.cloned())?;
        if self.runs.is_empty() {
            return Ok(Box::pin(in_memory));
        }
        let columns = columns.cloned();
        let on_disk = stream::iter(self.runs.clone()).flat_map(move |run| run.read(columns.clone()));
        let on_disk = on_disk.map_ok(|batch| stream::iter(slices(&batch).map(Ok).collect::<Vec<_>>())).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), on_disk.chain(in_memory))))
    }

    fn put(&mut self, batch: RecordBatch, schema: &SchemaRef, disk: &Arc<DiskManager>) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let bytes = batch.get_array_memory_size();
        self.rows += batch.num_rows();
        self.bytes += bytes;
        for (column, texts) in batch.columns().iter().zip(&mut self.texts) {
            count_few(column, texts);
        }
        let fits = self.reservation.size() + bytes <= PART_BYTES && self.reservation.try_grow(bytes).is_ok();
        self.batches.push(batch);
        if !fits {
            self.runs.push(Run::written(schema, &self.batches, disk)?);
            self.batches.clear();
            self.reservation.free();
        }
        Ok(())
    }
}

/// The batch in pieces of so many rows as the engine is used to: a sort makes room for two batches before it holds any.
fn slices(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + use<> {
    let (batch, rows) = (batch.clone(), batch.num_rows());
    (0..rows).step_by(READ_ROWS).map(move |from| batch.slice(from, READ_ROWS.min(rows - from)))
}

/// Adds what some rows of the column hold, until it is no longer few.
fn count_few(column: &ArrayRef, texts: &mut Option<HashSet<u64>>) {
    let Some(found) = texts else { return };
    let column = column.as_string_view();
    let step = column.len().div_ceil(LOOKED_AT).max(1);
    for text in (0..column.len()).step_by(step).filter(|row| column.is_valid(*row)).map(|row| column.value(row)) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        found.insert(hasher.finish());
        if found.len() > FEW {
            *texts = None;
            return;
        }
    }
}

/// Kept rows as a relation.
#[derive(Debug)]
pub(crate) struct KeptRows(pub(crate) Arc<Kept>);

#[async_trait]
impl TableProvider for KeptRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(KeptScan::new(&self.0, projection.cloned())?))
    }
}

/// Reads kept rows.
#[derive(Debug)]
struct KeptScan {
    kept: Arc<Kept>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl KeptScan {
    fn new(kept: &Arc<Kept>, projection: Option<Vec<usize>>) -> Result<Self> {
        let schema = match &projection {
            Some(columns) => Arc::new(kept.schema.project(columns)?),
            None => Arc::clone(&kept.schema),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(kept.parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { kept: Arc::clone(kept), projection, properties: Arc::new(properties) })
    }
}

impl DisplayAs for KeptScan {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptScan: {:?}", self.kept)
    }
}

impl ExecutionPlan for KeptScan {
    fn name(&self) -> &'static str {
        "KeptScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(&self, _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("kept rows have no children") }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let Some(part) = self.kept.parts.get(partition) else { return internal_err!("kept rows have no partition {partition}") };
        part.rows(&schema, self.projection.as_ref())
    }

    /// How many rows there are is known, and joins are planned by it.
    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], wanted: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let parts = self.kept.parts.iter().enumerate().filter(|(place, _)| wanted.partition().is_none_or(|partition| partition == *place));
        let (rows, bytes) = parts.fold((0, 0), |(rows, bytes), (_, part)| (rows + part.rows, bytes + part.bytes));
        let bytes = bytes * self.schema().fields().len() / self.kept.schema.fields().len().max(1);
        let mut statistics = Statistics::new_unknown(&self.schema());
        for (place, column) in statistics.column_statistics.iter_mut().enumerate() {
            let place = self.projection.as_ref().map_or(Some(place), |columns| columns.get(place).copied());
            if let Some(different) = place.and_then(|place| self.kept.different(place)) {
                column.distinct_count = Precision::Inexact(different);
            }
        }
        Ok(Arc::new(Statistics { num_rows: Precision::Exact(rows), total_byte_size: Precision::Inexact(bytes), ..statistics }))
    }
}

#[cfg(test)]
mod tests;
