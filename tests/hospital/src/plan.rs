//! What is simulated.

use clap::ValueEnum;
use jiff::civil::Date;

/// A whole simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of everything that is drawn.
    pub seed: u64,
    /// Patients of both facilities together. A patient has about two stays in twelve years: 8,000 patients make about 16,000
    /// stays, 90 a month until a wing opens in June 2021 and 160 a month from then on. Twice the patients, twice the stays.
    pub patients: u32,
    /// First day.
    pub from: Date,
    /// First day after the last.
    pub to: Date,
    /// Which facilities speak.
    pub speak: Speak,
    /// What changes, from when on.
    pub shift: Option<Shift>,
}

/// Which facilities speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Speak {
    /// North alone.
    Hl7,
    /// South alone.
    Fhir,
    /// Both.
    Both,
}

/// A change of the world or of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// What changes.
    pub kind: ShiftKind,
    /// From when on.
    pub at: Date,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShiftKind {
    /// Other people come: older and sicker ones.
    Population,
    /// Plumbing: notes are written in a new template.
    Template,
    /// Plumbing: visit numbers and departments go missing.
    Field,
    /// What leads to what changes, for every task: other conditions drive it, and what drove it speaks against it.
    Concept,
}
