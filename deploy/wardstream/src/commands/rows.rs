//! Commands that answer with rows: `sql`, `verify`.

use std::io::{IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use warehouse::{AsOf, Format, Heap, QueryError, RowsError, Warehouse};

use super::open;
use crate::cli::Rows;
use crate::config::Config;
use crate::output;
use crate::services;

/// One query, and where its answer goes.
pub struct Question<'a> {
    pub query: &'a str,
    pub at: &'a AsOf,
    pub format: Rows,
    pub out: Option<&'a Path>,
}

impl Rows {
    /// The form of text; `None` for a Parquet file.
    pub fn text(self) -> Option<Format> {
        match self {
            Self::Table => Some(Format::Table),
            Self::Csv => Some(Format::Csv),
            Self::Json => Some(Format::Json),
            Self::Ndjson => Some(Format::Ndjson),
            Self::Parquet => None,
        }
    }
}

/// Where `heap` tells what the threads hold, a question that takes far more than `warehouse.memory_limit_mb` is ended.
pub async fn sql(config: &Config, question: &Question<'_>, heap: Option<Arc<dyn Heap>>) -> anyhow::Result<ExitCode> {
    if question.format.text().is_none() && question.out.is_none() && std::io::stdout().is_terminal() {
        output::progress("Parquet is no text: name a file with --out, or redirect stdout");
        return Ok(ExitCode::from(output::WRONG_USAGE));
    }
    let warehouse = open(config).await?;
    services::tie_registry(config, &warehouse).await;
    let _guard = heap.map(|heap| warehouse.guarded(heap));
    let Some(path) = question.out else {
        answer(&warehouse, question, output::Stdout).await?;
        return Ok(ExitCode::SUCCESS);
    };
    // A file that was not finished never stands under its name.
    let failed = || format!("could not write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    let file = answer(&warehouse, question, file).await?;
    file.persist(path).with_context(failed)?;
    Ok(ExitCode::SUCCESS)
}

async fn answer<W: Write + Send>(warehouse: &Warehouse, question: &Question<'_>, to: W) -> anyhow::Result<W> {
    let answered = match question.format.text() {
        Some(format) => warehouse.query_text(question.query, question.at, format, to).await,
        None => warehouse.query_parquet(question.query, question.at, to).await,
    };
    match answered {
        // It says itself what is wrong, where and what to do.
        Err(RowsError::Query(error @ QueryError::Refused { .. })) => Err(error.into()),
        answered => answered.context("could not answer the query"),
    }
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
