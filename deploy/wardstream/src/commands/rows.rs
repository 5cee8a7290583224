//! Commands that answer with rows: `sql`, `verify`.

use std::process::ExitCode;

use anyhow::Context as _;
use warehouse::{AsOf, Format, render};

use super::open;
use crate::cli::Rows;
use crate::config::Config;
use crate::output;
use crate::services;

impl From<Rows> for Format {
    fn from(rows: Rows) -> Self {
        match rows {
            Rows::Table => Self::Table,
            Rows::Csv => Self::Csv,
            Rows::Json => Self::Json,
            Rows::Ndjson => Self::Ndjson,
        }
    }
}

pub async fn sql(config: &Config, query: &str, at: &AsOf, format: Rows) -> anyhow::Result<ExitCode> {
    let warehouse = open(config).await?;
    services::tie_registry(config, &warehouse).await;
    let batches = warehouse.query(query, at).await.context("could not answer the query")?;
    output::block(&render(&batches, format.into()).context("could not show the rows")?);
    Ok(ExitCode::SUCCESS)
}

pub async fn verify(config: &Config) -> anyhow::Result<ExitCode> {
    let gaps = open(config).await?.verify().await.context("could not verify the tables")?;
    for gap in &gaps {
        output::line(serde_json::to_string(gap)?);
    }
    output::progress(if gaps.is_empty() {
        "verified: nothing is missing, nothing is doubled"
    } else {
        "NOT conserved: see the ranges above"
    });
    Ok(if gaps.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(output::FAILED) })
}
