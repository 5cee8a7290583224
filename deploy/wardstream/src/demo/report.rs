//! The report: `report.json` of CONTRACT section 5, and the same for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

#[derive(Default, Serialize)]
pub struct Report {
    pub seed: u64,
    pub seconds: f64,
    pub messages: Messages,
    pub tasks: BTreeMap<String, TaskFigures>,
    pub predictions: Predictions,
    pub latency_ms: Latency,
    pub drift: Drift,
    pub refresh: Refresh,
    pub labels: Labels,
    pub checks: Vec<Check>,
}

#[derive(Default, Serialize)]
pub struct Messages {
    pub published: u64,
    pub landed: u64,
    pub rejected: u64,
    pub missing: u64,
    pub doubled: u64,
}

/// Of the first model, on the same-period test; the ceiling is the truth's own, on the same stays.
#[derive(Serialize)]
pub struct TaskFigures {
    pub n: usize,
    pub auroc: f64,
    pub low: f64,
    pub high: f64,
    pub ceiling: f64,
    /// Of the way from 0.5 to the ceiling.
    pub share: f64,
    pub zero_shot: f64,
    pub zero_shot_high: f64,
}

#[derive(Default, Serialize)]
pub struct Predictions {
    pub published: u64,
    pub distinct: u64,
    pub duplicates: u64,
}

#[derive(Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Default, Serialize)]
pub struct Drift {
    pub planted_at: Option<jiff::Timestamp>,
    pub kind: String,
    pub alarmed_at: Option<jiff::Timestamp>,
    pub false_alarms: usize,
}

#[derive(Default, Serialize)]
pub struct Refresh {
    pub promoted: bool,
    pub auroc_before: Option<f64>,
    pub auroc_after: Option<f64>,
}

/// The hospital's truth against the labels that are mature.
#[derive(Default, Serialize)]
pub struct Labels {
    pub compared: u64,
    pub equal: u64,
    pub only_in_labels: u64,
}

#[derive(Serialize)]
pub struct Check {
    pub name: String,
    pub held: bool,
    pub found: String,
}

impl Report {
    /// Adds a check with what was found.
    pub fn check(&mut self, name: &str, held: bool, found: impl std::fmt::Display) {
        self.checks.push(Check { name: name.to_owned(), held, found: found.to_string() });
    }

    /// Whether every check held.
    pub fn held(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    /// The report as a person reads it.
    pub fn for_people(&self) -> String {
        let mut text = format!("\nWardstream demo, seed {}: {:.0} s\n\n", self.seed, self.seconds);
        let messages = &self.messages;
        let _ = writeln!(
            text,
            "messages     {} published, {} landed, {} rejected, {} missing, {} doubled",
            messages.published, messages.landed, messages.rejected, messages.missing, messages.doubled
        );
        let _ = writeln!(text, "labels       {} of {} mature labels equal the hospital's truth", self.labels.equal, self.labels.compared);
        let _ = writeln!(text, "\ntask             n    AUROC  95 % interval   ceiling  share  zero-shot");
        for (task, figures) in &self.tasks {
            let _ = writeln!(
                text,
                "{task:<15} {:>4}  {:.3}  {:.3} - {:.3}   {:.3}    {:>3.0} %  {:.3}",
                figures.n,
                figures.auroc,
                figures.low,
                figures.high,
                figures.ceiling,
                100.0 * figures.share,
                figures.zero_shot
            );
        }
        let _ = writeln!(
            text,
            "\npredictions  {} published, {} distinct, {} duplicates; message to prediction p50 {:.0} ms, p99 {:.0} ms",
            self.predictions.published, self.predictions.distinct, self.predictions.duplicates, self.latency_ms.p50, self.latency_ms.p99
        );
        let day = |at: Option<jiff::Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.strftime("%F").to_string());
        let _ = writeln!(
            text,
            "drift        {} shift planted {}, alarmed {}, {} false alarms before",
            self.drift.kind,
            day(self.drift.planted_at),
            day(self.drift.alarmed_at),
            self.drift.false_alarms
        );
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let _ = writeln!(
            text,
            "refresh      {}; mean AUROC after the shift {} with the old model, {} with the new one\n",
            if self.refresh.promoted { "promoted" } else { "not promoted" },
            figure(self.refresh.auroc_before),
            figure(self.refresh.auroc_after)
        );
        for check in &self.checks {
            let _ = writeln!(text, "{} {}: {}", if check.held { "held  " } else { "FAILED" }, check.name, check.found);
        }
        text
    }
}
