//! Kafka to committed rows, exactly once, by the service's own loop: how many a second, and how long until SQL shows them.
//!
//! Uses the configured Kafka, else one of its own, with topics and a warehouse that are made for the measurement.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ::ingest::{Route, consumer};
use anyhow::{Context as _, ensure};
use bus::{Outgoing, Publisher, TopicSpec};
use schemas::{Facility, TopicPartition};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warehouse::{AsOf, Warehouse};

use super::messages::document;
use super::{Figure, process, rounded};
use crate::cli::BenchIngest;
use crate::config::Config;
use crate::embedded::{Embedded, Wanted};
use crate::services;

const FLIGHT: usize = 5_000;
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures both: a backlog as fast as it goes, then a steady rate.
///
/// # Errors
/// Where Kafka cannot be reached or started, or the rows do not land.
pub async fn run(mut config: Config, wanted: &BenchIngest) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("wardstream-bench-").tempdir().context("could not make a folder")?;
    let kafka = Wanted { kafka: config.bus.brokers.is_empty(), postgres: false };
    let embedded = Embedded::start(&folder.path().join("state"), kafka).await.context("could not start Kafka")?;
    services::fill(&mut config, embedded.addresses());
    config.warehouse.url = folder.path().join("warehouse").display().to_string();
    let measured = both(&config, wanted).await;
    embedded.stop().await;
    measured.map(|()| ExitCode::SUCCESS)
}

async fn both(config: &Config, wanted: &BenchIngest) -> anyhow::Result<()> {
    backlog(config, wanted).await?;
    steady(config, wanted).await
}

/// One topic of its own and the service's loop over it.
struct Line {
    topic: String,
    config: Config,
    warehouse: Warehouse,
    stop: CancellationToken,
    work: JoinSet<Result<(), consumer::RunError>>,
}

impl Line {
    async fn new(config: &Config, name: &str) -> anyhow::Result<Self> {
        let topic = format!("bench.{name}.{}", std::process::id());
        let mut config = config.clone();
        config.ingest.routes = vec![Route { topic: topic.clone(), facility: Facility::new("bench") }];
        config.bus.group = topic.clone();
        let specs = [topic.as_str(), schemas::topic::CLINICAL_NOTE, schemas::topic::PREDICTION, schemas::topic::DRIFT_ALERT];
        let specs: Vec<TopicSpec> = specs.into_iter().map(|name| TopicSpec::new(name, 1)).collect();
        bus::create_topics(&config.bus, &specs).await.context("could not create the topics")?;
        let warehouse = Warehouse::open(&config.warehouse).await.context("could not open the warehouse")?;
        Ok(Self { topic, config, warehouse, stop: CancellationToken::new(), work: JoinSet::new() })
    }

    fn record(&self, number: usize, bytes: usize) -> Outgoing {
        Outgoing { topic: self.topic.clone(), payload: Some(document(number, bytes)), ..Outgoing::default() }
    }

    fn start(&mut self) {
        let (config, warehouse, stop) = (self.config.clone(), self.warehouse.clone(), self.stop.clone());
        self.work.spawn(async move { consumer::run(&config.ingest, &config.bus, &warehouse, &stop).await });
        let (warehouse, stop) = (self.warehouse.clone(), self.stop.clone());
        self.work.spawn(async move {
            services::compact(&warehouse, &stop).await;
            Ok(())
        });
    }

    /// Waits until the tables hold this many records.
    async fn landed(&mut self, messages: i64) -> anyhow::Result<()> {
        let partition = TopicPartition { topic: self.topic.clone(), partition: 0 };
        let began = Instant::now();
        loop {
            let held = self.warehouse.held(&[partition.clone()].into()).await?;
            let last = held.get(&partition).and_then(|tables| tables.get(&schemas::Table::Messages)).copied().unwrap_or(-1);
            if last + 1 >= messages {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "only {} of {messages} records have landed", last + 1);
            if let Some(ended) = self.work.try_join_next() {
                ended?.context("the consumer ended")?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn close(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.work.join_next().await {
            ended?.context("the consumer ended")?;
        }
        Ok(())
    }
}

/// A backlog, as after a night without us: everything is on the topic before the loop begins.
async fn backlog(config: &Config, wanted: &BenchIngest) -> anyhow::Result<()> {
    let mut line = Line::new(config, "backlog").await?;
    let publisher = Publisher::new(&config.bus).context("could not reach Kafka")?;
    for first in (0..wanted.messages).step_by(FLIGHT) {
        let flight = (first..wanted.messages.min(first + FLIGHT)).map(|number| line.record(number, wanted.bytes)).collect();
        publisher.send_all(flight).await.context("could not publish")?;
    }
    drop(publisher);
    process::forget_peak_rss();
    let (began, before) = (Instant::now(), process::cpu_time());
    line.start();
    line.landed(i64::try_from(wanted.messages)?).await?;
    let (elapsed, used) = (began.elapsed().as_secs_f64(), (process::cpu_time() - before).as_secs_f64());
    line.close().await?;
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let (messages, bytes) = (wanted.messages as f64, (wanted.messages * wanted.bytes) as f64);
    Figure {
        messages: Some(wanted.messages),
        messages_per_second: Some((messages / elapsed).round()),
        messages_per_core_second: Some((messages / used).round()),
        megabytes_per_second: Some(rounded(bytes / elapsed / 1e6)),
        ..Figure::new("kafka to committed rows", std::thread::available_parallelism()?.get())
    }
    .tell()
}

/// A steady rate at the service's default settings: from the broker's timestamp until a query shows the row.
async fn steady(config: &Config, wanted: &BenchIngest) -> anyhow::Result<()> {
    let mut line = Line::new(config, "steady").await?;
    line.start();
    let publisher = Publisher::new(&config.bus).context("could not reach Kafka")?;
    let count = wanted.rate.saturating_mul(wanted.seconds);
    let mut senders = JoinSet::new();
    let (topic, bytes, rate) = (line.topic.clone(), wanted.bytes, wanted.rate);
    senders.spawn(async move {
        let began = Instant::now();
        for number in 0..count {
            let due = Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            let payload = Some(document(usize::try_from(number).unwrap_or_default(), bytes));
            let _on_its_way = publisher.send(Outgoing { topic: topic.clone(), payload, ..Outgoing::default() }).await;
        }
        publisher.flush().await;
    });
    let mut waits = seen(&line, i64::from(count)).await?;
    while senders.join_next().await.is_some() {}
    line.close().await?;
    waits.sort_by(f64::total_cmp);
    let at = |share: usize| waits.get((waits.len().saturating_sub(1)) * share / 100).copied().map(|ms| ms.round());
    Figure {
        messages: Some(waits.len()),
        messages_per_second: Some(f64::from(wanted.rate)),
        ms_median: at(50),
        ms_p99: at(99),
        ..Figure::new("broker to visible in SQL", std::thread::available_parallelism()?.get())
    }
    .tell()
}

#[derive(serde::Deserialize)]
struct Row {
    offset: i64,
    known_at: jiff::Timestamp,
}

/// For each record the milliseconds from its timestamp until a query showed it.
async fn seen(line: &Line, count: i64) -> anyhow::Result<Vec<f64>> {
    let mut waits = Vec::new();
    let mut next = 0;
    let began = Instant::now();
    while next < count {
        ensure!(began.elapsed() < PATIENCE, "only {next} of {count} records can be seen");
        let sql = format!(
            "SELECT \"offset\", known_at FROM messages WHERE topic = '{}' AND \"offset\" >= {next} ORDER BY \"offset\"",
            line.topic
        );
        let rows = line.warehouse.query(&sql, &AsOf::default()).await?;
        #[expect(clippy::disallowed_methods, reason = "the binary may read the clock")]
        let now = jiff::Timestamp::now();
        for row in warehouse::render(&rows, warehouse::Format::Ndjson)?.lines() {
            let row: Row = serde_json::from_str(row)?;
            waits.push(now.duration_since(row.known_at).as_secs_f64() * 1e3);
            next = row.offset + 1;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(waits)
}
