//! Joins that let others have their turn.
//!
//! Statements run beside one another on as many threads as there are cores, and each goes on until it waits for something. A join of rows that lie in memory
//! waits for nothing: one batch may meet millions of rows and give none, so that nobody else would be answered, and neither a timeout nor a cancellation would be
//! heard. So a join stops between its batches, and what meets the side that it holds comes in parts that take it a few milliseconds each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::passing::{Pass, PassExec};

/// So long a statement goes on before it asks whether others want to.
const TURN: Duration = Duration::from_millis(10);

/// A part that took longer was too large.
const LONG: Duration = Duration::from_millis(50);

/// Lets others have their turn between the batches of a join, and puts [`Parts`] before the side that meets the one it holds.
#[derive(Debug)]
pub(crate) struct Yielding;

impl PhysicalOptimizerRule for Yielding {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let around = |plan: Arc<dyn ExecutionPlan>| {
            let meets = plan.is::<NestedLoopJoinExec>() || plan.is::<HashJoinExec>();
            let is_join = meets || plan.is::<CrossJoinExec>() || plan.is::<SortMergeJoinExec>() || plan.is::<PiecewiseMergeJoinExec>();
            if !is_join {
                return Ok(Transformed::no(plan));
            }
            // Of these joins the first side is held, and each batch of the second meets all of it.
            let inputs = plan
                .children()
                .into_iter()
                .enumerate()
                .map(|(place, input)| if meets && place == 1 { PassExec::over(Arc::clone(input), Parts) } else { Arc::clone(input) });
            let inputs = inputs.collect();
            let plan = plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?;
            Ok(Transformed::yes(PassExec::over(plan, Turns)))
        };
        plan.transform_up(around).data()
    }

    fn name(&self) -> &'static str {
        "yielding"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// When others last had their turn.
#[derive(Debug)]
struct Turn(Instant);

impl Turn {
    /// Lets others go on, where it is their turn.
    async fn pass(self) -> Self {
        if self.0.elapsed() < TURN {
            return self;
        }
        tokio::task::yield_now().await;
        Self(Instant::now())
    }
}

/// Rows between which others have their turn.
#[derive(Debug)]
struct Turns;

impl Pass for Turns {
    const NAME: &'static str = "TurnsExec";

    fn pass(self: Arc<Self>, rows: SendableRecordBatchStream, _context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
        let next = |(mut rows, turn): (SendableRecordBatchStream, Turn)| async move {
            let turn = turn.pass().await;
            rows.try_next().await.map(|batch| batch.map(|batch| (batch, (rows, turn))))
        };
        stream::try_unfold((rows, Turn(Instant::now())), next).boxed()
    }
}

/// Rows in parts, each of which takes who gets it some milliseconds: a part is as large as the time that the last one took allows.
#[derive(Debug)]
struct Parts;

impl Pass for Parts {
    const NAME: &'static str = "PartsExec";

    fn pass(self: Arc<Self>, rows: SendableRecordBatchStream, context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
        let most = context.session_config().batch_size();
        let cutting = Cutting { rows, rest: None, size: Size { rows: 1, most }, given: None, turn: Turn(Instant::now()) };
        stream::try_unfold(cutting, Cutting::next).boxed()
    }
}

struct Cutting {
    rows: SendableRecordBatchStream,
    /// What is left of a batch.
    rest: Option<RecordBatch>,
    size: Size,
    /// When the last part was given, and how many rows it had.
    given: Option<(Instant, usize)>,
    turn: Turn,
}

impl Cutting {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        if let Some((at, rows)) = self.given.take() {
            self.size = self.size.after(rows, at.elapsed());
        }
        self.turn = self.turn.pass().await;
        let batch = match self.rest.take() {
            Some(batch) => Some(batch),
            None => self.rows.try_next().await?,
        };
        let Some(batch) = batch else { return Ok(None) };
        let rows = batch.num_rows().min(self.size.rows);
        self.rest = (rows < batch.num_rows()).then(|| batch.slice(rows, batch.num_rows() - rows));
        self.given = Some((Instant::now(), rows));
        Ok(Some((batch.slice(0, rows), self)))
    }
}

/// How many rows a part has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    rows: usize,
    /// At most.
    most: usize,
}

impl Size {
    /// The size after a part of so many rows took so long.
    fn after(self, rows: usize, took: Duration) -> Self {
        let next = if took > LONG {
            self.rows / 2
        } else if took < TURN && rows >= self.rows {
            self.rows * 2
        } else {
            self.rows
        };
        Self { rows: next.min(self.most).max(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::SessionContext;
    use tokio::task::JoinSet;

    use super::*;
    use crate::session::empty_session;
    use crate::statement;

    fn session(yields: bool) -> SessionContext {
        let mut state =
            SessionStateBuilder::new_from_existing(empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime")).state());
        if yields {
            state = state.with_physical_optimizer_rule(Arc::new(Yielding));
        }
        SessionContext::new_with_state(state.build())
    }

    #[test]
    fn a_part_is_as_large_as_the_last_one_was_quick() {
        let size = Size { rows: 64, most: 100 };
        assert_eq!(size.after(64, Duration::from_millis(1)).rows, 100);
        assert_eq!(size.after(63, Duration::from_millis(1)).rows, 64, "fewer rows say nothing of more");
        assert_eq!(size.after(64, Duration::from_millis(30)).rows, 64);
        assert_eq!(size.after(64, Duration::from_secs(1)).rows, 32);
        assert_eq!(Size { rows: 1, ..size }.after(1, Duration::from_secs(1)).rows, 1);
    }

    /// How long at most the statement kept others from going on in the second in which it was watched, on the one thread of this test.
    async fn longest_hold(sql: &str) -> Duration {
        let mut asked = JoinSet::new();
        asked.spawn(statement::all(session(true).sql(sql).await.expect(sql)));
        let (began, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
        while began.elapsed() < Duration::from_secs(1) {
            tokio::task::yield_now().await;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            assert!(asked.try_join_next().is_none(), "{sql} has no end so soon");
        }
        longest
    }

    /// Each of these held its thread for minutes: a batch of 8,192 rows meets 200,000 others, and nothing comes of it, or one row for each pair.
    #[tokio::test]
    async fn others_go_on_beside_a_join_of_all_with_all() {
        let of = "FROM range(200000) AS a";
        for sql in [
            format!("SELECT sum(a.value + b.value) {of}, range(200000) AS b"),
            format!("SELECT count(*) {of}, range(200000) AS b WHERE a.value * b.value = -1"),
            format!("SELECT count(*) {of} JOIN range(200000) AS b ON a.value % 1 = b.value % 1 AND a.value * b.value = -1"),
            format!("SELECT count(*) {of} JOIN range(200000) AS b ON a.value % 1 = b.value % 1"),
        ] {
            let longest = longest_hold(&sql).await;
            assert!(longest < Duration::from_secs(2), "{sql}: {longest:?}");
        }
    }

    #[tokio::test]
    async fn joins_in_parts_answer_as_whole_ones() {
        let sums = "SELECT count(*), sum(a.value), sum(b.value) FROM range(700) AS a";
        for sql in [
            format!("{sums}, range(20000) AS b"),
            format!("{sums}, range(900) AS b WHERE a.value * b.value % 7 < 2"),
            format!("{sums} FULL JOIN range(20000) AS b ON a.value * 2 > b.value"),
            format!("{sums} FULL JOIN range(20000) AS b ON a.value % 5 = b.value % 6 AND a.value < b.value"),
            format!("{sums} LEFT JOIN range(20000) AS b ON a.value = b.value / 2 + 100"),
            "SELECT count(*), sum(value) FROM range(20000) WHERE value % 10 IN (SELECT value % 4 FROM range(20000))".to_owned(),
            "SELECT count(*), sum(value) FROM range(20000) WHERE value NOT IN (SELECT value * 3 FROM range(20000))".to_owned(),
            "SELECT count(*), sum(value) FROM range(2000) AS a WHERE NOT EXISTS (SELECT 1 FROM range(20000) AS b WHERE b.value > a.value * 12)"
                .to_owned(),
        ] {
            let mut answers = Vec::new();
            for yields in [false, true] {
                let rows = statement::all(session(yields).sql(&sql).await.expect(&sql)).await.expect(&sql);
                answers.push(pretty_format_batches(&rows).expect("rows").to_string());
            }
            assert_eq!(answers[0], answers[1], "{sql}");
        }
    }
}
