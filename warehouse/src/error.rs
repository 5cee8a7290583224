//! One type for each reaction of the caller.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake_core::DeltaTableError;
use schemas::Table;

use crate::objects::StoreError;

/// The warehouse cannot be opened: mend the address or the table, then start again. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is none.
    #[error("warehouse.url `{url}` is neither a folder nor an object store's URL")]
    Address {
        /// As configured.
        url: String,
    },
    /// A table cannot be read or made.
    #[error("could not open table {table}")]
    Table {
        /// Which.
        table: &'static str,
        /// Why.
        source: DeltaTableError,
    },
    /// The object store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table of another release, which no column that may be NULL brings forward.
    #[error(
        "table {table} has no column {column}, and no row may be without it; it was written by another release, and nothing was changed"
    )]
    Schema {
        /// Which.
        table: &'static str,
        /// What it lacks.
        column: String,
    },
    /// A task's file is wrong.
    #[error(transparent)]
    Task(#[from] crate::tasks::TaskError),
    /// A table of a newer release.
    #[error(
        "table {table} has a column {column} that this release does not know: start the newer release that wrote it; nothing was changed"
    )]
    Newer {
        /// Which.
        table: &'static str,
        /// What is not known.
        column: String,
    },
    /// A table whose column means something else.
    #[error(
        "table {table} holds column {column} as {stored}, and this release wants {wanted}; it was written by another release, and nothing was changed"
    )]
    Changed {
        /// Which.
        table: &'static str,
        /// Which of its columns.
        column: String,
        /// Its type.
        stored: String,
        /// The type that it must have.
        wanted: String,
    },
    /// A table in a newer form of Delta.
    #[error("table {table} is written in a newer form of Delta Lake than this release reads and writes; nothing was changed")]
    Protocol {
        /// Which.
        table: &'static str,
        /// What it needs.
        source: DeltaTableError,
    },
    /// A bug: a column that Delta has no type for.
    #[error("could not express the columns of table {table}")]
    Columns {
        /// Which.
        table: &'static str,
        /// Why.
        source: ArrowError,
    },
    /// The audit of erasures cannot be read.
    #[error("could not read the audit of erasures")]
    Audit(#[source] QueryError),
    /// The memory pool cannot be made.
    #[error("could not make the query engine")]
    Engine(#[source] DataFusionError),
}

impl OpenError {
    /// Whether the configuration is wrong, or a file that it names: nothing passes by itself, and no table was looked at.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        let is_of_settings = |error: &StoreError| {
            use StoreError::{Address, Option, Secret, SecretFile};
            matches!(error, Address { .. } | Option { .. } | Secret { .. } | SecretFile { .. })
        };
        match self {
            Self::Address { .. } | Self::Task(_) => true,
            Self::Store(error) => is_of_settings(error),
            _ => false,
        }
    }
}

/// The tables could not be read: try again.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log of a table.
    #[error("could not read the log of table {table}")]
    Log {
        /// Which.
        table: &'static str,
        /// Why.
        source: DeltaTableError,
    },
    /// The rows of a table.
    #[error("could not read rows")]
    Rows(#[from] QueryError),
}

/// Why rows are not yet durable.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A bug: the rows do not fit the table.
    #[error("could not encode {rows} rows for table {}", table.as_str())]
    Encode {
        /// Which.
        table: Table,
        /// How many.
        rows: usize,
        /// Why.
        source: ArrowError,
    },
    /// The store is away, or another commit came first: keep the offsets, try again.
    #[error("could not commit table {}", table.as_str())]
    Commit {
        /// Which.
        table: Table,
        /// Why.
        source: DeltaTableError,
    },
    /// Another process advanced one of the batch's partitions: drop the batch, start from the tables.
    #[error("table {} was advanced by another process while this batch was made", table.as_str())]
    Fenced {
        /// Which.
        table: Table,
    },
}

/// A query was refused or could not be answered: mend the query.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query engine's own words, which name the place.
    #[error("{reason}")]
    Engine {
        /// Why.
        reason: String,
    },
    /// The question is wrong, or cannot be answered: PostgreSQL's class, the place where one is known, what is wrong, and in a line of its own what to do.
    #[error("ERROR {told}")]
    Refused {
        /// SQLSTATE.
        code: &'static str,
        /// From the class on.
        told: String,
    },
    /// A pinned version is no longer kept.
    #[error(
        "table {table} can no longer be read at version {version}: its files were removed after warehouse.keep_days ({keep_days}), or by an erasure; the oldest version that can be read is {oldest}"
    )]
    Version {
        /// Which.
        table: &'static str,
        /// What was asked.
        version: i64,
        /// From which version on all can be read.
        oldest: u64,
        /// As configured.
        keep_days: u32,
    },
    /// A pinned version was never there.
    #[error("table {table} has no version {version}; its newest is {newest}")]
    NoVersion {
        /// Which.
        table: &'static str,
        /// What was asked.
        version: i64,
        /// What there is.
        newest: u64,
    },
    /// The tables' logs cannot be read.
    #[error("could not read the log of table {table}")]
    Log {
        /// Which.
        table: &'static str,
        /// Why.
        source: DeltaTableError,
    },
    /// A stored row is not what the tables' rules say.
    #[error("column {column} holds what it must not")]
    Row {
        /// Which.
        column: &'static str,
    },
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        Self::Engine { reason: error.to_string() }
    }
}

impl From<DataFusionError> for QueryError {
    /// Takes the innermost words: the layers around them say the same again.
    fn from(error: DataFusionError) -> Self {
        let root = error.find_root();
        let reason = root.strip_backtrace();
        match root {
            DataFusionError::ResourcesExhausted(_) => {
                Self::Engine { reason: format!("{reason}. Queries share warehouse.memory_limit_mb: raise it, or ask for less") }
            }
            _ => Self::Engine { reason },
        }
    }
}

/// Compaction did not finish; the next turn tries again. Nothing was lost.
#[derive(Debug, thiserror::Error)]
#[error("could not compact table {table}")]
pub struct CompactError {
    pub(crate) table: &'static str,
    pub(crate) source: DeltaTableError,
}

/// History was not cleared away; the next turn tries again. Nothing was lost.
#[derive(Debug, thiserror::Error)]
pub enum VacuumError {
    /// A table.
    #[error(transparent)]
    Table(#[from] CompactError),
    /// What is past its retention.
    #[error("could not drop rows past their retention")]
    Retention(#[from] EraseError),
}

/// A patient was not erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// Mend the identifier.
    #[error("no patient is known by that identifier; check --system (as in `identifiers`) and --value")]
    Nobody,
    /// Name one.
    #[error("that identifier names {persons} persons, at {}: name one with --facility, or by an identifier that is theirs alone", facilities.join(", "))]
    Several {
        /// How many.
        persons: usize,
        /// Where.
        facilities: Vec<String>,
    },
    /// The tables cannot be read: try again.
    #[error("could not look for the patient")]
    Search(#[from] QueryError),
    /// The store is away, or others kept coming first: run the same command again, it goes on where it stopped.
    #[error("could not rewrite table {table}; run the same command again, it goes on where this one stopped")]
    Table {
        /// Which.
        table: &'static str,
        /// Why.
        source: DeltaTableError,
    },
    /// A writer committed facts of records whose bytes it has not committed: it is slow, or it died.
    #[error(
        "a writer stands in the middle of records of the patient; let it finish, or start again the `ingest`, `up` or `backfill` that died, and run the same command again"
    )]
    Underway,
    /// New records of the patient kept arriving.
    #[error("records of the patient kept arriving; run the same command again once their source is quiet")]
    Arriving,
}
