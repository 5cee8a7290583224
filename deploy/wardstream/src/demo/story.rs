//! The acts of the demo, in order. Each waits for the services to have done their work; none does it for them.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bus::Publisher;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use schemas::{Task, TopicPartition, topic};
use tokio_util::sync::CancellationToken;
use trainer::Reason;

use super::{feed::Feed, judge, latency, report::Report, truth};
use crate::config::Config;
use crate::embedded::{Embedded, Wanted};
use crate::services::{self, Services};
use crate::{output, page, telemetry};

const FROM: Date = jiff::civil::date(2013, 1, 1);
/// The first month that flows while predictions come out.
const LIVE: Date = jiff::civil::date(2021, 6, 1);
const PLANTED: Date = jiff::civil::date(2024, 2, 1);
const UNTIL: Date = jiff::civil::date(2025, 1, 1);
/// Patients that give some 16,000 stays.
const PATIENTS: u32 = 8_000;
/// Records by which latency is measured.
const SLOWLY: usize = 400;
/// No single wait of the story is longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// Sizes that fit two cores and ten minutes, with room for a busy machine.
pub fn sizes(config: &mut Config) {
    config.trainer.first_notes = 6_400;
    config.trainer.refresh_notes = 2_400;
    config.trainer.auto_promote = true;
    // The story orders its first model when the history has landed.
    config.trainer.min_first_examples = 0;
    // The paper's claims are of 2021 and 2022; a model that starts in June 2021 learns from the decisions before.
    config.warehouse.splits.0.insert(Task::Denial.to_string(), config.warehouse.splits.of(Task::Mortality.as_str()));
}

/// The demo under way.
pub struct Story {
    began: Instant,
    seed: u64,
    config: Config,
    embedded: Embedded,
    services: Services,
    publisher: Publisher,
    feed: Feed,
    published: u64,
}

impl Story {
    /// Starts the embedded services and ours, while the hospital writes its messages.
    ///
    /// # Errors
    /// Where one of them cannot be started.
    pub async fn begin(mut config: Config, seed: u64) -> anyhow::Result<Self> {
        let began = Instant::now();
        let folder = config.state.folder.clone();
        output::progress(format_args!("[   0 s] starting Kafka, PostgreSQL and a simulated hospital with seed {seed}"));
        let mut hospital = hospital(&folder.join("feed"), seed)?;
        let embedded =
            Embedded::start(&folder, Wanted { kafka: true, postgres: true }).await.context("could not start Kafka and PostgreSQL")?;
        services::fill(&mut config, embedded.addresses());
        services::topics::create(&config).await?;
        let publisher = Publisher::new(&config.bus).context("could not reach Kafka")?;
        let services = Services::open(config.clone(), CancellationToken::new()).await?;
        let done = hospital.wait().await.context("could not wait for the hospital")?;
        ensure!(done.success(), "the simulated hospital failed");
        let facility =
            |name: &str| config.ingest.routes.iter().map(|route| &route.facility).find(|facility| facility.name == name).cloned();
        let feed = Feed {
            folder: folder.join("feed"),
            north: facility("north").context("the demo needs the facility north")?,
            south: facility("south").context("the demo needs the facility south")?,
        };
        Ok(Self { began, seed, config, embedded, services, publisher, feed, published: 0 })
    }

    /// Tells the whole story; the report says what held.
    ///
    /// # Errors
    /// Where a step could not be done at all.
    pub async fn tell(&mut self) -> anyhow::Result<Report> {
        let mut report = Report { seed: self.seed, ..Report::default() };
        self.services.start_ingest();
        self.services.start_scorer();
        self.services.start_trainer();
        self.history().await?;
        let first_at = self.first_model().await?;
        self.flow(&mut report).await?;
        self.drain(&mut report).await?;
        report.messages.published = self.published;
        judge::all(&mut report, &self.services, &truth::read(&self.feed.folder.join("truth.jsonl"))?, first_at).await?;
        report.seconds = self.began.elapsed().as_secs_f64();
        Ok(report)
    }

    fn say(&self, text: impl std::fmt::Display) {
        output::progress(format_args!("[{:>4} s] {text}", self.began.elapsed().as_secs()));
    }

    /// Act one: what happened before Wardstream came lands in the warehouse.
    async fn history(&mut self) -> anyhow::Result<()> {
        self.say(format_args!("publishing the history, {FROM} to {LIVE}"));
        for month in months(FROM, LIVE) {
            self.published += self.feed.publish(&self.publisher, month).await? as u64;
            if month.month() == 12 {
                self.say(format_args!("  {} messages published, to the end of {}", self.published, month.year()));
            }
        }
        self.landed(&self.raw()).await?;
        self.say(format_args!("{} messages have landed", self.published));
        Ok(())
    }

    /// Act two: a first model is trained, gated and promoted. The log's time at that moment.
    async fn first_model(&mut self) -> anyhow::Result<Timestamp> {
        self.say("training the first model");
        let at = self.services.warehouse.watermark().await?.context("nothing has landed")?;
        self.services.training.with(|orders| orders.first = true);
        self.wait("the first training cycle", || self.services.training.with(|orders| !orders.reports.is_empty())).await?;
        let refused = self.services.training.with(|orders| orders.reports.first().and_then(|report| report.refused.clone()));
        ensure!(refused.is_none(), "the gate refused the first model: {}", refused.unwrap_or_default());
        self.services.warehouse.compact().await.context("could not compact the tables")?;
        self.say("the first model is promoted");
        Ok(at)
    }

    /// Act three: the months flow; drift is planted, noticed and answered. The log waits while a refresh is trained, as
    /// three years of it pass in minutes here.
    async fn flow(&mut self, report: &mut Report) -> anyhow::Result<()> {
        report.drift.kind = "concept".to_owned();
        report.drift.planted_at = Some(instant(PLANTED)?);
        let last = UNTIL.checked_sub(1.month())?;
        for month in months(LIVE, last) {
            self.published += self.feed.publish(&self.publisher, month).await? as u64;
            self.landed(&self.raw()).await?;
            self.answered().await?;
            self.judged().await?;
            self.landed(&[topic::DRIFT_ALERT.to_owned()]).await?;
            let called = trainer::called(&self.services.warehouse, &self.services.registry, &self.config.trainer).await?;
            if matches!(called, Some(Reason::Alarm { .. })) {
                self.refresh(month).await?;
            }
            if month.month() % 6 == 0 {
                self.say(format_args!("  {} messages published, to the end of {}", self.published, month.strftime("%B %Y")));
            }
        }
        let records = self.feed.outgoing(last)?;
        self.say(format_args!("measuring from message to prediction with {}", last.strftime("%B %Y")));
        self.published += records.len() as u64;
        let (slow, fast) = split(records);
        report.latency_ms = latency::measure(&services::grouped(&self.config, "latency"), &self.publisher, slow).await?;
        self.publisher.send_all(fast).await.context("could not publish")?;
        Ok(())
    }

    /// Gives the trainer the time to answer an alarm, if there is enough to learn from.
    async fn refresh(&self, month: Date) -> anyhow::Result<()> {
        let now = self.services.warehouse.watermark().await?;
        self.wait("the trainer", || self.services.training.with(|orders| orders.running || orders.looked.map(|(at, _)| at) == now)).await?;
        if !self.services.training.with(|orders| orders.running) {
            return Ok(());
        }
        self.say(format_args!("drift is alarmed; a refresh is trained on what is mature at the end of {}", month.strftime("%B %Y")));
        self.wait("the refresh", || self.services.training.with(|orders| !orders.running)).await?;
        let promoted = self.services.training.with(|orders| orders.reports.last().is_some_and(|report| report.promoted));
        self.say(if promoted { "the refreshed model is promoted" } else { "the refreshed model was refused; more examples are awaited" });
        if promoted {
            let version = self.services.registry.champion().await?.context("no champion")?.model_version;
            self.wait("the new champion", || self.services.champion().as_ref() == Some(&version)).await?;
        }
        Ok(())
    }

    /// Everything published is in the tables, and every prediction has come back into them.
    async fn drain(&mut self, report: &mut Report) -> anyhow::Result<()> {
        self.landed(&self.raw()).await?;
        self.answered().await?;
        self.judged().await?;
        self.landed(&topic::READ_BACK.map(str::to_owned)).await?;
        self.say("everything has landed; judging");
        report.refresh.promoted = self.services.training.with(|orders| orders.reports.iter().skip(1).any(|report| report.promoted));
        Ok(())
    }

    /// The topics that the hospital speaks on.
    fn raw(&self) -> Vec<String> {
        self.config.ingest.routes.iter().map(|route| route.topic.clone()).collect()
    }

    /// Waits until the tables hold every record of these topics.
    async fn landed(&self, topics: &[String]) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let ends = bus::end_offsets(&self.config.bus, topics).await.context("could not ask for the topics' ends")?;
            let held = self.services.warehouse.held(&ends.keys().cloned().collect()).await?;
            let behind = |(partition, end): (&TopicPartition, &i64)| {
                let last = held.get(partition).and_then(|tables| tables.values().min().copied()).unwrap_or(-1);
                last + 1 < *end
            };
            if !ends.iter().any(behind) {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "ingest does not catch up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the scorer has read every canonical note.
    async fn answered(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let group = services::grouped(&self.config, "scorer");
        let topics = [topic::CLINICAL_NOTE.to_owned()];
        while bus::lag(&group, &topics).await.context("could not ask for the scorer's lag")? > 0 {
            ensure!(began.elapsed() < PATIENCE, "the scorer does not catch up");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until drift has been judged in the log's present period.
    async fn judged(&self) -> anyhow::Result<()> {
        let watermark = self.services.warehouse.watermark().await?;
        let period = self.config.scorer.judge_once_a;
        let judged = || self.services.training.with(|orders| orders.judged);
        self.wait("the judgement of drift", || judged().zip(watermark).is_some_and(|(judged, now)| period.is_same(judged, now))).await
    }

    async fn wait(&self, what: &str, done: impl Fn() -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !done() {
            ensure!(began.elapsed() < PATIENCE, "{what} takes longer than {} s", PATIENCE.as_secs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Keeps SQL, page and metrics up.
    ///
    /// # Errors
    /// Where metrics cannot be told.
    pub fn serve(&self) -> anyhow::Result<()> {
        self.services.start_sql(&CancellationToken::new());
        self.services.start_telemetry(telemetry::start_metrics()?, page::router(&self.services));
        self.services.ready();
        Ok(())
    }

    /// How a person looks at what the demo left.
    pub fn how_to_connect(&self) -> String {
        format!(
            "http://{}/   # do the models hold?\npsql -h {} -p {} -U {} wardstream   # password in {}\nkcat -b {} -t prediction.v1 -C\nCtrl-C ends it",
            self.config.telemetry.listen,
            self.config.sql.listen.ip(),
            self.config.sql.listen.port(),
            self.config.sql.user,
            self.config.sql.password_file.display(),
            self.config.bus.brokers
        )
    }

    /// Stops everything that was started.
    pub async fn end(self) {
        let Self { services, publisher, embedded, .. } = self;
        services.close().await;
        // A producer whose broker stops first calls that an error.
        drop(publisher);
        embedded.stop().await;
    }
}

/// Starts the hospital, which stands beside this binary.
fn hospital(out: &Path, seed: u64) -> anyhow::Result<tokio::process::Child> {
    let binary = std::env::current_exe().context("could not find this binary")?.with_file_name("hospital");
    let mut command = tokio::process::Command::new(&binary);
    command.args(["--seed", &seed.to_string(), "--patients", &PATIENTS.to_string(), "--speak", "both"]);
    command.args(["--from", &FROM.to_string(), "--to", &UNTIL.to_string(), "--shift", "concept", "--shift-at", &PLANTED.to_string()]);
    command.arg("--out").arg(out).stdout(Stdio::null()).kill_on_drop(true);
    command.spawn().with_context(|| format!("could not start {}; deploy/build builds it", binary.display()))
}

/// The first days of the months from `from` until before `until`.
fn months(from: Date, until: Date) -> impl Iterator<Item = Date> {
    from.series(1.month()).take_while(move |month| *month < until)
}

fn instant(day: Date) -> anyhow::Result<Timestamp> {
    Ok(day.to_zoned(TimeZone::UTC)?.timestamp())
}

/// A few records that are sent slowly, and the rest.
fn split(mut records: Vec<bus::Outgoing>) -> (Vec<bus::Outgoing>, Vec<bus::Outgoing>) {
    let rest = records.split_off(records.len().min(SLOWLY));
    (records, rest)
}
