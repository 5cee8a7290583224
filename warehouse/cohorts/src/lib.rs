//! Cohorts from the files of a MEDS export, by the configurations of ACES (Automatic Cohort Extraction System): from the rows of a subject to
//! the moments that count, and whether what is asked about came to be.
//!
//! A configuration names predicates over codes, the predicate that triggers, and windows that begin at the trigger. Of ACES 0.7 this crate
//! reads what such configurations need, and refuses the rest by name: see [`Config`].

mod config;
mod events;
mod extract;
mod windows;

pub use config::{Config, ConfigError};
pub use extract::{ExtractError, extract};
pub use windows::Found;

/// The configuration of 30-day readmission over an export of ours.
pub const READMISSION: &str = include_str!("../../meds/aces/readmission.yaml");
/// The same of death in hospital.
pub const MORTALITY: &str = include_str!("../../meds/aces/mortality.yaml");
/// The same of a stay's length.
pub const LENGTH_OF_STAY: &str = include_str!("../../meds/aces/length_of_stay.yaml");
