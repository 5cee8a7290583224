//! Whether the registry and the store of weights answer, and whether the model that should answer can.

use anyhow::Context as _;
use model::Model;
use tokio::time::Instant;
use warehouse::{Registry, Weights};

use super::finding::Finding;
use super::{WITHIN, in_time, is_not_there_yet};
use crate::commands::is_our_own;
use crate::config::Config;

const REGISTRY: &str = "registry";
const WEIGHTS: &str = "weights";
const CHAMPION: &str = "champion";

pub async fn look(config: &Config, deadline: Instant) -> [Finding; 3] {
    let ((registry, of_registry), (weights, of_weights)) = tokio::join!(registry(config, deadline), weights(config, deadline));
    let of_champion = match (registry, weights) {
        (Some(registry), Some(weights)) => champion(config, (&registry, &weights), deadline).await,
        _ => Finding::not_asked(CHAMPION, "registry or weights cannot be asked", "see those two"),
    };
    [of_registry, of_weights, of_champion]
}

async fn registry(config: &Config, deadline: Instant) -> (Option<Registry>, Finding) {
    if config.registry.url.is_empty() {
        let advice = "set registry.url, or start `wardstream up` or `wardstream services` in this folder";
        return (None, Finding::not_asked(REGISTRY, "registry.url is not set, and no PostgreSQL of our own runs here", advice));
    }
    let asked = async { anyhow::Ok(Registry::look(&config.registry).await?) };
    match in_time(deadline, asked).await {
        Ok((registry, true)) => (Some(registry), Finding::ok(REGISTRY, "PostgreSQL answers, and its schema is this release's")),
        // To bring it forward is for a service to do: the release before refuses it then.
        Ok((_, false)) => {
            let found = "PostgreSQL answers, and holds no registry yet or an earlier release's";
            (None, Finding::not_asked(REGISTRY, found, "the next service that starts brings it to this release"))
        }
        Err(error) => {
            let advice = if is_our_own(config) {
                "start `wardstream up` or `wardstream services` in this folder again"
            } else {
                "start PostgreSQL there, or set registry.url"
            };
            (None, Finding::wrong(REGISTRY, format!("{error:#}"), advice))
        }
    }
}

async fn weights(config: &Config, deadline: Instant) -> (Option<Weights>, Finding) {
    let url = &config.weights.url;
    if is_not_there_yet(url, "") {
        return (None, Finding::not_asked(WEIGHTS, format!("{url} is not there yet"), "the first model makes it"));
    }
    let asked = async {
        let weights = Weights::open(url, &config.warehouse.store)?;
        let versions = weights.folders().await?.len();
        anyhow::Ok((weights, versions))
    };
    match in_time(deadline, asked).await {
        Ok((weights, versions)) => (Some(weights), Finding::ok(WEIGHTS, format!("{url} can be read and holds {versions} folders"))),
        Err(error) => (None, Finding::wrong(WEIGHTS, format!("{error:#}"), "set weights.url, or mend warehouse.store and what is there")),
    }
}

async fn champion(config: &Config, from: (&Registry, &Weights), deadline: Instant) -> Finding {
    match tokio::time::timeout_at(deadline, loaded(config, from)).await {
        Ok(Ok(Some(told))) => Finding::ok(CHAMPION, told),
        Ok(Ok(None)) => Finding::not_asked(
            CHAMPION,
            "no model was promoted yet, so none answers",
            "`wardstream trainer --once` makes one once there are labels that are mature",
        ),
        Ok(Err(error)) => Finding::wrong(
            CHAMPION,
            format!("{error:#}"),
            "mend what is named, or promote another version: `wardstream models list` shows them",
        ),
        Err(_) => Finding::not_asked(
            CHAMPION,
            format!("it was not fetched and loaded within {} s", WITHIN.as_secs()),
            "`wardstream score --model FOLDER` loads a model without haste",
        ),
    }
}

/// Fetches and loads the model that should answer, in a folder of its own: the scorer's is the scorer's. What it is; `None` where there is none.
async fn loaded(config: &Config, (registry, weights): (&Registry, &Weights)) -> anyhow::Result<Option<String>> {
    let Some(champion) = registry.champion().await.context("could not ask for the champion")? else { return Ok(None) };
    let folder = tempfile::tempdir().context("could not make a folder for the champion")?;
    registry.fetch(weights, &champion, folder.path()).await.context("could not fetch the champion's weights")?;
    let (settings, path) = (config.scorer.answering(), folder.path().to_owned());
    let model = tokio::task::spawn_blocking(move || Model::load_with(&path, &settings)).await?.context("could not load the champion")?;
    let (version, precision) = (&champion.model_version, model.precision().as_str());
    let too_coarse = model.too_coarse().map(|too_coarse| format!("; {too_coarse}")).unwrap_or_default();
    Ok(Some(format!(
        "{version} loads, in {precision} on {}; it is the champion since {}{too_coarse}",
        config.scorer.device, champion.promoted_at
    )))
}
