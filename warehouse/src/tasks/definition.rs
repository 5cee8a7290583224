//! What a task's TOML file says, and what it must not say.

use schemas::NoteKind;
use serde::Deserialize;

use super::TaskError;
use crate::settings::said;

/// The first step of every task.
pub const STAYS: &str = "stays";

/// Steps that come before a task's own rules: reason, effect, why.
pub const BEFORE: [(&str, Effect, &str); 4] = [
    (
        "cancelled",
        Effect::Excluded,
        "The admission was cancelled or its record deleted: there was no stay. Its labels are taken back at once.",
    ),
    ("made_outpatient", Effect::Excluded, "The visit went on as an outpatient's: it is no stay any more."),
    ("not_asked", Effect::Fault, "The task's query gives no row for the stay."),
    ("asked_twice", Effect::Fault, "The task's query gives several rows for the stay."),
];

/// Steps that come after them.
pub const AFTER: [(&str, Effect, &str); 4] = [
    ("no_outcome", Effect::Fault, "The task's query gives no outcome, or not when it came to be."),
    ("no_such_class", Effect::Fault, "The outcome is none of the task's classes."),
    (
        "outcome_before_prediction",
        Effect::Excluded,
        "The outcome had come to be when the note was known: there was nothing left to predict, and the note may say it.",
    ),
    (
        "note_after_discharge",
        Effect::Excluded,
        "The admission note became known when the patient had left: it may tell of the whole stay, which nobody knew at admission.",
    ),
];

/// How the rest of the stays ends: reason, why.
pub const LAST: [(&str, &str); 3] = [
    ("not mature", "Horizon and reporting delay have not passed."),
    ("no prompt note", "Nobody wrote a note of the kind that is asked, nothing stands in it, or it was taken back."),
    ("examples", "Labelled, with a note to read."),
];

/// From when a task's horizon counts.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The stay's admission.
    Admission,
    /// The stay's discharge.
    Discharge,
    /// When the note became known.
    Prediction,
}

impl Clock {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Discharge => "discharge",
            Self::Prediction => "prediction",
        }
    }
}

/// Facts whose reporting is measured.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reported {
    Admission,
    Discharge,
    Death,
    Diagnosis,
    Claim,
}

impl Reported {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Discharge => "discharge",
            Self::Death => "death",
            Self::Diagnosis => "diagnosis",
            Self::Claim => "claim",
        }
    }
}

/// How long reporting is waited for.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// The facts that decide the outcome.
    pub facts: Vec<Reported>,
    /// Waited for in any case.
    pub at_least_days: u32,
    /// Waited for at most, whatever was measured.
    pub at_most_days: u32,
}

/// What is asked for: one of so many classes, or a number in a unit.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub classes: Option<u8>,
    pub unit: Option<String>,
}

/// What a rule does with the stays of which it holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// They leave the cohort.
    #[default]
    Excluded,
    /// They stay, and are counted.
    Counted,
    /// They wait: what becomes of them is not known yet, however much time has passed.
    Pending,
    /// They leave because the query is at fault. No file names this.
    #[serde(skip)]
    Fault,
}

impl Effect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Excluded => "excluded",
            Self::Counted => "counted",
            Self::Pending => "pending",
            Self::Fault => "fault",
        }
    }
}

/// A rule of a cohort, and the column of the query that says of which stays it holds.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub reason: String,
    pub why: String,
    #[serde(default)]
    pub effect: Effect,
}

/// The file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    note: NoteKind,
    clock: Clock,
    horizon_days: u32,
    /// Name of the query's file where it is not the task's: another horizon over the same query.
    query: Option<String>,
    delay: Delay,
    target: Target,
    #[serde(default)]
    rules: Vec<Rule>,
}

/// A task as it is run.
#[derive(Clone)]
pub struct Definition {
    pub name: String,
    pub title: String,
    pub note: NoteKind,
    pub clock: Clock,
    pub horizon_days: u32,
    pub delay: Delay,
    pub target: Target,
    pub rules: Vec<Rule>,
    /// The file, as it was written.
    pub toml: String,
    /// The query, its horizon put in.
    pub sql: String,
}

/// Ten years.
const LONGEST_DAYS: u32 = 3_650;
/// As many as there are letters for options.
const MOST_CLASSES: u8 = 26;
const COLUMNS: [&str; 3] = ["encounter_id", "outcome", "outcome_at"];

/// Lower case, digits and `_`, from a letter on; 40 at most.
fn is_name(text: &str) -> bool {
    text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl Definition {
    /// Reads a task's file; `query` reads the text of a query by its name.
    pub fn parse(name: &str, toml: &str, query: impl FnOnce(&str) -> Result<String, TaskError>) -> Result<Self, TaskError> {
        let wrong = |reason: String| TaskError::new(name, reason);
        if !is_name(name) {
            return Err(wrong("its name must be lower-case letters, digits and `_`, and begin with a letter".to_owned()));
        }
        let file: File = toml::from_str(toml).map_err(|error| wrong(said(&error, toml)))?;
        file.check().map_err(wrong)?;
        let stated = file.query.as_deref().unwrap_or(name);
        if !is_name(stated) {
            return Err(wrong(format!("`query` must name a file beside it without its ending, not `{stated}`")));
        }
        let sql = query(stated)?.replace("$horizon", &format!("INTERVAL '{} days'", file.horizon_days));
        Ok(Self {
            name: name.to_owned(),
            title: file.title,
            note: file.note,
            clock: file.clock,
            horizon_days: file.horizon_days,
            delay: file.delay,
            target: file.target,
            rules: file.rules,
            toml: toml.to_owned(),
            sql,
        })
    }

    /// Under which the rows of its query stand in SQL.
    pub fn relation(&self) -> String {
        format!("{}_outcomes", self.name)
    }
}

impl File {
    fn check(&self) -> Result<(), String> {
        if self.horizon_days == 0 || self.horizon_days > LONGEST_DAYS {
            return Err(format!("`horizon_days` must be 1 to {LONGEST_DAYS}"));
        }
        if self.delay.at_least_days > self.delay.at_most_days || self.delay.at_most_days > LONGEST_DAYS {
            return Err(format!("`delay.at_least_days` must not exceed `delay.at_most_days`, nor that {LONGEST_DAYS}"));
        }
        if self.delay.facts.is_empty() {
            return Err("`delay.facts` must name at least one of admission, discharge, death, diagnosis and claim".to_owned());
        }
        match (self.target.classes, &self.target.unit) {
            (Some(2..=MOST_CLASSES), None) | (None, Some(_)) => {}
            (Some(_), None) => return Err(format!("`target.classes` must be 2 to {MOST_CLASSES}")),
            _ => return Err("`target` must say either `classes` (how many) or `unit` (of a number)".to_owned()),
        }
        let reserved = BEFORE.iter().chain(&AFTER).map(|(reason, _, _)| *reason).chain(COLUMNS).chain([STAYS, "examples"]);
        let mut taken: Vec<&str> = reserved.collect();
        for rule in &self.rules {
            if !is_name(&rule.reason) {
                return Err(format!("the reason `{}` must be lower-case letters, digits and `_`, and begin with a letter", rule.reason));
            }
            if taken.contains(&rule.reason.as_str()) {
                return Err(format!("the reason `{}` is named twice, or belongs to every task", rule.reason));
            }
            if rule.why.trim().is_empty() {
                return Err(format!("the rule `{}` must say why", rule.reason));
            }
            taken.push(&rule.reason);
        }
        Ok(())
    }
}
