//! Commands over files of messages: `map`, `publish`, `backfill`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bus::{Outgoing, Publisher};
use maps::split::{Rest, Splitter};

use super::{facility, open};
use crate::cli::{Clock, Publish, Replay};
use crate::config::Config;
use crate::output;

/// Records that are sent before their delivery is waited for.
const FLIGHT: usize = 5_000;

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    maps::split::unzip(bytes).with_context(|| format!("could not unzip {}", file.display()))
}

pub fn map(config: &Config, name: &str, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let facility = facility(config, name);
    for file in files {
        let bytes = read(file)?;
        let split = Splitter::default().split(&bytes, Rest::Nothing);
        for (index, record) in split.records.iter().enumerate() {
            let mut parts = ingest::reading::mapped(record, envelope::Hints::default(), &facility, &envelope::Schemas::default());
            split.flag(index, &mut parts);
            let line = ingest::describe::line(&file.display().to_string(), index, &parts).to_json().context("could not show a record")?;
            output::line(line);
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn backfill(config: &Config, name: &str, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let facility = facility(config, name);
    if let Some(refusal) = ingest::settings::refusal(&facility) {
        anyhow::bail!("could not backfill: {refusal}");
    }
    let warehouse = open(config).await?;
    let done = ingest::backfill::run(&warehouse, &facility, files)
        .await
        .context("could not finish the backfill; repeat the command, it goes on where it stopped")?;
    output::line(serde_json::to_string(&done)?);
    for file in &done.unreadable {
        output::progress(format_args!(
            "could not read {} to its end: {}; mend it, then repeat the command",
            file.file.display(),
            file.reason
        ));
    }
    Ok(if done.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(output::FAILED) })
}

/// Without a condition, what was refused or read by maps of another version.
pub async fn replay(config: &Config, wanted: Replay) -> anyhow::Result<ExitCode> {
    let Replay { condition, publish, force } = wanted;
    let warehouse = open(config).await?;
    let publisher = if publish { Some(Publisher::new(&config.bus).context("could not reach Kafka")?) } else { None };
    let condition = condition.unwrap_or_else(ingest::replay::outdated);
    let envelopes = envelope::Envelopes::open(&config.ingest.envelope).context("could not use the schema registry of the configuration")?;
    let routes = ingest::Routes::new(&config.ingest.routes).context("could not use the routes of the configuration")?;
    // As ingest would read it today: by its topic, and a file's record by the facility that it was backfilled for.
    let facility = |topic: &str, name: &str| routes.facility(topic).cloned().unwrap_or_else(|| facility(config, name));
    let rewriting = if force { ingest::replay::Rewriting::Always } else { ingest::replay::Rewriting::WhereItDiffers };
    let replay = ingest::replay::Replay { facility: &facility, envelopes: &envelopes, publisher: publisher.as_ref(), rewriting };
    let done =
        replay.run(&warehouse, &condition).await.context("could not finish the replay; repeat the command, it goes on where it stopped")?;
    output::line(serde_json::to_string(&done)?);
    Ok(ExitCode::SUCCESS)
}

pub async fn publish(config: &Config, publish: &Publish) -> anyhow::Result<ExitCode> {
    let publisher = Publisher::new(&config.bus).context("could not reach Kafka")?;
    let facility = facility(config, &publish.facility);
    let began = Instant::now();
    let mut sent = 0_u32;
    for file in &publish.files {
        let bytes = read(file)?;
        let mut flight = Vec::new();
        for record in maps::split::records(&bytes) {
            if let Some(rate) = publish.rate {
                publisher.send_all(std::mem::take(&mut flight)).await.context("could not publish")?;
                let due = Duration::from_secs_f64(f64::from(sent) / rate.max(f64::MIN_POSITIVE));
                tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            }
            flight.push(outgoing(&publish.topic, record, publish.clock, &facility));
            sent += 1;
            if flight.len() >= FLIGHT {
                publisher.send_all(std::mem::take(&mut flight)).await.context("could not publish")?;
            }
        }
        publisher.send_all(flight).await.context("could not publish")?;
    }
    output::line(serde_json::json!({"topic": publish.topic, "published": sent}));
    Ok(ExitCode::SUCCESS)
}

/// A record of a file as it goes onto a topic; without a time of its own it takes the broker's.
pub fn outgoing(topic: &str, record: &[u8], clock: Clock, facility: &schemas::Facility) -> Outgoing {
    let timestamp = match clock {
        Clock::Own => {
            let parts = ingest::reading::mapped(record, envelope::Hints::default(), facility, &envelope::Schemas::default());
            ingest::backfill::own_time(&parts)
        }
        Clock::Now => None,
    };
    Outgoing { topic: topic.to_owned(), key: None, payload: Some(record.to_vec()), headers: Vec::new(), timestamp }
}
