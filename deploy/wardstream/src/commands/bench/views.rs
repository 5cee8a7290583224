//! Views and questions over a warehouse as it stands: the first time, when nothing is computed yet, and once it is.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use warehouse::{AsOf, Warehouse, questions};

use super::{Figure, ROUNDS, median, process, rounded};
use crate::cli::BenchViews;
use crate::config::Config;

/// What somebody looks at every day, and what it is made of.
const DAILY: [&str; 13] = [
    "watermarks",
    "conservation",
    "label_maturity",
    "cohort_flow",
    "attrition",
    "cohort_rules",
    "reporting_delays",
    "performance",
    "subgroup_performance",
    "scored_by",
    "drift",
    "encounters",
    "labels",
];

/// Asks the views that are named, or the daily ones and the README's questions.
///
/// # Errors
/// Where the warehouse cannot be opened or a question cannot be answered.
pub async fn run(config: Config, wanted: &BenchViews) -> anyhow::Result<ExitCode> {
    for (what, sql) in asked(wanted)? {
        measure(&config, what, &sql).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Heading and statement of each question.
fn asked(wanted: &BenchViews) -> anyhow::Result<Vec<(String, String)>> {
    let owned = |(heading, sql): (&str, &str)| (heading.to_owned(), sql.to_owned());
    let whole = |view: &str| (view.to_owned(), format!("SELECT * FROM {view}"));
    if let Some(file) = &wanted.file {
        let text = std::fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
        return Ok(questions::headed(&text).into_iter().map(owned).collect());
    }
    if !wanted.views.is_empty() {
        return Ok(wanted.views.iter().map(|view| whole(view)).collect());
    }
    Ok(DAILY.into_iter().map(whole).chain(questions::twelve().into_iter().map(owned)).collect())
}

/// Of a warehouse that was just opened, so that nothing of an earlier question is known.
async fn measure(config: &Config, what: String, sql: &str) -> anyhow::Result<()> {
    process::forget_peak_rss();
    let warehouse = Warehouse::open(&config.warehouse).await.with_context(|| format!("could not open {}", config.warehouse.url))?;
    let ask = async || {
        let began = Instant::now();
        let answer = warehouse.query(sql, &AsOf::default()).await.with_context(|| format!("could not answer {what}"))?;
        let rows: usize = answer.iter().map(|batch| batch.num_rows()).sum();
        anyhow::Ok((began.elapsed().as_secs_f64() * 1e3, rows))
    };
    let (first, rows) = ask().await?;
    let mut then = Vec::new();
    for _ in 0..ROUNDS {
        then.push(ask().await?.0);
    }
    Figure { rows: Some(rows), ms_first: Some(rounded(first)), ms_median: Some(rounded(median(then))), ..Figure::new(what, 2) }.tell()
}
