//! The champion as the registry names it: fetched, loaded, and handed to the scorer; takeovers are recorded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::{Device, Model, Settings};
use scorer::{Live, consumer::Takeover};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use warehouse::{Registry, Warehouse, Weights};

/// How often the registry is asked.
const EVERY: Duration = Duration::from_millis(1_000);

/// Watches the registry for promotions.
pub struct Watcher {
    pub registry: Arc<Registry>,
    pub weights: Arc<Weights>,
    /// Where fetched models lie.
    pub folder: PathBuf,
    /// Where the champion answers.
    pub device: Device,
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
        let folder = self.folder.join(&row.model_version.0);
        self.weights.fetch_folder(&row.weights_uri, &folder).await.context("could not fetch the champion's weights")?;
        let settings = Settings { device: self.device, ..Settings::default() };
        let load = tokio::task::spawn_blocking(move || Model::load_with(&folder, &settings));
        let model = load.await?.context("could not load the champion")?;
        let since = self
            .registry
            .first_promotion()
            .await
            .context("could not ask for the first promotion")?
            .context("a champion without a promotion")?;
        tracing::info!(model = %row.model_version, precision = model.precision().as_str(), device = %self.device, "champion loaded");
        self.champion.send_replace(Some(Live { model: Arc::new(model), since }));
        Ok(())
    }
}

/// Writes each takeover into the registry's history, at the log's own time.
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
        let recorded = async {
            let at = warehouse.watermark().await?.context("the log is empty")?;
            let offsets = takeover.offsets.iter().map(|(partition, offset)| (partition.to_string(), *offset)).collect();
            registry.record_takeover(&takeover.version, &offsets, at).await.context("could not write the registry's history")
        };
        if let Err(error) = recorded.await {
            tracing::error!(model = %takeover.version, error = format!("{error:#}"), "a takeover could not be recorded");
        }
    }
}
