//! Commands that write folders of rows for others: `dataset`, `export meds`. What leaves the warehouse is recorded in the registry first.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use schemas::DatasetId;
use warehouse::{AsOf, DatasetError, Manifest, Registry, Secret, Warehouse};

use super::open;
use crate::cli::{Dataset, Export};
use crate::config::Config;
use crate::embedded::Services;
use crate::{output, services};

pub async fn dataset(config: &Config, wanted: &Dataset) -> anyhow::Result<ExitCode> {
    let warehouse = open(config).await?;
    let at = instant(&warehouse, wanted.as_known_at).await?;
    let registry = registry(config).await?;
    let manifest = match recorded_dataset(&warehouse, wanted, &at, registry.as_ref()).await {
        Ok(manifest) => manifest,
        Err(error) if matches!(error.downcast_ref::<DatasetError>(), Some(DatasetError::Task { .. })) => {
            return Ok(output::failure(&error, output::WRONG_USAGE));
        }
        Err(error) => return Err(error.context("could not make the dataset")),
    };
    let said = serde_json::json!({
        "dataset_id": manifest.dataset_id,
        "task": wanted.task,
        "as_known_at": manifest.basis.as_known_at,
        "out": wanted.out,
        "counts": manifest.counts,
    });
    output::line(said);
    Ok(ExitCode::SUCCESS)
}

pub async fn export(config: &Config, what: &Export) -> anyhow::Result<ExitCode> {
    let Export::Meds { dir, as_known_at, shard_subjects } = what;
    let warehouse = open(config).await?;
    let at = instant(&warehouse, *as_known_at).await?;
    if let Some(registry) = registry(config).await? {
        // Its version follows from rows that are read while it is written: the line names the folder, whose metadata say it.
        record(&registry, line("meds", None, &at, dir)?).await?;
    }
    let exported = warehouse.export_meds(&at, dir, *shard_subjects).await.context("could not export")?;
    output::line(serde_json::to_string(&exported)?);
    Ok(ExitCode::SUCCESS)
}

/// The dataset in its folder, whose line stands in the registry before.
async fn recorded_dataset(warehouse: &Warehouse, wanted: &Dataset, at: &AsOf, registry: Option<&Registry>) -> anyhow::Result<Manifest> {
    let Some(registry) = registry else { return Ok(warehouse.dataset(&wanted.task, at, &wanted.out).await?) };
    let foreseen = warehouse.dataset_id(&wanted.task, at).await?;
    record(registry, line("dataset", Some(&foreseen), at, &wanted.out)?).await?;
    let manifest = warehouse.dataset(&wanted.task, at, &wanted.out).await?;
    // A record that landed meanwhile, from before that instant, makes it another dataset.
    if manifest.dataset_id != foreseen {
        record(registry, line("dataset", Some(&manifest.dataset_id), at, &wanted.out)?).await?;
    }
    Ok(manifest)
}

/// The instant that was asked for; without one the log's watermark, so that the line in the registry and the folder mean the same.
async fn instant(warehouse: &Warehouse, asked: Option<jiff::Timestamp>) -> anyhow::Result<AsOf> {
    let known_at = match asked {
        Some(asked) => Some(asked),
        None => warehouse.watermark().await.context("could not read the log's watermark")?,
    };
    Ok(AsOf { known_at, ..AsOf::default() })
}

/// What is recorded of an export: what it may hold, and where it goes.
fn line(kind: &str, dataset_id: Option<&DatasetId>, at: &AsOf, out: &Path) -> anyhow::Result<warehouse::Export> {
    let folder = std::path::absolute(out).with_context(|| format!("could not find {}", out.display()))?;
    Ok(warehouse::Export {
        at: services::now(),
        by: "operator".to_owned(),
        kind: kind.to_owned(),
        dataset_id: dataset_id.map(|id| id.0.clone()),
        watermark: at.known_at,
        details: serde_json::json!({"folder": folder.display().to_string()}),
    })
}

async fn record(registry: &Registry, line: warehouse::Export) -> anyhow::Result<()> {
    registry.record_export(&line).await.context("could not record the export in the registry")
}

/// Who keeps the list of what left the warehouse. Where nobody does, the export is made all the same, and whoever asks for it is told.
async fn registry(config: &Config) -> anyhow::Result<Option<Registry>> {
    let unrecorded = |why: std::fmt::Arguments<'_>| {
        output::progress(format_args!("this export is not recorded, so no erasure will list it: {why}"));
        Ok(None)
    };
    if config.registry.url.is_empty() {
        return unrecorded(format_args!("registry.url is not set, and no PostgreSQL of our own runs"));
    }
    match Registry::connect(&config.registry).await {
        Ok(registry) => Ok(Some(registry)),
        Err(error) if error.is_passing() && is_our_own(config) => {
            unrecorded(format_args!("the PostgreSQL of our own, which {} names, does not answer", config.state.folder.display()))
        }
        Err(error) => Err(error).context("could not reach the registry, which records every export; nothing was written"),
    }
}

/// Whether the registry is the one that `wardstream up` or `services` started: where they were killed, its address is still written down.
fn is_our_own(config: &Config) -> bool {
    let noted = Services::read(&config.state.folder).ok().flatten().and_then(|services| services.postgres);
    noted.is_some_and(|url| Secret::from(url) == config.registry.url)
}
