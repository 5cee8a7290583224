//! Batches whose texts lie in buffers of their own.
//!
//! A text of the engine is a view into a buffer, which may be that of a whole file: a batch then counts, and holds, as much as all the buffers that it points
//! into, and what a sort gives points into those of everything that was sorted. Whoever keeps batches (a sort, a side of a join, `array_agg`) would take hundreds
//! of times the memory that the rows need, or write as much to disk.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{ByteViewType, DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::functions::gathered;
use crate::passing::{Pass, PassExec};

/// So much more than its own texts a column may hold before they are copied.
const MORE: usize = 64 << 10;

/// The batch with texts of its own, in this schema: the physical plan may know more columns to be never NULL than was promised.
pub(crate) fn own(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    with_columns(batch, schema, |column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    })
}

/// The batch, each of whose columns holds not much more than twice what its rows need.
fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    with_columns(batch, &batch.schema(), |column| match column.data_type() {
        DataType::Utf8View => column_of(column.as_string_view(), column),
        DataType::BinaryView => column_of(column.as_binary_view(), column),
        _ => Arc::clone(column),
    })
}

fn column_of<T: ByteViewType + ?Sized>(views: &GenericByteViewArray<T>, column: &ArrayRef) -> ArrayRef {
    let held: usize = views.data_buffers().iter().map(Buffer::capacity).sum();
    if held > 2 * views.total_buffer_bytes_used() + MORE { Arc::new(views.gc()) } else { Arc::clone(column) }
}

fn with_columns(batch: &RecordBatch, schema: &SchemaRef, of: impl Fn(&ArrayRef) -> ArrayRef) -> Result<RecordBatch> {
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().iter().map(of).collect(), &rows)?)
}

/// Puts [`Compact`] around each sort, before the side of a join that is held, and before aggregates that keep what they are given.
#[derive(Debug)]
pub(crate) struct Compacting;

impl PhysicalOptimizerRule for Compacting {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let around = |plan: Arc<dyn ExecutionPlan>| {
            let (sorts, joins) = (plan.is::<SortExec>(), plan.is::<HashJoinExec>());
            if !sorts && !joins && !gathered::adds_up(plan.as_ref()) {
                return Ok(Transformed::no(plan));
            }
            let mut children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
            // Of a join the first side is held.
            let Some(held) = children.first_mut() else { return internal_err!("a sort, a join or an aggregate has children") };
            *held = compacted(Arc::clone(held));
            let plan = plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?;
            Ok(Transformed::yes(if sorts { compacted(plan) } else { plan }))
        };
        plan.transform_up(around).data()
    }

    fn name(&self) -> &'static str {
        "compacting"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan's rows in batches that hold what they need; the plan itself where no column is a view.
pub(crate) fn compacted(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let has_views = plan.schema().fields().iter().any(|field| matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView));
    if has_views && !plan.is::<PassExec<Compact>>() { PassExec::over(plan, Compact) } else { plan }
}

/// Rows in batches that hold what they need.
#[derive(Debug)]
struct Compact;

impl Pass for Compact {
    const NAME: &'static str = "CompactExec";

    fn pass(self: Arc<Self>, rows: SendableRecordBatchStream, _context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
        rows.and_then(|batch| std::future::ready(compact(&batch))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringViewArray;
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::memory_pool::FairSpillPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;

    use super::*;
    use crate::session::empty_session;

    /// Batches of a hundred rows, each of which points into one buffer of all.
    fn shared(rows: usize) -> Vec<RecordBatch> {
        let text = |row: usize| (!row.is_multiple_of(7)).then(|| format!("the text of number {}", row * 7_919 % rows));
        let all: StringViewArray = (0..rows).map(text).collect();
        let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8View, true)]));
        let batch = |from| RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(all.slice(from, 100))]).expect("fits");
        (0..rows).step_by(100).map(batch).collect()
    }

    #[test]
    fn a_batch_that_points_into_a_large_buffer_gets_its_own() {
        let batches = shared(100_000);
        let (before, small) = (&batches[5], compact(&batches[5]).expect("copies"));
        assert_eq!(&small, before);
        let [held, needed] = [before, &small].map(RecordBatch::get_array_memory_size);
        assert!(held > 50 * needed, "{held} {needed}");
        let again = compact(&small).expect("stays");
        assert!(again.column(0).as_string_view().data_buffers()[0].ptr_eq(&small.column(0).as_string_view().data_buffers()[0]));
    }

    /// Each batch counts as all of them: without copies of their own ten would fill the memory.
    #[tokio::test]
    async fn what_is_sorted_and_joined_counts_as_much_as_its_rows() {
        let batches = shared(100_000);
        let schema = batches[0].schema();
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(40 << 20))).build_arc().expect("a runtime");
        let ctx = empty_session(&runtime);
        for name in ["some", "others"] {
            ctx.register_table(name, Arc::new(MemTable::try_new(Arc::clone(&schema), vec![batches.clone()]).expect("a table")))
                .expect("is known");
        }
        let sql = "SELECT count(*) AS n, min(a.text) AS first FROM (SELECT text, row_number() OVER (ORDER BY text) AS place FROM some) AS a \
                   JOIN (SELECT text, row_number() OVER (ORDER BY text) AS place FROM others) AS b ON b.text = a.text AND b.place >= a.place";
        let explained = ctx.sql(&format!("EXPLAIN {sql}")).await.expect("plans").collect().await.expect("is told");
        assert!(pretty_format_batches(&explained).expect("is printed").to_string().matches("CompactExec").count() >= 4, "{explained:?}");
        let answer = ctx.sql(sql).await.expect("plans").collect().await.expect("answers within its memory");
        assert!(pretty_format_batches(&answer).expect("is printed").to_string().contains("85714"), "{answer:?}");
    }
}
