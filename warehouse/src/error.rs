//! One type for each reaction of the caller.

use datafusion::error::DataFusionError;
use deltalake_core::DeltaTableError;
use schemas::Table;

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
    /// A table of another release.
    #[error("table {table} has no column {column}; it was written by another release, and nothing was changed")]
    Schema {
        /// Which.
        table: &'static str,
        /// What it lacks.
        column: String,
    },
    /// A task's file is wrong.
    #[error(transparent)]
    Task(#[from] crate::tasks::TaskError),
    /// The memory pool cannot be made.
    #[error("could not make the query engine")]
    Engine(#[source] DataFusionError),
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
        source: datafusion::arrow::error::ArrowError,
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
    /// A pinned version is gone or was never there.
    #[error("table {table} has no version {version}; it may have been vacuumed")]
    Version {
        /// Which.
        table: &'static str,
        /// What was asked.
        version: i64,
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

impl From<DataFusionError> for QueryError {
    /// Takes the innermost words: the layers around them say the same again.
    fn from(error: DataFusionError) -> Self {
        Self::Engine { reason: error.find_root().strip_backtrace() }
    }
}

/// Compaction did not finish; the next turn tries again. Nothing was lost.
#[derive(Debug, thiserror::Error)]
#[error("could not compact table {table}")]
pub struct CompactError {
    pub(crate) table: &'static str,
    pub(crate) source: DeltaTableError,
}
