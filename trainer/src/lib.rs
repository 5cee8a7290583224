//! Rows change weights: one cycle is dataset, zero-shot baseline, joint fine-tune, evaluation, gate, registry.
//!
//! Never publishes a prediction; only a promotion makes a model live.

mod checkpoints;
mod cycle;
mod dataset;
pub mod evaluation;
mod gate;
mod report;
mod schedule;
mod settings;
mod tune;

pub use cycle::{CycleError, Order, run};
pub use report::{Figures, Interval, Reason, Report};
pub use schedule::{called, ready};
pub use settings::Settings;
