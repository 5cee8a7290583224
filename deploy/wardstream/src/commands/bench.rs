//! Measures on this machine: one JSON object a figure, in the field names of the peers' scripts.

mod ingest;
mod messages;
mod model;
mod parse;
mod process;
mod sql;
mod views;

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::Bench;
use crate::config::Config;
use crate::output;

/// Rounds of which the median is told.
const ROUNDS: usize = 7;

/// One line. What was not measured is left out.
#[derive(Default, Serialize)]
#[serde(default)]
struct Figure {
    what: String,
    threads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    megabytes_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_per_second: Option<f64>,
    /// Messages a second of processor time.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_per_core_second: Option<f64>,
    /// Of the first time, when nothing that the answer builds on was computed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    ms_first: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms_median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms_p99: Option<f64>,
    peak_rss_gb: f64,
    instruction_sets: String,
}

impl Figure {
    fn new(what: impl Into<String>, threads: usize) -> Self {
        Self {
            what: what.into(),
            threads,
            peak_rss_gb: process::peak_rss_gb(),
            instruction_sets: process::instruction_sets(),
            ..Self::default()
        }
    }

    fn tell(&self) -> anyhow::Result<()> {
        output::line(serde_json::to_string(self)?);
        Ok(())
    }
}

/// Runs one bench.
///
/// # Errors
/// Where a file cannot be read or a service cannot be started.
pub async fn run(config: Config, bench: Bench) -> anyhow::Result<ExitCode> {
    match bench {
        Bench::Parse { facility, files } => parse::run(&config, &facility, &files),
        Bench::Ingest(wanted) => ingest::run(config, &wanted).await,
        Bench::Model(wanted) => model::run(&wanted),
        Bench::Sql(wanted) => sql::run(&wanted).await,
        Bench::Views(wanted) => views::run(config, &wanted).await,
    }
}

/// The one in the middle; no number where nothing was measured.
fn median(mut measured: Vec<f64>) -> f64 {
    measured.sort_by(f64::total_cmp);
    measured.get(measured.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Rounded to what a noisy machine can tell.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
