//! `row_number()` over rows that lie in the order of their partitions.
//!
//! The engine keeps a state for each partition and cuts each batch by them, which costs some microseconds a partition; stays, notes and records have a row
//! or two each. Here the rows of a batch are numbered in one go: a partition begins where the columns that name it change. Nothing is held but the last row's.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties};
use futures::TryStreamExt as _;

use crate::partitions::Partitions;

/// Puts [`NumberedExec`] in the place of the engine's operator where that only numbers rows that lie in order.
#[derive(Debug)]
pub(crate) struct Numbering;

impl PhysicalOptimizerRule for Numbering {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let instead =
            |plan: Arc<dyn ExecutionPlan>| match plan.downcast_ref::<BoundedWindowAggExec>().and_then(|window| numbered(window, &plan)) {
                Some(numbered) => Ok(Transformed::yes(Arc::new(numbered) as Arc<dyn ExecutionPlan>)),
                None => Ok(Transformed::no(plan)),
            };
        plan.transform_up(instead).data()
    }

    fn name(&self) -> &'static str {
        "numbering"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn numbered(window: &BoundedWindowAggExec, plan: &Arc<dyn ExecutionPlan>) -> Option<NumberedExec> {
    let is_number = |expr: &Arc<dyn WindowExpr>| {
        let standard = expr.as_any().downcast_ref::<StandardWindowExpr>();
        let function = standard.and_then(|expr| expr.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>());
        function.is_some_and(|function| function.fun().name() == "row_number")
    };
    let all = window.window_expr();
    let in_order = matches!(window.input_order_mode, InputOrderMode::Sorted) && all.iter().all(is_number);
    in_order.then(|| NumberedExec {
        partition_by: all.iter().map(|expr| expr.partition_by().to_vec()).collect(),
        input: Arc::clone(window.input()),
        window: Arc::clone(plan),
    })
}

/// The input's rows, each with its place in its partition, from 1, for each of the numberings.
#[derive(Debug)]
struct NumberedExec {
    /// What names the partitions of each numbering.
    partition_by: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    input: Arc<dyn ExecutionPlan>,
    /// The engine's operator, in whose place this stands.
    window: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for NumberedExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NumberedExec")
    }
}

impl ExecutionPlan for NumberedExec {
    fn name(&self) -> &'static str {
        "NumberedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let window = Arc::clone(&self.window).replace_children(children, options)?;
        let Some(numbered) = window.downcast_ref::<BoundedWindowAggExec>().and_then(|inner| numbered(inner, &window)) else {
            return internal_err!("rows in order were to be numbered");
        };
        Ok(Arc::new(numbered))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, place: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let mut numberings: Vec<Places> =
            self.partition_by.iter().map(|by| Places { partitions: Partitions::new(by.clone()), number: 0 }).collect();
        let (rows, columns) = (self.input.execute(place, context)?, Arc::clone(&schema));
        let numbered = rows.map_err(Into::into).and_then(move |batch| std::future::ready(with_places(&mut numberings, &batch, &columns)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, numbered)))
    }
}

fn with_places(numberings: &mut [Places], batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    for numbering in numberings {
        columns.push(Arc::new(numbering.of(batch)?));
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// How far one numbering has come.
struct Places {
    partitions: Partitions,
    /// The number of the row before.
    number: u64,
}

impl Places {
    /// The numbers of the next rows.
    fn of(&mut self, batch: &RecordBatch) -> Result<UInt64Array> {
        let (partitions, mut goes_on) = self.partitions.of(batch)?;
        let mut numbers = Vec::with_capacity(batch.num_rows());
        for rows in partitions {
            self.number = if std::mem::take(&mut goes_on) { self.number } else { 0 };
            numbers.extend((self.number + 1..).take(rows.len()));
            self.number += rows.len() as u64;
        }
        Ok(numbers.into())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    /// The engine's own answer, and ours, in batches of few rows.
    async fn both(sql: &str) -> [String; 2] {
        let config = SessionConfig::new().with_target_partitions(2).with_batch_size(7);
        let engine = SessionStateBuilder::new().with_config(config).with_default_features();
        let ours = SessionStateBuilder::new_from_existing(engine.build()).with_physical_optimizer_rule(Arc::new(Numbering)).build();
        let engines = SessionContext::new_with_state(
            SessionStateBuilder::new_from_existing(ours.clone()).with_physical_optimizer_rules(without(&ours)).build(),
        );
        let ours = SessionContext::new_with_state(ours);
        let explained = format!("{:?}", ours.sql(&format!("EXPLAIN {sql}")).await.expect("plans").collect().await.expect("is told"));
        assert!(explained.contains("NumberedExec"), "{explained}");
        let mut answers = [String::new(), String::new()];
        for (answer, ctx) in answers.iter_mut().zip([engines, ours]) {
            *answer = pretty_format_batches(&ctx.sql(sql).await.expect("plans").collect().await.expect("answers"))
                .expect("is printed")
                .to_string();
        }
        answers
    }

    /// The rules of the session but ours.
    fn without(state: &datafusion::execution::SessionState) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
        state.physical_optimizers().iter().filter(|rule| rule.name() != Numbering.name()).cloned().collect()
    }

    const ROWS: &str = "(SELECT value AS v, nullif('stay ' || ((value / 3) % 11), 'stay 4') AS stay, nullif((value / 60) % 3, 1) AS kind FROM range(0, 200))";

    #[tokio::test]
    async fn rows_are_numbered_as_the_engine_numbers_them() {
        for by in [
            "PARTITION BY stay ORDER BY v",
            "PARTITION BY stay, kind ORDER BY v DESC",
            "PARTITION BY kind, stay ORDER BY v",
            "ORDER BY stay NULLS FIRST, v",
        ] {
            let [engines, ours] = both(&format!("SELECT *, row_number() OVER ({by}) AS place FROM {ROWS} ORDER BY v, place")).await;
            assert_eq!(ours, engines, "{by}");
        }
    }

    #[tokio::test]
    async fn two_numberings_of_one_order_stand_beside_one_another() {
        let two =
            "row_number() OVER (PARTITION BY stay ORDER BY kind, v) AS a, row_number() OVER (PARTITION BY stay, kind ORDER BY v) AS b";
        let [engines, ours] = both(&format!("SELECT *, {two} FROM {ROWS} ORDER BY v")).await;
        assert_eq!(ours, engines);
        let [engines, ours] = both(&format!(
            "SELECT max(place) FROM (SELECT row_number() OVER (PARTITION BY stay ORDER BY v) AS place FROM {ROWS} WHERE v < 0)"
        ))
        .await;
        assert_eq!(ours, engines, "no rows");
    }
}
