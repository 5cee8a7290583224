//! What a dataset is made of, and the id that follows from it.
//!
//! Versions of the tables' logs do not count: merging files makes new ones that say the same. What counts are the rows that stand, taken
//! together without their order. Replays that change nothing, compaction and vacuum leave the id as it is; a row that lands late, known
//! before the instant that was asked for, does not.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use schemas::{DatasetId, Digest, table::instant};
use serde::Serialize;
use sha2::Digest as _;

use crate::error::QueryError;
use crate::functions::CODE_SET;
use crate::read::{instants, ints, texts};
use crate::settings::{Splits, TaskSplits};
use crate::statement;
use crate::tasks::Tasks;
use crate::views;

/// Number of the rules that stand in code and of the files' layout; raised when the same basis would give other bytes.
const FORMAT: u32 = 2;

/// The name under which all tasks together are one dataset: what the trainer learns from.
pub const ALL: &str = "all";

/// Relations whose rows decide what examples there are. Predictions decide nothing about them, and our own topics neither.
const CONTENTS: [(&str, &str); 3] = [
    ("events", "SELECT * FROM standing_events"),
    ("notes", "SELECT * FROM standing_notes"),
    (
        "messages",
        "SELECT topic, \"partition\", \"offset\", known_at, facility, digest FROM message_rows WHERE reading <= 0 AND facility <> 'wardstream'",
    ),
];

/// Bookkeeping that says nothing about the rows.
const IGNORED: [&str; 1] = ["reading"];

/// How many rows there are, and their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Content {
    /// Rows.
    pub rows: u64,
    /// Sum of the rows' SHA-256, modulo 2^256, in hexadecimal digits: the same in whatever order they are read.
    pub digest: String,
}

/// All that decides the bytes of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Basis {
    /// Rules in code, and layout.
    pub format: u32,
    /// Name of the task, or `all`.
    pub task: String,
    /// Only what was known then.
    pub as_known_at: Timestamp,
    /// Newest instant of each facility's feed by then.
    pub watermarks: BTreeMap<String, Timestamp>,
    /// Rows that stood then.
    pub tables: BTreeMap<&'static str, Content>,
    /// Versions of the maps that read them.
    pub parser_versions: Vec<i64>,
    /// Code sets.
    pub code_set: &'static str,
    /// Digest of the SQL of every view that the examples are made by.
    pub rules: String,
    /// Digest of each task: its file, its query, and the departments that it leaves out.
    pub definitions: BTreeMap<String, String>,
    /// Split rules of each task.
    pub splits: BTreeMap<String, TaskSplits>,
}

/// What decides which stays are examples, and of which split.
#[derive(Clone, Copy)]
pub struct Ruled<'a> {
    pub tasks: &'a Tasks,
    pub splits: &'a Splits,
}

impl Basis {
    /// Reads what the session holds.
    pub async fn read(ctx: &SessionContext, task: &str, tasks: &[String], ruled: Ruled<'_>, at: Timestamp) -> Result<Self, QueryError> {
        let mut tables = BTreeMap::new();
        for (name, sql) in CONTENTS {
            tables.insert(name, content(ctx, sql).await?);
        }
        Ok(Self {
            format: FORMAT,
            task: task.to_owned(),
            as_known_at: at,
            watermarks: watermarks(ctx).await?,
            tables,
            parser_versions: parser_versions(ctx).await?,
            code_set: CODE_SET,
            rules: rules(ruled.tasks, tasks),
            definitions: tasks.iter().filter_map(|task| Some((task.clone(), ruled.tasks.digest(task)?))).collect(),
            splits: tasks.iter().map(|task| (task.clone(), ruled.splits.of(task))).collect(),
        })
    }

    /// Sixteen hexadecimal digits of the digest of all of it.
    pub fn id(&self) -> DatasetId {
        let whole = serde_json::to_vec(self).unwrap_or_default();
        DatasetId(Digest::of(&whole).to_string().chars().take(16).collect())
    }
}

/// Digest of the views that `examples`, `attrition` and the queries of the tasks that are asked stand on, without comments and layout.
fn rules(tasks: &Tasks, asked: &[String]) -> String {
    let mut wanted = vec!["examples", "attrition"];
    wanted.extend(views::sources().map(|(view, _)| view).filter(|view| tasks.queries(asked).any(|query| names(query, view))));
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        let Some((name, sql)) = views::sources().find(|(view, _)| *view == name) else { continue };
        let bare: String = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
        let bare = bare.split_whitespace().collect::<Vec<_>>().join(" ");
        let named = |view: &&str| names(&bare, view);
        wanted.extend(views::sources().map(|(view, _)| view).filter(|view| !texts.contains_key(view) && *view != name).filter(named));
        texts.insert(name, bare);
    }
    Digest::of(&serde_json::to_vec(&texts).unwrap_or_default()).to_string()
}

/// Whether SQL names a relation.
fn names(sql: &str, relation: &str) -> bool {
    sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == relation)
}

async fn content(ctx: &SessionContext, sql: &str) -> Result<Content, QueryError> {
    let mut stream = statement::rows(ctx.sql(sql).await?).await?;
    let (mut rows, mut sum) = (0, Sum::default());
    while let Some(batch) = stream.try_next().await? {
        rows += batch.num_rows() as u64;
        digest_rows(&batch, &mut sum)?;
    }
    Ok(Content { rows, digest: sum.to_string() })
}

async fn watermarks(ctx: &SessionContext) -> Result<BTreeMap<String, Timestamp>, QueryError> {
    let mut found = BTreeMap::new();
    for batch in ctx.sql("SELECT facility, watermark FROM watermarks").await?.collect().await? {
        let pairs = texts(&batch, "facility")?.into_iter().zip(instants(&batch, "watermark")?);
        found.extend(pairs.filter_map(|(facility, watermark)| facility.zip(watermark)));
    }
    Ok(found)
}

/// Of the readings whose rows stand: a replay that changed nothing left an older one's.
async fn parser_versions(ctx: &SessionContext) -> Result<Vec<i64>, QueryError> {
    let sql = "SELECT DISTINCT CAST(m.parser_version AS BIGINT) AS version FROM message_rows AS m \
               LEFT JOIN readings AS r ON r.topic = m.topic AND r.\"partition\" = m.\"partition\" AND r.\"offset\" = m.\"offset\" \
               WHERE m.facility <> 'wardstream' AND m.reading = COALESCE(r.rows_reading, 0) AND m.parser_version IS NOT NULL ORDER BY version";
    let mut versions = Vec::new();
    for batch in ctx.sql(sql).await?.collect().await? {
        versions.extend(ints(&batch, "version")?.into_iter().flatten());
    }
    Ok(versions)
}

/// A sum of digests modulo 2^256, lowest digits first.
#[derive(Default)]
struct Sum([u64; 4]);

impl Sum {
    fn add(&mut self, digest: [u8; 32]) {
        let mut carry = false;
        for (digits, bytes) in self.0.iter_mut().zip(digest.chunks_exact(8)) {
            let word = bytes.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
            let (sum, over) = digits.overflowing_add(word);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*digits, carry) = (sum, over || over_again);
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().rev().try_for_each(|digits| write!(f, "{digits:016x}"))
    }
}

/// A column in one of the four forms that a value is hashed in.
enum Values {
    Text(datafusion::arrow::array::StringArray),
    Bytes(datafusion::arrow::array::BinaryArray),
    Whole(datafusion::arrow::array::Int64Array),
    Real(datafusion::arrow::array::Float64Array),
}

impl Values {
    fn of(column: &dyn Array) -> Result<Self, datafusion::arrow::error::ArrowError> {
        let whole = |array: &dyn Array| {
            Ok::<_, datafusion::arrow::error::ArrowError>(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        };
        Ok(match column.data_type() {
            DataType::Binary | DataType::BinaryView | DataType::LargeBinary => {
                Self::Bytes(cast(column, &DataType::Binary)?.as_binary::<i32>().clone())
            }
            DataType::Float32 | DataType::Float64 => Self::Real(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone()),
            DataType::Timestamp(..) => Self::Whole(whole(&cast(column, &instant())?)?),
            kind if kind.is_integer() || kind == &DataType::Boolean => Self::Whole(whole(column)?),
            _ => Self::Text(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    /// Hashes the value of a row; NULL says nothing, so that a column that is added later changes no older row.
    fn hash(&self, name: &str, row: usize, hasher: &mut sha2::Sha256) {
        let mut take = |value: &[u8]| {
            for part in [name.as_bytes(), value] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        };
        match self {
            Self::Text(array) if array.is_valid(row) => take(array.value(row).as_bytes()),
            Self::Bytes(array) if array.is_valid(row) => take(array.value(row)),
            Self::Whole(array) if array.is_valid(row) => take(&array.value(row).to_le_bytes()),
            Self::Real(array) if array.is_valid(row) => take(&array.value(row).to_bits().to_le_bytes()),
            _ => {}
        }
    }
}

fn digest_rows(batch: &RecordBatch, sum: &mut Sum) -> Result<(), QueryError> {
    let schema = batch.schema();
    let mut columns = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !IGNORED.contains(&field.name().as_str()) {
            let values = Values::of(column.as_ref()).map_err(|error| QueryError::Engine { reason: error.to_string() })?;
            columns.push((field.name().as_str(), values));
        }
    }
    columns.sort_unstable_by_key(|(name, _)| *name);
    for row in 0..batch.num_rows() {
        let mut hasher = sha2::Sha256::new();
        columns.iter().for_each(|(name, values)| values.hash(name, row, &mut hasher));
        sum.add(hasher.finalize().into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int32Array, Int64Array, StringArray, StringViewArray};

    use super::*;

    fn digest(parts: &[RecordBatch]) -> String {
        let mut sum = Sum::default();
        parts.iter().for_each(|batch| digest_rows(batch, &mut sum).expect("has forms"));
        sum.to_string()
    }

    #[test]
    fn rows_have_the_same_digest_in_every_order_and_form_and_another_where_one_differs() {
        let rows = |numbers: Vec<i64>, texts: Vec<Option<&str>>| {
            let numbers = Arc::new(Int64Array::from(numbers)) as _;
            RecordBatch::try_from_iter([("n", numbers), ("t", Arc::new(StringArray::from(texts)) as _)]).expect("fits")
        };
        let whole = digest(&[rows(vec![1, 2, 3], vec![Some("a"), None, Some("c")])]);
        assert_eq!(digest(&[rows(vec![3], vec![Some("c")]), rows(vec![2, 1], vec![None, Some("a")])]), whole);
        let narrow = RecordBatch::try_from_iter([
            ("t", Arc::new(StringViewArray::from(vec![Some("a"), None, Some("c")])) as _),
            ("new", Arc::new(StringArray::from(vec![None::<&str>; 3])) as _),
            ("reading", Arc::new(Int64Array::from(vec![7; 3])) as _),
            ("n", Arc::new(Int32Array::from(vec![1, 2, 3])) as _),
        ]);
        assert_eq!(digest(&[narrow.expect("fits")]), whole);
        assert_ne!(digest(&[rows(vec![1, 2, 3], vec![None, Some("a"), Some("c")])]), whole);
        assert_ne!(digest(&[rows(vec![1, 2], vec![Some("a"), None])]), whole);
        assert_ne!(digest(&[rows(vec![1, 2, 3], vec![Some("a"), Some(""), Some("c")])]), whole);
    }

    #[tokio::test]
    async fn the_rules_are_those_of_the_views_that_examples_stand_on() {
        let tasks = Tasks::open(&crate::TaskSettings::default(), &crate::Departments::default()).await.expect("the five");
        let asked = ["mortality".to_owned()];
        assert_eq!(rules(&tasks, &asked), rules(&tasks, &asked));
        let names: Vec<&str> = views::sources().map(|(name, _)| name).collect();
        assert!(names.contains(&"labels") && names.contains(&"survivors"));
    }
}
