//! What the page shows: aggregates, as the views gave them. Nothing here names a patient, a stay or a note.

use std::time::Duration;

use jiff::Timestamp;
use schemas::DriftAlert;
use serde::Deserialize;
use warehouse::Champion;

/// An answer, or a sentence that stands in its place.
pub type Told<T> = Result<T, String>;

/// Everything that was asked for one page, section by section.
pub struct Facts {
    /// By the wall clock, once everything was answered.
    pub computed_at: Timestamp,
    /// How long the answers took.
    pub took: Duration,
    /// The newest instant of the log, when the first question was asked; `None` before anything has landed.
    pub watermark: Told<Option<Timestamp>>,
    /// The model that answers.
    pub champion: Told<Option<Champion>>,
    /// What happened to models, newest first.
    pub history: Told<Vec<Happened>>,
    /// What models were asked.
    pub answers: Told<Vec<Answered>>,
    /// What tasks ask.
    pub titles: Told<Vec<Titled>>,
    /// Months that were judged: of performance all of them, else those that alarm; newest first.
    pub drift: Told<Vec<Judged>>,
    /// Alarms that have landed.
    pub landed: Told<Vec<DriftAlert>>,
    /// What models reached, by month.
    pub months: Told<Vec<Month>>,
    /// How far feeds have come.
    pub feeds: Told<Vec<Feed>>,
    /// What the tables hold of each topic.
    pub conserved: Told<Vec<Conserved>>,
    /// How many labels are there.
    pub maturity: Told<Vec<Maturity>>,
}

impl Facts {
    /// The version that answers, where that is known.
    pub fn live(&self) -> Option<&str> {
        self.champion.as_ref().ok()?.as_ref().map(|champion| champion.model_version.0.as_str())
    }

    /// Where a task stands among those that there are; one that is not known comes behind all.
    pub fn place(&self, task: &str) -> usize {
        let titles = self.titles.as_deref().unwrap_or_default();
        titles.iter().position(|titled| titled.task == task).unwrap_or(titles.len())
    }
}

/// A line of `model_history`.
#[derive(Debug, Deserialize)]
pub struct Happened {
    pub model_version: String,
    pub event: String,
    /// In the log's time.
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

/// One task of one model.
#[derive(Debug, Deserialize)]
pub struct Answered {
    pub model_version: String,
    pub task: String,
    /// Of a task of two classes: from which probability on the answer is yes.
    pub threshold: Option<f64>,
    /// When the newest prediction was made, in the log's time.
    pub last_at: Option<Timestamp>,
}

/// What a task asks.
#[derive(Debug, Deserialize)]
pub struct Titled {
    pub task: String,
    pub title: String,
}

/// A row of `drift`.
#[derive(Clone, Debug, Deserialize)]
pub struct Judged {
    /// `all` for what concerns a feed.
    pub task: String,
    /// Empty for what concerns a feed.
    pub model_version: String,
    /// First instant of the month.
    pub month: Timestamp,
    pub kind: String,
    pub measure: String,
    pub value: Option<f64>,
    pub limit: Option<f64>,
    pub alarm: bool,
    /// Whether every later month that was judged alarms as well.
    pub standing: bool,
}

impl Judged {
    /// Whether both are about the same measure of the same model or feed.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.task, &self.model_version, &self.kind, &self.measure) == (&other.task, &other.model_version, &other.kind, &other.measure)
    }

    /// Whether the alarm that landed is this one.
    pub fn is(&self, landed: &DriftAlert) -> bool {
        (self.task.as_str(), self.model_version.as_str(), self.kind.as_str(), self.measure.as_str(), self.month)
            == (landed.task.as_str(), landed.model_version.as_str(), landed.kind.as_str(), landed.measure.as_str(), landed.month)
    }
}

/// A row of `performance`.
#[derive(Clone, Debug, Deserialize)]
pub struct Month {
    pub task: String,
    pub model_version: String,
    /// First instant of the month.
    pub month: Timestamp,
    /// Mature labels.
    pub n: i64,
    /// Of them those above 0.
    pub positives: i64,
    /// Labels that are not mature.
    pub immature: i64,
    /// `None` where there is one class only.
    pub auroc: Option<f64>,
    pub auroc_low: Option<f64>,
    pub auroc_high: Option<f64>,
}

/// How far a feed has come, and what it sent in its last seven days.
#[derive(Debug, Deserialize)]
pub struct Feed {
    pub facility: String,
    pub watermark: Timestamp,
    pub messages: i64,
    pub refused: i64,
    pub partly: i64,
}

/// What a table holds of a topic.
#[derive(Debug, Deserialize)]
pub struct Conserved {
    pub topic: String,
    pub table: String,
    pub landed: i64,
    pub missing: i64,
    pub doubled: i64,
    /// What the broker deleted before it was read.
    pub lost: i64,
}

/// A task's labels.
#[derive(Debug, Deserialize)]
pub struct Maturity {
    pub task: String,
    pub stays: i64,
    pub labelled: i64,
    pub excluded: i64,
    pub immature: i64,
    /// Without an outcome, however much time has passed.
    pub waiting: i64,
    /// The first month that lacks some.
    pub first_immature: Option<Timestamp>,
    /// When that month's will all be there.
    pub mature_at: Option<Timestamp>,
}
