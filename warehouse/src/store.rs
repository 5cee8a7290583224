//! The four Delta tables: opening, versions, positions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

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
use crate::objects::StoreSettings;
use crate::pools::WarehousePool;
use crate::registry::Relations;
use crate::renewal;
use crate::settings::Settings;
use crate::tasks::Tasks;
use crate::{evolution, objects};

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
    pub registry: RwLock<Relations>,
    /// The log's watermark.
    pub watermark: OfMessages<Option<jiff::Timestamp>>,
    /// The alarms that have landed.
    pub alarms: OfMessages<Vec<schemas::DriftAlert>>,
    /// Which identities belong together and which records there are, once that was asked.
    pub index: Arc<renewal::Index>,
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

/// The warehouse's address as a URL.
pub(crate) fn base(url: &str) -> Result<Url, OpenError> {
    let address = || OpenError::Address { url: url.to_owned() };
    if url.contains("://") {
        return Url::parse(url).map_err(|_| address());
    }
    let folder = std::path::absolute(url).map_err(|_| address())?;
    Url::from_directory_path(folder).map_err(|()| address())
}

/// A table's own folder under the warehouse.
pub(crate) fn folder(base: &Url, name: &str) -> Result<Url, OpenError> {
    let text = format!("{}/{name}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|_| OpenError::Address { url: text })
}

/// The table in its place. Nothing is read yet.
fn at(base: &Url, table: Table, store: &StoreSettings) -> Result<DeltaTable, OpenError> {
    let failed = |source| OpenError::Table { table: table.as_str(), source };
    let place = DeltaTableBuilder::from_url(folder(base, table.as_str())?).map_err(failed)?;
    place.with_storage_options(store.all()?).build().map_err(failed)
}

impl Warehouse {
    /// Opens the warehouse; tables that are not there yet are made.
    ///
    /// # Errors
    /// Where the address is none, a table cannot be read, or it was written by a release whose tables differ.
    pub async fn open(settings: &Settings) -> Result<Self, OpenError> {
        let base = base(&settings.url)?;
        let tasks = Tasks::open(&settings.tasks, &settings.departments).await?;
        tasks.hold(&settings.splits)?;
        if let Ok(path) = base.to_file_path() {
            for table in Table::ALL {
                std::fs::create_dir_all(path.join(table.as_str())).map_err(|_| OpenError::Address { url: settings.url.clone() })?;
            }
        }
        objects::make_known_to_delta();
        objects::refuse_overwriting(&base, &settings.store).await?;
        let tables = evolution::open_all(|table| at(&base, table, &settings.store), settings.keep_days).await?;
        let writer = |delta| Mutex::new(Writer { delta, positions: BTreeMap::new(), positions_of: None });
        let writers = tables.into_iter().map(|(table, delta)| (table, writer(delta))).collect();
        let plumbing = plumbing().map_err(OpenError::Engine)?;
        let pool = Arc::new(WarehousePool::new(settings.memory_limit_mb << 20));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().map_err(OpenError::Engine)?;
        Ok(Self(Arc::new(Inner {
            settings: settings.clone(),
            tasks,
            writers,
            runtime,
            plumbing,
            registry: RwLock::new(Relations::default()),
            watermark: Mutex::new(None),
            alarms: Mutex::new(None),
            index: Arc::default(),
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

    /// Says where SQL reads the registry's relations (`models`, `model_history`, `exports`, `erasures`). Before that, whatever reads them is refused.
    pub fn tie(&self, relations: Relations) {
        *self.0.registry.write().unwrap_or_else(PoisonError::into_inner) = relations;
    }

    /// The registry's relations.
    pub(crate) fn registry(&self) -> Relations {
        self.0.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn writer(&self, table: Table) -> MutexGuard<'_, Writer> {
        // Every table is inserted at opening.
        match self.0.writers.get(&table) {
            Some(writer) => writer.lock().await,
            None => unreachable!("every table has its writer"),
        }
    }

    /// The table as it stands now.
    pub(crate) async fn snapshot(&self, table: Table) -> Result<DeltaTable, DeltaTableError> {
        let mut writer = self.writer(table).await;
        writer.delta.update_state().await?;
        Ok(writer.delta.clone())
    }
}

#[cfg(test)]
pub(crate) mod tests;
