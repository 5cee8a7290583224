//! What the scorer counts. The only place of this room where metric macros stand.
#![expect(clippy::disallowed_macros, reason = "this is the room's metrics.rs")]

use std::time::Duration;

/// Describes the room's metrics to the recorder.
pub fn describe() {
    metrics::describe_counter!("scorer_notes_total", "canonical notes read");
    metrics::describe_counter!("scorer_predictions_total", "predictions and retractions made");
    metrics::describe_counter!("scorer_unreadable_total", "records of clinical.note.v1 that are no canonical notes");
    metrics::describe_histogram!("scorer_batch_seconds", metrics::Unit::Seconds, "answering one batch");
    metrics::describe_counter!("scorer_alarms_total", "drift alarms published");
}

pub(crate) fn scored(notes: usize, predictions: usize, elapsed: Duration) {
    metrics::counter!("scorer_notes_total").increment(notes as u64);
    metrics::counter!("scorer_predictions_total").increment(predictions as u64);
    metrics::histogram!("scorer_batch_seconds").record(elapsed.as_secs_f64());
}

pub(crate) fn unreadable() {
    metrics::counter!("scorer_unreadable_total").increment(1);
}

pub(crate) fn alarmed() {
    metrics::counter!("scorer_alarms_total").increment(1);
}
