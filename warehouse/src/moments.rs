//! Every view as it was known at a moment: `encounters_at(ts)`, `labels_at(ts)` and so on, beside one another in one query.
//!
//! `ts` is an instant that is known when the query is planned. A session that is itself of an earlier moment never sees beyond it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl};
use datafusion::common::{plan_err, utils::take_function_args};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use futures::StreamExt as _;
use jiff::Timestamp;
use schemas::table::instant;

use crate::read::AsOf;
use crate::store::Warehouse;

/// What a session may know at most, as its configuration says so: for sessions whose moment changes from statement to statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Only rows known by then.
    pub known_at: Option<Timestamp>,
    /// Only what `messages` held at this version.
    pub version: Option<i64>,
}

/// Makes `<view>_at(ts)` known for each of these relations, to a session as of `at`.
pub(crate) fn register(ctx: &SessionContext, warehouse: &Warehouse, at: &AsOf, relations: &[(String, Arc<dyn TableProvider>)]) {
    for (name, provider) in relations.iter().filter(|(name, _)| crate::views::names().any(|view| view == name)) {
        let function = AtMoment { view: name.clone(), schema: provider.schema(), warehouse: warehouse.clone(), at: at.clone() };
        ctx.register_udtf(&format!("{name}_at"), Arc::new(function));
    }
}

/// `<view>_at`.
struct AtMoment {
    view: String,
    schema: SchemaRef,
    warehouse: Warehouse,
    /// As of when the session is that asks.
    at: AsOf,
}

impl fmt::Debug for AtMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtMoment").field("view", &self.view).finish_non_exhaustive()
    }
}

impl TableFunctionImpl for AtMoment {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let [stated] = take_function_args(&format!("{}_at", self.view), args.exprs())?;
        let Some(moment) = moment(stated) else {
            let takes = format!("{}_at(ts) takes one instant that the query states, such as TIMESTAMP '2024-01-31T00:00:00Z'", self.view);
            let text = match stated {
                Expr::Literal(value, _) => value.try_as_str().flatten(),
                _ => None,
            };
            return match text {
                Some(text) => plan_err!("'{text}' is no instant: {takes}"),
                None => plan_err!("{takes}"),
            };
        };
        // Not beyond what the session itself may know.
        let bound = args.session().config().get_extension::<Bound>();
        let bounds = [self.at.known_at, bound.as_ref().and_then(|bound| bound.known_at)];
        let known_at = bounds.into_iter().flatten().fold(moment, Timestamp::min);
        let version = self.at.version.or(bound.and_then(|bound| bound.version));
        let at = AsOf { known_at: Some(known_at), version, ..self.at.clone() };
        Ok(Arc::new(View { view: self.view.clone(), schema: Arc::clone(&self.schema), warehouse: self.warehouse.clone(), at }))
    }
}

/// The instant that a folded expression states; a text is read as one.
fn moment(expr: &Expr) -> Option<Timestamp> {
    let Expr::Literal(value, _) = expr else { return None };
    match value.cast_to(&instant()).ok()? {
        ScalarValue::TimestampMicrosecond(Some(micros), _) => Timestamp::from_microsecond(micros).ok(),
        _ => None,
    }
}

/// A view as of a moment; its relations are made when somebody reads it.
struct View {
    view: String,
    schema: SchemaRef,
    warehouse: Warehouse,
    at: AsOf,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("view", &self.view).finish_non_exhaustive()
    }
}

/// The rows in the columns that the view promises: a plan may hold a text in another form, or know that a column is never NULL.
pub(crate) fn fitted(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())))?)
}

#[async_trait]
impl TableProvider for View {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// A filter may reach the files of a view that is planned anew; it is applied again above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let failed = |error| DataFusionError::External(Box::new(error));
        let provider = self.warehouse.relation(&self.view, &self.at).await.map_err(failed)?;
        let Some(provider) = provider else { return plan_err!("there is no view {} at that moment", self.view) };
        // Through a frame: a view that is planned anew has no scan of its own that knows the session's optimizer.
        let ctx = self.warehouse.empty_session();
        let mut frame = ctx.read_table(provider)?;
        for filter in filters {
            frame = frame.filter(filter.clone())?;
        }
        if let Some(columns) = projection {
            let names: Vec<String> = columns.iter().map(|place| self.schema.field(*place).name().clone()).collect();
            frame = frame.select(names.iter().map(|name| datafusion::prelude::ident(name.as_str())).collect::<Vec<_>>())?;
        }
        let plan = state.create_physical_plan(&frame.into_unoptimized_plan()).await?;
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let part =
            |partition| Arc::new(Part { plan: Arc::clone(&plan), partition, schema: Arc::clone(&schema) }) as Arc<dyn PartitionStream>;
        let parts = (0..plan.output_partitioning().partition_count()).map(part).collect();
        Ok(Arc::new(StreamingTableExec::try_new(Arc::clone(&schema), parts, None, Vec::new(), false, None)?))
    }
}

/// One partition of a plan that is ready to run. It hides the plan from the optimizer of the query around it: a plan that is optimized twice
/// may lose a filter that the first turn has moved.
#[derive(Debug)]
struct Part {
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    schema: SchemaRef,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        match self.plan.execute(self.partition, ctx) {
            Ok(rows) => Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), rows.map(move |batch| fitted(&batch?, &schema)))),
            Err(error) => Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(async { Err(error) }))),
        }
    }
}
