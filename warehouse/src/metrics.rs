//! What the warehouse counts. The only place of this room where metric macros stand.
#![expect(clippy::disallowed_macros, reason = "this is the room's metrics.rs")]

/// Describes the room's metrics to the recorder.
pub fn describe() {
    metrics::describe_counter!("warehouse_queries_total", "queries planned, by where they came from");
}

pub(crate) fn queried(door: &'static str) {
    metrics::counter!("warehouse_queries_total", "door" => door).increment(1);
}
