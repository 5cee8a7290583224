//! How the tables lie in their store: what statistics are kept of, how columns are compressed, and for how long history is kept.

use std::collections::HashMap;

use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
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

/// Columns that are asked for by one value, and how many values a merged file holds of each at most. Rows lie in the order in which they became
/// known, so the extremes of these say nothing; a bloom filter says of a file that the value is not in it.
fn looked_up(table: Table) -> &'static [(&'static str, u64)] {
    match table {
        Table::Messages => &[],
        Table::Events => &[("patient_id", 20_000), ("encounter_id", 40_000), ("event_id", 200_000)],
        Table::Notes => &[("patient_id", 5_000), ("encounter_id", 5_000), ("note_id", 10_000)],
        Table::Predictions => &[("patient_id", 20_000), ("encounter_id", 20_000), ("note_id", 20_000)],
    }
}

/// One in so many files is read for a value that it does not hold.
const FALSE_FINDS: f64 = 0.01;

/// How rows are appended: small files that are merged soon, and no time for filters.
pub fn writing() -> WriterProperties {
    properties().build()
}

/// How files are written that take the place of others.
pub fn merging(table: Table) -> WriterProperties {
    let filtered = |builder: WriterPropertiesBuilder, (column, values): &(&str, u64)| {
        let column = ColumnPath::from(*column);
        let builder =
            builder.set_column_bloom_filter_enabled(column.clone(), true).set_column_bloom_filter_max_ndv(column.clone(), *values);
        builder.set_column_bloom_filter_fpp(column, FALSE_FINDS)
    };
    looked_up(table).iter().fold(properties(), filtered).build()
}

fn properties() -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(1).map_or(Compression::UNCOMPRESSED, Compression::ZSTD);
    let plain = |builder: WriterPropertiesBuilder, column: &str| {
        let column = ColumnPath::from(column);
        builder.set_column_dictionary_enabled(column.clone(), false).set_column_statistics_enabled(column, EnabledStatistics::None)
    };
    UNIQUE.into_iter().fold(WriterProperties::builder().set_compression(level), plain)
}
