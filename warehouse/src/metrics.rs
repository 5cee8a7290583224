//! What the warehouse counts. The only place of this room where metric macros stand.
#![expect(clippy::disallowed_macros, reason = "this is the room's metrics.rs")]

/// Describes the room's metrics to the recorder.
pub fn describe() {
    metrics::describe_counter!("warehouse_queries_total", "queries planned, by where they came from");
    metrics::describe_counter!("warehouse_statements_total", "statements of clients by protocol and how they ended");
    metrics::describe_gauge!("warehouse_connections", "clients that are connected, by protocol");
    metrics::describe_counter!("warehouse_weights_removed_total", "models whose weights or adapters were recorded as removed");
    metrics::describe_gauge!("warehouse_weights_folders", "folders that the store of weights keeps");
}

/// How a statement of a client ended.
#[derive(Clone, Copy)]
pub(crate) enum Ended {
    /// With its answer.
    Answered,
    /// It was wrong, or nothing that may be asked.
    Refused,
    /// By its user, its time or the server's end.
    Stopped,
    /// For want of memory, disk or rows.
    Limited,
    /// By a fault of the server or the store.
    Failed,
}

impl Ended {
    /// By the error's class.
    pub(crate) fn of(code: &str) -> Self {
        match code.get(..2) {
            Some("57") => Self::Stopped,
            Some("53" | "54") => Self::Limited,
            Some("58" | "XX") => Self::Failed,
            _ => Self::Refused,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

pub(crate) fn ended(door: &'static str, how: Ended) {
    metrics::counter!("warehouse_statements_total", "door" => door, "ended" => how.label()).increment(1);
}

pub(crate) fn connected(door: &'static str, by: f64) {
    metrics::gauge!("warehouse_connections", "door" => door).increment(by);
}

pub(crate) fn queried(door: &'static str) {
    metrics::counter!("warehouse_queries_total", "door" => door).increment(1);
}

pub(crate) fn weights_removed(models: usize, folders_left: usize) {
    metrics::counter!("warehouse_weights_removed_total").increment(models as u64);
    metrics::gauge!("warehouse_weights_folders").set(folders_left as f64);
}
