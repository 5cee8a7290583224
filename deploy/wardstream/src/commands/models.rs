//! The registry by hand: what there is, what happened, what is live.

use std::process::ExitCode;

use anyhow::Context as _;
use schemas::ModelVersion;
use warehouse::{AsOf, Registry};

use super::{open, rows};
use crate::cli::{Models, Rows};
use crate::config::Config;
use crate::{output, services};

pub async fn run(config: &Config, what: Models) -> anyhow::Result<ExitCode> {
    match what {
        Models::List { format } => {
            let query = "SELECT * FROM models ORDER BY created_at, task";
            rows::sql(config, &rows::Question { query, at: &AsOf::default(), format, out: None }, None).await
        }
        Models::Show { version } => {
            if !version.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                anyhow::bail!("a model version is written in hexadecimal digits; `wardstream models list` shows them");
            }
            let query = format!("SELECT * FROM model_history WHERE model_version = '{version}' ORDER BY at");
            rows::sql(config, &rows::Question { query: &query, at: &AsOf::default(), format: Rows::Table, out: None }, None).await
        }
        Models::Promote { version, reason } => {
            let (registry, at) = connect(config).await?;
            registry
                .promote(&ModelVersion(version.clone()), at, "operator", &reason)
                .await
                .with_context(|| format!("could not promote {version}"))?;
            output::line(format_args!("{version} is the champion"));
            Ok(ExitCode::SUCCESS)
        }
        Models::Rollback { reason } => {
            let (registry, at) = connect(config).await?;
            let version = registry.rollback(at, "operator", &reason).await.context("could not roll back")?;
            output::line(format_args!("{version} is the champion again"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The registry, and the log's time at which a decision is recorded.
async fn connect(config: &Config) -> anyhow::Result<(Registry, jiff::Timestamp)> {
    anyhow::ensure!(
        !config.registry.url.is_empty(),
        "no registry is configured and none of our own runs: set registry.url, or start `wardstream up` or `wardstream services` in this folder"
    );
    let registry = Registry::connect(&config.registry).await.context("could not reach the registry")?;
    let watermark =
        open(config).await?.watermark().await?.context("the warehouse is empty, so there is no time to record the decision at")?;
    Ok((registry, services::decided_at(watermark, services::now())))
}
