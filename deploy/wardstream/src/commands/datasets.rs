//! Commands that write folders of rows for others: `dataset`, `export meds`. What leaves the warehouse is recorded in the registry first.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use schemas::DatasetId;
use warehouse::{AsOf, DatasetError, Deeds, Registry};

use super::{is_our_own, open};
use crate::cli::{Dataset, Export};
use crate::config::Config;
use crate::{output, services};

pub async fn dataset(config: &Config, wanted: &Dataset) -> anyhow::Result<ExitCode> {
    let warehouse = open(config).await?;
    let registry = registry(config).await?;
    let draft = match warehouse.dataset(&wanted.task, &instant(wanted.as_known_at), &wanted.out).await {
        Ok(draft) => draft,
        Err(error @ DatasetError::Task { .. }) => return Ok(output::failure(&error.into(), output::WRONG_USAGE)),
        Err(error) => return Err(error).context("could not make the dataset"),
    };
    record(registry, "dataset", (&draft.id(), draft.as_known_at()), &wanted.out).await?;
    let manifest = draft.write().await.context("could not make the dataset")?;
    if let Some(outside) = &manifest.outside {
        output::progress(outside);
    }
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
    let registry = registry(config).await?;
    let draft = warehouse.export_meds(&instant(*as_known_at), dir, *shard_subjects).await.context("could not export")?;
    record(registry, "meds", (draft.version(), draft.as_known_at()), dir).await?;
    let exported = draft.write().await.context("could not export")?;
    output::line(serde_json::to_string(&exported)?);
    Ok(ExitCode::SUCCESS)
}

/// The instant that was asked for; without one, the log's watermark.
fn instant(asked: Option<Timestamp>) -> AsOf {
    AsOf { known_at: asked, ..AsOf::default() }
}

/// Records which rows go where, before any of them does.
async fn record(registry: Option<(Registry, Deeds)>, kind: &str, (id, until): (&DatasetId, Timestamp), out: &Path) -> anyhow::Result<()> {
    let Some((registry, before)) = registry else { return Ok(()) };
    let folder = std::path::absolute(out).with_context(|| format!("could not find {}", out.display()))?;
    let line = warehouse::Export {
        at: services::now(),
        by: "operator".to_owned(),
        kind: kind.to_owned(),
        dataset_id: id.clone(),
        watermark: until,
        details: serde_json::json!({"folder": folder.display().to_string()}),
    };
    registry.record_export(&line, before).await.context("could not record the export in the registry")
}

/// Who keeps the list of what left the warehouse, and how many erasures it knew of before any row was read. Where nobody does, the export is made all the same, and whoever asks for it is told.
async fn registry(config: &Config) -> anyhow::Result<Option<(Registry, Deeds)>> {
    let unrecorded = |why: std::fmt::Arguments<'_>| {
        output::progress(format_args!("this export is not recorded, so no erasure will list it: {why}"));
        Ok(None)
    };
    if config.registry.url.is_empty() {
        return unrecorded(format_args!("registry.url is not set, and no PostgreSQL of our own runs"));
    }
    match Registry::connect(&config.registry).await {
        Ok(registry) => {
            let before = registry.deeds().await.context("could not read the registry's audit; nothing was written")?;
            Ok(Some((registry, before)))
        }
        Err(error) if error.is_passing() && is_our_own(config) => {
            unrecorded(format_args!("the PostgreSQL of our own, which {} names, does not answer", config.state.folder.display()))
        }
        Err(error) => Err(error).context("could not reach the registry, which records every export; nothing was written"),
    }
}
