//! The main job on embedded defaults, told as a story: history lands, a model learns, notes flow and are answered,
//! drift is planted and noticed, a refresh takes over. Every figure comes from the services, beside the hospital's truth.

mod feed;
mod judge;
mod latency;
mod report;
mod story;
mod truth;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::Demo;
use crate::config::Config;
use crate::{output, services};

/// Runs the story in a fresh state folder and judges it.
///
/// # Errors
/// Where a step could not be done at all. A step that was done badly is a check that did not hold.
pub async fn run(config: Config, args: &Demo) -> anyhow::Result<ExitCode> {
    let config = settled(config)?;
    let folder = config.state.folder.clone();
    let mut story = story::Story::begin(config, args.seed).await?;
    let told = story.tell().await;
    let held = match told {
        Ok(report) => {
            let json = serde_json::to_string_pretty(&report).context("could not write the report")?;
            std::fs::write(folder.join("report.json"), json).context("could not write the report")?;
            output::block(&report.for_people());
            report.held()
        }
        Err(error) => {
            story.end().await;
            return Err(error);
        }
    };
    if args.serve {
        story.serve()?;
        output::progress(story.how_to_connect());
        services::signal().await?;
    }
    story.end().await;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::from(output::FAILED) })
}

/// The configuration with the demo's own folder and sizes; what an earlier demo left there is removed.
fn settled(mut config: Config) -> anyhow::Result<Config> {
    let folder = std::path::absolute(config.state.folder.join("demo")).context("could not find the current folder")?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("could not remove the last demo from {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    config.warehouse.url = folder.join("warehouse").display().to_string();
    config.weights.url = folder.join("models").display().to_string();
    config.sql.password_file = folder.join("sql-password");
    config.state.folder = folder;
    config.bus.brokers.clear();
    config.registry.url = String::new().into();
    config.ingest.batch_age_ms = 250;
    config.ingest.read_back_age_ms = 1_000;
    config.scorer.monitor_ms = 250;
    // Years of the log pass in minutes here.
    config.scorer.judge_once_a = scorer::Period::Month;
    story::sizes(&mut config);
    Ok(config)
}
