//! An operator through which the rows of its input pass in their order, all of them: looked at, or cut into other batches.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream::BoxStream;

/// What is done to rows on their way.
pub(crate) trait Pass: Debug + Send + Sync + 'static {
    /// What the operator is called in a plan.
    const NAME: &'static str;

    /// The rows of one partition: no other ones, and in no other order.
    fn pass(self: Arc<Self>, rows: SendableRecordBatchStream, context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>>;
}

/// The input's rows, as they pass.
#[derive(Debug)]
pub(crate) struct PassExec<P> {
    input: Arc<dyn ExecutionPlan>,
    how: Arc<P>,
}

impl<P: Pass> PassExec<P> {
    pub(crate) fn over(input: Arc<dyn ExecutionPlan>, how: P) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { input, how: Arc::new(how) })
    }
}

impl<P: Pass> DisplayAs for PassExec<P> {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(P::NAME)
    }
}

impl<P: Pass> ExecutionPlan for PassExec<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(&self, _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) if children.is_empty() => Ok(Arc::new(Self { input, how: Arc::clone(&self.how) })),
            _ => internal_err!("rows of one input pass through {}", P::NAME),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, place: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(place, Arc::clone(&context))?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), Arc::clone(&self.how).pass(rows, context))))
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _wanted: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("rows of one input pass through {}", P::NAME),
        }
    }
}
