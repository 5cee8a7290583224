//! The desk at which every protocol asks: sessions of a role, plans that only read, and the statements that may run at once.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::TableProvider;
use datafusion::error::Result as EngineResult;
use datafusion::execution::FunctionRegistry as _;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::{context::EmptyContextProvider, setup_pg_catalog};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::definitions::Definitions;
use super::fault::{self, Asked, Refusal, typing};
use super::moments::{Moments, Names, Shown, When};
use super::turn::{Turn, panicked};
use super::{Role, SqlSettings, bounded, catalogue, explained, extent, instants, texts};
use crate::error::QueryError;
use crate::moments::Bound;
use crate::pools::StatementPool;
use crate::read::{AsOf, read_only};
use crate::statement;
use crate::store::Warehouse;

/// The name of the one catalog.
pub(crate) const CATALOG: &str = "wardstream";

/// What all connections share.
pub(crate) struct Desk {
    warehouse: Warehouse,
    moments: Moments,
    admission: Arc<Semaphore>,
    planning: Arc<Semaphore>,
    spill_limit_bytes: u64,
    definitions: Definitions,
    with_notes: Template,
    without_notes: Template,
    /// Cancelled when statements must end.
    pub closing: CancellationToken,
}

/// A state from which each statement's own is made, and the schema that `pg_catalog` describes.
struct Template {
    state: SessionState,
    catalogue: Arc<dyn SchemaProvider>,
}

impl Desk {
    /// # Errors
    /// Where the tables cannot be read.
    pub(crate) async fn open(warehouse: Warehouse, settings: &SqlSettings) -> Result<Arc<Self>, QueryError> {
        let moments = Moments::new(warehouse.clone());
        let shown = moments.at(When::default()).await?;
        let session = warehouse.session(&AsOf::default()).await?.state();
        Ok(Arc::new(Self {
            with_notes: template(session.clone(), &shown.all, true)?,
            without_notes: template(session, &shown.without_notes, false)?,
            definitions: Definitions::new(&warehouse.0.tasks),
            warehouse,
            moments,
            admission: Arc::new(Semaphore::new(settings.statements.max(1))),
            planning: Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))),
            spill_limit_bytes: settings.spill_limit_mb << 20,
            closing: CancellationToken::new(),
        }))
    }

    /// Everything that is committed by now, as it was known at `when`.
    pub(crate) async fn shown(&self, when: When, asked: Asked<'_>) -> Result<Arc<Shown>, Refusal> {
        self.moments.at(when).await.map_err(|error| fault::of_tables(&error, asked))
    }

    /// A turn within the role's time; `asked_for` may only shorten it.
    pub(crate) fn turn(&self, role: &Role, asked_for: Option<Duration>) -> Turn {
        let allowed = Duration::from_millis(role.statement_timeout_ms);
        let shorter = asked_for.filter(|asked| !asked.is_zero() && (allowed.is_zero() || *asked < allowed));
        Turn::new(shorter.unwrap_or(allowed), &self.closing)
    }

    /// Waits until another statement may run, in the order of asking.
    pub(crate) async fn admit(&self, turn: &Turn) -> Result<OwnedSemaphorePermit, Refusal> {
        let permit = turn.run(Arc::clone(&self.admission).acquire_owned()).await?;
        permit.map_err(|_| ending())
    }

    /// The state of one statement of a role: its relations, and memory and disk of its own.
    pub(crate) fn state(&self, role: &Role, shown: &Arc<Shown>) -> Result<SessionState, DataFusionError> {
        let template = if role.notes { &self.with_notes } else { &self.without_notes };
        let limit_bytes = if role.memory_limit_mb == 0 { usize::MAX } else { role.memory_limit_mb << 20 };
        let pool: Arc<dyn MemoryPool> = Arc::new(StatementPool::new(limit_bytes, &self.warehouse.0.runtime.memory_pool));
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.warehouse.0.runtime)
            .with_memory_pool(pool)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_max_temp_directory_size(self.spill_limit_bytes))
            .build_arc()?;
        let public: Arc<dyn SchemaProvider> = Arc::new(Public { shown: Arc::clone(shown), notes: role.notes });
        let catalog = Catalog(RwLock::new(vec![("public".to_owned(), public), ("pg_catalog".to_owned(), Arc::clone(&template.catalogue))]));
        let bound = Bound { known_at: shown.when.known_at, version: shown.when.version };
        let config = template.state.config().clone().with_extension(Arc::new(bound));
        let builder = SessionStateBuilder::new_from_existing(template.state.clone()).with_config(config);
        let mut state = builder.with_runtime_env(runtime).with_catalog_list(Arc::new(Catalogs(Arc::new(catalog)))).build();
        // now() is when the statement came, not when the template was made.
        state.mark_start_execution();
        Ok(state)
    }

    /// The plan of a statement, made on a thread of its own: some statements take long, and cannot be stopped meanwhile. So as many are planned at once
    /// as there are cores, and one that is not waited for any more counts until its plan is there. What does not only read has none.
    pub(crate) async fn plan(&self, state: &SessionState, statement: Statement, asked: Asked<'_>) -> Result<LogicalPlan, Refusal> {
        let (state, sql, notes) = (state.clone(), asked.sql.to_owned(), asked.notes);
        let definitions = self.definitions.clone();
        let engine = tokio::runtime::Handle::current();
        let permit = Arc::clone(&self.planning).acquire_owned().await.map_err(|_| ending())?;
        let planned = tokio::task::spawn_blocking(move || {
            let _planning = permit;
            extent::check(&statement)?;
            let asked = Asked { sql: &sql, notes };
            engine.block_on(async {
                let told = definitions.told(&state, &statement).await.map_err(|error| fault::refusal(&error, asked))?;
                Self::planned(told.as_ref().unwrap_or(&state), statement, asked).await
            })
        });
        planned.await.unwrap_or_else(|error| Err(panicked(error.try_into_panic().unwrap_or_else(|error| Box::new(error)))))
    }

    /// The rows of a plan, as they come.
    pub(crate) async fn rows(state: SessionState, plan: LogicalPlan) -> EngineResult<SendableRecordBatchStream> {
        let rows = statement::rows(DataFrame::new(state, plan.clone())).await?;
        Ok(explained::without_places(&plan, rows))
    }

    async fn planned(state: &SessionState, statement: Statement, asked: Asked<'_>) -> Result<LogicalPlan, Refusal> {
        let statement = instants::described(statement);
        // What clients ask of the catalogue is made for other types than it has here.
        let named = (!catalogue::is_asked(asked.sql)).then(|| typing::named(&statement));
        let instead = [catalogue::without_subqueries(&statement, asked.sql), catalogue::without_rows(&statement, asked.sql)];
        let plan_of = |statement| state.statement_to_plan(EngineStatement::Statement(Box::new(statement)));
        let mut planned = plan_of(statement).await;
        for instead in instead.into_iter().flatten() {
            // Some questions are found unreadable only when their plan is made smaller.
            if planned.as_ref().is_ok_and(|plan| state.optimize(plan).is_ok()) {
                break;
            }
            planned = plan_of(instead).await;
        }
        let plan = planned.map_err(|error| fault::refusal(&error, asked))?;
        read_only().verify_plan(&plan).map_err(|error| {
            Refusal::new("25006", format!("cannot execute this in a read-only transaction: {}", error.strip_backtrace()))
        })?;
        extent::check_columns(plan.schema().fields().len())?;
        if let Some(named) = named {
            let public = state.catalog_list().catalog(CATALOG).and_then(|catalog| catalog.schema("public"));
            let is_relation = |name: &str| public.as_ref().is_some_and(|schema| schema.table_exist(name));
            let asking = typing::Asking { sql: asked.sql, named: &named, is_relation: &is_relation };
            typing::check(&plan, &asking).map_err(|error| fault::refusal(&error, asked))?;
        }
        Ok(settled(state, plan))
    }
}

fn ending() -> Refusal {
    Refusal::new("57P01", "terminating connection due to administrator command")
}

/// The plan with the types that it will have: what the planner says of `CASE` or `UNION` are the types of a first branch. As it came where they cannot be told yet.
pub(crate) fn settled(state: &SessionState, plan: LogicalPlan) -> LogicalPlan {
    state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {}).unwrap_or(plan)
}

fn template(session: SessionState, names: &Names, notes: bool) -> Result<Template, QueryError> {
    let mut config =
        session.config().clone().with_default_catalog_and_schema(CATALOG, "public").with_create_default_catalog_and_schema(false);
    config.options_mut().sql_parser.collect_spans = true;
    config.options_mut().execution.time_zone = Some("+00:00".to_owned());
    let public: Arc<dyn SchemaProvider> = Arc::new(Fixed(names.clone()));
    let catalog = Arc::new(Catalog(RwLock::new(vec![("public".to_owned(), public)])));
    let catalogs = Arc::new(Catalogs(Arc::clone(&catalog) as Arc<dyn CatalogProvider>));
    let state = SessionStateBuilder::new_from_existing(session).with_config(config).with_catalog_list(catalogs).build();
    let ctx = SessionContext::new_with_state(state);
    setup_pg_catalog(&ctx, CATALOG, EmptyContextProvider).map_err(|error| QueryError::from(*error))?;
    let state = ctx.state();
    for function in bounded::bounded(|name| state.scalar_functions().get(name).cloned()) {
        ctx.register_udf(function);
    }
    if !notes {
        for (name, function) in state.table_functions() {
            ctx.register_udtf(name, texts::function_without(function));
        }
    }
    let plain = catalog.schema("pg_catalog").ok_or_else(|| QueryError::Engine { reason: "pg_catalog is not there".to_owned() })?;
    let mut state = ctx.state();
    if let Some(beside) = state.scalar_functions().get(bounded::BESIDE).cloned() {
        state.register_function_rewrite(bounded::beside(beside)).map_err(QueryError::from)?;
    }
    if let Some(overlay) = state.scalar_functions().get(bounded::OVERLAY).cloned() {
        state.register_function_rewrite(bounded::instead(overlay)).map_err(QueryError::from)?;
    }
    Ok(Template { state, catalogue: Arc::new(catalogue::Completed(plain)) })
}

/// The one catalog.
#[derive(Debug)]
struct Catalogs(Arc<dyn CatalogProvider>);

impl CatalogProviderList for Catalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::clone(&self.0))
    }
}

/// Its schemas, in the order in which they are described.
#[derive(Debug)]
struct Catalog(RwLock<Vec<(String, Arc<dyn SchemaProvider>)>>);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().map(|(name, _)| name.clone()).collect()
    }

    fn schema(&self, wanted: &str) -> Option<Arc<dyn SchemaProvider>> {
        let schemas = self.0.read().unwrap_or_else(PoisonError::into_inner);
        schemas.iter().find(|(name, _)| name == wanted).map(|(_, schema)| Arc::clone(schema))
    }

    fn register_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) -> EngineResult<Option<Arc<dyn SchemaProvider>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), schema));
        Ok(None)
    }
}

/// The relations that a role sees at a moment.
#[derive(Debug)]
struct Public {
    shown: Arc<Shown>,
    notes: bool,
}

impl Public {
    fn names(&self) -> &Names {
        if self.notes { &self.shown.all } else { &self.shown.without_notes }
    }
}

#[async_trait]
impl SchemaProvider for Public {
    fn table_names(&self) -> Vec<String> {
        self.names().keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> EngineResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.names().get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names().contains_key(name)
    }
}

/// Relations whose columns are described; their rows are of the server's start and are never read.
#[derive(Debug)]
struct Fixed(Names);

#[async_trait]
impl SchemaProvider for Fixed {
    fn table_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> EngineResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.0.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::tests::stand::{Stand, settings};
    use crate::roles::parse;

    /// Whoever prepares again and again takes no more cores than whoever asks: what is given up goes on until it is planned.
    #[tokio::test]
    async fn statements_wait_to_be_planned_where_others_are() {
        let (stand, settings) = (Stand::new().await, settings());
        let desk = Desk::open(stand.warehouse.clone(), &settings).await.expect("opens");
        let asked = Asked { sql: "SELECT 1", notes: false };
        let shown = desk.shown(When::default(), asked).await.expect("is there");
        let state = desk.state(settings.roles.first().expect("a role"), &shown).expect("is made");
        let statement = parse::statements(asked.sql).expect("parses").pop().expect("one statement");
        let all = u32::try_from(desk.planning.available_permits()).expect("a few");
        let planning = Arc::clone(&desk.planning).acquire_many_owned(all).await.expect("are free");
        let turn = Turn::new(Duration::from_millis(100), &desk.closing);
        let waited = turn.run(desk.plan(&state, statement.clone(), asked)).await;
        assert_eq!(waited.expect_err("waits until its time is over").code, "57014");
        drop(planning);
        assert!(desk.plan(&state, statement, asked).await.is_ok());
    }
}
