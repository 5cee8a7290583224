//! Commands that write folders of rows for others: `dataset`, `export meds`.

use std::process::ExitCode;

use anyhow::Context as _;
use warehouse::{AsOf, DatasetError};

use super::open;
use crate::cli::{Dataset, Export};
use crate::config::Config;
use crate::output;

pub async fn dataset(config: &Config, wanted: &Dataset) -> anyhow::Result<ExitCode> {
    let at = AsOf { known_at: wanted.as_known_at, ..AsOf::default() };
    let manifest = match open(config).await?.dataset(&wanted.task, &at, &wanted.out).await {
        Ok(manifest) => manifest,
        Err(error @ DatasetError::Task { .. }) => return Ok(output::failure(&error.into(), output::WRONG_USAGE)),
        Err(error) => return Err(error).context("could not make the dataset"),
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
    let at = AsOf { known_at: *as_known_at, ..AsOf::default() };
    let exported = open(config).await?.export_meds(&at, dir, *shard_subjects).await.context("could not export")?;
    output::line(serde_json::to_string(&exported)?);
    Ok(ExitCode::SUCCESS)
}
