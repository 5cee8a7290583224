//! The champion as the registry names it: fetched, loaded, and handed to the scorer; takeovers are recorded.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::{Model, Settings};
use schemas::ModelVersion;
use scorer::{Live, consumer::Takeover};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use warehouse::{Registry, Warehouse, Weights, claimed};

/// How often the registry is asked.
const EVERY: Duration = Duration::from_millis(1_000);

/// Watches the registry for promotions.
pub struct Watcher {
    pub registry: Arc<Registry>,
    pub weights: Arc<Weights>,
    /// Where fetched models lie.
    pub folder: PathBuf,
    /// How the champion answers.
    pub answering: Settings,
    /// Where packed weights are kept, if anywhere.
    pub packed_cache: Option<PathBuf>,
    pub champion: watch::Sender<Option<Live>>,
}

impl Watcher {
    /// Until `stop`. A registry that is away leaves the present champion in its place.
    pub async fn run(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.turn().await {
                tracing::warn!(error = format!("{error:#}"), "could not follow the registry; the present champion stays");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn turn(&self) -> anyhow::Result<()> {
        let Some(row) = self.registry.champion().await.context("could not ask for the champion")? else {
            return Ok(());
        };
        if self.champion.borrow().as_ref().is_some_and(|live| *live.model.version() == row.model_version) {
            return Ok(());
        }
        let _alone = alone(&self.folder)?;
        let folder = self.folder.join(&row.model_version.0);
        self.registry.fetch(&self.weights, &row, &folder).await.context("could not fetch the champion's weights")?;
        let (settings, cache) = (self.answering, self.packed_cache.clone());
        let load = tokio::task::spawn_blocking(move || match cache {
            Some(cache) => Model::load_cached(&folder, &settings, &cache),
            None => Model::load_with(&folder, &settings),
        });
        let model = load.await?.context("could not load the champion")?;
        let since = self
            .registry
            .first_promotion()
            .await
            .context("could not ask for the first promotion")?
            .context("a champion without a promotion")?;
        tracing::info!(model = %row.model_version, precision = model.precision().as_str(), device = %self.answering.device, "champion loaded");
        if let Some(too_coarse) = model.too_coarse() {
            tracing::warn!(model = %row.model_version, "{too_coarse}");
        }
        self.champion.send_replace(Some(Live { model: Arc::new(model), since }));
        // A loaded model reads no file any more: what others left there serves nobody.
        if let Err(error) = keep_only(&row.model_version, &self.folder).await {
            tracing::warn!(%error, folder = %self.folder.display(), "could not remove earlier champions' files; trying again with the next champion");
        }
        Ok(())
    }
}

/// The folder of fetched models for one process, as long as the file is open: weights are mapped while they are loaded, and another process that fetched the same
/// ones to the same place would cut them off under it.
fn alone(folder: &Path) -> anyhow::Result<File> {
    let held = claimed::alone(&folder.join("lock")).with_context(|| format!("could not use {}", folder.display()))?;
    held.with_context(|| format!("another process is just loading a champion from {}", folder.display()))
}

/// Removes every folder within `folder` but the version's.
async fn keep_only(version: &ModelVersion, folder: &Path) -> std::io::Result<()> {
    let mut entries = tokio::fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        if entry.file_type().await?.is_dir() && entry.file_name() != version.0.as_str() {
            tokio::fs::remove_dir_all(entry.path()).await?;
        }
    }
    Ok(())
}

/// Writes each takeover into the registry's history, at the log's own time. Where the registry or the tables are away, it waits for them.
pub async fn record_takeovers(
    mut takeovers: mpsc::UnboundedReceiver<Takeover>,
    registry: Arc<Registry>,
    warehouse: Warehouse,
    stop: CancellationToken,
) {
    loop {
        let takeover = tokio::select! {
            takeover = takeovers.recv() => takeover,
            () = stop.cancelled() => None,
        };
        let Some(takeover) = takeover else { return };
        let (takeover, registry, warehouse) = (&takeover, &registry, &warehouse);
        insist(move || recorded(takeover, registry, warehouse), EVERY, &stop).await;
    }
}

async fn recorded(takeover: &Takeover, registry: &Registry, warehouse: &Warehouse) -> anyhow::Result<()> {
    let at = warehouse.watermark().await?.context("the log is empty")?;
    let offsets = takeover.offsets.iter().map(|(partition, offset)| (partition.to_string(), *offset)).collect();
    registry.record_takeover(&takeover.version, &offsets, at).await.context("could not write the registry's history")
}

/// Tries until it is done or `stop`, with this pause between two attempts.
async fn insist<F>(mut attempt: impl FnMut() -> F, pause: Duration, stop: &CancellationToken)
where
    F: Future<Output = anyhow::Result<()>>,
{
    while let Err(error) = attempt().await {
        tracing::warn!(error = format!("{error:#}"), "a takeover could not be recorded; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// PostgreSQL restarts, or nothing has landed yet: a line of the history is not lost by that. Nor does it hold up the end.
    #[tokio::test]
    async fn a_takeover_is_recorded_once_it_can_be() {
        let (attempts, stop) = (Cell::new(0), CancellationToken::new());
        let succeeds_at = |number: u32| {
            attempts.set(attempts.get() + 1);
            std::future::ready(if attempts.get() < number { Err(anyhow::anyhow!("away")) } else { Ok(()) })
        };
        insist(|| succeeds_at(3), Duration::ZERO, &stop).await;
        assert_eq!(attempts.get(), 3);
        stop.cancel();
        insist(|| succeeds_at(u32::MAX), EVERY * 3_600, &stop).await;
        assert_eq!(attempts.get(), 4);
    }

    #[tokio::test]
    async fn one_process_at_a_time_fetches_and_loads() -> anyhow::Result<()> {
        let place = tempfile::tempdir()?;
        let folder = place.path().join("champion");
        let first = alone(&folder)?;
        assert!(alone(&folder).is_err());
        keep_only(&ModelVersion("b2".to_owned()), &folder).await?;
        assert!(alone(&folder).is_err(), "what removes earlier champions leaves the lock");
        drop(first);
        alone(&folder)?;
        Ok(())
    }

    #[tokio::test]
    async fn of_fetched_folders_only_the_champions_stays() -> std::io::Result<()> {
        let place = tempfile::tempdir()?;
        for version in ["a1", "b2", "c3"] {
            std::fs::create_dir(place.path().join(version))?;
            std::fs::write(place.path().join(version).join("config.json"), "{}")?;
        }
        keep_only(&ModelVersion("b2".to_owned()), place.path()).await?;
        let left: Vec<_> = std::fs::read_dir(place.path())?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
        assert_eq!(left, ["b2"]);
        assert!(place.path().join("b2/config.json").exists());
        Ok(())
    }
}
