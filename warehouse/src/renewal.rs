//! What was computed for one moment and still holds at a later one.
//!
//! Most views say of each subject (a person, with their stays, notes and claims) what that subject's own facts say. So when facts have come, the
//! subjects that they name are computed anew, from all facts of theirs, by the same SQL; every other row is taken over. Where it cannot be told
//! what has come (rows were erased, columns added, the log was cleared, too much is new), everything is computed as if nothing had been.
//!
//! Three relations are of records and of no subject (`records`): they are made of what they were and of the records that came. Subjects of records that
//! stand otherwise than before are computed anew too.

mod news;
mod records;
mod subjects;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::not;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::cast;
use datafusion::physical_plan::execute_stream_partitioned;
use datafusion::prelude::{DataFrame, SessionContext, ident};
use deltalake_core::DeltaTable;
use schemas::Table;
use tokio::sync::{Mutex, OnceCell};

use crate::computed::{self, Computed, Query};
use crate::kept::{Kept, KeptRows};
use crate::session::empty_session;
use crate::tasks::Tasks;
use crate::views;
use records::{Arrived, Heads};
use subjects::{Scope, Subjects};

/// The identity besides patient and visit that a fact names, if any: what it merges or identifies, its note, its claim, or a record of its own that
/// later versions take back. Other `related` values are no identities.
const NAMED: &str = "CASE WHEN code IN ('patient.merged', 'patient.identified') THEN patient_identity(facility, related) \
     WHEN code IN ('encounter.merged', 'encounter.identified') THEN encounter_identity(facility, related) \
     WHEN code = 'note.status_stated' THEN note_identity(facility, related) \
     WHEN code IN ('claim.submitted', 'claim.decided', 'encounter.insured') THEN facility || '/' || related \
     WHEN code IN ('encounter.diagnosed', 'encounter.diagnosis_retracted', 'encounter.procedure', 'encounter.procedure_retracted') \
      AND strpos(related, '/') > 0 THEN facility || '/' || related END";

/// What of the rows is read to tell whose they are.
const READ: [(Table, &[&str]); 2] = [
    (
        Table::Events,
        &["patient_id", "encounter_id", "facility", "code", "related", "source_topic", "source_partition", "source_offset", "reading"],
    ),
    (Table::Notes, &["note_id", "patient_id", "encounter_id", "replaces", "source_topic", "source_partition", "source_offset", "reading"]),
];

/// Commits that are looked through for what is new; after more it is sooner computed anew.
const COMMITS: u64 = 500;

/// Part of all rows from which on computing everything is as quick.
const MUCH: f64 = 0.3;

/// The moment for which rows were computed.
struct Base {
    versions: BTreeMap<Table, u64>,
    of_records: BTreeMap<&'static str, Arc<Kept>>,
}

/// Rows of a view, of an earlier moment.
#[derive(Clone)]
struct Inherited {
    kept: Arc<Kept>,
    base: Arc<Base>,
}

/// What is known of all that is in the tables, at whatever moment.
#[derive(Default)]
pub(crate) struct Index {
    subjects: Mutex<Option<Subjects>>,
    heads: Mutex<Option<Heads>>,
}

/// What a moment has of earlier ones.
pub(crate) struct Renewal {
    tables: BTreeMap<Table, DeltaTable>,
    inherited: std::sync::Mutex<BTreeMap<String, Inherited>>,
    bases: Vec<Arc<Base>>,
    index: Arc<Index>,
    runtime: Arc<RuntimeEnv>,
    tasks: Tasks,
    /// The moment's own relations, without any view that is renewed: those would hold this in turn.
    relations: OnceLock<Vec<(String, Arc<dyn TableProvider>)>>,
    renewed: OnceCell<Option<(Scope, SessionContext)>>,
    /// The records since the newest base, where they are known.
    arrived: OnceCell<Option<Arrived>>,
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewal").finish_non_exhaustive()
    }
}

/// Versions of the tables that a renewal goes by.
fn versions(tables: &BTreeMap<Table, DeltaTable>) -> BTreeMap<Table, u64> {
    let watched = [Table::Messages, Table::Events, Table::Notes];
    watched.into_iter().filter_map(|table| Some((table, tables.get(&table)?.version()?))).collect()
}

/// Whether it is worth looking through the commits between.
fn is_near(then: u64, now: u64) -> bool {
    now.checked_sub(then).is_some_and(|commits| commits <= COMMITS)
}

/// What the relations of a moment have computed, for the next moment.
pub(crate) struct Estate {
    versions: BTreeMap<Table, u64>,
    providers: Arc<Vec<(String, Arc<dyn TableProvider>)>>,
    renewal: Arc<Renewal>,
}

impl Estate {
    pub(crate) fn new(renewal: Arc<Renewal>, providers: Arc<Vec<(String, Arc<dyn TableProvider>)>>) -> Self {
        Self { versions: versions(&renewal.tables), providers, renewal }
    }

    /// Rows of every view, as they were computed here or, where nobody asked, before.
    fn left(&self) -> BTreeMap<String, Inherited> {
        let kept = |wanted: &str| computed::kept(self.providers.iter().find(|(name, _)| name == wanted)?.1.as_ref());
        let of_records = views::of_records().filter_map(|name| Some((name, kept(name)?))).collect();
        let base = Arc::new(Base { versions: self.versions.clone(), of_records });
        let mut left = self.renewal.inherited.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let renewed = self.providers.iter().filter(|(_, provider)| computed::is_renewed(provider.as_ref()));
        for (name, kept) in renewed.filter_map(|(name, provider)| Some((name, computed::kept(provider.as_ref())?))) {
            left.insert(name.clone(), Inherited { kept, base: Arc::clone(&base) });
        }
        left
    }
}

impl Renewal {
    /// Of a moment with these tables, after `before`.
    pub(crate) fn new(
        tables: &BTreeMap<Table, DeltaTable>,
        before: Option<&Estate>,
        index: &Arc<Index>,
        (runtime, tasks): (&Arc<RuntimeEnv>, &Tasks),
    ) -> Self {
        let now = versions(tables);
        let near = |base: &Base| {
            READ.iter().all(|(table, _)| now.get(table).zip(base.versions.get(table)).is_some_and(|(now, then)| is_near(*then, *now)))
        };
        let mut inherited = before.map(Estate::left).unwrap_or_default();
        inherited.retain(|_, one| near(&one.base));
        let mut bases: Vec<Arc<Base>> = Vec::new();
        for one in inherited.values() {
            if !bases.iter().any(|base| Arc::ptr_eq(base, &one.base)) {
                bases.push(Arc::clone(&one.base));
            }
        }
        Self {
            tables: tables.clone(),
            inherited: std::sync::Mutex::new(inherited),
            bases,
            index: Arc::clone(index),
            runtime: Arc::clone(runtime),
            tasks: tasks.clone(),
            relations: OnceLock::new(),
            renewed: OnceCell::new(),
            arrived: OnceCell::new(),
        }
    }

    /// The moment's relations, once they are made.
    pub(crate) fn build_on(&self, providers: &[(String, Arc<dyn TableProvider>)]) {
        let needed =
            |name: &str| ["message_rows", "event_rows", "note_rows"].contains(&name) || views::of_records().any(|view| view == name);
        let relations = providers.iter().filter(|(name, _)| needed(name)).cloned().collect();
        // Once for each moment.
        let _first = self.relations.set(relations);
    }

    /// The rows of `view`, whose column `key` says whose each is: those of an earlier moment that still hold, and the others computed anew.
    /// `None` where nothing holds.
    ///
    /// # Errors
    /// Where rows cannot be computed.
    pub(crate) async fn rows(&self, view: &str, key: &str) -> Result<Option<Arc<Kept>>> {
        let find = || self.inherited.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(view).cloned();
        if find().is_none() {
            return Ok(None);
        }
        let renewed = self.renewed.get_or_init(|| async {
            match self.renew().await {
                Ok(renewed) => {
                    if renewed.is_none() {
                        self.forget();
                    }
                    renewed
                }
                Err(error) => {
                    tracing::warn!(%error, "could not tell what is new in the tables; computing all of it");
                    None
                }
            }
        });
        let (Some((scope, ctx)), Some(before)) = (renewed.await, find()) else { return Ok(None) };
        let state = ctx.state();
        let plan = ctx.table(view).await?.into_unoptimized_plan();
        let streams = execute_stream_partitioned(state.create_physical_plan(&plan).await?, state.task_ctx())?;
        let (key, scope) = (before.kept.column(key)?, scope.clone());
        let holds = move |identities: &ArrayRef| Ok(not(&scope.holds(identities)?)?);
        let streams = streams.into_iter().map(futures::StreamExt::boxed).collect();
        let kept = Kept::renewed(&before.kept, key, holds, streams, &self.runtime).await?;
        self.inherited.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(view);
        Ok(Some(Arc::new(kept)))
    }

    /// Lets go of all rows of earlier moments. What cannot be taken over across a commit never will be, and a view that nobody asks for again would
    /// keep every other from being renewed; and where rows went, those of the erased are among what was computed.
    fn forget(&self) {
        self.inherited.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    /// The rows of a relation of records, made of what it was at an earlier moment. `None` where it is to be computed.
    pub(crate) async fn of_records(&self, relation: &str) -> Option<Arc<Kept>> {
        let base = self.bases.iter().max_by_key(|base| base.versions.get(&Table::Messages))?;
        let before = base.of_records.get(relation)?;
        let told = async {
            let Some(arrived) = self.arrived.get_or_try_init(|| self.arrived(base)).await? else { return Ok(None) };
            match relation {
                "watermarks" => self.kept_as(before, arrived.watermarks(before).await?).await.map(Some),
                "copies" if !arrived.read_anew && !arrived.repeated.is_empty() => {
                    let ctx = self.session(BTreeMap::new())?;
                    let Some(copies) = arrived.copies(before, ctx).await? else { return Ok(None) };
                    self.kept_as(before, copies).await.map(Some)
                }
                _ => Ok((!arrived.read_anew).then(|| Arc::clone(before))),
            }
        };
        told.await.unwrap_or_else(|error: DataFusionError| {
            tracing::warn!(%error, relation, "could not tell what the records that came change; looking at all of them");
            None
        })
    }

    /// The records since `base`; `None` where it cannot be told which of them repeat another.
    async fn arrived(&self, base: &Base) -> Result<Option<Arrived>> {
        let messages = self.tables.get(&Table::Messages);
        let Some((messages, now)) = messages.and_then(|messages| Some((messages, messages.version()?))) else { return Ok(None) };
        let Some(then) = base.versions.get(&Table::Messages).filter(|then| is_near(**then, now)) else { return Ok(None) };
        let mut index = self.index.heads.lock().await;
        let Some(known) = index.as_mut().filter(|known| known.upto == *then) else {
            let ctx = self.session(BTreeMap::new())?;
            *index = Some(Heads::of(&records::heads(&ctx, "message_rows").await?, now, &self.runtime)?);
            return Ok(None);
        };
        let schema = projected(&Table::Messages.schema(), records::READ)?;
        let Some(new) = news::rows(messages, then + 1..=now, &schema).await? else {
            *index = None;
            return Ok(None);
        };
        let ctx = self.session([(Table::Messages, MemTable::try_new(schema, vec![new])?)].into())?;
        Arrived::of(ctx, known, now).await.map(Some)
    }

    /// The rows of a query in the columns of those before it.
    async fn kept_as(&self, before: &Kept, query: DataFrame) -> Result<Arc<Kept>> {
        let fields = before.schema().fields().iter();
        let frame = query
            .select(fields.map(|field| cast(ident(field.name()), field.data_type().clone()).alias(field.name())).collect::<Vec<_>>())?;
        let streams = frame.execute_stream_partitioned().await?.into_iter().map(futures::StreamExt::boxed).collect();
        Ok(Arc::new(Kept::of(before.schema(), streams, &self.runtime).await?))
    }

    /// Whether rows of an earlier moment were taken over.
    #[cfg(test)]
    fn took_over(&self) -> bool {
        self.renewed.get().is_some_and(Option::is_some)
    }

    /// Whether there are rows of an earlier moment of this view.
    #[cfg(test)]
    fn inherits(&self, view: &str) -> bool {
        self.inherited.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains_key(view)
    }

    /// Whether the relations of records were.
    #[cfg(test)]
    fn records_held(&self) -> bool {
        self.arrived.get().is_some_and(|arrived| arrived.as_ref().is_some_and(|arrived| !arrived.read_anew))
    }

    /// The subjects that are computed anew, and a session of their rows alone.
    async fn renew(&self) -> Result<Option<(Scope, SessionContext)>> {
        let mut index = self.index.subjects.lock().await;
        let oldest = self.oldest();
        let Some(news) = self.news(&oldest).await? else {
            *index = None;
            return Ok(None);
        };
        let ctx = self.session(news)?;
        // What came before the oldest base is not among the news.
        let mut subjects = match index.take().filter(|subjects| subjects.hold(&oldest)) {
            Some(subjects) => subjects,
            None => self.all(&ctx).await?,
        };
        let mut named = HashSet::new();
        for links in self.links(&ctx, "new_events", "new_notes").await? {
            named.extend(subjects.join(&links)?);
        }
        for base in &self.bases {
            for links in self.told_otherwise(&ctx, base).await? {
                named.extend(subjects.join(&links)?);
            }
        }
        subjects.have_come_to(&versions(&self.tables));
        let (scope, share) = subjects.of(&named);
        *index = Some(subjects);
        drop(index);
        tracing::debug!(share, "computing subjects anew");
        if share > MUCH {
            return Ok(None);
        }
        let ctx = self.within(&ctx, &scope).await?;
        Ok(Some((scope, ctx)))
    }

    /// The versions since which all is new to some view.
    fn oldest(&self) -> BTreeMap<Table, u64> {
        let of = |table: &Table| self.bases.iter().filter_map(|base| base.versions.get(table)).min().copied();
        READ.iter().filter_map(|(table, _)| Some((*table, of(table)?))).collect()
    }

    /// What was appended since these versions.
    async fn news(&self, oldest: &BTreeMap<Table, u64>) -> Result<Option<BTreeMap<Table, MemTable>>> {
        let mut news = BTreeMap::new();
        for (table, columns) in READ {
            let Some((delta, now)) = self.tables.get(&table).and_then(|delta| Some((delta, delta.version()?))) else { return Ok(None) };
            let Some(then) = oldest.get(&table) else { return Ok(None) };
            let schema = projected(&table.schema(), columns)?;
            let Some(rows) = news::rows(delta, then + 1..=now, &schema).await? else { return Ok(None) };
            news.insert(table, MemTable::try_new(schema, vec![rows])?);
        }
        Ok(Some(news))
    }

    /// A session that knows what there is and what is new of it.
    fn session(&self, news: BTreeMap<Table, MemTable>) -> Result<SessionContext> {
        let ctx = empty_session(&self.runtime);
        for (name, provider) in self.relations.get().into_iter().flatten() {
            ctx.register_table(name, Arc::clone(provider))?;
        }
        for (table, rows) in news {
            ctx.register_table(format!("new_{}", table.as_str()), Arc::new(rows))?;
        }
        Ok(ctx)
    }

    /// The identities that the rows of these relations tie together.
    async fn links(&self, ctx: &SessionContext, events: &str, notes: &str) -> Result<Vec<RecordBatch>> {
        let mut links = ctx.sql(&format!("SELECT patient_id, encounter_id, {NAMED} AS named FROM {events}")).await?.collect().await?;
        links.extend(ctx.sql(&format!("SELECT note_id, patient_id, encounter_id, replaces FROM {notes}")).await?.collect().await?);
        Ok(links)
    }

    /// The subjects of everything that is in the tables.
    async fn all(&self, ctx: &SessionContext) -> Result<Subjects> {
        let mut subjects = Subjects::new(&self.runtime);
        for links in self.links(ctx, "event_rows", "note_rows").await? {
            subjects.join(&links)?;
        }
        Ok(subjects)
    }

    /// What the facts and notes name of records that stand otherwise than they did at `base`; what was read for the first time is new, and known.
    async fn told_otherwise(&self, ctx: &SessionContext, base: &Base) -> Result<Vec<RecordBatch>> {
        let mut changes = Vec::new();
        for (name, kept) in &base.of_records {
            // A watermark is no record's.
            if kept.column("offset").is_err() || self.of_records(name).await.is_some_and(|now| Arc::ptr_eq(&now, kept)) {
                continue;
            }
            let then = format!("{name}_then");
            ctx.register_table(&then, Arc::new(KeptRows(Arc::clone(kept))))?;
            changes.push(format!(
                "(SELECT * FROM {name} EXCEPT SELECT * FROM {then}) UNION ALL (SELECT * FROM {then} EXCEPT SELECT * FROM {name})"
            ));
        }
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let told = changes
            .iter()
            .map(|change| format!("SELECT topic, \"partition\", \"offset\" FROM ({change}) AS c"))
            .collect::<Vec<_>>()
            .join(" UNION ");
        let sql = format!(
            "SELECT t.* FROM ({told}) AS t LEFT ANTI JOIN (SELECT source_topic, source_partition, source_offset FROM new_events WHERE reading = 0 \
             UNION ALL SELECT source_topic, source_partition, source_offset FROM new_notes WHERE reading = 0) AS n \
             ON n.source_topic = t.topic AND n.source_partition = t.\"partition\" AND n.source_offset = t.\"offset\""
        );
        let frame = ctx.sql(&sql).await?;
        let schema = Arc::clone(frame.schema().inner());
        let told = frame.collect().await?;
        for name in base.of_records.keys() {
            ctx.deregister_table(format!("{name}_then"))?;
        }
        if told.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(Vec::new());
        }
        ctx.register_table("told", Arc::new(MemTable::try_new(schema, vec![told])?))?;
        let of = |relation: &str| {
            format!(
                "(SELECT e.* FROM told AS t JOIN {relation} AS e ON e.source_topic = t.topic AND e.source_partition = t.\"partition\" \
                 AND e.source_offset = t.\"offset\") AS changed"
            )
        };
        let links = self.links(ctx, &of("event_rows"), &of("note_rows")).await?;
        ctx.deregister_table("told")?;
        Ok(links)
    }

    /// A session over the rows of these subjects alone, with every view of subjects. It knows no text of a note: no such view reads it.
    async fn within(&self, all: &SessionContext, scope: &Scope) -> Result<SessionContext> {
        all.register_udf(scope.function());
        let ctx = empty_session(&self.runtime);
        for (name, provider) in self.relations.get().into_iter().flatten() {
            let theirs = match name.as_str() {
                // Of facts that name a patient no other column is read to tell whose they are.
                "event_rows" => {
                    vec!["in_scope(patient_id)".to_owned(), format!("patient_id IS NULL AND in_scope(COALESCE(encounter_id, {NAMED}))")]
                }
                "note_rows" => vec!["in_scope(note_id)".to_owned()],
                _ => {
                    ctx.register_table(name, Arc::clone(provider))?;
                    continue;
                }
            };
            let column = |name: &str| if name == "text" { "CAST(NULL AS VARCHAR) AS text".to_owned() } else { format!("\"{name}\"") };
            let columns = provider.schema().fields().iter().map(|field| column(field.name())).collect::<Vec<_>>().join(", ");
            let mut frames = Vec::new();
            for theirs in theirs {
                frames.push(all.sql(&format!("SELECT {columns} FROM {name} WHERE {theirs}")).await?);
            }
            ctx.register_table(name, Arc::new(Computed::once(Query::in_parts(frames, Arc::clone(&self.runtime))?)))?;
        }
        views::register_of_subjects(&ctx, &self.tasks).await?;
        Ok(ctx)
    }
}

/// These columns of the schema.
fn projected(schema: &SchemaRef, columns: &[&str]) -> Result<SchemaRef> {
    let fields = columns.iter().map(|column| schema.field_with_name(column).cloned()).collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests;
