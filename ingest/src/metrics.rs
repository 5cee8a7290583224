//! What ingest counts. The only place of this room where metric macros stand.
#![expect(clippy::disallowed_macros, reason = "this is the room's metrics.rs")]

use schemas::Outcome;

/// Describes the room's metrics to the recorder.
pub fn describe() {
    metrics::describe_counter!("ingest_messages_total", "records landed, by outcome");
    metrics::describe_counter!("ingest_bytes_total", metrics::Unit::Bytes, "payload bytes landed");
    metrics::describe_counter!("ingest_commits_total", "batches committed");
    metrics::describe_counter!("ingest_retries_total", "commits or publications that had to be tried again");
    metrics::describe_histogram!("ingest_commit_seconds", metrics::Unit::Seconds, "mapping, publishing and committing one batch");
    metrics::describe_counter!("ingest_oversized_notes_total", "canonical notes larger than their topic takes; they stand in notes alone");
    metrics::describe_counter!("ingest_lost_records_total", "offsets whose records were deleted by the broker before they were read");
    metrics::describe_counter!("ingest_topics_made_anew_total", "partitions whose topic was deleted and made anew");
    metrics::describe_gauge!("ingest_watermark_seconds", metrics::Unit::Seconds, "log time of the newest record that landed");
}

pub(crate) fn landed(outcome: Outcome, bytes: usize) {
    metrics::counter!("ingest_messages_total", "outcome" => outcome.as_str()).increment(1);
    metrics::counter!("ingest_bytes_total").increment(bytes as u64);
}

pub(crate) fn committed(elapsed: std::time::Duration) {
    metrics::counter!("ingest_commits_total").increment(1);
    metrics::histogram!("ingest_commit_seconds").record(elapsed.as_secs_f64());
}

pub(crate) fn retried() {
    metrics::counter!("ingest_retries_total").increment(1);
}

pub(crate) fn oversized() {
    metrics::counter!("ingest_oversized_notes_total").increment(1);
}

pub(crate) fn lost(offsets: i64) {
    metrics::counter!("ingest_lost_records_total").increment(offsets.unsigned_abs());
}

pub(crate) fn began_anew() {
    metrics::counter!("ingest_topics_made_anew_total").increment(1);
}

pub(crate) fn watermark(at: jiff::Timestamp) {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
    metrics::gauge!("ingest_watermark_seconds").set(at.as_second() as f64);
}
