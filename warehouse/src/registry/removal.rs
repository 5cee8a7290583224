//! Weights that nothing keeps any more: a line in the history first, then the bytes.
//!
//! The line is written in the transaction that saw that nothing keeps them, and nobody promotes meanwhile: promotions and rollbacks wait for the same
//! lock. Whatever a process that died has left of the bytes goes at the next turn. A line says `removed` for ever.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use schemas::ModelVersion;
use tokio_postgres::{Client, Transaction};

use super::keeping::{Ledger, Line, Removal, Rules, Version};
use super::{Champion, Registry, RegistryError, instant, migrations, unread, unwritten, write_history};
use crate::metrics;
use crate::weights::{Weights, WeightsError, WeightsSettings};

/// Key of the advisory lock under which it is decided who is the champion and whose weights go.
const LOCK: i64 = 0x6b65_6570;

/// Weights could not be fetched, or not be removed: try again. What was begun is finished then.
#[derive(Debug, thiserror::Error)]
pub enum KeepingError {
    /// The registry is away, or says that they are gone.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// A transaction beside which nobody promotes, rolls back or removes.
pub(super) async fn alone(client: &mut Client) -> Result<Transaction<'_>, RegistryError> {
    migrations::alone(client, LOCK).await.map_err(unwritten)
}

/// Refuses a version whose weights are gone, or about to go.
pub(super) async fn refuse_removed(client: &Client, version: &ModelVersion) -> Result<(), RegistryError> {
    let sql = "SELECT at FROM wardstream.model_history WHERE model_version = $1 AND event = 'weights_removed' ORDER BY seq LIMIT 1";
    match client.query_opt(sql, &[&version.0]).await.map_err(unread)? {
        Some(row) => Err(RegistryError::WeightsRemoved { version: version.clone(), at: instant(row.get(0))? }),
        None => Ok(()),
    }
}

/// All that is registered, with its history.
async fn ledger(client: &Client) -> Result<Ledger, RegistryError> {
    let sql =
        "SELECT model_version, parent, weights_uri, details->>'adapters_uri' FROM wardstream.models ORDER BY created_at, model_version";
    let versions = client.query(sql, &[]).await.map_err(unread)?;
    let version = |row: &tokio_postgres::Row| Version {
        name: ModelVersion(row.get(0)),
        parent: row.get::<_, Option<String>>(1).map(ModelVersion),
        weights_uri: row.get(2),
        adapters_uri: row.get(3),
    };
    let sql = "SELECT model_version, event, (extract(epoch FROM written_at) * 1000000)::bigint FROM wardstream.model_history ORDER BY seq";
    let lines = client.query(sql, &[]).await.map_err(unread)?;
    let line = |row: &tokio_postgres::Row| -> Result<Line, RegistryError> {
        let written_at = Timestamp::from_microsecond(row.get(2)).map_err(|_| RegistryError::Row { what: "time" })?;
        Ok(Line { version: ModelVersion(row.get(0)), event: row.get(1), written_at })
    };
    Ok(Ledger { versions: versions.iter().map(version).collect(), lines: lines.iter().map(line).collect::<Result<_, _>>()? })
}

/// PostgreSQL's clock.
pub(super) async fn clock(client: &Client) -> Result<Timestamp, RegistryError> {
    let row = client.query_one("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", &[]).await.map_err(unread)?;
    Timestamp::from_microsecond(row.get(0)).map_err(|_| RegistryError::Row { what: "time" })
}

impl Registry {
    /// Fetches a model's weights into `to`. Where their removal is recorded, before or while they come, they are refused, whole though they may be: what
    /// no line speaks of by the end is whole, since lines come before the bytes go.
    ///
    /// # Errors
    /// Where they were removed, or the registry, the store or the folder fails.
    pub async fn fetch(&self, weights: &Weights, model: &Champion, to: &Path) -> Result<(), KeepingError> {
        self.refuse_removed(&model.model_version).await?;
        let fetched = weights.fetch_folder(&model.weights_uri, to).await;
        self.refuse_removed(&model.model_version).await?;
        Ok(fetched?)
    }

    async fn refuse_removed(&self, version: &ModelVersion) -> Result<(), RegistryError> {
        let client = self.client().await?;
        refuse_removed(&client, version).await
    }

    /// Records which weights nothing keeps at `now`, the wall clock's, or by PostgreSQL's, where that is behind: a machine whose clock runs ahead removes nothing
    /// that is young. Then removes from the store what is recorded, now or by a turn that died.
    /// Kept are the champion's and those that a rollback brings back, those of the newest `keep_versions`, what was made, promoted or live within
    /// `keep_days`, and weights that kept adapters were learned on. How many versions lost theirs.
    ///
    /// # Errors
    /// Where the registry or the store is away; the next turn goes on.
    pub async fn remove_weights(&self, weights: &Weights, settings: &WeightsSettings, now: Timestamp) -> Result<usize, KeepingError> {
        let (recorded, removed) = self.record_removals(settings, now).await?;
        let lying = weights.folders().await?;
        for folder in removed.intersection(&lying) {
            weights.remove_folder(folder).await?;
            tracing::info!(folder, "removed weights that nothing keeps");
        }
        metrics::weights_removed(recorded, lying.difference(&removed).count());
        Ok(recorded)
    }

    /// How many lines were written, and all folders that are recorded as removed.
    async fn record_removals(&self, settings: &WeightsSettings, now: Timestamp) -> Result<(usize, BTreeSet<String>), RegistryError> {
        let mut client = self.client().await?;
        let decision = alone(&mut client).await?;
        let mut ledger = ledger(decision.client()).await?;
        let earlier = now.min(clock(decision.client()).await?);
        let kept_for = SignedDuration::from_hours(24 * i64::from(settings.keep_days.max(1)));
        let rules = Rules { versions: settings.keep_versions, since: earlier.checked_sub(kept_for).unwrap_or(Timestamp::MIN) };
        let removals = ledger.removals(&rules);
        for removal in &removals {
            let reason = match removal {
                Removal::Weights(_) => format!("neither live nor young nor among the newest {}", settings.keep_versions),
                Removal::Adapters(_) => "its weights are kept for adapters that were learned on them alone".to_owned(),
            };
            write_history(decision.client(), removal.version(), (removal.event(), now), ("trainer", reason.as_str()), None).await?;
            ledger.lines.push(Line { version: removal.version().clone(), event: removal.event().to_owned(), written_at: now });
        }
        decision.commit().await.map_err(unwritten)?;
        Ok((removals.len(), ledger.removed_folders()))
    }
}
