//! Rewriting the files that hold what has to go, one atomic commit a step, beside appends and merges.
//!
//! A condition names rows by where their records stood and by ids that say nothing; it stays in the table's log. Conditions are bounded by
//! the columns whose extremes the log keeps, so that what is appended meanwhile is not taken for a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use deltalake_core::kernel::Transaction;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::logstore::commit_uri_from_version;
use deltalake_core::protocol::SaveMode;
use deltalake_core::{DeltaTable, DeltaTableError};
use object_store::ObjectStoreExt as _;
use schemas::Table;

use super::search::{Left, Place};
use super::{ERASED, GAVE_UP};
use crate::error::EraseError;
use crate::layout;
use crate::maintenance::{apart, commit_alone};
use crate::store::Warehouse;

/// How often a commit is made anew because another came first.
const ATTEMPTS: u32 = 12;
/// Longer for each attempt.
const PAUSE: Duration = Duration::from_millis(40);
/// What clocks of a store and of its writers may differ by, in milliseconds.
const SKEW_MS: i64 = 300_000;

/// The columns of a table that say where a row's record stood.
fn position(table: Table) -> [&'static str; 3] {
    if table == Table::Messages { ["topic", "\"partition\"", "\"offset\""] } else { ["source_topic", "source_partition", "source_offset"] }
}

/// Wide enough to hold every place, and narrow enough that files of other times are passed over.
fn around<'a>(table: Table, places: impl Iterator<Item = &'a Place> + Clone) -> String {
    let [topic, partition, offset] = position(table);
    let topics: BTreeSet<String> = places.clone().map(|(topic, ..)| format!("'{}'", topic.replace('\'', "''"))).collect();
    let range = |name: &str, numbers: BTreeSet<i64>| {
        format!("{name} >= {} AND {name} <= {}", numbers.first().copied().unwrap_or(0), numbers.last().copied().unwrap_or(-1))
    };
    let topics = match (topics.first(), topics.last()) {
        (Some(first), Some(last)) if first == last => format!("{topic} = {first}"),
        (Some(first), Some(last)) => format!("{topic} >= {first} AND {topic} <= {last}"),
        _ => "false".to_owned(),
    };
    let partitions = range(partition, places.clone().map(|(_, partition, _)| i64::from(*partition)).collect());
    format!("{topics} AND {partitions} AND {}", range(offset, places.map(|(.., offset)| *offset).collect()))
}

/// One text for a place: the rows of a record.
fn place_of(table: Table) -> String {
    let [topic, partition, offset] = position(table);
    format!("concat({topic}, '/', CAST({partition} AS VARCHAR), '/', CAST({offset} AS VARCHAR))")
}

fn text((topic, partition, offset): &Place) -> String {
    format!("'{}/{partition}/{offset}'", topic.replace('\'', "''"))
}

/// Empties the records: everything that may identify a person, and how many of their rows are left.
pub async fn empty_messages(warehouse: &Warehouse, records: &BTreeMap<Place, Left>) -> Result<(), EraseError> {
    if records.is_empty() {
        return Ok(());
    }
    let table = Table::Messages;
    let place = place_of(table);
    let places: Vec<String> = records.keys().map(text).collect();
    let condition = format!("{} AND {place} IN ({})", around(table, records.keys()), places.join(", "));
    let count = |of: fn(&Left) -> i64| {
        let mut cases = String::new();
        for (record, left) in records.iter().filter(|(_, left)| of(left) != 0) {
            // Writing to memory does not fail.
            let _ = write!(cases, " WHEN {place} = {} THEN {}", text(record), of(left));
        }
        if cases.is_empty() { "0".to_owned() } else { format!("CASE{cases} ELSE 0 END") }
    };
    let updates = [
        ("payload", "NULL".to_owned()),
        ("key", "NULL".to_owned()),
        ("headers", "'{}'".to_owned()),
        ("control_id", "NULL".to_owned()),
        // No two are the same, or they would pass for repeats of each other.
        ("digest", format!("concat('{ERASED}:', {place})")),
        ("rows_digest", "NULL".to_owned()),
        ("outcome", format!("'{ERASED}'")),
        ("event_count", count(|left| left.events)),
        ("note_count", count(|left| left.notes)),
    ];
    update(warehouse, table, &condition, &updates).await
}

/// Facts about others lose the name of the person.
pub async fn blank_events(warehouse: &Warehouse, facts: &BTreeMap<Place, BTreeSet<String>>) -> Result<(), EraseError> {
    match these(Table::Events, "event_id", facts) {
        Some(condition) => update(warehouse, Table::Events, &condition, &[("related", "NULL".to_owned())]).await,
        None => Ok(()),
    }
}

/// The rows of these ids go.
pub async fn delete(warehouse: &Warehouse, table: Table, id: &str, rows: &BTreeMap<Place, BTreeSet<String>>) -> Result<(), EraseError> {
    match these(table, id, rows) {
        Some(condition) => delete_where(warehouse, table, &condition).await,
        None => Ok(()),
    }
}

fn these(table: Table, id: &str, rows: &BTreeMap<Place, BTreeSet<String>>) -> Option<String> {
    let ids: BTreeSet<&String> = rows.values().flatten().collect();
    let list: Vec<String> = ids.into_iter().map(|id| format!("'{id}'")).collect();
    let places: Vec<String> = rows.keys().map(text).collect();
    (!list.is_empty()).then(|| {
        let (around, place) = (around(table, rows.keys()), place_of(table));
        format!("{around} AND {id} IN ({}) AND {place} IN ({})", list.join(", "), places.join(", "))
    })
}

/// The rows that meet a condition go.
pub async fn delete_where(warehouse: &Warehouse, table: Table, condition: &str) -> Result<(), EraseError> {
    commit(warehouse, table, &Change::Delete(condition)).await
}

/// The rows that meet a condition say something else.
pub async fn update(warehouse: &Warehouse, table: Table, condition: &str, updates: &[(&str, String)]) -> Result<(), EraseError> {
    commit(warehouse, table, &Change::Update(condition, updates)).await
}

/// Each table keeps when it gave up rows: history before that goes earlier than other history.
pub async fn mark(warehouse: &Warehouse) -> Result<(), EraseError> {
    for table in Table::ALL {
        commit(warehouse, table, &Change::Mark).await?;
    }
    Ok(())
}

/// One commit.
enum Change<'a> {
    Delete(&'a str),
    Update(&'a str, &'a [(&'a str, String)]),
    Mark,
}

impl Change<'_> {
    async fn make(&self, table: Table, delta: DeltaTable, session: Arc<SessionState>) -> Result<(), DeltaTableError> {
        let properties = commit_alone(CommitProperties::default());
        match self {
            Self::Delete(condition) => {
                let delete = delta.delete().with_predicate(*condition).with_session_state(session);
                delete.with_writer_properties(layout::merging(table)).with_commit_properties(properties).await?;
            }
            Self::Update(condition, updates) => {
                let update = delta.update().with_predicate(*condition).with_session_state(session);
                let update = updates.iter().fold(update, |update, (column, value)| update.with_update(*column, value.as_str()));
                update.with_writer_properties(layout::merging(table)).with_commit_properties(properties).await?;
            }
            Self::Mark => {
                // By the store's clock of the newest commit: what was given up was given up by then.
                let newest = commit_uri_from_version(delta.version());
                let at = delta.log_store().object_store(None).head(&newest).await?.last_modified.timestamp_millis();
                let marked = properties.with_application_transaction(Transaction::new(GAVE_UP, at.saturating_add(SKEW_MS)));
                let none = delta.write(vec![RecordBatch::new_empty(table.schema())]).with_save_mode(SaveMode::Append);
                none.with_session_state(session).with_commit_properties(marked).await?;
            }
        }
        Ok(())
    }
}

/// One commit that replaces files, made anew while others come first.
async fn commit(warehouse: &Warehouse, table: Table, change: &Change<'_>) -> Result<(), EraseError> {
    let failed = |source| EraseError::Table { table: table.as_str(), source };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let delta = apart(&warehouse.snapshot(table).await.map_err(failed)?).await.map_err(failed)?;
        match change.make(table, delta, Arc::clone(&warehouse.0.plumbing)).await {
            Ok(()) => return Ok(()),
            Err(source) if attempt >= ATTEMPTS => return Err(failed(source)),
            Err(error) => {
                tracing::debug!(table = table.as_str(), %error, "a rewrite was overtaken; making it anew");
                tokio::time::sleep(PAUSE * attempt).await;
            }
        }
    }
}
