//! The registry as SQL relations. They are read when a query names them, and by no other query; while PostgreSQL does not answer, or where there is no registry
//! at all, such a query is refused: no rows would say that nobody was ever erased.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::{Registry, RegistryError};
use crate::computed::{Computed, Rows};
use crate::error::QueryError;
use crate::roles::fault::Refusal;

/// The registry as SQL relations: read anew by each session that asks.
#[derive(Clone, Default)]
pub struct Relations(Source);

/// Where they are read.
#[derive(Clone, Default)]
enum Source {
    /// Nobody said where a registry is.
    #[default]
    Nowhere,
    /// It did not answer when it was looked for.
    Away,
    /// In this one.
    Here(Arc<Registry>),
}

impl Registry {
    /// The registry as SQL relations.
    #[must_use]
    pub fn relations(self: &Arc<Self>) -> Relations {
        Relations(Source::Here(Arc::clone(self)))
    }
}

impl Relations {
    /// Those of a registry that does not answer: whatever reads them is refused at once, and not after another wait.
    #[must_use]
    pub fn away() -> Self {
        Self(Source::Away)
    }

    /// Registers `models` (a row a version, task and split), `model_history`, `exports` and `erasures`.
    pub(crate) fn register(&self, ctx: &SessionContext) -> Result<(), QueryError> {
        for (name, relation) in self.named() {
            ctx.register_table(name, relation)?;
        }
        Ok(())
    }

    /// `models` (a row a version, task and split), `model_history`, `exports` and `erasures`.
    pub(crate) fn named(&self) -> Vec<(String, Arc<dyn TableProvider>)> {
        let models = "SELECT m.model_version, COALESCE(e.task, ''), m.created_at, m.dataset_id, COALESCE(m.parent, ''), m.weights_uri, \
                      COALESCE(e.split, ''), COALESCE(e.figures::text, ''), \
                      COALESCE((SELECT min(h.at) FROM wardstream.model_history AS h WHERE h.model_version = m.model_version AND h.event = 'weights_removed'), '') \
                      FROM wardstream.models AS m LEFT JOIN wardstream.evaluations AS e USING (model_version) ORDER BY 1, 2, 7";
        let history = "SELECT model_version, event, at, by, reason, COALESCE(offsets::text, '') FROM wardstream.model_history ORDER BY seq";
        let exports =
            "SELECT at, by, kind, COALESCE(dataset_id, ''), COALESCE(watermark, ''), details::text FROM wardstream.exports ORDER BY seq";
        let erasures = "SELECT event, at, by, reason, salt, subject, counts::text, used_by::text FROM wardstream.erasures ORDER BY seq";
        let relations: [(&str, &str, &[&str]); 4] = [
            ("exports", exports, &["at", "by", "kind", "dataset_id", "watermark", "details"]),
            ("erasures", erasures, &["event", "at", "by", "reason", "salt", "subject", "counts", "used_by"]),
            (
                "models",
                models,
                &["model_version", "task", "created_at", "dataset_id", "parent", "weights_uri", "split", "figures", "weights_removed_at"],
            ),
            ("model_history", history, &["model_version", "event", "at", "by", "reason", "offsets"]),
        ];
        let named = relations.into_iter().map(|(name, sql, columns)| {
            (name.to_owned(), Arc::new(Computed::anew(Relation::new(&self.0, sql, columns))) as Arc<dyn TableProvider>)
        });
        named.collect()
    }
}

/// A relation of the registry, read anew by every query that names it.
struct Relation {
    registry: Source,
    sql: String,
    schema: SchemaRef,
}

impl std::fmt::Debug for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relation").field("sql", &self.sql).finish_non_exhaustive()
    }
}

fn is_instant(name: &str) -> bool {
    matches!(name, "at" | "created_at" | "weights_removed_at")
}

impl Relation {
    fn new(registry: &Source, sql: &str, columns: &[&str]) -> Self {
        let kind = |name: &str| if is_instant(name) { schemas::table::instant() } else { DataType::Utf8 };
        let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, kind(name), true)).collect();
        Self { registry: registry.clone(), sql: sql.to_owned(), schema: Arc::new(Schema::new(fields)) }
    }

    async fn read(&self) -> datafusion::error::Result<Vec<Row>> {
        let registry = match &self.registry {
            Source::Nowhere => return Err(nowhere()),
            Source::Away => return Err(away()),
            Source::Here(registry) => registry,
        };
        rows(registry, &self.sql).await.map_err(|error| {
            tracing::warn!(%error, cause = ?std::error::Error::source(&error), "could not read a relation of the registry");
            away()
        })
    }
}

async fn rows(registry: &Registry, sql: &str) -> Result<Vec<Row>, RegistryError> {
    let client = registry.client().await?;
    client.query(sql, &[]).await.map_err(|source| RegistryError::Refused { action: "show a relation", source })
}

/// What a query hears that reads the registry while PostgreSQL is away, or slower than it may be.
fn away() -> DataFusionError {
    refused(
        "the registry in PostgreSQL does not answer, so its relations cannot be read",
        "ask again in a moment; only models, model_history, exports and erasures need it",
    )
}

/// What a query hears where nobody said where the registry is.
fn nowhere() -> DataFusionError {
    refused(
        "no registry is configured and none of our own runs, so its relations cannot be read",
        "set registry.url, or start `wardstream up` or `wardstream services` in this folder; only models, model_history, exports and erasures need it",
    )
}

fn refused(message: &str, hint: &str) -> DataFusionError {
    DataFusionError::External(Box::new(Refusal::new("08006", message).with_hint(hint)))
}

#[async_trait]
impl Rows for Relation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn compute(&self, _session: &dyn Session) -> datafusion::error::Result<Arc<dyn TableProvider>> {
        let rows = self.read().await?;
        let column = |(index, field): (usize, &Arc<Field>)| {
            let texts = rows.iter().map(|row| row.get::<_, String>(index));
            if is_instant(field.name()) {
                let instants = texts.map(|text| text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond));
                Arc::new(instants.collect::<TimestampMicrosecondArray>().with_timezone("UTC")) as _
            } else {
                Arc::new(texts.map(Some).collect::<StringArray>()) as _
            }
        };
        let columns = self.schema.fields().iter().enumerate().map(column).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(Arc::new(MemTable::try_new(Arc::clone(&self.schema), vec![vec![rows]])?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{RegistrySettings, Secret, pool};
    use crate::roles::fault::{Asked, refusal};

    /// Nobody listens there, and no connection is made before a query needs one.
    fn unreachable() -> Result<Arc<Registry>, RegistryError> {
        let settings = RegistrySettings::default();
        Ok(Arc::new(Registry { pool: pool(&Secret::from("postgresql://nobody@127.0.0.1:1/nothing".to_owned()), &settings)? }))
    }

    async fn answered(ctx: &SessionContext, sql: &str) -> datafusion::error::Result<usize> {
        let rows = ctx.sql(sql).await?.collect().await?;
        Ok(rows.iter().map(RecordBatch::num_rows).sum())
    }

    #[tokio::test]
    async fn a_registry_that_is_away_refuses_what_reads_it_and_nothing_else() {
        let ctx = SessionContext::new();
        unreachable().expect("an address").relations().register(&ctx).expect("four relations");
        for sql in ["SELECT * FROM erasures", "SELECT count(*) FROM exports", "SELECT 1 FROM models", "SELECT max(at) FROM model_history"] {
            let error = answered(&ctx, sql).await.expect_err("no rows would say that nothing ever was");
            assert_eq!(refusal(&error, Asked { sql, notes: false }).code, "08006", "{sql}");
            assert!(QueryError::from(error).to_string().contains("PostgreSQL does not answer"), "{sql}");
        }
        // A view over all of them, of which a question leaves the registry's rows out, needs none of them; nor does saying what columns there are.
        let view = "CREATE VIEW known AS SELECT 'here' AS place UNION ALL SELECT 'registry' FROM erasures";
        ctx.sql(view).await.expect("plans").collect().await.expect("is made");
        assert_eq!(answered(&ctx, "SELECT place FROM known WHERE place = 'here'").await.expect("reads none of the registry"), 1);
        assert_eq!(ctx.table("erasures").await.expect("is there").schema().fields().len(), 8);
    }

    /// Its relations are there all the same: a relation that does not exist would be somebody's mistake.
    #[tokio::test]
    async fn where_there_is_no_registry_that_is_what_is_said() {
        for (relations, wanted) in [(Relations::default(), "no registry is configured"), (Relations::away(), "does not answer")] {
            let ctx = SessionContext::new();
            relations.register(&ctx).expect("four relations");
            for sql in ["SELECT * FROM models", "SELECT * FROM model_history", "SELECT * FROM exports", "SELECT * FROM erasures"] {
                let error = answered(&ctx, sql).await.expect_err("there is nothing to read");
                let refusal = refusal(&error, Asked { sql, notes: false });
                assert!(refusal.code == "08006" && refusal.message.contains(wanted) && refusal.hint.is_some(), "{sql}: {refusal:?}");
            }
        }
    }
}
