//! Rewriting the files that hold what has to go, one atomic commit a step, beside appends and merges.
//!
//! A condition names rows by where their records stood and by ids that say nothing; it stays in the table's log. Delta reads it there again
//! where another commit came between, so it says nothing but comparisons and lists of columns, which are the same after that. It is bounded
//! by the columns whose extremes the log keeps, so that what is appended meanwhile is not taken for a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use deltalake_core::kernel::Transaction;
use deltalake_core::kernel::transaction::{CommitProperties, TransactionError};
use deltalake_core::logstore::commit_uri_from_version;
use deltalake_core::protocol::SaveMode;
use deltalake_core::{DeltaTable, DeltaTableError};
use jiff::{SignedDuration, Timestamp};
use object_store::ObjectStoreExt as _;
use schemas::Table;
use tokio::time::Instant;

use super::search::{Left, Place};
use super::{ERASED, marks};
use crate::error::EraseError;
use crate::layout;
use crate::literal::{listed, quoted};
use crate::maintenance::{apart, commit_alone};
use crate::read::{AsOf, instants};
use crate::session::relation;
use crate::store::Warehouse;

/// For how long a commit is made anew because others come first.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is tried where something else is in the way: a store that is away is for the caller to wait for.
const ATTEMPTS: u32 = 12;
/// Longer for each attempt, up to the longest.
const PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Records and ids that one commit names at most: each is a comparison of the condition, and Delta takes its steps one within the other.
const NAMED: usize = 1_000;
/// Partitions that one commit names at most. A file that was backfilled is one.
const PARTITIONS: usize = 64;
/// The log keeps milliseconds of the extremes of `known_at`, and the rows microseconds.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);
/// What clocks of a store and of its writers may differ by, in milliseconds.
const SKEW_MS: i64 = 300_000;

/// The columns of a table that say where a row's record stood.
fn position(table: Table) -> [&'static str; 3] {
    if table == Table::Messages { ["topic", "\"partition\"", "\"offset\""] } else { ["source_topic", "source_partition", "source_offset"] }
}

/// What goes in one commit: some records, with what is to be said of each.
type Turn<'a, V> = Vec<(&'a Place, &'a V)>;

/// The records in their order, as many at once as one commit may name. `ids` are how many rows of a record are named beside it.
fn in_turns<'a, V>(records: &'a BTreeMap<Place, V>, ids: impl Fn(&V) -> usize) -> Vec<Turn<'a, V>> {
    let mut turns: Vec<Turn<'a, V>> = Vec::new();
    let (mut named, mut partitions) = (NAMED, BTreeSet::new());
    for (place, value) in records {
        partitions.insert((&place.0, place.1));
        if named >= NAMED || partitions.len() > PARTITIONS {
            turns.push(Vec::new());
            named = 0;
            partitions = BTreeSet::from([(&place.0, place.1)]);
        }
        named += ids(value).max(1);
        if let Some(turn) = turns.last_mut() {
            turn.push((place, value));
        }
    }
    turns
}

/// The rows of these records, by where they stood.
fn at(table: Table, places: &[&Place]) -> String {
    let [topic, partition, offset] = position(table);
    let mut parts: BTreeMap<(&str, i32), BTreeSet<i64>> = BTreeMap::new();
    for (name, number, at) in places {
        parts.entry((name.as_str(), *number)).or_default().insert(*at);
    }
    let of_part = |((name, number), offsets): (&(&str, i32), &BTreeSet<i64>)| {
        let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(-1));
        let each: Vec<String> = offsets.iter().map(i64::to_string).collect();
        let these = format!("{offset} >= {first} AND {offset} <= {last} AND {offset} IN ({})", each.join(", "));
        format!("({topic} = {} AND {partition} = {number} AND {these})", quoted(name))
    };
    let each: Vec<String> = parts.iter().map(of_part).collect();
    format!("({})", each.join(" OR "))
}

/// The same, bounded by when they became known: what is appended meanwhile is known since later, whatever topics and partitions lie in one
/// of its files. `None` where no such row is left.
async fn bounded(warehouse: &Warehouse, table: Table, places: &[&Place]) -> Result<Option<String>, EraseError> {
    let condition = at(table, places);
    let sql = format!("SELECT min(known_at) AS first_known_at, max(known_at) AS last_known_at FROM {} WHERE {condition}", relation(table));
    let (mut first, mut last): (Option<Timestamp>, Option<Timestamp>) = (None, None);
    for batch in warehouse.query(&sql, &AsOf::default()).await? {
        first = first.into_iter().chain(instants(&batch, "first_known_at")?.into_iter().flatten()).min();
        last = last.into_iter().chain(instants(&batch, "last_known_at")?.into_iter().flatten()).max();
    }
    let instant = |at: Timestamp| format!("arrow_cast('{at}', 'Timestamp(Microsecond, Some(\"UTC\"))')");
    Ok(first.zip(last).map(|(first, last)| {
        let (first, last) = (first.checked_sub(ROUNDING).unwrap_or(first), last.checked_add(ROUNDING).unwrap_or(last));
        format!("known_at >= {} AND known_at <= {} AND {condition}", instant(first), instant(last))
    }))
}

/// One text for a place.
fn place_of(table: Table) -> String {
    let [topic, partition, offset] = position(table);
    format!("concat({topic}, '/', CAST({partition} AS VARCHAR), '/', CAST({offset} AS VARCHAR))")
}

fn spelled((topic, partition, offset): &Place) -> String {
    format!("{topic}/{partition}/{offset}")
}

fn text(place: &Place) -> String {
    quoted(&spelled(place))
}

/// Empties the records: everything that may identify a person, and how many of their rows are left.
pub async fn empty_messages(warehouse: &Warehouse, records: &BTreeMap<Place, Left>) -> Result<(), EraseError> {
    for turn in in_turns(records, |_| 1) {
        empty(warehouse, &turn).await?;
    }
    Ok(())
}

async fn empty(warehouse: &Warehouse, records: &[(&Place, &Left)]) -> Result<(), EraseError> {
    let table = Table::Messages;
    let places: Vec<&Place> = records.iter().map(|(place, _)| *place).collect();
    let Some(condition) = bounded(warehouse, table, &places).await? else { return Ok(()) };
    let place = place_of(table);
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
        ("digest", digests(records, &place)),
        ("rows_digest", "NULL".to_owned()),
        ("outcome", format!("'{ERASED}'")),
        ("event_count", count(|left| left.events)),
        ("note_count", count(|left| left.notes)),
    ];
    update(warehouse, table, &condition, &updates).await
}

/// What takes the place of the digests of bytes that go: no two are the same, or they would pass for repeats of each other, but those of records
/// that are repeats and whose facts of others stay.
fn digests(records: &[(&Place, &Left)], place: &str) -> String {
    let mut cases = String::new();
    for (record, left) in records {
        if let Some(first) = &left.repeats {
            // Writing to memory does not fail.
            let _ = write!(cases, " WHEN {place} = {} THEN {}", text(record), quoted(&format!("{ERASED}:{}", spelled(first))));
        }
    }
    let own = format!("concat('{ERASED}:', {place})");
    if cases.is_empty() { own } else { format!("CASE{cases} ELSE {own} END") }
}

/// Facts about others lose the name of the person.
pub async fn blank_events(warehouse: &Warehouse, facts: &BTreeMap<Place, BTreeSet<String>>) -> Result<(), EraseError> {
    for turn in in_turns(facts, BTreeSet::len) {
        if let Some(condition) = these(warehouse, Table::Events, "event_id", &turn).await? {
            update(warehouse, Table::Events, &condition, &[("related", "NULL".to_owned())]).await?;
        }
    }
    Ok(())
}

/// The rows of these ids go.
pub async fn delete(warehouse: &Warehouse, table: Table, id: &str, rows: &BTreeMap<Place, BTreeSet<String>>) -> Result<(), EraseError> {
    for turn in in_turns(rows, BTreeSet::len) {
        if let Some(condition) = these(warehouse, table, id, &turn).await? {
            delete_where(warehouse, table, &condition).await?;
        }
    }
    Ok(())
}

/// The rows of these ids in these records.
async fn these(warehouse: &Warehouse, table: Table, id: &str, rows: &[(&Place, &BTreeSet<String>)]) -> Result<Option<String>, EraseError> {
    let ids: BTreeSet<&String> = rows.iter().flat_map(|(_, ids)| ids.iter()).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    let places: Vec<&Place> = rows.iter().map(|(place, _)| *place).collect();
    let bounded = bounded(warehouse, table, &places).await?;
    Ok(bounded.map(|bounded| format!("{bounded} AND {id} IN ({})", listed(ids.into_iter().map(String::as_str)))))
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

/// The table's history holds nothing any more that was given up by `upto`, in milliseconds of its store's clock. Where another commit comes
/// first, the next vacuum says it.
pub async fn settle(warehouse: &Warehouse, table: Table, upto: i64) -> Result<(), DeltaTableError> {
    let delta = apart(&warehouse.snapshot(table).await?).await?;
    say(table, delta, Arc::clone(&warehouse.0.plumbing), marks::settled(upto)).await
}

/// One commit without rows.
async fn say(table: Table, delta: DeltaTable, session: Arc<SessionState>, said: Vec<Transaction>) -> Result<(), DeltaTableError> {
    let properties = commit_alone(CommitProperties::default().with_application_transactions(said));
    let none = delta.write(vec![RecordBatch::new_empty(table.schema())]).with_save_mode(SaveMode::Append);
    none.with_session_state(session).with_commit_properties(properties).await?;
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
                let said = marks::given_up(&delta, at.saturating_add(SKEW_MS)).await?;
                say(table, delta, session, said).await?;
            }
        }
        Ok(())
    }
}

/// Whether another commit came first.
fn is_overtaken(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::CommitConflict(_) | TransactionError::MaxCommitAttempts(_) | TransactionError::LogStoreError { .. }
        ),
        DeltaTableError::VersionAlreadyExists(_) => true,
        _ => false,
    }
}

/// One commit that replaces files, made anew while others come first.
async fn commit(warehouse: &Warehouse, table: Table, change: &Change<'_>) -> Result<(), EraseError> {
    let failed = |source| EraseError::Table { table: table.as_str(), source };
    let until = Instant::now() + PATIENCE;
    let mut attempt: u32 = 0;
    loop {
        attempt += 1;
        let delta = apart(&warehouse.snapshot(table).await.map_err(failed)?).await.map_err(failed)?;
        match change.make(table, delta, Arc::clone(&warehouse.0.plumbing)).await {
            Ok(()) => return Ok(()),
            Err(source) if Instant::now() >= until || (attempt >= ATTEMPTS && !is_overtaken(&source)) => return Err(failed(source)),
            Err(error) => {
                tracing::debug!(table = table.as_str(), %error, "a rewrite was overtaken; making it anew");
                tokio::time::sleep((PAUSE * attempt).min(LONGEST_PAUSE)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::EventCode::PatientSex;
    use schemas::Source;

    use super::*;
    use crate::store::tests::{BEGAN, RAW, Record, Ward, fact, rows};

    /// Two patients who arrived, the records of the first, and the ids of its facts.
    async fn two_patients() -> (Ward, BTreeMap<Place, BTreeSet<String>>) {
        let mut ward = Ward::empty().await;
        let arrived = |patient: &str, said: &str| Record::of(vec![fact(PatientSex, patient, None, Some(said))]);
        ward.arrives(vec![arrived("1", "a"), arrived("1", "b"), arrived("1", "c"), arrived("1", "d"), arrived("2", "e")]).await;
        let mut facts: BTreeMap<Place, BTreeSet<String>> = BTreeMap::new();
        let told = ward.told_of("SELECT source_offset, event_id FROM event_rows WHERE patient_value = '1' ORDER BY 1").await;
        for (offset, id) in told.lines().filter_map(|line| line.split_once(',')) {
            facts.entry((RAW.to_owned(), 0, offset.parse().expect("a number"))).or_default().insert(id.to_owned());
        }
        assert_eq!(facts.len(), 4);
        (ward, facts)
    }

    /// The batch of this number, of two topics, whose names and offsets lie around those of the records above.
    async fn lands_beside(ward: &Ward, number: i64) {
        let known_at: Timestamp = BEGAN.parse().expect("an instant");
        let mut batch = crate::Batch::default();
        for (topic, offset) in [("a.raw", 2 * number), ("a.raw", 2 * number + 1), ("z.raw", number)] {
            let source = Source { topic: topic.to_owned(), partition: 0, offset };
            let record = Record::of(vec![fact(PatientSex, "later", None, Some(&format!("{topic}/{offset}")))]);
            batch.append(rows(record, source, known_at + SignedDuration::from_hours(2)));
        }
        ward.warehouse.append(&mut batch).await.expect("lands");
    }

    /// Makes the change of a version that others have gone beyond.
    async fn overtaken(ward: &Ward, table: Table, change: &Change<'_>, number: i64) {
        let stale = apart(&ward.warehouse.snapshot(table).await.expect("a table")).await.expect("a table");
        lands_beside(ward, number).await;
        let session = Arc::clone(&ward.warehouse.0.plumbing);
        change.make(table, stale, session).await.expect("what landed meanwhile is no conflict");
    }

    #[tokio::test]
    async fn what_lands_between_a_rewrite_s_plan_and_its_commit_is_no_conflict() {
        let (ward, facts) = two_patients().await;
        let turns = in_turns(&facts, BTreeSet::len);
        let turn = turns.first().expect("one turn");
        let condition = these(&ward.warehouse, Table::Events, "event_id", turn).await.expect("reads").expect("rows");
        overtaken(&ward, Table::Events, &Change::Update(&condition, &[("related", "NULL".to_owned())]), 0).await;
        overtaken(&ward, Table::Events, &Change::Delete(&condition), 1).await;
        let places: Vec<&Place> = facts.keys().collect();
        let condition = bounded(&ward.warehouse, Table::Messages, &places).await.expect("reads").expect("rows");
        let updates = [("payload", "NULL".to_owned()), ("event_count", "0".to_owned())];
        overtaken(&ward, Table::Messages, &Change::Update(&condition, &updates), 2).await;
        assert_eq!(ward.told_of("SELECT patient_value, count(*) FROM event_rows GROUP BY 1 ORDER BY 1").await, "2,1\nlater,9\n");
        assert_eq!(ward.told_of("SELECT count(*), count(payload) FROM message_rows").await, "14,10\n");
        ward.is_conserved().await;
    }

    #[test]
    fn a_commit_names_so_many_rows_and_partitions_and_no_more() {
        let place = |topic: usize, offset: i64| (format!("backfill.{topic:04}"), 0, offset);
        let spread: BTreeMap<Place, ()> = (0..3 * PARTITIONS).map(|topic| (place(topic, 0), ())).collect();
        assert_eq!(in_turns(&spread, |_| 1).iter().map(Vec::len).collect::<Vec<_>>(), [PARTITIONS; 3]);
        let deep: BTreeMap<Place, ()> = (0..10).map(|offset| (place(0, offset), ())).collect();
        assert_eq!(in_turns(&deep, |_| NAMED / 2).len(), 5);
        assert_eq!(in_turns(&deep, |_| 2 * NAMED).len(), 10, "one record's rows go together");
        assert!(in_turns(&BTreeMap::<Place, ()>::new(), |_| 1).is_empty());
    }
}
