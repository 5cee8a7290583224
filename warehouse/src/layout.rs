//! How the tables lie in their store: what statistics are kept of, how columns are compressed, and for how long history is kept.

use std::collections::HashMap;

use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use schemas::Table;

/// Columns that are long or never twice the same: a dictionary of them is built and thrown away, and their extremes prune nothing.
/// Some are a person's words, which do not belong into a file's footer either.
const UNIQUE: [&str; 9] = ["payload", "key", "headers", "digest", "rows_digest", "control_id", "event_id", "note_version_id", "text"];

/// Columns whose extremes the log keeps of each file: when a row became known and where its record stood.
fn pruned_by(table: Table) -> &'static str {
    match table {
        Table::Messages => "known_at,topic,partition,offset,reading",
        Table::Events | Table::Notes | Table::Predictions => "known_at,source_topic,source_partition,source_offset,reading",
    }
}

/// Properties of a table that is made.
pub fn configuration(table: Table, keep_days: u32) -> HashMap<String, Option<String>> {
    let days = format!("interval {keep_days} days");
    [
        ("delta.dataSkippingStatsColumns", pruned_by(table).to_owned()),
        ("delta.logRetentionDuration", days.clone()),
        ("delta.deletedFileRetentionDuration", days),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), Some(value)))
    .collect()
}

/// How rows are written, by appends and merges alike.
pub fn writing() -> WriterProperties {
    let level = ZstdLevel::try_new(1).map_or(Compression::UNCOMPRESSED, Compression::ZSTD);
    let plain = |builder: WriterPropertiesBuilder, column: &str| {
        let column = parquet::schema::types::ColumnPath::from(column);
        builder.set_column_dictionary_enabled(column.clone(), false).set_column_statistics_enabled(column, EnabledStatistics::None)
    };
    UNIQUE.into_iter().fold(WriterProperties::builder().set_compression(level), plain).build()
}
