//! Groups that are held until there are as many of them as a batch has.
//!
//! Where groups are made beside one another, they are dealt out among those who put them together, in batches of the usual number of rows, and no pool is asked
//! for what waits until such a batch is full: of a thousand groups of long texts all that there are, again and again, whether a text is what groups them, the
//! greatest of a group, or one of those that are kept. A statement whose groups are too long for that begins anew with fewer rows in a batch.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::repartition::RepartitionExec;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::passing::{Pass, PassExec};
use crate::widths;
use crate::written::{self, Views};

/// The operator with [`Filled`] before it, where it deals out groups of which something may be long.
///
/// # Errors
/// Where the plan does not take its input.
pub(crate) fn watched(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(dealing) = plan.downcast_ref::<RepartitionExec>().filter(|dealing| !dealing.preserve_order()) else { return Ok(None) };
    let input = dealing.input();
    if !input.is::<AggregateExec>() || !input.schema().fields().iter().any(|field| written::is_long(field.data_type())) {
        return Ok(None);
    }
    let streams = input.properties().output_partitioning().partition_count();
    let input = PassExec::over(Arc::clone(input), Filled { streams });
    Arc::clone(plan).replace_children(vec![input], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute)).map(Some)
}

/// What waits for a batch to be full fits into one.
#[derive(Debug)]
struct Filled {
    /// Those beside one another in which groups come.
    streams: usize,
}

impl Pass for Filled {
    const NAME: &'static str = "FilledExec";

    fn pass(self: Arc<Self>, rows: SendableRecordBatchStream, context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
        let mut waiting = Waiting { streams: self.streams, full: context.session_config().batch_size(), rows: 0, bytes: 0 };
        let mut come = move |batch: &RecordBatch| waiting.come(batch, widths::limit_bytes(&context));
        rows.and_then(move |batch| std::future::ready(come(&batch).map(|()| batch))).boxed()
    }
}

/// Rows of one stream, and their bytes, since a batch was full: what comes in the others waits in the same place.
struct Waiting {
    streams: usize,
    /// The rows of a batch.
    full: usize,
    rows: usize,
    bytes: usize,
}

impl Waiting {
    fn come(&mut self, batch: &RecordBatch, limit_bytes: usize) -> Result<()> {
        let columns = batch.columns().iter().map(|column| written::bytes(column.as_ref(), 0..column.len(), Views::Written));
        self.bytes = columns.fold(self.bytes, usize::saturating_add);
        self.rows += batch.num_rows();
        let row_bytes = self.bytes.div_ceil(self.rows.max(1)).saturating_mul(self.streams);
        widths::fits(row_bytes, self.rows.min(self.full), limit_bytes)?;
        if self.rows >= self.full {
            (self.rows, self.bytes) = (0, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, StringArray};
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_plan::displayable;
    use datafusion::prelude::{DataFrame, SessionContext};

    use super::*;
    use crate::session::empty_session;
    use crate::statement;
    use crate::widths::{Progress, Wide, Widths};

    fn session() -> SessionContext {
        let state = empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime")).state();
        SessionContext::new_with_state(SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rule(Arc::new(Widths)).build())
    }

    /// Twenty thousand texts at least as long, of a thousand groups that are made beside one another.
    fn rows(text_bytes: usize) -> String {
        let half = |from: usize| {
            format!("SELECT value % 1000 AS part, repeat('x', {text_bytes}) || value AS text FROM range({from}, {})", from + 10_000)
        };
        format!("({} UNION ALL {})", half(0), half(10_000))
    }

    /// As if nobody had begun it anew.
    async fn once(ctx: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
        let (mut state, plan) = ctx.sql(sql).await?.into_parts();
        state.config_mut().set_extension(Arc::new(Progress::default()));
        DataFrame::new(state, plan).collect().await
    }

    #[tokio::test]
    async fn long_groups_are_dealt_out_in_batches_that_fit() {
        let ctx = session();
        for (groups, counted, answers) in [
            ("SELECT string_agg(text, '') AS text FROM", "sum(length(text))", ["2088890", "100088890"]),
            (
                "SELECT count(DISTINCT text) AS texts, count(DISTINCT length(text)) AS lengths FROM",
                "sum(texts) + sum(lengths)",
                ["23000"; 2],
            ),
        ] {
            let sql = |text_bytes: usize| format!("SELECT count(*), {counted} FROM ({groups} {} GROUP BY part)", rows(text_bytes));
            let told = |rows: &[RecordBatch]| pretty_format_batches(rows).expect("rows").to_string();
            let short = told(&once(&ctx, &sql(100)).await.expect("two megabytes"));
            assert!(short.contains(&format!(" {} ", answers[0])), "{groups}: {short}");
            let refused = once(&ctx, &sql(5_000)).await.expect_err("100 MB of fewer groups than a batch has rows");
            assert!(Wide::of(&refused).is_some(), "{groups}: {refused}");
            let answered = statement::all(ctx.sql(&sql(5_000)).await.expect("plans")).await.expect("with fewer in a batch");
            assert!(told(&answered).contains(&format!(" {} ", answers[1])), "{groups}: {}", told(&answered));
        }
    }

    #[tokio::test]
    async fn groups_of_which_nothing_is_long_are_not_looked_at() {
        let ctx = session();
        for (groups, is_long) in [
            ("SELECT part, max(text) FROM", true),
            ("SELECT text, count(*) FROM", true),
            ("SELECT part, sum(DISTINCT length(text)), count(*) FROM", true),
            ("SELECT part, max(length(text)), count(*) FROM", false),
        ] {
            let by = if groups.starts_with("SELECT text") { "text" } else { "part" };
            let plan =
                ctx.sql(&format!("{groups} {} GROUP BY {by}", rows(10))).await.expect("plans").create_physical_plan().await.expect("plans");
            let told = displayable(plan.as_ref()).indent(false).to_string();
            assert_eq!(told.contains(Filled::NAME), is_long, "{told}");
        }
    }

    #[test]
    fn what_waits_is_counted_until_a_batch_is_full() {
        let batch = |rows: usize| {
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n("x".repeat(1_000), rows)));
            RecordBatch::try_from_iter([("text", texts)]).expect("a batch")
        };
        let mut waiting = Waiting { streams: 2, full: 10, rows: 0, bytes: 0 };
        waiting.come(&batch(4), 20_000).expect("four");
        waiting.come(&batch(6), 20_000).expect("and six, with which it is full");
        waiting.come(&batch(8), 20_000).expect("the next");
        waiting.come(&batch(8), 20_000).expect("of which those beyond a full batch wait for another");
        waiting.come(&batch(5), 10_000).expect("as many as fit");
        let wide = waiting.come(&batch(1), 10_000).as_ref().err().and_then(Wide::of).expect("one more");
        assert_eq!(wide.to_string(), "rows of 2000 bytes are too wide for batches of this many");
    }
}
