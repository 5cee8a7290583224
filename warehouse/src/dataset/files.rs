//! The files of a dataset: one Parquet file a split, examples in an order that depends on nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray, StringBuilder};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::{DataFrame, SessionContext, ident};
use futures::TryStreamExt as _;
use serde::Serialize;

use super::{ALL, Basis, DatasetError};
use crate::columnar::{Layout, Rows, plain};
use crate::error::QueryError;
use crate::literal::quoted;
use crate::session::configured;
use crate::staged::{FolderError, Staged, StagedFile};
use crate::statement;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileOf {
    /// Name within the folder.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// Examples of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Examples.
    pub examples: u64,
    /// Different patients.
    pub patients: u64,
    /// Examples of each task and label; none of a task whose label is a measure.
    pub labels: BTreeMap<String, BTreeMap<i64, u64>>,
    #[serde(skip)]
    seen: BTreeSet<String>,
}

/// Every example of a split, with its note as it was read at prediction time; all tasks together have the splits that hold for all of them. A version that was
/// sent twice is joined twice; its copies stand beside each other. The texts come last, on the side of the join that streams: `standing_notes` would hold them all.
fn sql(task: &str) -> String {
    let (of, [split, fold, seen]) = if task == ALL {
        (String::new(), ["joint_split", "joint_fold", "patient_in_joint_train"])
    } else {
        (format!(" AND e.task = {}", quoted(task)), ["split", "fold", "patient_in_train"])
    };
    format!(
        "SELECT e.task, e.{split} AS split, e.{fold} AS fold, e.period, e.{seen} AS patient_in_train, e.encounter_id, e.patient_id, e.note_id, e.note_version_id, \
         e.prediction_at, e.label, e.value, t.text, s.known_at AS copy_known_at, s.source_topic AS copy_topic, s.source_partition AS copy_partition, \
         s.source_offset AS copy_offset FROM examples AS e JOIN standing_notes AS s ON s.note_version_id = e.note_version_id \
         JOIN note_rows AS t ON t.note_version_id = s.note_version_id AND t.source_topic = s.source_topic \
         AND t.source_partition = s.source_partition AND t.source_offset = s.source_offset AND t.reading = s.reading WHERE e.{split} IS NOT NULL{of}"
    )
}

/// The order of the files, and behind it that of a note's copies.
const ORDER: [&str; 4] = ["prediction_at", "note_id", "task", "encounter_id"];
const COPIES: [&str; 4] = ["copy_known_at", "copy_topic", "copy_partition", "copy_offset"];

/// Sorted by these columns, NULL first.
pub(crate) fn sorted(frame: DataFrame, by: &[&str]) -> Result<DataFrame, QueryError> {
    Ok(own(frame)?.sort(by.iter().map(|name| ident(*name).sort(true, true)).collect())?)
}

/// The same rows, each batch with texts of its own: views into shared buffers count as whole buffers, batch by batch, casting them makes room
/// for whole buffers, and no memory would be enough for a sort.
fn own(frame: DataFrame) -> Result<DataFrame, QueryError> {
    let own_text = own_text();
    let columns = frame.schema().fields().iter().map(|field| match field.data_type() {
        // A column that is said to be no view may become one yet: a union's types are settled later.
        DataType::Utf8 | DataType::Utf8View => own_text.call(vec![ident(field.name())]).alias(field.name()),
        _ => ident(field.name()),
    });
    let columns: Vec<_> = columns.collect();
    Ok(frame.select(columns)?)
}

/// A text of its own for each row, and no more memory than that takes.
fn own_text() -> ScalarUDF {
    let body = |values: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        let [shared] = arrays.as_slice() else { return datafusion::common::exec_err!("own_text(text)") };
        let mut own = StringBuilder::new();
        own.extend(shared.as_string_view().iter());
        Ok(ColumnarValue::Array(Arc::new(own.finish())))
    };
    create_udf("own_text", vec![DataType::Utf8View], DataType::Utf8, Volatility::Immutable, Arc::new(body))
}

/// A session over the same relations that sorts in one piece, within `bytes` of memory of its own: what does not fit spills. In a pool that others fill
/// meanwhile a sort cannot even begin to.
///
/// # Errors
/// Where there is no folder to spill to.
pub fn spilling(ctx: &SessionContext, bytes: usize) -> Result<SessionContext, QueryError> {
    let pool = Arc::new(FairSpillPool::new(bytes));
    let runtime = RuntimeEnvBuilder::from_runtime_env(&ctx.runtime_env()).with_memory_pool(pool).build_arc()?;
    let state = configured(ctx.state(), ctx.copied_config().with_target_partitions(1)).with_runtime_env(runtime);
    Ok(SessionContext::new_with_state(state.build()))
}

/// The session with joins as they are written: their left side is held, and the texts stream past it.
pub fn as_written(ctx: &SessionContext) -> SessionContext {
    let config = ctx.copied_config().set_bool("datafusion.optimizer.join_reordering", false);
    SessionContext::new_with_state(SessionStateBuilder::new_from_existing(ctx.state()).with_config(config).build())
}

/// The file of one split under way.
struct Split {
    name: String,
    rows: Rows<StagedFile>,
    counted: Counted,
}

/// Writes a file for every split of the basis, empty ones too.
pub async fn write(ctx: &SessionContext, basis: &Basis, staged: &Staged) -> Result<(Vec<FileOf>, BTreeMap<String, Counted>), DatasetError> {
    let frame = ctx.sql(&sql(&basis.task)).await.map_err(QueryError::from)?;
    let frame = sorted(frame, &[ORDER, COPIES].concat())?.drop_columns(&COPIES).map_err(QueryError::from)?;
    let schema = plain(frame.schema().as_arrow());
    let names: BTreeSet<String> = basis.splits.values().flat_map(crate::settings::TaskSplits::names).collect();
    let mut splits = names.into_iter().map(|name| Split::begin(name, staged, &schema)).collect::<Result<Vec<_>, _>>()?;
    let mut stream = statement::rows(frame).await.map_err(QueryError::from)?;
    let mut last = None;
    while let Some(batch) = stream.try_next().await.map_err(QueryError::from)? {
        let batch = without_repeats(&batch, &mut last).map_err(QueryError::from)?;
        for split in &mut splits {
            split.take(&batch, staged)?;
        }
    }
    let mut files = Vec::new();
    let mut counts = BTreeMap::new();
    for split in splits {
        let (file, counted) = split.end(staged)?;
        counts.insert(file.name.trim_end_matches(".parquet").to_owned(), counted);
        files.push(file);
    }
    Ok((files, counts))
}

fn texts(batch: &RecordBatch, name: &'static str) -> Result<StringArray, ArrowError> {
    let column = batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("examples have no column {name}")))?;
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// The first row of each (task, stay, note version); `last` is that of the batch before.
fn without_repeats(batch: &RecordBatch, last: &mut Option<[String; 3]>) -> Result<RecordBatch, ArrowError> {
    let (tasks, stays, notes) = (texts(batch, "task")?, texts(batch, "encounter_id")?, texts(batch, "note_version_id")?);
    let mut keep = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let key = [&tasks, &stays, &notes].map(|column| column.value(row));
        let repeats = last.as_ref().is_some_and(|last| last.iter().zip(key).all(|(last, now)| last == now));
        keep.push(!repeats);
        if !repeats {
            *last = Some(key.map(str::to_owned));
        }
    }
    filter_record_batch(batch, &BooleanArray::from(keep))
}

impl Split {
    fn begin(name: String, staged: &Staged, schema: &SchemaRef) -> Result<Self, FolderError> {
        let file = format!("{name}.parquet");
        let rows = Rows::begin(staged.create(&file)?, Arc::clone(schema), Layout::TEXTS).map_err(staged.encoding(&file))?;
        Ok(Self { name, rows, counted: Counted::default() })
    }

    fn take(&mut self, batch: &RecordBatch, staged: &Staged) -> Result<(), DatasetError> {
        let splits = texts(batch, "split").map_err(QueryError::from)?;
        let mine: BooleanArray = splits.iter().map(|split| Some(split == Some(self.name.as_str()))).collect();
        let mine = filter_record_batch(batch, &mine).map_err(QueryError::from)?;
        self.counted.add(&mine).map_err(QueryError::from)?;
        self.rows.push(&mine).map_err(staged.encoding(&format!("{}.parquet", self.name)))?;
        Ok(())
    }

    fn end(self, staged: &Staged) -> Result<(FileOf, Counted), FolderError> {
        let name = format!("{}.parquet", self.name);
        let rows = self.rows.rows();
        let file = self.rows.end().map_err(staged.encoding(&name))?;
        let (bytes, sha256) = staged.close(&name, file)?;
        Ok((FileOf { name, rows, bytes, sha256 }, self.counted))
    }
}

impl Counted {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let (tasks, patients) = (texts(batch, "task")?, texts(batch, "patient_id")?);
        self.examples += batch.num_rows() as u64;
        self.seen.extend(patients.iter().flatten().map(str::to_owned));
        self.patients = self.seen.len() as u64;
        let label = batch.column_by_name("label").filter(|label| label.data_type().is_integer());
        let Some(label) = label.map(|label| cast(label, &DataType::Int64)).transpose()? else { return Ok(()) };
        let labels = label.as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        for (task, label) in tasks.iter().zip(labels.iter()).filter_map(|(task, label)| task.zip(label)) {
            *self.labels.entry(task.to_owned()).or_default().entry(label).or_default() += 1;
        }
        Ok(())
    }
}
