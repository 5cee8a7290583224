//! The events: `data/SPLIT/N.parquet`, and beside them which split each subject is in and which codes there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, LargeStringBuilder, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use datafusion::arrow::compute::{BatchCoalescer, cast};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;

use super::MedsError;
use crate::columnar::{Layout, Rows};
use crate::computed::{Query, Rows as _};
use crate::dataset::sorted;
use crate::error::QueryError;
use crate::literal::quoted;
use crate::settings::TaskSplits;
use crate::staged::{FolderError, Staged, StagedFile};
use crate::statement;

const ROWS: &str = include_str!("../../meds/rows.sql");
/// The relation of these rows, computed kind by kind.
const FACTS: &str = "meds_facts";

/// The SQL of the rows, without comments and layout.
pub fn rules() -> String {
    let bare = ROWS.lines().map(|line| line.split("--").next().unwrap_or_default());
    bare.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// What the standard calls our folds, in the order of the shares.
const SPLITS: [&str; 3] = ["train", "tuning", "held_out"];

/// What was written.
#[derive(Default)]
pub struct Written {
    /// Subjects.
    pub subjects: u64,
    /// Rows.
    pub events: u64,
    /// Files.
    pub shards: u64,
}

/// Shard by shard, subject by subject, static rows first.
const ORDER: [&str; 7] = ["split", "subject_id", "time", "code", "encounter_id", "numeric_value", "tie"];

/// All rows but the texts of notes, each with the split of its subject.
fn sql(rule: &TaskSplits) -> String {
    let [train, validation, test] = rule.folds;
    let (salt, shares) = (quoted(&rule.salt), train + validation + test);
    format!(
        "SELECT split, meds_subject(patient_id) AS subject_id, time, code, numeric_value, text_value, encounter_id, known_at, patient_id, tie \
         FROM (SELECT *, CASE WHEN permille({salt} || patient_id) * {shares} < {train} * 1000 THEN 0 \
               WHEN permille({salt} || patient_id) * {shares} < {} * 1000 THEN 1 ELSE 2 END AS split FROM {FACTS}) AS drawn",
        train + validation
    )
}

/// Where the columns of a shard stand in that.
const WRITTEN: [usize; 7] = [1, 2, 3, 4, 5, 6, 7];

/// Where the text stands in that.
const SAID: usize = 5;

/// Columns of a shard.
fn schema() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("subject_id", DataType::Int64, false),
        Field::new("time", instant.clone(), true),
        Field::new("code", DataType::Utf8, false),
        Field::new("numeric_value", DataType::Float32, true),
        Field::new("text_value", DataType::LargeUtf8, true),
        Field::new("encounter_id", DataType::Utf8, true),
        Field::new("known_at", instant, true),
    ]))
}

/// Rows whose notes' texts are looked up, and held, together.
const CHUNK: usize = 100_000;
/// The texts of the notes among the rows at hand. A version that was sent twice has its text twice.
const TEXTS: &str =
    "SELECT t.note_version_id, t.text FROM meds_wanted AS w JOIN note_rows AS t ON t.note_version_id = w.tie WHERE t.text IS NOT NULL";

/// Writes `data/` and what stands in `metadata/` about it. The rows are sorted in `sorting`, whose memory is its own: texts are looked up meanwhile.
pub async fn write(
    ctx: &SessionContext,
    sorting: &SessionContext,
    rule: &TaskSplits,
    staged: &Staged,
    subjects: u64,
) -> Result<Written, MedsError> {
    let facts = Query::by_branches(ctx.sql(ROWS).await.map_err(QueryError::from)?, ctx.runtime_env()).map_err(QueryError::from)?;
    let facts = facts.compute(&ctx.state()).await.map_err(QueryError::from)?;
    sorting.register_table(FACTS, facts).map_err(QueryError::from)?;
    let frame = sorted(sorting.sql(&sql(rule)).await.map_err(QueryError::from)?, &ORDER)?;
    let mut stream = statement::rows(frame).await.map_err(QueryError::from)?;
    let mut chunks = BatchCoalescer::new(stream.schema(), CHUNK);
    let mut shards = Shards::begin(staged, subjects);
    while let Some(batch) = stream.try_next().await.map_err(QueryError::from)? {
        chunks.push_batch(batch).map_err(QueryError::from)?;
        while let Some(chunk) = chunks.next_completed_batch() {
            shards.take(&with_texts(ctx, &chunk).await?)?;
        }
    }
    chunks.finish_buffered_batch().map_err(QueryError::from)?;
    while let Some(chunk) = chunks.next_completed_batch() {
        shards.take(&with_texts(ctx, &chunk).await?)?;
    }
    shards.end()
}

/// The same rows, each note's with its text.
async fn with_texts(ctx: &SessionContext, chunk: &RecordBatch) -> Result<RecordBatch, QueryError> {
    let columns = Columns::of(chunk)?;
    let notes = (0..chunk.num_rows()).filter(|row| columns.codes.value(*row).starts_with("NOTE//"));
    let wanted: StringArray = notes.map(|row| Some(columns.ties.value(row))).collect();
    let wanted = RecordBatch::try_from_iter([("tie", Arc::new(wanted) as ArrayRef)])?;
    ctx.deregister_table("meds_wanted")?;
    ctx.register_table("meds_wanted", Arc::new(MemTable::try_new(wanted.schema(), vec![vec![wanted]])?))?;
    let mut texts = HashMap::new();
    let mut found = ctx.sql(TEXTS).await?.execute_stream().await?;
    while let Some(batch) = found.try_next().await? {
        let text = |column: usize| Ok::<_, ArrowError>(cast(batch.column(column), &DataType::Utf8View)?.as_string_view().clone());
        let (versions, bodies) = (text(0)?, text(1)?);
        texts.extend(versions.iter().zip(bodies.iter()).filter_map(|(version, body)| Some((version?.to_owned(), body?.to_owned()))));
    }
    let said = cast(chunk.column(SAID), &DataType::LargeUtf8)?;
    let mut values = LargeStringBuilder::new();
    for (row, said) in said.as_string::<i64>().iter().enumerate() {
        values.append_option(texts.get(columns.ties.value(row)).map(String::as_str).or(said));
    }
    let mut all = chunk.columns().to_vec();
    if let Some(column) = all.get_mut(SAID) {
        *column = Arc::new(values.finish());
    }
    let fields = chunk
        .schema()
        .fields()
        .iter()
        .zip(&all)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect::<Vec<_>>();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), all)?)
}

/// Where a row belongs, and what tells it apart from the one before.
struct Key {
    split: usize,
    subject: i64,
    patient: String,
    tie: String,
}

/// The shard under way, and what is known of those before.
struct Shards<'a> {
    staged: &'a Staged,
    limit: u64,
    open: Option<(String, Rows<StagedFile>)>,
    /// Subjects of the open shard, and number of the next one of its split.
    held: u64,
    next: u64,
    last: Option<Key>,
    splits: Vec<(i64, &'static str)>,
    codes: BTreeMap<String, i64>,
    written: Written,
}

impl<'a> Shards<'a> {
    fn begin(staged: &'a Staged, limit: u64) -> Self {
        Self {
            staged,
            limit,
            open: None,
            held: 0,
            next: 0,
            last: None,
            splits: Vec::new(),
            codes: BTreeMap::new(),
            written: Written::default(),
        }
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), MedsError> {
        let columns = Columns::of(batch).map_err(QueryError::from)?;
        let mut from = 0;
        for row in 0..batch.num_rows() {
            let key = columns.key(row);
            let (next_subject, next_split, repeats) = match &self.last {
                Some(last) if last.subject == key.subject && last.patient != key.patient => return Err(MedsError::Collision),
                Some(last) => {
                    let same = last.subject == key.subject;
                    (!same, last.split != key.split, same && !key.tie.is_empty() && last.tie == key.tie)
                }
                None => (true, true, false),
            };
            if next_subject && (next_split || self.held >= self.limit) {
                self.put(&batch.slice(from, row - from))?;
                from = row;
                self.turn(key.split, next_split)?;
            }
            if repeats {
                self.put(&batch.slice(from, row - from))?;
                from = row + 1;
            } else {
                *self.codes.entry(columns.codes.value(row).to_owned()).or_default() += 1;
            }
            if next_subject {
                self.held += 1;
                self.splits.push((key.subject, SPLITS.get(key.split).copied().unwrap_or_default()));
            }
            self.last = Some(key);
        }
        self.put(&batch.slice(from, batch.num_rows() - from))
    }

    fn put(&mut self, batch: &RecordBatch) -> Result<(), MedsError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if let Some((name, rows)) = &mut self.open {
            let cut = batch.project(&WRITTEN).map_err(QueryError::from)?;
            rows.push(&cut).map_err(self.staged.encoding(name))?;
        }
        Ok(())
    }

    /// Ends the open shard and begins the next.
    fn turn(&mut self, split: usize, next_split: bool) -> Result<(), FolderError> {
        self.close()?;
        self.next = if next_split { 0 } else { self.next + 1 };
        let name = format!("data/{}/{}.parquet", SPLITS.get(split).copied().unwrap_or_default(), self.next);
        let rows = Rows::begin(self.staged.create(&name)?, schema(), Layout::CODES).map_err(self.staged.encoding(&name))?;
        self.open = Some((name, rows));
        self.held = 0;
        Ok(())
    }

    fn close(&mut self) -> Result<(), FolderError> {
        if let Some((name, rows)) = self.open.take() {
            self.written.events += rows.rows();
            self.written.shards += 1;
            let file = rows.end().map_err(self.staged.encoding(&name))?;
            self.staged.close(&name, file)?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<Written, MedsError> {
        self.close()?;
        self.splits.sort_unstable();
        let subjects: Int64Array = self.splits.iter().map(|(subject, _)| Some(*subject)).collect();
        let splits: StringArray = self.splits.iter().map(|(_, split)| Some(*split)).collect();
        whole(self.staged, "metadata/subject_splits.parquet", vec![("subject_id", Arc::new(subjects)), ("split", Arc::new(splits))])?;
        whole(self.staged, "metadata/codes.parquet", described(&self.codes))?;
        self.written.subjects = self.splits.len() as u64;
        Ok(self.written)
    }
}

fn whole(staged: &Staged, name: &str, columns: Vec<(&str, ArrayRef)>) -> Result<(), MedsError> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| {
        let nullable = name == "description" || name == "parent_codes";
        (name, column, nullable)
    }))
    .map_err(QueryError::from)?;
    let mut rows = Rows::begin(staged.create(name)?, batch.schema(), Layout::TEXTS).map_err(staged.encoding(name))?;
    rows.push(&batch).map_err(staged.encoding(name))?;
    let file = rows.end().map_err(staged.encoding(name))?;
    staged.close(name, file)?;
    Ok(())
}

/// What the first part of a code says.
fn description(code: &str) -> &'static str {
    match code.split("//").next().unwrap_or_default() {
        "MEDS_BIRTH" => "Birth; an imprecise date stands at its first day, and as stated in text_value",
        "MEDS_DEATH" => "Death; one of which the day alone was stated stands at the end of its stay",
        "SEX" => "Sex as last stated",
        "RACE" => "Race as last stated, as coded by the sender",
        "HOSPITAL_ADMISSION" => "Admission of a stay that stands, with the patient class as coded then",
        "HOSPITAL_DISCHARGE" => "Discharge from a stay that stands, with the disposition as coded",
        "STAY_BEGIN" => "Mark, no fact: where a stay begins, in an instant in which no other stay of the subject does",
        "STAY_END" => "Mark, no fact: how a stay ends, before the next mark of a beginning so that windows find that of the right one",
        "STAY_DAYS" => "Mark, no fact: how many whole days a stay lasts, where its end is marked",
        "EPISODE_BEGIN" => "Mark, no fact: an episode of care begins, after an earlier one a return",
        "EPISODE_END" => "Mark, no fact: an episode of care ends, with the disposition of its last stay as coded",
        "EPISODE_END_FROM" => "Mark, no fact: department of the last stay of an episode that ends here, as coded",
        "DISCHARGED_FROM" => "Department of a stay at its discharge, as coded",
        "DIAGNOSIS" => "Diagnosis of a stay when it became known; numeric_value is its rank",
        "PROCEDURE" => "Procedure of a stay when it became known; numeric_value is its rank",
        "TRANSFER" => "Transfer to a department when it became known",
        "VISIT_REGISTRATION" => "Start of an outpatient or emergency visit when it became known",
        "CLAIM_SUBMISSION" => "Claim submitted, when it became known",
        "CLAIM_DECISION" => "Claim decided, when it became known",
        "NOTE" => "Version of a note when it became known, with its text",
        "WATERMARK" => "How far the feed of the patient's facility is known; nothing after it can be told",
        "MATURE" => "Mark, no fact: the label of this task is mature for the stay (readmission: episode) marked here",
        "EXCLUDED" => "Mark, no fact: why this task does not ask about the stay (readmission: episode) marked here",
        _ => "",
    }
}

fn described(codes: &BTreeMap<String, i64>) -> Vec<(&'static str, ArrayRef)> {
    let mut parents = ListBuilder::new(StringBuilder::new());
    for code in codes.keys() {
        if let Some(parent) = code.strip_prefix("DIAGNOSIS//").or_else(|| code.strip_prefix("PROCEDURE//")) {
            parents.values().append_value(parent.replacen("//", "/", 1));
        }
        parents.append(true);
    }
    let names: StringArray = codes.keys().map(|code| Some(code.as_str())).collect();
    let descriptions: StringArray = codes.keys().map(|code| Some(description(code))).collect();
    let counts: Int64Array = codes.values().map(|count| Some(*count)).collect();
    vec![
        ("code", Arc::new(names)),
        ("description", Arc::new(descriptions)),
        ("parent_codes", Arc::new(parents.finish())),
        ("code_count", Arc::new(counts)),
    ]
}

/// The columns that decide where a row goes.
struct Columns {
    splits: Int64Array,
    subjects: Int64Array,
    patients: StringArray,
    ties: StringArray,
    codes: StringArray,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")));
        let text = |name: &str| Ok::<_, ArrowError>(cast(column(name)?, &DataType::Utf8)?.as_string::<i32>().clone());
        let number = |name: &str| Ok::<_, ArrowError>(cast(column(name)?, &DataType::Int64)?.as_primitive::<Int64Type>().clone());
        Ok(Self {
            splits: number("split")?,
            subjects: number("subject_id")?,
            patients: text("patient_id")?,
            ties: text("tie")?,
            codes: text("code")?,
        })
    }

    fn key(&self, row: usize) -> Key {
        Key {
            split: usize::try_from(self.splits.value(row)).unwrap_or_default(),
            subject: self.subjects.value(row),
            patient: self.patients.value(row).to_owned(),
            tie: if self.ties.is_null(row) { String::new() } else { self.ties.value(row).to_owned() },
        }
    }
}
