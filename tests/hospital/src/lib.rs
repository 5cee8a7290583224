//! A simulated hospital that speaks HL7 v2 and FHIR R4 and knows its own truth.
//!
//! Two facilities from one seed. Each outcome is drawn from a probability that the hospital knows, so the best AUROC
//! that anybody could reach is known too. The truth comes from the process, never from the messages.

mod chance;
mod fhir;
mod hl7;
mod plan;
mod process;
mod prose;
mod sending;
mod truth;

pub use plan::{Plan, Shift, ShiftKind, Speak};
pub use sending::{Sent, SimulateError, simulate};
pub use truth::{TruthLine, auroc, ceiling};
