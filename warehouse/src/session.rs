//! One session a question: the four tables as they were known, and every view over them. Questions of one moment share
//! what was computed for it.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::error::Result as EngineResult;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{col, lit};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use deltalake_core::DeltaTable;
use jiff::Timestamp;
use schemas::{Table, table::instant};

use crate::compact::Compacting;
use crate::computed::Computed;
use crate::computing::Parting;
use crate::error::QueryError;
use crate::held::Holding;
use crate::lateral::Lateral;
use crate::numbering::Numbering;
use crate::pools::{self, StatementPool};
use crate::positions::LogPositions;
use crate::read::AsOf;
use crate::renewal::{Estate, Renewal};
use crate::roles::desk::CATALOG;
use crate::settings::{Period, Splits};
use crate::store::Warehouse;
use crate::tying::Tying;
use crate::widths::Widths;
use crate::yielding::Yielding;
use crate::{functions, meds, moments, views};

/// The name under which a table stands in SQL, before the view of the same name as the table.
pub(crate) fn relation(table: Table) -> &'static str {
    match table {
        Table::Messages => "message_rows",
        Table::Events => "event_rows",
        Table::Notes => "note_rows",
        Table::Predictions => "prediction_rows",
    }
}

/// Earlier moments whose relations are kept, with what was computed for them: two beside the present can be compared, and memory stays bounded.
const MOMENTS: usize = 2;

/// What decides every row of every relation but the registry's.
#[derive(Clone, PartialEq, Eq)]
struct Moment {
    versions: BTreeMap<Table, Option<u64>>,
    known_at: Option<Timestamp>,
    version: Option<i64>,
}

/// The relations of one moment. Sessions of the same moment share them, and with them the views that were computed once.
#[derive(Clone)]
pub(crate) struct Relations {
    moment: Moment,
    providers: Arc<Vec<(String, Arc<dyn TableProvider>)>>,
    /// What they have of earlier moments, and leave to later ones: those of the present alone.
    renewal: Option<Arc<Renewal>>,
}

impl Relations {
    /// Whether these are the very same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.providers, &other.providers)
    }

    /// What they have of earlier moments.
    #[cfg(test)]
    pub(crate) fn renewal(&self) -> Option<&Renewal> {
        self.renewal.as_deref()
    }

    /// By name, with the registry's.
    pub(crate) fn named(&self, warehouse: &Warehouse) -> Result<BTreeMap<String, Arc<dyn TableProvider>>, QueryError> {
        let mut named: BTreeMap<_, _> = self.providers.iter().cloned().collect();
        named.extend(warehouse.registry().named());
        Ok(named)
    }
}

impl Warehouse {
    /// A session in which everything is as it was known at `at`.
    pub(crate) async fn session(&self, at: &AsOf) -> Result<SessionContext, QueryError> {
        let ctx = SessionContext::new_with_state(bounded(self.empty_session().state()));
        let relations = self.relations(at).await?;
        for (name, provider) in relations.providers.iter() {
            ctx.register_table(name, Arc::clone(provider))?;
        }
        moments::register(&ctx, self, at, &relations.providers);
        functions::refuse_the_undefined(&ctx)?;
        self.registry().register(&ctx)?;
        Ok(ctx)
    }

    /// A session for one statement, with an account of its own of what it holds: where the warehouse is guarded, it is ended before it holds the machine's memory.
    pub(crate) async fn accounted_session(&self, at: &AsOf) -> Result<SessionContext, QueryError> {
        let state = self.session(at).await?.state();
        let all = &self.0.runtime.memory_pool;
        let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(pools::limit(all.as_ref()), all));
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.0.runtime).with_memory_pool(pool).build_arc()?;
        Ok(SessionContext::new_with_state(configured(state.clone(), state.config().clone()).with_runtime_env(runtime).build()))
    }

    /// One relation as it was known at `at`; `None` where there is none of that name.
    pub(crate) async fn relation(&self, name: &str, at: &AsOf) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
        let relations = self.relations(at).await?;
        Ok(relations.providers.iter().find(|(known, _)| known == name).map(|(_, provider)| Arc::clone(provider)))
    }

    pub(crate) fn empty_session(&self) -> SessionContext {
        empty_session(&self.0.runtime)
    }

    /// The moment `at`, and the tables at it.
    async fn tables_at(&self, at: &AsOf) -> Result<(Moment, BTreeMap<Table, DeltaTable>), QueryError> {
        let mut tables = BTreeMap::new();
        // `messages` first, which is committed last: what it shows as landed is in the others too.
        for table in Table::ALL.into_iter().rev() {
            tables.insert(table, self.table_at(table, at).await?);
        }
        let versions = tables.iter().map(|(table, delta)| (*table, delta.version())).collect();
        Ok((Moment { versions, known_at: at.known_at, version: at.version }, tables))
    }

    /// The relations of the moment `at`, or `kept` where no table has moved since they were made.
    pub(crate) async fn relations_since(&self, at: &AsOf, kept: Option<&Relations>) -> Result<Relations, QueryError> {
        if at.known_at.is_none() && at.version.is_none() && at.pin.is_none() {
            return self.relations(at).await;
        }
        let (moment, tables) = self.tables_at(at).await?;
        if let Some(kept) = kept.filter(|kept| kept.moment == moment) {
            return Ok(kept.clone());
        }
        self.made(moment, tables, at, None).await
    }

    /// The relations of the moment `at`. The newest are kept until the tables have moved on, and of earlier moments those that were asked for last.
    async fn relations(&self, at: &AsOf) -> Result<Relations, QueryError> {
        let (moment, tables) = self.tables_at(at).await?;
        let mut newest = self.0.newest.lock().await;
        if let Some(kept) = newest.as_ref().filter(|kept| kept.moment == moment) {
            return Ok(kept.clone());
        }
        if at.version.is_some() || at.pin.is_some() {
            return self.made(moment, tables, at, None).await;
        }
        if at.known_at.is_none() {
            let before =
                newest.as_ref().and_then(|last| Some(Estate::new(Arc::clone(last.renewal.as_ref()?), Arc::clone(&last.providers))));
            let renewal = Renewal::new(&tables, before.as_ref(), &self.0.index, (&self.0.runtime, &self.0.tasks));
            let relations = self.made(moment, tables, at, Some(Arc::new(renewal))).await?;
            *newest = Some(relations.clone());
            return Ok(relations);
        }
        drop(newest);
        let mut earlier = self.0.earlier.lock().await;
        let known = earlier.iter().position(|kept| kept.moment == moment).and_then(|place| earlier.remove(place));
        let relations = match known {
            Some(relations) => relations,
            None => self.made(moment, tables, at, None).await?,
        };
        earlier.push_back(relations.clone());
        if earlier.len() > MOMENTS {
            earlier.pop_front();
        }
        Ok(relations)
    }

    async fn table_at(&self, table: Table, at: &AsOf) -> Result<DeltaTable, QueryError> {
        let pinned = at.pin.as_ref().and_then(|pin| pin.versions.get(&table).copied());
        let version = pinned.or(at.version.filter(|_| table == Table::Messages));
        match version {
            Some(version) => self.snapshot_at(table, version).await,
            None => self.snapshot(table).await.map_err(|source| QueryError::Log { table: table.as_str(), source }),
        }
    }

    async fn made(
        &self,
        moment: Moment,
        tables: BTreeMap<Table, DeltaTable>,
        at: &AsOf,
        renewal: Option<Arc<Renewal>>,
    ) -> Result<Relations, QueryError> {
        let providers = self.providers(tables, at, renewal.as_ref()).await?;
        if let Some(renewal) = &renewal {
            renewal.build_on(&providers);
        }
        Ok(Relations { moment, providers: Arc::new(providers), renewal })
    }

    async fn providers(
        &self,
        tables: BTreeMap<Table, DeltaTable>,
        at: &AsOf,
        renewal: Option<&Arc<Renewal>>,
    ) -> Result<Vec<(String, Arc<dyn TableProvider>)>, QueryError> {
        let ctx = self.empty_session();
        for (table, delta) in &tables {
            register(&ctx, *table, delta, at).await?;
        }
        self.register_settings(&ctx)?;
        let stated = if at.known_at.is_none() && at.version.is_none() { tables } else { BTreeMap::new() };
        ctx.register_table("table_positions", Arc::new(Computed::once(LogPositions::new(&ctx, stated).await?)))?;
        views::register(&ctx, &self.0.tasks, renewal).await?;
        let mut providers = Vec::new();
        for schema in ctx.catalog_names().iter().filter_map(|name| ctx.catalog(name)?.schema("public")) {
            for name in schema.table_names() {
                providers.extend(schema.table(&name).await?.map(|provider| (name, provider)));
            }
        }
        Ok(providers)
    }

    fn register_settings(&self, ctx: &SessionContext) -> Result<(), QueryError> {
        ctx.register_table("split_periods", Arc::new(period_rows(&self.0.settings.splits)?))?;
        ctx.register_table("fold_weights", Arc::new(fold_rows(&self.0.settings.splits)?))?;
        Ok(())
    }
}

/// A session that knows our functions and no relation.
pub(crate) fn empty_session(runtime: &Arc<RuntimeEnv>) -> SessionContext {
    // The catalog has one name, whoever asks: what is wrong with a statement is told by it.
    let config = SessionConfig::new().with_information_schema(true).with_target_partitions(2).with_create_default_catalog_and_schema(true);
    let config = config.with_default_catalog_and_schema(CATALOG, "public");
    let state = SessionStateBuilder::new().with_config(config).with_runtime_env(Arc::clone(runtime)).with_default_features();
    let state = state.with_physical_optimizer_rule(Arc::new(Numbering)).with_physical_optimizer_rule(Arc::new(Compacting));
    let state = state.with_physical_optimizer_rule(Arc::new(Tying));
    let ctx = SessionContext::new_with_state(state.with_analyzer_rule(Arc::new(Lateral)).build());
    functions::register(&ctx);
    ctx.register_udf(meds::subject());
    ctx
}

/// The session in which anybody's statement runs: operators of spans are PostgreSQL's, what it would take beyond the pool is bounded, and others have their turn beside it.
fn bounded(state: SessionState) -> SessionState {
    // The first that knows an operator plans it.
    let planners = iter::once(functions::planner()).chain(state.expr_planners().iter().cloned()).collect();
    let state = SessionStateBuilder::new_from_existing(state).with_expr_planners(planners).with_physical_optimizer_rule(Arc::new(Holding));
    let state = state.with_physical_optimizer_rule(Arc::new(Widths)).with_physical_optimizer_rule(Arc::new(Parting));
    state.with_physical_optimizer_rule(Arc::new(Yielding)).build()
}

/// What a session becomes with another configuration. Its catalogue stays: one that a state made for itself would take the place of the session's, whose list of
/// them it shares.
pub(crate) fn configured(state: SessionState, config: SessionConfig) -> SessionStateBuilder {
    SessionStateBuilder::new_from_existing(state).with_config(config.with_create_default_catalog_and_schema(false))
}

/// The session in which a view is computed that a statement names, and kept for all: it is ours, and bounds of the statement's own would make it begin anew.
pub(crate) fn of_views(state: &SessionState) -> SessionState {
    let is_bound =
        |rule: &dyn PhysicalOptimizerRule| [Holding.name(), Widths.name(), Parting.name(), Yielding.name()].contains(&rule.name());
    let rules = state.physical_optimizers().iter().filter(|rule| !is_bound(rule.as_ref())).cloned().collect();
    let config = state.config().clone().with_batch_size(SessionConfig::new().batch_size());
    configured(state.clone(), config).with_physical_optimizer_rules(rules).build()
}

async fn register(ctx: &SessionContext, table: Table, delta: &DeltaTable, at: &AsOf) -> Result<(), QueryError> {
    delta.update_datafusion_session(&ctx.state()).map_err(|source| QueryError::Log { table: table.as_str(), source })?;
    let mut rows = in_all_columns(table, ctx.read_table(delta.table_provider().await?)?)?;
    if let Some(known_at) = at.known_at {
        let until = ScalarValue::TimestampMicrosecond(Some(known_at.as_microsecond()), Some("UTC".into()));
        rows = rows.filter(col("known_at").lt_eq(lit(until)))?;
    }
    if at.version.is_some() && table != Table::Messages {
        rows = landed_by_then(ctx, rows).await?;
    }
    ctx.register_table(relation(table), rows.into_view())?;
    Ok(())
}

/// The rows in this release's columns: a version of before one came is read with NULL there, as its rows are in the newest.
fn in_all_columns(table: Table, mut rows: DataFrame) -> EngineResult<DataFrame> {
    for field in table.schema().fields() {
        if rows.schema().field_with_unqualified_name(field.name()).is_err() {
            rows = rows.with_column(field.name(), lit(ScalarValue::try_from(field.data_type())?))?;
        }
    }
    Ok(rows)
}

/// Only rows whose records stood in `messages` at its pinned version.
async fn landed_by_then(ctx: &SessionContext, rows: DataFrame) -> EngineResult<DataFrame> {
    let upto = ctx
        .sql("SELECT topic AS upto_topic, \"partition\" AS upto_partition, max(\"offset\") AS upto FROM message_rows GROUP BY 1, 2")
        .await?;
    let columns: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    rows.join(upto, datafusion::common::JoinType::Inner, &["source_topic", "source_partition"], &["upto_topic", "upto_partition"], None)?
        .filter(col("source_offset").lt_eq(col("upto")))?
        .select_columns(&names)
}

fn one_table(fields: Vec<Field>, columns: Vec<datafusion::arrow::array::ArrayRef>) -> EngineResult<MemTable> {
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    MemTable::try_new(schema, vec![vec![batch]])
}

fn instants(values: impl Iterator<Item = Timestamp>) -> Arc<TimestampMicrosecondArray> {
    Arc::new(values.map(|at| Some(at.as_microsecond())).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// `split_periods`: task, period (`main`, or the name of a temporal test), first instant, first instant after.
fn period_rows(splits: &Splits) -> EngineResult<MemTable> {
    let rows: Vec<(&str, &str, Period)> = splits
        .0
        .iter()
        .flat_map(|(task, splits)| {
            let tests = splits.temporal.iter().map(|test| (test.name.as_str(), Period { from: test.from, until: test.until }));
            std::iter::once(("main", splits.main)).chain(tests).map(|(split, period)| (task.as_str(), split, period))
        })
        .collect();
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let at = |name: &str| Field::new(name, instant(), false);
    one_table(
        vec![text("task"), text("split"), at("period_from"), at("period_until")],
        vec![
            Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()),
            instants(rows.iter().map(|row| row.2.from)),
            instants(rows.iter().map(|row| row.2.until)),
        ],
    )
}

/// `fold_weights`: task, shares of each fold, and what is hashed behind which salt.
fn fold_rows(splits: &Splits) -> EngineResult<MemTable> {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let share =
        |fold: usize| Arc::new(splits.0.values().map(|task| task.folds.get(fold).map(|share| i64::from(*share))).collect::<Int64Array>());
    one_table(
        vec![text("task"), number("train"), number("validation"), number("test"), text("unit"), text("salt")],
        vec![
            Arc::new(splits.0.keys().map(|task| Some(task.as_str())).collect::<StringArray>()),
            share(0),
            share(1),
            share(2),
            Arc::new(splits.0.values().map(|task| Some(task.unit.as_str())).collect::<StringArray>()),
            Arc::new(splits.0.values().map(|task| Some(task.salt.as_str())).collect::<StringArray>()),
        ],
    )
}
