//! Who is connected and asks what, as `pg_stat_activity` tells it: of a user's connections, those of that user. What others ask may name their patients.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl};
use datafusion::datasource::TableProvider;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;
use schemas::table::instant;

use super::{Connection, Server};

/// The function that `pg_stat_activity` reads.
pub(in crate::pg) const FUNCTION: &str = "pg_stat_get_activity";

/// So many letters of a statement are told, as in PostgreSQL.
const LETTERS: usize = 1_024;

/// What a connection asked last.
#[derive(Clone, Default)]
pub(in crate::pg) struct Asked {
    query: String,
    /// Microseconds since 1970.
    at_us: Option<i64>,
}

impl Asked {
    pub(in crate::pg) fn new(sql: &str, at_us: Option<i64>) -> Self {
        Self { query: sql.chars().take(LETTERS).collect(), at_us }
    }
}

/// A connection as it is told.
struct Activity {
    pid: Option<i32>,
    user: String,
    application: String,
    state: &'static str,
    asked: Asked,
}

impl Connection {
    /// This is asked now.
    pub(in crate::pg) fn asks(&self, asked: Asked) {
        self.inner().asked = asked;
    }

    /// The number by which the client knows the connection.
    pub(in crate::pg) fn pid(&self) -> Option<i32> {
        self.inner().pid
    }

    /// What it does, where it has shown who it is.
    fn activity(&self) -> Option<Activity> {
        let inner = self.inner();
        let user = inner.account.as_ref()?.name.clone();
        let application = inner.variables.get("application_name").unwrap_or_default();
        let state = match (inner.busy, &inner.moment) {
            (true, _) => "active",
            (false, Some(_)) => "idle in transaction",
            (false, None) => "idle",
        };
        Some(Activity { pid: inner.pid, user, application, state, asked: inner.asked.clone() })
    }
}

/// The connections of the user whose connection this is, as they are when they are read.
#[derive(Clone)]
pub(in crate::pg) struct Activities {
    server: Arc<Server>,
    user: String,
    columns: SchemaRef,
}

impl Activities {
    pub(in crate::pg) fn of(connection: &Connection, user: String) -> Self {
        let text = |name| Field::new(name, DataType::Utf8, true);
        let columns = vec![
            Field::new("pid", DataType::Int32, true),
            text("usename"),
            text("application_name"),
            Field::new("query_start", instant(), true),
            text("state"),
            text("query"),
        ];
        Self { server: Arc::clone(&connection.server), user, columns: Arc::new(Schema::new(columns)) }
    }

    fn rows(&self) -> Result<RecordBatch> {
        let told: Vec<Activity> =
            self.server.connections().iter().filter_map(|one| one.activity()).filter(|one| one.user == self.user).collect();
        let texts =
            |of: fn(&Activity) -> &str| Arc::new(told.iter().map(|activity| Some(of(activity))).collect::<StringArray>()) as ArrayRef;
        let pids: Int32Array = told.iter().map(|activity| activity.pid).collect();
        let started: TimestampMicrosecondArray = told.iter().map(|activity| activity.asked.at_us).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(pids),
            texts(|activity| &activity.user),
            texts(|activity| &activity.application),
            Arc::new(started.with_timezone("UTC")),
            texts(|activity| activity.state),
            texts(|activity| &activity.asked.query),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.columns), columns)?)
    }
}

impl fmt::Debug for Activities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activities").field("user", &self.user).finish_non_exhaustive()
    }
}

impl TableFunctionImpl for Activities {
    fn call_with_args(&self, _: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(StreamingTable::try_new(Arc::clone(&self.columns), vec![Arc::new(self.clone())])?))
    }
}

impl PartitionStream for Activities {
    fn schema(&self) -> &SchemaRef {
        &self.columns
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.columns), stream::once(async { rows })))
    }
}
