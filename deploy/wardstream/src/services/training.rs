//! When a cycle runs: at first, when an alarm calls and enough examples since it are mature, or on schedule.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use schemas::{DriftAlert, DriftKind};
use scorer::monitor::Judgement;
use tokio_util::sync::CancellationToken;
use trainer::{Order, Reason, Report};
use warehouse::{Registry, Warehouse, Weights};

use crate::config::Config;
use crate::output;

/// How often orders and the schedule are looked at.
const EVERY: Duration = Duration::from_millis(500);

/// What the trainer is asked for and what it does; shared by who orders and who waits.
#[derive(Clone, Default)]
pub struct Training(Arc<Mutex<Orders>>);

/// Orders and reports.
#[derive(Default)]
pub struct Orders {
    /// A first model is wanted.
    pub first: bool,
    /// Performance alarmed in this month, and no promotion has answered it yet.
    pub alarmed: Option<Timestamp>,
    /// Every alarm of this process, in order.
    pub alarms: Vec<DriftAlert>,
    /// The log's time at which drift was last judged.
    pub judged: Option<Timestamp>,
    /// The log's time at which the trainer last looked whether an alarm can be answered.
    pub looked: Option<Timestamp>,
    /// A cycle is running.
    pub running: bool,
    /// Cycles that ended, in order.
    pub reports: Vec<Report>,
}

impl Training {
    /// Looks at or changes the orders.
    pub fn with<T>(&self, change: impl FnOnce(&mut Orders) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A performance alarm calls for a refresh; a plumbing alarm calls for a person.
    pub fn heed(&self, judgement: Judgement) {
        self.with(|orders| {
            for alarm in judgement.alarms.iter().filter(|alarm| alarm.kind == DriftKind::Performance) {
                orders.alarmed = Some(orders.alarmed.map_or(alarm.month, |month| month.min(alarm.month)));
            }
            orders.alarms.extend(judgement.alarms);
            orders.judged = Some(judgement.at);
        });
    }
}

/// The trainer's loop and what it works with.
pub struct Cycles {
    pub warehouse: Warehouse,
    pub registry: Arc<Registry>,
    pub weights: Arc<Weights>,
    pub config: Arc<Config>,
    pub training: Training,
}

impl Cycles {
    /// Until `stop`. A cycle that fails is ordered again at the next turn.
    pub async fn run(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.turn().await {
                tracing::error!(error = format!("{error:#}"), "a training cycle failed; trying again");
            }
            self.training.with(|orders| orders.running = false);
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn turn(&self) -> anyhow::Result<()> {
        let Some(reason) = self.reason().await? else {
            return Ok(());
        };
        self.training.with(|orders| orders.running = true);
        let report = self.cycle(reason).await?;
        tracing::info!(model = %report.model_version, promoted = report.promoted, refused = ?report.refused, "training cycle ended");
        self.training.with(|orders| {
            orders.first = false;
            if report.promoted {
                orders.alarmed = None;
            }
            orders.reports.push(report);
        });
        Ok(())
    }

    async fn reason(&self) -> anyhow::Result<Option<Reason>> {
        let (first, alarmed) = self.training.with(|orders| (orders.first, orders.alarmed));
        if first {
            return Ok(Some(Reason::First));
        }
        if let Some(since) = alarmed {
            let now = self.warehouse.watermark().await?;
            if self.training.with(|orders| orders.looked == now) {
                return Ok(None);
            }
            let ready = trainer::ready(&self.warehouse, &self.config.trainer, since, self.attempts(since)).await?;
            self.training.with(|orders| {
                orders.running = ready;
                orders.looked = now;
            });
            return Ok(ready.then_some(Reason::Alarm { since }));
        }
        trainer::scheduled(&self.warehouse, &self.registry, &self.config.trainer).await.map_err(Into::into)
    }

    /// Refused attempts since this alarm: each next one waits for more examples.
    fn attempts(&self, since: Timestamp) -> usize {
        self.training
            .with(|orders| orders.reports.iter().filter(|report| !report.promoted && report.reason == Reason::Alarm { since }).count())
    }

    async fn cycle(&self, reason: Reason) -> anyhow::Result<Report> {
        let at = self.warehouse.watermark().await?.context("there is nothing in the warehouse to learn from")?;
        let workdir = self.config.state.folder.join("trainer");
        let order = Order { reason, at, workdir: &workdir };
        trainer::run(&self.warehouse, &self.registry, &self.weights, &self.config.trainer, order, |progress| {
            output::progress(format_args!("  {progress}"))
        })
        .await
        .context("could not finish the training cycle; it goes on from its last checkpoint when it is started again")
    }
}

/// One cycle now, on all that is known.
pub async fn train_once(config: Config) -> anyhow::Result<ExitCode> {
    let services = super::Services::open(config, CancellationToken::new()).await?;
    let reason = match services.registry.champion().await? {
        Some(_) => Reason::Scheduled,
        None => Reason::First,
    };
    let cycles = Cycles {
        warehouse: services.warehouse.clone(),
        registry: Arc::clone(&services.registry),
        weights: Arc::clone(&services.weights),
        config: Arc::clone(&services.config),
        training: services.training.clone(),
    };
    let report = cycles.cycle(reason).await?;
    output::line(serde_json::to_string(&report)?);
    Ok(if report.promoted { ExitCode::SUCCESS } else { ExitCode::from(output::FAILED) })
}
