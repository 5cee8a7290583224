//! The registry in PostgreSQL: versions, evaluations, promotions. History is append-only; champion is its last word.

mod audit;
mod catching_up;
mod keeping;
mod lineage;
mod migrations;
mod relations;
mod removal;

use std::collections::BTreeMap;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use jiff::Timestamp;
use schemas::{DatasetId, ModelVersion, Task};
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

pub use audit::{Deeds, Export, UsedBy};
pub use relations::Relations;
pub use removal::KeepingError;

/// How long a connection may take to come about or to be lent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for whoever compares or sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(..)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "(hidden)" })
    }
}

/// The `[registry]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// `postgresql://user:password@host:port/database`; empty starts one of our own.
    pub url: Secret,
    /// The same database as the role that owns the schema, where the role in `url` may only read and add; used at the start alone.
    pub owner_url: Secret,
    /// Connections at most.
    pub connections: usize,
    /// No statement may take longer, in seconds.
    pub statement_timeout_s: u32,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { url: Secret::default(), owner_url: Secret::default(), connections: 4, statement_timeout_s: 30 }
    }
}

/// The registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The address is none: mend the configuration.
    #[error("registry.url is no PostgreSQL address; write postgresql://user:password@host:port/database")]
    Address(#[source] tokio_postgres::Error),
    /// It cannot be reached: try again.
    #[error("could not reach PostgreSQL")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refused a statement: somebody must look.
    #[error("PostgreSQL refused to {action}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// Another release has been there.
    #[error("the registry is at version {found} and this release knows {known}: start the newer release; nothing was changed")]
    Newer {
        /// The database's version.
        found: i32,
        /// The newest that this release knows.
        known: usize,
    },
    /// There is no such version.
    #[error("there is no model {version}; `wardstream models list` shows those there are")]
    Unknown {
        /// As asked.
        version: ModelVersion,
    },
    /// The gate refused it once, and a version never changes.
    #[error("the gate refused model {version}; `wardstream models show {version}` says why")]
    GateRefused {
        /// As asked.
        version: ModelVersion,
    },
    /// Nothing kept its weights.
    #[error(
        "the weights of model {version} were removed at {at}, so it cannot answer any more; `wardstream models list` shows which versions have theirs"
    )]
    WeightsRemoved {
        /// As asked.
        version: ModelVersion,
        /// By the clock of whoever removed them.
        at: Timestamp,
    },
    /// What is to leave may hold rows of somebody whom no list then names: begin anew.
    #[error("a patient's erasure began or ended while the rows were read; nothing was written: ask again")]
    Erasing,
    /// There is nothing to go back to.
    #[error("there is no champion before this one")]
    NoPredecessor,
    /// A stored row is not what was written.
    #[error("a row of the registry holds a {what} that is none")]
    Row {
        /// Which.
        what: &'static str,
    },
}

impl RegistryError {
    /// Whether PostgreSQL may well answer a moment later: nobody listens yet, or it went away or came up while it was asked. A password or a name that it
    /// does not know is for somebody to mend.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let said = match self {
            Self::Refused { source, .. } => source,
            Self::Unreachable(source) => match source.downcast_ref() {
                Some(PoolError::Backend(source)) => source,
                _ => return true,
            },
            _ => return false,
        };
        let comes_or_goes = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
        match said.code() {
            Some(code) => comes_or_goes.contains(code),
            // Not PostgreSQL's words: the connection's.
            None => source_is_io(said),
        }
    }
}

/// Whether a connection could not be made, or broke.
fn source_is_io(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// The model that is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Champion {
    /// Its version.
    pub model_version: ModelVersion,
    /// Where its weights lie.
    pub weights_uri: String,
    /// When it was promoted, in the log's time.
    pub promoted_at: Timestamp,
}

/// A model to be registered.
pub struct NewModel {
    /// Its version.
    pub model_version: ModelVersion,
    /// What it learned from.
    pub dataset_id: DatasetId,
    /// The model it was tuned from.
    pub parent: Option<ModelVersion>,
    /// Where its weights lie already.
    pub weights_uri: String,
    /// When, in the log's time.
    pub created_at: Timestamp,
    /// Training figures, thresholds, pins.
    pub details: serde_json::Value,
    /// What was measured.
    pub evaluations: Vec<Evaluation>,
}

/// Figures of one model on one split of one task.
pub struct Evaluation {
    /// The task.
    pub task: Task,
    /// The split.
    pub split: String,
    /// n, AUROC, interval, ECE, zero-shot.
    pub figures: serde_json::Value,
}

/// The registry. Connections are pooled and mend themselves.
pub struct Registry {
    pool: Pool,
}

impl Registry {
    /// Connects, and brings the schema forward.
    ///
    /// # Errors
    /// Where the address is none, PostgreSQL cannot be reached, or a newer release has been there.
    pub async fn connect(settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let registry = Self { pool: pool(&settings.url, settings)? };
        if settings.owner_url.is_empty() {
            migrations::bring_forward(&mut *registry.client().await?).await?;
        } else {
            let role: tokio_postgres::Config = settings.url.0.parse().map_err(RegistryError::Address)?;
            let owner = Self { pool: pool(&settings.owner_url, settings)? };
            let mut client = owner.client().await?;
            migrations::bring_forward(&mut client).await?;
            migrations::grant(&mut client, role.get_user().unwrap_or_default()).await?;
            owner.pool.close();
        }
        Ok(registry)
    }

    /// Connects and changes nothing. With it, whether the database has this release's schema: where it has not, what is asked here may be refused.
    ///
    /// # Errors
    /// As [`Registry::connect`].
    pub async fn look(settings: &RegistrySettings) -> Result<(Self, bool), RegistryError> {
        let registry = Self { pool: pool(&settings.url, settings)? };
        let client = registry.client().await?;
        let is_current = migrations::is_current(&client).await?;
        drop(client);
        Ok((registry, is_current))
    }

    /// A connection that answers. One that PostgreSQL has dropped meanwhile is made anew.
    async fn client(&self) -> Result<deadpool_postgres::Object, RegistryError> {
        self.pool.get().await.map_err(|error| RegistryError::Unreachable(Box::new(error)))
    }

    /// Registers a model whose weights are kept already, with its figures and its first line of history; its rows were pinned when the audit had come to
    /// `before`. Where a patient whom they may hold was erased since, or an erasure lists the model that it started from, or one before that, the audit names
    /// the model in a line of its own, `listed`, beside that erasure's. How many such lines were written.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away. Registering the same version again changes nothing.
    pub async fn register(&self, model: &NewModel, refused_because: Option<&str>, before: Deeds) -> Result<usize, RegistryError> {
        let refused = |source| RegistryError::Refused { action: "register a model", source };
        let mut client = self.client().await?;
        let transaction = audit::alone(&mut client).await?;
        let mut listed = 0;
        let parent = model.parent.as_ref().map(|parent| parent.0.as_str());
        let created = model.created_at.to_string();
        let row: [&(dyn ToSql + Sync); 6] =
            [&model.model_version.0, &created, &model.dataset_id.0, &parent, &model.weights_uri, &model.details];
        let sql = "INSERT INTO wardstream.models VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        if transaction.execute(sql, &row).await.map_err(refused)? > 0 {
            for evaluation in &model.evaluations {
                let sql = "INSERT INTO wardstream.evaluations VALUES ($1, $2, $3, $4)";
                transaction
                    .execute(sql, &[&model.model_version.0, &evaluation.task.as_str(), &evaluation.split, &evaluation.figures])
                    .await
                    .map_err(refused)?;
            }
            let event = if refused_because.is_some() { "refused" } else { "registered" };
            let sql = "INSERT INTO wardstream.model_history (model_version, event, at, by, reason) VALUES ($1, $2, $3, 'trainer', $4)";
            transaction
                .execute(sql, &[&model.model_version.0, &event, &created, &refused_because.unwrap_or("the gate let it pass")])
                .await
                .map_err(refused)?;
            listed = audit::list_late(transaction.client(), model, before).await?;
            if parent.is_some() {
                let inherited = lineage::list_descendants(transaction.client(), "trainer").await?;
                listed += inherited.iter().filter(|version| **version == model.model_version.0).count();
            }
        }
        transaction.commit().await.map_err(refused)?;
        Ok(listed)
    }

    /// Makes a registered model the champion.
    ///
    /// # Errors
    /// Where there is no such model, the gate refused it, its weights were removed, or PostgreSQL refuses or is away.
    pub async fn promote(&self, version: &ModelVersion, at: Timestamp, by: &str, reason: &str) -> Result<(), RegistryError> {
        let mut client = self.client().await?;
        let decision = removal::alone(&mut client).await?;
        put_live(decision.client(), version, at, (by, reason)).await?;
        decision.commit().await.map_err(unwritten)
    }

    /// Makes a registered model the champion in the place of `before`, the one that was live when it was held against it. `false` where another is live by now:
    /// somebody has decided meanwhile, and nothing is changed.
    ///
    /// # Errors
    /// As [`Registry::promote`].
    pub async fn succeed(
        &self,
        before: Option<&ModelVersion>,
        version: &ModelVersion,
        at: Timestamp,
        (by, reason): (&str, &str),
    ) -> Result<bool, RegistryError> {
        let mut client = self.client().await?;
        let decision = removal::alone(&mut client).await?;
        let live = live(decision.client()).await?;
        if live.as_ref().map(|live| &live.model_version) != before {
            return Ok(false);
        }
        put_live(decision.client(), version, at, (by, reason)).await?;
        decision.commit().await.map_err(unwritten)?;
        Ok(true)
    }

    /// Makes the champion before this one the champion again.
    ///
    /// # Errors
    /// Where there is none, its weights were removed, or PostgreSQL refuses or is away.
    pub async fn rollback(&self, at: Timestamp, by: &str, reason: &str) -> Result<ModelVersion, RegistryError> {
        let mut client = self.client().await?;
        let decision = removal::alone(&mut client).await?;
        let sql = "SELECT event, model_version FROM wardstream.model_history WHERE event IN ('promoted', 'rolled_back') ORDER BY seq";
        let rows = decision.query(sql, &[]).await.map_err(unread)?;
        let happened: Vec<(String, ModelVersion)> = rows.iter().map(|row| (row.get(0), ModelVersion(row.get(1)))).collect();
        let before = predecessor(&happened).ok_or(RegistryError::NoPredecessor)?;
        removal::refuse_removed(decision.client(), &before).await?;
        write_history(decision.client(), &before, ("rolled_back", at), (by, reason), None).await?;
        decision.commit().await.map_err(unwritten)?;
        Ok(before)
    }

    /// Records from which offsets on a model answers.
    ///
    /// # Errors
    /// Where PostgreSQL refuses or is away.
    pub async fn record_takeover(
        &self,
        version: &ModelVersion,
        offsets: &BTreeMap<String, i64>,
        at: Timestamp,
    ) -> Result<(), RegistryError> {
        let client = self.client().await?;
        let told = ("scorer", "loaded between two batches");
        write_history(&client, version, ("took_over", at), told, Some(serde_json::json!(offsets))).await
    }

    /// The model that is live; `None` before the first promotion.
    ///
    /// # Errors
    /// Where PostgreSQL is away.
    pub async fn champion(&self) -> Result<Option<Champion>, RegistryError> {
        let client = self.client().await?;
        live(&client).await
    }

    /// When the first model was ever promoted, in the log's time.
    ///
    /// # Errors
    /// Where PostgreSQL is away.
    pub async fn first_promotion(&self) -> Result<Option<Timestamp>, RegistryError> {
        let client = self.client().await?;
        let sql = "SELECT at FROM wardstream.model_history WHERE event = 'promoted' ORDER BY seq LIMIT 1";
        let row = client.query_opt(sql, &[]).await.map_err(unread)?;
        row.map(|row| instant(row.get(0))).transpose()
    }
}

fn pool(url: &Secret, settings: &RegistrySettings) -> Result<Pool, RegistryError> {
    let mut config: tokio_postgres::Config = url.0.parse().map_err(RegistryError::Address)?;
    let timeout = format!("-c statement_timeout={}s", settings.statement_timeout_s);
    let options = config.get_options().map_or_else(|| timeout.clone(), |given| format!("{given} {timeout}"));
    config.options(options).connect_timeout(PATIENCE).application_name("wardstream");
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Verified });
    Pool::builder(manager)
        .max_size(settings.connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .recycle_timeout(Some(PATIENCE))
        .build()
        .map_err(|error| RegistryError::Unreachable(Box::new(error)))
}

fn unread(source: tokio_postgres::Error) -> RegistryError {
    RegistryError::Refused { action: "read the history", source }
}

fn unwritten(source: tokio_postgres::Error) -> RegistryError {
    RegistryError::Refused { action: "write the history of models", source }
}

/// The last word of the history.
async fn live(client: &Client) -> Result<Option<Champion>, RegistryError> {
    let sql = "SELECT h.model_version, m.weights_uri, h.at FROM wardstream.model_history AS h JOIN wardstream.models AS m USING (model_version) \
               WHERE h.event IN ('promoted', 'rolled_back') ORDER BY h.seq DESC LIMIT 1";
    let row = client.query_opt(sql, &[]).await.map_err(|source| RegistryError::Refused { action: "name the champion", source })?;
    row.map(|row| Ok(Champion { model_version: ModelVersion(row.get(0)), weights_uri: row.get(1), promoted_at: instant(row.get(2))? }))
        .transpose()
}

/// Promotes a version that the gate let pass and that has its weights still.
async fn put_live(client: &Client, version: &ModelVersion, at: Timestamp, (by, reason): (&str, &str)) -> Result<(), RegistryError> {
    let sql = "SELECT count(*) FROM wardstream.model_history WHERE model_version = $1 AND event = 'refused'";
    let row = client.query_one(sql, &[&version.0]).await.map_err(unread)?;
    if row.get::<_, i64>(0) > 0 {
        return Err(RegistryError::GateRefused { version: version.clone() });
    }
    removal::refuse_removed(client, version).await?;
    write_history(client, version, ("promoted", at), (by, reason), None).await
}

/// Adds a line about a model that is registered.
async fn write_history(
    client: &Client,
    version: &ModelVersion,
    (event, at): (&str, Timestamp),
    (by, reason): (&str, &str),
    offsets: Option<serde_json::Value>,
) -> Result<(), RegistryError> {
    let sql = "INSERT INTO wardstream.model_history (model_version, event, at, by, reason, offsets) \
               SELECT model_version, $2, $3, $4, $5, $6 FROM wardstream.models WHERE model_version = $1";
    let written = client.execute(sql, &[&version.0, &event, &at.to_string(), &by, &reason, &offsets]).await.map_err(unwritten)?;
    if written == 0 { Err(RegistryError::Unknown { version: version.clone() }) } else { Ok(()) }
}

/// The champion before the present one: promotions pile up, and a rollback takes off what lies on the version that it brings back.
fn predecessor(happened: &[(String, ModelVersion)]) -> Option<ModelVersion> {
    let mut pile: Vec<&ModelVersion> = Vec::new();
    for (event, version) in happened {
        if event == "promoted" {
            pile.push(version);
            continue;
        }
        while pile.last().is_some_and(|top| *top != version) {
            pile.pop();
        }
        if pile.is_empty() {
            pile.push(version);
        }
    }
    let present = pile.pop()?;
    pile.into_iter().rev().find(|version| *version != present).cloned()
}

fn instant(text: String) -> Result<Timestamp, RegistryError> {
    text.parse().map_err(|_| RegistryError::Row { what: "time" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_rollback_goes_further_back() {
        let line = |event: &str, version: &str| (event.to_owned(), ModelVersion(version.to_owned()));
        let mut happened = vec![line("promoted", "a"), line("promoted", "b"), line("promoted", "c")];
        assert_eq!(predecessor(&happened), Some(ModelVersion("b".into())));
        happened.push(line("rolled_back", "b"));
        assert_eq!(predecessor(&happened), Some(ModelVersion("a".into())));
        happened.push(line("rolled_back", "a"));
        assert_eq!(predecessor(&happened), None);
        // Promoted twice, a version is one step all the same.
        let mut twice = vec![line("promoted", "a"), line("promoted", "b"), line("promoted", "b")];
        assert_eq!(predecessor(&twice), Some(ModelVersion("a".into())));
        twice.push(line("rolled_back", "a"));
        assert_eq!(predecessor(&twice), None, "the champion is not before itself");
        twice.push(line("promoted", "c"));
        assert_eq!(predecessor(&twice), Some(ModelVersion("a".into())));
    }

    #[test]
    fn a_secret_is_blind() {
        assert_eq!(format!("{:?}", Secret("postgresql://u:p@h/d".into())), "Secret(..)");
    }
}
