//! The four Delta tables: opening, versions, positions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use deltalake_core::delta_datafusion::DeltaSessionContext;
use deltalake_core::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use schemas::{Table, TopicPartition};
use tokio::sync::{Mutex, MutexGuard};
use url::Url;

use crate::append::Writer;
use crate::error::OpenError;
use crate::layout;
use crate::registry::Relations;
use crate::settings::Settings;
use crate::tasks::Tasks;

/// Last offset of each partition in each table.
pub type Positions = BTreeMap<TopicPartition, BTreeMap<Table, i64>>;

/// The last offset that every table holds of a partition, -1 for none: whoever reads it goes on after that.
#[must_use]
pub fn held_by_all(tables: Option<&BTreeMap<Table, i64>>) -> i64 {
    let held = |table| tables.and_then(|tables| tables.get(table)).copied().unwrap_or(-1);
    Table::ALL.iter().map(held).min().unwrap_or(-1)
}

/// What a version of `messages` says, kept until there is another version.
pub type OfMessages<T> = Mutex<Option<(u64, T)>>;

/// The tables. Cheap to clone.
#[derive(Clone)]
pub struct Warehouse(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub settings: Settings,
    pub tasks: Tasks,
    writers: BTreeMap<Table, Mutex<Writer>>,
    pub runtime: Arc<RuntimeEnv>,
    /// In which rows are written and files merged.
    pub plumbing: Arc<SessionState>,
    pub registry: RwLock<Option<Relations>>,
    /// The log's watermark.
    pub watermark: OfMessages<Option<jiff::Timestamp>>,
    /// The alarms that have landed.
    pub alarms: OfMessages<Vec<schemas::DriftAlert>>,
    /// The relations of the newest moment that was asked for.
    pub newest: Mutex<Option<crate::session::Relations>>,
    /// The relations of earlier moments, the one that was asked for last at the end.
    pub earlier: Mutex<VecDeque<crate::session::Relations>>,
}

/// Memory that merging files may use.
const PLUMBING_BYTES: usize = 256 << 20;

/// One session for all appends and merges, on memory of its own. It keeps nothing of the files it sees: each is read once at most.
fn plumbing() -> Result<Arc<SessionState>, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(PLUMBING_BYTES)))
        .with_metadata_cache_limit(0)
        .with_object_list_cache_limit(0)
        .with_file_statistics_cache_limit(0)
        .build_arc()?;
    let mut state = DeltaSessionContext::with_runtime_env(runtime).state();
    let options = state.config_mut().options_mut();
    options.set("datafusion.execution.target_partitions", "1")?;
    options.set("datafusion.execution.batch_size", "2048")?;
    Ok(Arc::new(state))
}

fn base(url: &str) -> Result<Url, OpenError> {
    let address = || OpenError::Address { url: url.to_owned() };
    if url.contains("://") {
        return Url::parse(url).map_err(|_| address());
    }
    let folder = std::path::absolute(url).map_err(|_| address())?;
    Url::from_directory_path(folder).map_err(|()| address())
}

/// The table's own folder under the warehouse.
fn folder(base: &Url, table: Table) -> Result<Url, OpenError> {
    let text = format!("{}/{}", base.as_str().trim_end_matches('/'), table.as_str());
    Url::parse(&text).map_err(|_| OpenError::Address { url: text })
}

impl Warehouse {
    /// Opens the warehouse; tables that are not there yet are made.
    ///
    /// # Errors
    /// Where the address is none, a table cannot be read, or it was written by a release whose tables differ.
    pub async fn open(settings: &Settings) -> Result<Self, OpenError> {
        let base = base(&settings.url)?;
        let tasks = Tasks::open(&settings.tasks, &settings.departments).await?;
        if let Ok(path) = base.to_file_path() {
            for table in Table::ALL {
                std::fs::create_dir_all(path.join(table.as_str())).map_err(|_| OpenError::Address { url: settings.url.clone() })?;
            }
        }
        let mut writers = BTreeMap::new();
        for table in Table::ALL {
            let delta = open_table(&base, table, settings.keep_days).await?;
            writers.insert(table, Mutex::new(Writer { delta, positions: BTreeMap::new(), positions_of: None }));
        }
        let plumbing = plumbing().map_err(OpenError::Engine)?;
        let pool = Arc::new(GreedyMemoryPool::new(settings.memory_limit_mb << 20));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().map_err(OpenError::Engine)?;
        Ok(Self(Arc::new(Inner {
            settings: settings.clone(),
            tasks,
            writers,
            runtime,
            plumbing,
            registry: RwLock::new(None),
            watermark: Mutex::new(None),
            alarms: Mutex::new(None),
            newest: Mutex::new(None),
            earlier: Mutex::new(VecDeque::new()),
        })))
    }

    /// What is asked: the five tasks, and the site's own.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// Periods and folds of the datasets.
    #[must_use]
    pub fn splits(&self) -> &crate::settings::Splits {
        &self.0.settings.splits
    }

    /// Makes the registry's relations (`models`, `model_history`) known to SQL.
    pub fn tie(&self, relations: Relations) {
        *self.0.registry.write().unwrap_or_else(PoisonError::into_inner) = Some(relations);
    }

    pub(crate) async fn writer(&self, table: Table) -> MutexGuard<'_, Writer> {
        // Every table is inserted at opening.
        match self.0.writers.get(&table) {
            Some(writer) => writer.lock().await,
            None => unreachable!("every table has its writer"),
        }
    }

    /// The table as it stands now, or at a version.
    pub(crate) async fn snapshot(&self, table: Table, version: Option<i64>) -> Result<DeltaTable, DeltaTableError> {
        let mut delta = {
            let mut writer = self.writer(table).await;
            writer.delta.update_state().await?;
            writer.delta.clone()
        };
        if let Some(version) = version.and_then(|version| u64::try_from(version).ok()) {
            delta.load_version(version).await?;
        }
        Ok(delta)
    }
}

async fn open_table(base: &Url, table: Table, keep_days: u32) -> Result<DeltaTable, OpenError> {
    let failed = |source| OpenError::Table { table: table.as_str(), source };
    let mut delta = DeltaTableBuilder::from_url(folder(base, table)?).map_err(failed)?.build().map_err(failed)?;
    match delta.load().await {
        Ok(()) => {
            let schema = delta.snapshot().map_err(failed)?.schema();
            for field in table.schema().fields() {
                if schema.field(field.name()).is_none() {
                    return Err(OpenError::Schema { table: table.as_str(), column: field.name().clone() });
                }
            }
            Ok(delta)
        }
        Err(DeltaTableError::NotATable(_)) => {
            let made =
                delta.write(vec![RecordBatch::new_empty(table.schema())]).with_configuration(layout::configuration(table, keep_days));
            made.await.map_err(failed)
        }
        Err(source) => Err(failed(source)),
    }
}
