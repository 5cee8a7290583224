//! Stored records, as a replay reads them back.

use jiff::Timestamp;
use schemas::Source;

use crate::error::QueryError;
use crate::literal::quoted;
use crate::read::{AsOf, binaries, instants, ints, texts};
use crate::store::Warehouse;

/// One record with what its newest reading made of it. Its bytes may identify a person, so it has no `Debug`.
pub struct Stored {
    /// Where it stood.
    pub source: Source,
    /// The broker's timestamp.
    pub known_at: Timestamp,
    /// Whose record it is.
    pub facility: String,
    /// The record's headers as a JSON object.
    pub headers: String,
    /// The exact bytes.
    pub payload: Option<Vec<u8>>,
    /// What the reading made of it.
    pub reading: StoredReading,
}

/// What `messages` says about a record besides its bytes; two readings that are equal say the same.
#[derive(PartialEq, Eq)]
pub struct StoredReading {
    /// Name of the format.
    pub format: Option<String>,
    /// What set it off.
    pub trigger: Option<String>,
    /// MSH-10, or the resource's id.
    pub control_id: Option<String>,
    /// Name of the outcome.
    pub outcome: Option<String>,
    /// Rejects as JSON.
    pub rejects: Option<String>,
    /// Flags as JSON.
    pub flags: Option<String>,
    /// The charset that was decided on.
    pub charset: Option<String>,
    /// Digest of the rows that it gave.
    pub rows_digest: Option<String>,
    /// Version of the maps.
    pub parser_version: i64,
    /// The reading whose rows stand.
    pub rows_reading: i64,
}

impl Warehouse {
    /// Where the records stand that meet a condition over `messages`, and those with the same bytes, whose facts are the same; in the
    /// order of the log. Our own topics are never read anew.
    ///
    /// # Errors
    /// Where the condition is no SQL over the columns of `messages`.
    pub async fn find(&self, condition: &str) -> Result<Vec<Source>, QueryError> {
        let sql = format!(
            "SELECT topic, \"partition\", \"offset\" FROM messages WHERE facility <> 'wardstream' AND payload IS NOT NULL \
             AND digest IN (SELECT digest FROM messages WHERE {condition}) ORDER BY topic, \"partition\", \"offset\""
        );
        let mut found = Vec::new();
        for batch in self.query(&sql, &AsOf::default()).await? {
            found.extend(sources(&batch)?);
        }
        Ok(found)
    }

    /// These records, which stand in one partition in ascending order, with their bytes.
    ///
    /// # Errors
    /// Where the tables cannot be read.
    pub async fn stored(&self, run: &[Source]) -> Result<Vec<Stored>, QueryError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT * FROM standing_messages WHERE topic = {} AND \"partition\" = {} AND \"offset\" BETWEEN {} AND {} AND \"offset\" IN ({}) \
             ORDER BY \"offset\"",
            quoted(&first.topic),
            first.partition,
            first.offset,
            last.offset,
            run.iter().map(|source| source.offset.to_string()).collect::<Vec<_>>().join(", ")
        );
        let mut found = Vec::new();
        for batch in self.query(&sql, &AsOf::default()).await? {
            found.extend(stored(&batch)?);
        }
        Ok(found)
    }
}

fn sources(batch: &datafusion::arrow::array::RecordBatch) -> Result<Vec<Source>, QueryError> {
    let (topics, partitions, offsets) = (texts(batch, "topic")?, ints(batch, "partition")?, ints(batch, "offset")?);
    let whole = |((topic, partition), offset): ((Option<String>, Option<i64>), Option<i64>)| {
        Some(Source { topic: topic?, partition: i32::try_from(partition?).ok()?, offset: offset? })
    };
    topics.into_iter().zip(partitions).zip(offsets).map(|one| whole(one).ok_or(QueryError::Row { column: "offset" })).collect()
}

fn stored(batch: &datafusion::arrow::array::RecordBatch) -> Result<Vec<Stored>, QueryError> {
    let text = |column| texts(batch, column);
    let (facilities, headers, payloads) = (text("facility")?, text("headers")?, binaries(batch, "payload")?);
    let (formats, triggers, control_ids, outcomes) = (text("format")?, text("trigger")?, text("control_id")?, text("outcome")?);
    let (rejects, flags, charsets, digests) = (text("rejects")?, text("flags")?, text("charset")?, text("rows_digest")?);
    let (versions, readings, known) = (ints(batch, "parser_version")?, ints(batch, "rows_reading")?, instants(batch, "known_at")?);
    let mut found = Vec::new();
    for (row, source) in sources(batch)?.into_iter().enumerate() {
        let of = |column: &[Option<String>]| column.get(row).cloned().flatten();
        let number = |column: &[Option<i64>]| column.get(row).copied().flatten().unwrap_or_default();
        found.push(Stored {
            source,
            known_at: known.get(row).copied().flatten().ok_or(QueryError::Row { column: "known_at" })?,
            facility: of(&facilities).unwrap_or_default(),
            headers: of(&headers).unwrap_or_default(),
            payload: payloads.get(row).cloned().flatten(),
            reading: StoredReading {
                format: of(&formats),
                trigger: of(&triggers),
                control_id: of(&control_ids),
                outcome: of(&outcomes),
                rejects: of(&rejects),
                flags: of(&flags),
                charset: of(&charsets),
                rows_digest: of(&digests),
                parser_version: number(&versions),
                rows_reading: number(&readings),
            },
        });
    }
    Ok(found)
}
