//! The readmission cohort from the files of a MEDS export, as `warehouse/bench/meds_check.py --measure` holds it beside ACES.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use super::process;
use crate::output;

/// Asks once: a cold process, as the peer's is.
///
/// # Errors
/// Where the folder is no export.
pub async fn run(export: &Path) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let (stays, returned) = warehouse::meds_readmission(export).await.with_context(|| format!("could not read {}", export.display()))?;
    let milliseconds = (began.elapsed().as_secs_f64() * 1e3).round();
    output::line(serde_json::json!({
        "what": "readmission cohort of a MEDS export", "threads": 2, "rows": stays, "positives": returned,
        "ms_median": milliseconds, "peak_rss_gb": process::peak_rss_gb(),
    }));
    Ok(ExitCode::SUCCESS)
}
