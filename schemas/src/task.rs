//! The five tasks of L1 section 1: what is asked, of which note, with which answers.

use serde::{Deserialize, Serialize};

use crate::note::NoteKind;

/// A prediction task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Admitted again within 30 days of discharge.
    Readmission,
    /// Death in hospital.
    Mortality,
    /// Whole days: 0-2, 3, 4-5, more than 5.
    LengthOfStay,
    /// Charlson index: 0, 1-2, 3-4, 5-7, more than 7.
    Comorbidity,
    /// The claim was initially denied.
    Denial,
}

impl Task {
    /// All five, in the order of the paper.
    pub const ALL: [Self; 5] = [Self::Readmission, Self::Mortality, Self::LengthOfStay, Self::Comorbidity, Self::Denial];

    /// The name in every `task` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Readmission => "readmission",
            Self::Mortality => "mortality",
            Self::LengthOfStay => "length_of_stay",
            Self::Comorbidity => "comorbidity",
            Self::Denial => "denial",
        }
    }

    /// The kind of note that is asked.
    #[must_use]
    pub fn note_kind(self) -> NoteKind {
        match self {
            Self::Readmission => NoteKind::Discharge,
            Self::Mortality | Self::LengthOfStay | Self::Comorbidity | Self::Denial => NoteKind::Admission,
        }
    }

    /// The tasks asked of a note of this kind.
    pub fn of(kind: NoteKind) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |task| task.note_kind() == kind)
    }

    /// How many answers there are; labels are `0..classes`.
    #[must_use]
    pub fn classes(self) -> usize {
        match self {
            Self::Readmission | Self::Mortality | Self::Denial => 2,
            Self::LengthOfStay => 4,
            Self::Comorbidity => 5,
        }
    }
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is none of the five.
#[derive(Debug, thiserror::Error)]
#[error("there is no such task; the tasks are readmission, mortality, length_of_stay, comorbidity and denial")]
pub struct UnknownTask;

impl std::str::FromStr for Task {
    type Err = UnknownTask;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|task| task.as_str() == text).ok_or(UnknownTask)
    }
}
