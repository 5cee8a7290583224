//! Weights that nothing keeps any more are removed now and then, beside the cycles that make new ones.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use warehouse::{Registry, Weights, WeightsSettings};

/// Pause between two turns; the first comes with the start.
const EVERY: Duration = Duration::from_secs(3_600);

/// Who removes, by which rules.
pub struct Removal {
    pub registry: Arc<Registry>,
    pub weights: Arc<Weights>,
    pub settings: WeightsSettings,
}

impl Removal {
    /// Until `stop`. What is broken off is finished by the next turn, of this process or another.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut turns = tokio::time::interval(EVERY);
        loop {
            let turn = async {
                turns.tick().await;
                self.turn().await;
            };
            tokio::select! {
                () = turn => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Removes what nothing keeps now.
    pub async fn turn(&self) {
        if let Err(error) = self.registry.remove_weights(&self.weights, &self.settings, super::now()).await {
            tracing::warn!(error = %super::chain(&error), "could not remove weights that nothing keeps; trying again at the next turn");
        }
    }
}
