//! When a cycle runs: at first, when an alarm calls and enough examples since it are mature, or on schedule.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use trainer::{Order, Reason, Report};
use warehouse::{Registry, Warehouse, Weights};

use crate::config::Config;
use crate::output;

/// How often orders, alarms and the schedule are looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Pause behind a cycle that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Looking takes at most one part in so many of the time.
const SPARE: u32 = 4;

/// What the trainer is asked for and what it does; shared by who orders and who waits.
#[derive(Clone, Default)]
pub struct Training(Arc<Mutex<Orders>>);

/// Orders and reports.
#[derive(Default)]
pub struct Orders {
    /// A first model is wanted.
    pub first: bool,
    /// The log's time at which drift was last judged.
    pub judged: Option<Timestamp>,
    /// The log's time at which the trainer last saw that there is not enough to learn from yet, and for what.
    pub looked: Option<(Timestamp, Reason)>,
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

    /// Drift was judged at this time of the log, and what alarms is published.
    pub fn judged(&self, at: Timestamp) {
        self.with(|orders| orders.judged = Some(at));
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
            let began = Instant::now();
            let reason = self.reason().await;
            let looked = began.elapsed();
            let turned = match reason {
                Ok(Some(reason)) => self.turn(reason).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            let failed = turned.is_err();
            if let Err(error) = turned {
                tracing::error!(error = format!("{error:#}"), "a training cycle failed; trying again");
            }
            self.training.with(|orders| orders.running = false);
            let pause = EVERY.max(looked * (SPARE - 1)).max(if failed { AGAIN } else { EVERY });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn turn(&self, reason: Reason) -> anyhow::Result<()> {
        self.training.with(|orders| orders.running = true);
        let report = self.cycle(reason).await?;
        tracing::info!(model = %report.model_version, promoted = report.promoted, refused = ?report.refused, "training cycle ended");
        self.training.with(|orders| {
            orders.first = false;
            orders.reports.push(report);
        });
        Ok(())
    }

    async fn reason(&self) -> anyhow::Result<Option<Reason>> {
        if self.training.with(|orders| orders.first) {
            return Ok(Some(Reason::First));
        }
        let settings = &self.config.trainer;
        let Some(reason) = trainer::called(&self.warehouse, &self.registry, settings).await? else {
            return Ok(None);
        };
        let now = self.warehouse.watermark().await?.map(|watermark| decided_at(watermark, super::now()));
        let look = now.map(|now| (now, reason));
        if self.training.with(|orders| orders.looked == look) {
            return Ok(None);
        }
        let ready = trainer::ready(&self.warehouse, &self.registry, settings, (reason, self.refused(reason)), now).await?;
        self.training.with(|orders| {
            orders.running = ready;
            orders.looked = look.filter(|_| !ready);
        });
        Ok(ready.then_some(reason))
    }

    fn refused(&self, reason: Reason) -> usize {
        self.training.with(|orders| refused(&orders.reports, reason))
    }

    async fn cycle(&self, reason: Reason) -> anyhow::Result<Report> {
        let watermark = self.warehouse.watermark().await?.context("there is nothing in the warehouse to learn from")?;
        let at = decided_at(watermark, super::now());
        let workdir = self.config.state.folder.join("trainer");
        let order = Order { reason, at, workdir: &workdir };
        trainer::run(&self.warehouse, &self.registry, &self.weights, &self.config.trainer, order, |progress| {
            output::progress(format_args!("  {progress}"))
        })
        .await
        .context("could not finish the training cycle; it goes on from its last checkpoint when it is started again")
    }
}

/// Refused attempts for the same reason, since a model went live: the next one's schedule begins anew.
fn refused(reports: &[Report], reason: Reason) -> usize {
    reports.iter().rev().take_while(|report| !report.promoted).filter(|report| report.reason == reason).count()
}

/// The log's time at which somebody decides: its watermark, but of a log that runs ahead of the wall clock the last whole minute of that. One record that was
/// stamped years ahead moves the watermark there: with a first promotion recorded at it, every note until then were history, which nobody answers.
pub fn decided_at(watermark: Timestamp, wall: Timestamp) -> Timestamp {
    if watermark <= wall { watermark } else { Timestamp::from_second(wall.as_second() / 60 * 60).unwrap_or(wall) }
}

/// One cycle now, on all that is known; then weights go that nothing keeps any more. Where no reason is given it is a refresh, or a first model where none answers.
pub async fn train_once(config: Config, asked: Option<Reason>) -> anyhow::Result<ExitCode> {
    let services = super::Services::open(config, CancellationToken::new()).await?;
    let reason = match (asked, services.registry.champion().await?) {
        (Some(reason), _) => reason,
        (None, Some(_)) => Reason::Scheduled,
        (None, None) => Reason::First,
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
    outcome(&report).into_iter().for_each(output::progress);
    services.removal().turn().await;
    let is_as_asked = is_as_asked(&report, services.config.trainer.auto_promote);
    Ok(if is_as_asked { ExitCode::SUCCESS } else { ExitCode::from(output::FAILED) })
}

/// Whether a cycle did what it is there for: its model is live, or it is fit to be and is to wait for somebody who promotes it.
fn is_as_asked(report: &Report, auto_promote: bool) -> bool {
    report.promoted || report.refused.is_none() && !auto_promote
}

/// What came of a cycle, in sentences: the figures, then whether the model is live and why not.
fn outcome(report: &Report) -> Vec<String> {
    let figures = report.figures.iter().map(|one| {
        let trainer::Figures { task, split, n, auroc, low, high, ece, zero_shot, .. } = one;
        let before = zero_shot.auroc;
        format!("{task}, {split}: AUROC {auroc:.3} [{low:.3}, {high:.3}] of {n}, {before:.3} before it learned; calibration error {ece:.3}")
    });
    let version = &report.model_version;
    let said = match &report.refused {
        Some(why) => format!("model {version} was refused and is not live: {why}"),
        None if report.promoted => format!("model {version} is the champion"),
        None => format!("model {version} is registered and not live: `wardstream models promote {version}` makes it the champion"),
    };
    figures.chain([said]).collect()
}

#[cfg(test)]
mod tests {
    use schemas::{DatasetId, ModelVersion};

    use super::*;

    fn report(reason: Reason, promoted: bool) -> Report {
        let (model_version, dataset_id) = (ModelVersion("a".to_owned()), DatasetId("b".to_owned()));
        let (figures, advantage, refused, lora) = (Vec::new(), None, None, None);
        Report { reason, model_version, dataset_id, figures, advantage, refused, promoted, notes_read: 0, tokens_read: 0, lora }
    }

    /// A refused refresh makes the next one wait for longer, and not those of the model that went live since.
    #[test]
    fn what_was_refused_before_a_promotion_makes_nobody_wait() {
        let mut reports = vec![report(Reason::First, true), report(Reason::Scheduled, false), report(Reason::Scheduled, false)];
        assert_eq!((refused(&reports, Reason::Scheduled), refused(&reports, Reason::First)), (2, 0));
        reports.push(report(Reason::Alarm { since: Timestamp::UNIX_EPOCH }, true));
        assert_eq!(refused(&reports, Reason::Scheduled), 0);
        reports.push(report(Reason::Scheduled, false));
        assert_eq!(refused(&reports, Reason::Scheduled), 1);
    }

    #[test]
    fn what_came_of_a_cycle_is_said_in_sentences() {
        let zero_shot = trainer::Interval { auroc: 0.5, low: 0.4, high: 0.6 };
        let (task, split) = (schemas::Task::Mortality, "test".to_owned());
        let figures = trainer::Figures { task, split, n: 120, positives: 20, auroc: 0.8, low: 0.7, high: 0.9, ece: 0.05, zero_shot };
        let refused = Report { figures: vec![figures], refused: Some("chance_on_test".to_owned()), ..report(Reason::First, false) };
        let said = "mortality, test: AUROC 0.800 [0.700, 0.900] of 120, 0.500 before it learned; calibration error 0.050";
        assert_eq!(outcome(&refused), [said, "model a was refused and is not live: chance_on_test"]);
        assert_eq!(outcome(&report(Reason::First, true)), ["model a is the champion"]);
        let by_hand = outcome(&report(Reason::First, false));
        let waits = |report: &Report| [true, false].map(|auto_promote| is_as_asked(report, auto_promote));
        assert_eq!(
            [waits(&refused), waits(&report(Reason::First, false)), waits(&report(Reason::First, true))],
            [[false, false], [false, true], [true, true]]
        );
        assert_eq!(by_hand, ["model a is registered and not live: `wardstream models promote a` makes it the champion"]);
    }

    #[test]
    fn nothing_is_decided_later_than_now() -> Result<(), jiff::Error> {
        let at = |text: &str| text.parse::<Timestamp>();
        let wall = at("2026-03-01T10:20:30Z")?;
        assert_eq!(decided_at(at("2013-01-01T00:00:01.5Z")?, wall), at("2013-01-01T00:00:01.5Z")?);
        assert_eq!(decided_at(at("2099-01-01T00:00:00Z")?, wall), at("2026-03-01T10:20:00Z")?);
        Ok(())
    }
}
