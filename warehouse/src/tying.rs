//! What it takes to find out who is one person, counted against the memory pool: the engine asks for nothing on behalf of a function, and these look at all
//! that was ever said of identities at once.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::passing::{Pass, PassExec};
use crate::written;

/// Functions of lists of ties between identities.
const FUNCTIONS: [&str; 2] = ["merge_roots", "person_roots"];

/// What each element of their lists takes while they compute: places of two identities, what is known of either, and who stands for whom.
const TIE_BYTES: usize = 250;

/// Puts [`Tied`] before what calls one of them.
#[derive(Debug)]
pub(crate) struct Tying;

impl PhysicalOptimizerRule for Tying {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let before = |plan: Arc<dyn ExecutionPlan>| {
            if !plan.is::<ProjectionExec>() || !calls(plan.as_ref())? {
                return Ok(Transformed::no(plan));
            }
            let inputs = plan.children().into_iter().map(|input| PassExec::over(Arc::clone(input), Tied)).collect();
            Ok(Transformed::yes(plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?))
        };
        plan.transform_up(before).data()
    }

    fn name(&self) -> &'static str {
        "tying"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether an expression of the operator calls one of the functions.
fn calls(plan: &dyn ExecutionPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(&mut |expr: &Arc<dyn PhysicalExpr>| {
        found |= expr.exists(|expr| Ok(expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(|call| FUNCTIONS.contains(&call.name()))))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Of rows with lists of ties, what is computed of them is reserved until the next come.
#[derive(Debug)]
struct Tied;

impl Pass for Tied {
    const NAME: &'static str = "TiedExec";

    fn pass(self: Arc<Self>, rows: SendableRecordBatchStream, context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
        let reservation = MemoryConsumer::new("persons").register(context.memory_pool());
        rows.and_then(move |batch| std::future::ready(reservation.try_resize(bytes(&batch)).map(|()| batch))).boxed()
    }
}

fn bytes(batch: &RecordBatch) -> usize {
    let lists = batch.columns().iter().filter_map(|column| column.as_list_opt::<i32>());
    lists
        .map(|lists| written::elements(lists.offsets(), &(0..batch.num_rows())).len().saturating_mul(TIE_BYTES))
        .fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;

    use super::*;
    use crate::session::empty_session;
    use crate::statement;

    /// The list of them, and what gathers it, takes three fifths of the smaller memory.
    const MERGES: &str = "SELECT count(merge) FROM (SELECT unnest(merge_roots(array_agg(\
        named_struct('prior', value, 'survivor', value + 100000, 'at', value)))) AS merge FROM range(0, 20000))";

    async fn answered(bytes: usize) -> Result<String> {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes))).build_arc()?;
        let rows = statement::all(empty_session(&runtime).sql(MERGES).await?).await?;
        Ok(pretty_format_batches(&rows)?.to_string())
    }

    #[tokio::test]
    async fn who_stands_for_whom_is_found_out_within_the_memory() {
        let answer = answered(64 << 20).await.expect("there is room for it");
        assert!(answer.contains("| 20000 "), "{answer}");
        let refused = answered(20_000 * TIE_BYTES - (512 << 10)).await.expect_err("there is not");
        assert!(statement::is_short(&refused), "{refused}");
    }
}
