//! How labelled examples are split: periods by prediction time, folds by a hash that new data cannot change.
//!
//! A rule that could put one example into two splits, or names a split twice, is refused when the configuration is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The rule of every task that has none of its own.
pub const DEFAULT: &str = "default";

/// A share may be this large: what they are added up to and multiplied with stays far from where numbers end.
const LARGEST_SHARE: u32 = 1_000_000;

/// Splits that the shares of the main period fill; a temporal test needs another name.
pub const FOLDS: [&str; 3] = ["train", "validation", "test"];

/// Rules by the name of the task; what the configuration does not name is as the paper has it (L1 section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, TaskSplits>", into = "BTreeMap<String, TaskSplits>")]
pub struct Splits(pub BTreeMap<String, TaskSplits>);

/// Periods and folds of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSplits {
    /// Training, validation and same-period test.
    pub main: Period,
    /// Temporal tests. Several periods of one name are one test.
    #[serde(default)]
    pub temporal: Vec<TemporalTest>,
    /// Shares of training, validation and test: `[8, 1, 1]`.
    pub folds: [u32; 3],
    /// Whose hash decides the fold.
    #[serde(default)]
    pub unit: Unit,
    /// Stands before what is hashed: another salt is another draw.
    #[serde(default)]
    pub salt: String,
}

/// What a fold is drawn for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// All of a patient's notes go together, and no temporal test holds a patient of the training split.
    #[default]
    Patient,
    /// Each note by itself, as in the paper: patients overlap, and `patient_in_train` says which.
    Note,
}

impl Unit {
    /// As in the column `unit`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Note => "note",
        }
    }
}

/// From the first instant until before the second, by prediction time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// First instant.
    pub from: Timestamp,
    /// First instant after it.
    pub until: Timestamp,
}

/// A period that lies apart from the main one, and the split that it fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemporalTest {
    /// First instant.
    pub from: Timestamp,
    /// First instant after it.
    pub until: Timestamp,
    /// Name of the split.
    #[serde(default = "TemporalTest::usual_name")]
    pub name: String,
}

/// A rule that splits nothing, or twice: mend the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitsError {
    /// Ends before it begins.
    #[error("splits.{task}: the period from {from} until {until} is empty")]
    Empty {
        /// Whose.
        task: String,
        /// First instant.
        from: Timestamp,
        /// First instant after it.
        until: Timestamp,
    },
    /// Two periods share an instant.
    #[error("splits.{task}: the period from {from} overlaps with another; an example would be in two splits")]
    Overlap {
        /// Whose.
        task: String,
        /// First instant of the later one.
        from: Timestamp,
    },
    /// No share at all.
    #[error("splits.{task}: folds are all 0; write shares of training, validation and test, `[8, 1, 1]`")]
    NoShares {
        /// Whose.
        task: String,
    },
    /// A share beyond what can be reckoned with.
    #[error("splits.{task}: a share of folds is {share}; write numbers up to {most}, `[8, 1, 1]`", most = LARGEST_SHARE)]
    Share {
        /// Whose.
        task: String,
        /// As configured.
        share: u32,
    },
    /// A name that no file or column can bear, or that means something else.
    #[error(
        "splits.{task}: a temporal test cannot be called `{name}`; write lower-case letters, digits and `_`, and none of train, validation, test, main"
    )]
    Name {
        /// Whose.
        task: String,
        /// As configured.
        name: String,
    },
}

impl TemporalTest {
    fn usual_name() -> String {
        "temporal_test".to_owned()
    }

    fn between(from: (i16, i8), until: (i16, i8)) -> Self {
        let Period { from, until } = Period::between(from, until);
        Self { from, until, name: Self::usual_name() }
    }
}

impl Period {
    /// Whole months of the civil calendar, UTC.
    fn between(from: (i16, i8), until: (i16, i8)) -> Self {
        let instant = |(year, month): (i16, i8)| {
            let first = jiff::civil::date(year, month, 1);
            first.to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp()).unwrap_or_default()
        };
        Self { from: instant(from), until: instant(until) }
    }
}

impl TaskSplits {
    /// Names of the splits, each once, in the order in which they are written.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = FOLDS.iter().map(|name| (*name).to_owned()).collect();
        for test in &self.temporal {
            if !names.contains(&test.name) {
                names.push(test.name.clone());
            }
        }
        names
    }

    fn checked(&self, task: &str) -> Result<(), SplitsError> {
        let task = || task.to_owned();
        let mut periods = vec![(self.main.from, self.main.until)];
        periods.extend(self.temporal.iter().map(|test| (test.from, test.until)));
        periods.sort_unstable();
        if let Some((from, until)) = periods.iter().find(|(from, until)| from >= until) {
            return Err(SplitsError::Empty { task: task(), from: *from, until: *until });
        }
        for (before, after) in periods.iter().zip(periods.iter().skip(1)) {
            if after.0 < before.1 {
                return Err(SplitsError::Overlap { task: task(), from: after.0 });
            }
        }
        if self.folds.iter().all(|share| *share == 0) {
            return Err(SplitsError::NoShares { task: task() });
        }
        if let Some(share) = self.folds.iter().find(|share| **share > LARGEST_SHARE) {
            return Err(SplitsError::Share { task: task(), share: *share });
        }
        let fits = |name: &str| {
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            plain && !name.is_empty() && name != "main" && !FOLDS.contains(&name)
        };
        match self.temporal.iter().find(|test| !fits(&test.name)) {
            Some(test) => Err(SplitsError::Name { task: task(), name: test.name.clone() }),
            None => Ok(()),
        }
    }
}

impl Splits {
    /// The rule of a task: its own, else the default one.
    #[must_use]
    pub fn of(&self, task: &str) -> TaskSplits {
        self.0.get(task).or_else(|| self.0.get(DEFAULT)).cloned().unwrap_or_else(four)
    }
}

/// Readmission, mortality, length of stay and comorbidity (L1 section 2).
fn four() -> TaskSplits {
    TaskSplits {
        main: Period::between((2013, 1), (2021, 6)),
        temporal: vec![TemporalTest::between((2021, 6), (2022, 1)), TemporalTest::between((2024, 1), (2025, 1))],
        folds: [8, 1, 1],
        unit: Unit::Patient,
        salt: String::new(),
    }
}

/// Denial of claims (L1 section 2).
fn denial() -> TaskSplits {
    TaskSplits {
        main: Period::between((2021, 5), (2022, 3)),
        temporal: vec![TemporalTest::between((2022, 3), (2022, 5)), TemporalTest::between((2024, 1), (2024, 2))],
        folds: [18, 1, 1],
        ..four()
    }
}

impl Default for Splits {
    /// L1 section 2, as the paper has it.
    fn default() -> Self {
        Self(BTreeMap::from([(DEFAULT.to_owned(), four()), ("denial".to_owned(), denial())]))
    }
}

impl TryFrom<BTreeMap<String, TaskSplits>> for Splits {
    type Error = SplitsError;

    fn try_from(stated: BTreeMap<String, TaskSplits>) -> Result<Self, SplitsError> {
        stated.iter().try_for_each(|(task, splits)| splits.checked(task))?;
        let mut splits = Self::default();
        splits.0.extend(stated);
        Ok(splits)
    }
}

impl From<Splits> for BTreeMap<String, TaskSplits> {
    fn from(splits: Splits) -> Self {
        splits.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(change: impl Fn(&mut TaskSplits)) -> Result<Splits, SplitsError> {
        let mut task = four();
        change(&mut task);
        Splits::try_from(BTreeMap::from([("mortality".to_owned(), task)]))
    }

    #[test]
    fn a_rule_that_would_split_an_example_twice_is_refused() {
        let main = four().main;
        let inside = TemporalTest { from: main.from, until: main.until, name: "same".to_owned() };
        let overlap = stated(|task| task.temporal.push(inside.clone()));
        assert!(matches!(overlap, Err(SplitsError::Overlap { .. })), "{overlap:?}");
        let turned = stated(|task| task.main = Period { from: main.until, until: main.from });
        assert!(matches!(turned, Err(SplitsError::Empty { .. })), "{turned:?}");
        assert_eq!(stated(|task| task.folds = [0, 0, 0]), Err(SplitsError::NoShares { task: "mortality".to_owned() }));
        let beyond = stated(|task| task.folds = [u32::MAX, 1, 1]);
        assert_eq!(beyond, Err(SplitsError::Share { task: "mortality".to_owned(), share: u32::MAX }));
        for name in ["train", "main", "", "../x", "Jan"] {
            let named = stated(|task| task.temporal.iter_mut().for_each(|test| name.clone_into(&mut test.name)));
            assert!(matches!(named, Err(SplitsError::Name { .. })), "{name}: {named:?}");
        }
    }

    #[test]
    fn a_task_without_a_rule_of_its_own_has_the_default_one() {
        let splits = stated(|task| task.salt = "s".to_owned()).expect("is a rule");
        assert_eq!((splits.of("mortality").salt.as_str(), splits.of("readmission").salt.as_str()), ("s", ""));
        assert_eq!(splits.of("denial").folds, [18, 1, 1]);
        assert_eq!(splits.of("exact_days"), four());
        assert_eq!(splits.of("denial").names(), ["train", "validation", "test", "temporal_test"]);
    }
}
