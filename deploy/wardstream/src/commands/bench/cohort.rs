//! A cohort from the files of a MEDS export, as `warehouse/bench/meds_check.py --measure` holds it beside ACES.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use cohorts::{Config, READMISSION};

use super::{Figure, rounded};
use crate::output;

/// Threads, as many as the views have.
const THREADS: usize = 2;

/// Asks once: a cold process, as the peer's is.
///
/// # Errors
/// Where the configuration is none that is read here, or the folder is no export.
pub fn run(export: &Path, aces: Option<&Path>, rows: bool) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let text = match aces {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?,
        None => READMISSION.to_owned(),
    };
    let config = Config::read(&text).with_context(|| aces.map_or_else(String::new, |path| path.display().to_string()))?;
    let found = cohorts::extract(&config, export, THREADS)?;
    if rows {
        for row in &found {
            output::line(serde_json::json!({"subject_id": row.subject_id, "at": row.at, "label": row.label}));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let milliseconds = rounded(began.elapsed().as_secs_f64() * 1e3);
    Figure { rows: Some(found.len()), ms_median: Some(milliseconds), ..Figure::new("cohort of a MEDS export", THREADS) }.tell()?;
    Ok(ExitCode::SUCCESS)
}
