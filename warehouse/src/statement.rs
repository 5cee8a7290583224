//! The rows of a statement. Where a join does not fit into memory, it is planned anew with joins that sort both sides, which go to disk; where rows are too
//! wide, with fewer of them in a batch.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::{not_impl_err, plan_datafusion_err, plan_err};
use datafusion::config::SpillCompression;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, ExplainStatement, Statement};
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Tokenizer;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::heap::Account;
use crate::pools::{self, StatementPool};
use crate::read::read_only;
use crate::session::configured;
use crate::spelling::{self, apart, short};
use crate::widths::{Progress, Wide};

/// Sorts that may stand beside one another in a query, each of which needs room to merge in.
const SORTS: usize = 128;

/// How long, and how often at most, memory is waited for that a statement gives back.
const TURN: Duration = Duration::from_millis(20);
const TURNS: usize = 50;

/// The frame of a statement, whose spelling may be PostgreSQL's. Only what reads plans at all.
///
/// # Errors
/// In the engine's own words, where the statement is refused.
pub(crate) async fn opened(ctx: &SessionContext, sql: &str) -> Result<DataFrame> {
    let state = ctx.state();
    let plan = state.statement_to_plan(meant(stated(&state, sql)?)).await?;
    read_only().verify_plan(&plan)?;
    ctx.execute_logical_plan(plan).await
}

/// The one statement of a text, as `SessionState::sql_to_statement` reads it, where what is short is written out.
fn stated(state: &SessionState, sql: &str) -> Result<Statement> {
    let options = &state.config().options().sql_parser;
    let dialect = dialect_from_str(options.dialect).ok_or_else(|| plan_datafusion_err!("no dialect is called {}", options.dialect))?;
    let tokens = Tokenizer::new(dialect.as_ref(), sql).tokenize_with_location().map_err(ParserError::from)?;
    let parser = DFParserBuilder::new(short::written_out(tokens).0).with_dialect(dialect.as_ref());
    let mut statements = parser.with_recursion_limit(options.recursion_limit.get()).build()?.parse_statements()?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) => not_impl_err!("one statement is answered at a time"),
        (None, _) => plan_err!("there is no statement"),
    }
}

/// The statement, or the one that it explains, with the functions that are meant and columns that have names of their own.
fn meant(statement: Statement) -> Statement {
    match statement {
        Statement::Statement(statement) => Statement::Statement(Box::new(apart::told_apart(spelling::functions(*statement)))),
        Statement::Explain(explain) => Statement::Explain(ExplainStatement { statement: Box::new(meant(*explain.statement)), ..explain }),
        other => other,
    }
}

/// The rows, batch by batch. Waits for the first of them: until then nobody has seen any, and the statement may begin anew.
///
/// # Errors
/// Where the statement cannot be planned, or its first rows cannot be made either way.
pub(crate) async fn rows(frame: DataFrame) -> Result<SendableRecordBatchStream> {
    let (state, plan) = frame.into_parts();
    let Some(account) = StatementPool::account(state.runtime_env().memory_pool.as_ref()) else { return either_way(state, plan).await };
    let rows = tokio::select! {
        biased;
        error = account.ended() => return Err(error),
        rows = either_way(state, plan) => rows?,
    };
    Ok(until_ended(rows, account))
}

/// The rows, until the statement has to end, since it holds too much.
fn until_ended(rows: SendableRecordBatchStream, account: Arc<Account>) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let rows = stream::unfold(Some(rows), move |rows| {
        let account = Arc::clone(&account);
        async move {
            let mut rows = rows?;
            tokio::select! {
                biased;
                error = account.ended() => Some((Err(error), None)),
                next = rows.next() => next.map(|next| (next, Some(rows))),
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The rows, in one go or begun anew.
async fn either_way(state: SessionState, plan: LogicalPlan) -> Result<SendableRecordBatchStream> {
    let mut state = explaining(state, &plan).await;
    let mut is_sorting = false;
    loop {
        let error = match begun(&state, &plan).await {
            Ok(rows) => return Ok(as_called(rows)),
            Err(error) => error,
        };
        let narrower = Wide::of(&error).and_then(|wide| wide.narrower(&state));
        state = match narrower {
            Some(narrower) => narrower,
            None if is_short(&error) && !is_sorting => {
                is_sorting = true;
                sorting(&state, &error).await?
            }
            None => return Err(error),
        };
    }
}

/// The rows with the names that their columns are called.
fn as_called(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = apart::shown(&rows.schema());
    if Arc::ptr_eq(&schema, &rows.schema()) {
        return rows;
    }
    let called = |batch: Result<RecordBatch>| -> Result<RecordBatch> {
        let batch = batch?;
        Ok(RecordBatch::try_new(apart::shown(&batch.schema()), batch.columns().to_vec())?)
    };
    Box::pin(RecordBatchStreamAdapter::new(schema, rows.map(called)))
}

/// All rows.
///
/// # Errors
/// As [`rows`], and where later rows cannot be made.
pub(crate) async fn all(frame: DataFrame) -> Result<Vec<RecordBatch>> {
    rows(frame).await?.try_collect().await
}

/// The rows, of which the first are there.
async fn begun(state: &SessionState, plan: &LogicalPlan) -> Result<SendableRecordBatchStream> {
    let progress = Arc::new(Progress::default());
    let mut state = state.clone();
    state.config_mut().set_extension(Arc::clone(&progress));
    let mut rows = DataFrame::new(state, plan.clone()).execute_stream().await?;
    let schema = rows.schema();
    let first = rows.next().await.transpose()?;
    progress.rows_are_seen();
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(first.map(Ok)).chain(rows))))
}

/// The session in which what is explained would be run, with as many rows in a batch as its constants leave room for: where it cannot be planned, the engine
/// tells why in the place of the plan, and fails of nothing.
async fn explaining(mut state: SessionState, plan: &LogicalPlan) -> SessionState {
    let LogicalPlan::Explain(explain) = plan else { return state };
    loop {
        let planned = state.create_physical_plan(&explain.plan).await;
        let narrower = planned.err().as_ref().and_then(Wide::of).and_then(|wide| wide.narrower(&state));
        match narrower {
            Some(narrower) => state = narrower,
            None => return state,
        }
    }
}

/// Whether memory was too short.
pub(crate) fn is_short(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// The session, after this error of it, with joins that sort both sides, which go to disk where memory is short, instead of holding one of them. Each sort has its share of what
/// memory is left, or of half of all where somebody else is about to give back what they hold.
pub(crate) async fn sorting(state: &SessionState, short: &DataFusionError) -> Result<SessionState> {
    tracing::info!(error = %short, "joining in sorted order, on disk");
    let shared = &state.runtime_env().memory_pool;
    given_back(shared.as_ref()).await;
    let left_bytes = pools::left(shared.as_ref()).max(pools::limit(shared.as_ref()) / 2);
    let pool = Arc::new(StatementPool::new(left_bytes, shared));
    let runtime = RuntimeEnvBuilder::from_runtime_env(state.runtime_env()).with_memory_pool(pool).build_arc()?;
    let config = state.config().clone();
    // One partition alone would be joined by holding a side all the same.
    let partitions = config.target_partitions().max(2);
    let mut config = config.with_target_partitions(partitions).set_bool("datafusion.optimizer.prefer_hash_join", false);
    let execution = &mut config.options_mut().execution;
    execution.sort_spill_reservation_bytes = execution.sort_spill_reservation_bytes.min(left_bytes / SORTS);
    execution.spill_compression = SpillCompression::Lz4Frame;
    Ok(configured(state.clone(), config).with_runtime_env(runtime).build())
}

/// Waits while memory is given back: tasks of a statement that has failed end a little after it.
async fn given_back(pool: &dyn MemoryPool) {
    let mut before = pool.reserved();
    for _ in 0..TURNS {
        tokio::time::sleep(TURN).await;
        let now = pool.reserved();
        if now >= before {
            return;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;

    use super::*;
    use crate::pools::WarehousePool;
    use crate::session::empty_session;
    use crate::widths::Widths;

    /// Both sides of the join are larger than the little memory.
    const JOINED: &str = "SELECT count(*), sum(a.value), min(a.text), max(b.text) \
        FROM (SELECT value, 'the text that stands beside number ' || value AS text FROM range(0, 2400000, 3)) AS a \
        FULL JOIN (SELECT value, 'the text that stands beside number ' || value AS text FROM range(0, 2400000, 2)) AS b ON b.text = a.text";

    const LITTLE: usize = 48 << 20;

    async fn answered(bytes: usize, sql: &str) -> Result<String> {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(WarehousePool::new(bytes))).build_arc()?;
        let ctx = empty_session(&runtime);
        Ok(pretty_format_batches(&all(ctx.sql(sql).await?).await?)?.to_string())
    }

    #[tokio::test]
    async fn a_statement_whose_join_does_not_fit_answers_the_same_from_disk() {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(WarehousePool::new(LITTLE))).build_arc().expect("a runtime");
        let held = empty_session(&runtime).sql(JOINED).await.expect("plans").collect().await.expect_err("so large a side cannot be held");
        assert!(is_short(&held), "{held}");
        assert_eq!(answered(LITTLE, JOINED).await.expect("joins on disk"), answered(1 << 30, JOINED).await.expect("joins in memory"));
    }

    #[tokio::test]
    async fn what_is_explained_is_spelled_as_what_is_asked() {
        let ctx = empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime"));
        for sql in ["SELECT timestamp '2024-01-31 08:00'", "EXPLAIN SELECT timestamp '2024-01-31 08:00'"] {
            let rows = all(opened(&ctx, sql).await.expect(sql)).await.expect(sql);
            assert!(pretty_format_batches(&rows).expect("rows").to_string().contains("2024-01-31 08:00:00"), "{sql}");
        }
    }

    #[tokio::test]
    async fn a_relation_alone_is_a_query_and_joins_need_no_parentheses_and_a_text_is_one_statement() {
        let ctx = empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime"));
        let short = "WITH t AS (SELECT value FROM range(0, 3)) TABLE t ORDER BY value DESC LIMIT 1";
        let nested = "WITH t AS (SELECT value FROM range(0, 3)) SELECT * FROM ONLY t AS a JOIN t AS b JOIN t AS c USING (value) ON a.value = b.value LIMIT 1";
        for sql in [short, nested] {
            let rows = all(opened(&ctx, sql).await.expect(sql)).await.expect(sql);
            assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        }
        for (sql, words) in [("SELECT 1; SELECT 2", "one statement"), ("", "no statement")] {
            assert!(opened(&ctx, sql).await.expect_err(sql).to_string().contains(words), "{sql}");
        }
    }

    #[tokio::test]
    async fn rows_are_grouped_by_what_casts_alone_tell_apart() {
        let ctx = empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime"));
        let values = "(VALUES (1.2, 'a'), (1.4, 'a'), (2.0, 'b')) AS t (a, b)";
        for (list, rest, wanted) in [
            ("a::INT, a::TEXT, count(*)", "GROUP BY a::INT, a::TEXT ORDER BY a::INT, a::TEXT", 3),
            ("a::TEXT, a::INT AS c", "GROUP BY c, a, 1, a::BIGINT ORDER BY a::TEXT", 3),
            ("upper(b::TEXT)", "GROUP BY a::INT, b, b::TEXT HAVING b::TEXT > 'a' ORDER BY 1", 1),
            ("b::TEXT, count(*)", "GROUP BY ROLLUP (b, b::TEXT)", 5),
            ("upper(b), count(*)", "GROUP BY b ORDER BY 1, 2", 2),
        ] {
            let sql = format!("SELECT {list} FROM {values} {rest}");
            let rows = all(opened(&ctx, &sql).await.expect(&sql)).await.expect(&sql);
            assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), wanted, "{sql}");
        }
    }

    #[tokio::test]
    async fn groups_are_chosen_by_their_columns_and_not_by_what_the_list_makes_of_them() {
        let ctx = empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime"));
        let values = "(VALUES (1, 'a'), (2, 'b'), (3, 'b')) AS t (a, b)";
        for (list, rest, wanted) in [
            ("upper(b) AS b, count(*)", "GROUP BY b HAVING b = 'b'", 1),
            ("-a AS a", "GROUP BY a HAVING a > 1", 2),
            ("max(a) AS a, b", "GROUP BY b HAVING max(a) > 1", 1),
            ("a::TEXT, count(*)", "GROUP BY a HAVING a + 8 > 10 ORDER BY 1", 1),
        ] {
            let sql = format!("SELECT {list} FROM {values} {rest}");
            let rows = all(opened(&ctx, &sql).await.expect(&sql)).await.expect(&sql);
            assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), wanted, "{sql}");
        }
    }

    #[tokio::test]
    async fn a_statement_with_a_long_constant_is_explained_as_it_is_run() {
        let state = empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime")).state();
        let state = SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rule(Arc::new(Widths)).build();
        let ctx = SessionContext::new_with_state(state);
        for constant in ["1".to_owned(), "1".repeat(200_000)] {
            let sql = format!("EXPLAIN SELECT max(length(CASE WHEN value > 3 THEN '{constant}' ELSE '3' END || value)) FROM range(9000)");
            let told = all(ctx.sql(&sql).await.expect("plans")).await.expect("is told");
            let told = pretty_format_batches(&told).expect("rows").to_string();
            assert!(told.contains("AggregateExec") && !told.contains("too wide"), "{} bytes", constant.len());
        }
    }

    #[tokio::test]
    async fn a_statement_without_rows_has_its_columns_and_other_errors_stand() {
        let frame = empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime")).sql("SELECT 1 AS one WHERE false").await;
        let rows = rows(frame.expect("plans")).await.expect("answers");
        assert_eq!(rows.schema().field(0).name(), "one");
        assert!(rows.try_collect::<Vec<_>>().await.expect("answers").iter().all(|batch| batch.num_rows() == 0));
        let refused = answered(1 << 30, "SELECT 1 / (value - 3) FROM range(0, 5)").await.expect_err("divides by zero");
        assert!(!is_short(&refused), "{refused}");
    }
}
