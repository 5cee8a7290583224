//! Rows become predictions, on time: canonical notes in, predictions and retractions out, and a watch over whether
//! they still hold.
//!
//! This room cannot name a label, and never changes a weight.

pub mod answering;
pub mod consumer;
pub mod metrics;
pub mod monitor;
pub mod settings;

pub use answering::{Answering, Live};
pub use settings::{Period, Settings};
