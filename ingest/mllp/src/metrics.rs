//! What the listener counts. The only place of this room where metric macros stand.
#![expect(clippy::disallowed_macros, reason = "this is the room's metrics.rs")]

use std::time::Duration;

/// Describes the room's metrics to the recorder.
pub fn describe() {
    metrics::describe_counter!("mllp_messages_total", "messages received whole, by what was decided: the code of HL7 table 0008");
    metrics::describe_counter!("mllp_bytes_total", metrics::Unit::Bytes, "bytes of messages that Kafka has");
    metrics::describe_counter!("mllp_fragments_total", "cut frames and bytes between frames that were kept");
    metrics::describe_counter!("mllp_closed_total", "connections that this side closed or refused, by cause");
    metrics::describe_gauge!("mllp_connections", "open connections");
    metrics::describe_histogram!(
        "mllp_confirm_seconds",
        metrics::Unit::Seconds,
        "from a whole message to Kafka's confirmation, or to giving up"
    );
}

/// Why this side closed a connection or refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    TooMany,
    Handshake,
    Idle,
    TooLarge,
    NoRoom,
    NotReading,
}

impl Cause {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::TooLarge => "too_large",
            Self::NoRoom => "no_room",
            Self::NotReading => "not_reading",
        }
    }
}

pub(crate) fn decided(code: &'static str, after: Duration) {
    metrics::counter!("mllp_messages_total", "code" => code).increment(1);
    metrics::histogram!("mllp_confirm_seconds").record(after.as_secs_f64());
}

pub(crate) fn kept(bytes: usize) {
    metrics::counter!("mllp_bytes_total").increment(bytes as u64);
}

pub(crate) fn fragment() {
    metrics::counter!("mllp_fragments_total").increment(1);
}

pub(crate) fn closed(cause: Cause) {
    metrics::counter!("mllp_closed_total", "cause" => cause.as_str()).increment(1);
}

/// Counts one open connection until it is dropped.
pub(crate) struct Open;

impl Open {
    pub(crate) fn new() -> Self {
        metrics::gauge!("mllp_connections").increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("mllp_connections").decrement(1.0);
    }
}
