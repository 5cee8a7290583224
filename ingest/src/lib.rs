//! Bytes become rows: what the consumer, the backfill and the replay share, and the loop that keeps the promise
//! "nothing is lost, nothing is doubled".
//!
//! The maps themselves are pure and live in `maps`; this room waits, stamps and commits.

pub mod backfill;
pub mod consumer;
pub mod describe;
pub mod metrics;
pub mod reading;
pub mod replay;
pub mod settings;

pub use settings::{Route, Routes, Settings};
