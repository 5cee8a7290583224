//! Questions that the other rooms ask, and the one door for SQL. Every reader holds a time, or everything known.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::execution::context::SQLOptions;
use jiff::Timestamp;
use schemas::{DriftAlert, DriftKind, EncounterId, NoteId, NoteVersionId, PatientId, Table, Task, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::error::{QueryError, ReadError};
use crate::metrics;
use crate::session::relation;
use crate::statement;
use crate::store::{OfMessages, Positions, Warehouse};

/// As of when a question is asked. The default is everything known.
#[derive(Clone, Debug, Default)]
pub struct AsOf {
    /// Only rows known by then.
    pub known_at: Option<Timestamp>,
    /// Only what `messages` held at this version.
    pub version: Option<i64>,
    /// Exactly these versions.
    pub pin: Option<Pin>,
}

/// Versions of all tables: the same pin gives the same rows, years later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Of each table.
    pub versions: BTreeMap<Table, i64>,
    /// The newest `known_at` among them.
    pub watermark: Option<Timestamp>,
}

/// A labelled example with the note as it was known at prediction time.
#[derive(Clone)]
pub struct Example {
    /// What is asked.
    pub task: Task,
    /// `train`, `validation`, `test`, `temporal_test`, as for all tasks together; `None` outside the configured periods, and in a temporal test for
    /// patients on whom any task trains.
    pub split: Option<String>,
    /// `train`, `validation`, `test`: by patient and for all tasks, whatever the period.
    pub fold: String,
    /// The stay.
    pub encounter_id: EncounterId,
    /// The patient, merges resolved.
    pub patient_id: PatientId,
    /// The note that is read.
    pub note_id: NoteId,
    /// The version of it.
    pub note_version_id: NoteVersionId,
    /// Prediction time.
    pub prediction_at: Timestamp,
    /// `0..task.classes()`.
    pub label: i32,
    /// The note's text at prediction time.
    pub text: String,
}

/// The tasks that models are asked, as SQL; a site's own are asked of nobody yet.
fn asked() -> String {
    Task::ALL.map(|task| format!("'{}'", task.as_str())).join(", ")
}

/// A range of offsets in which something is missing or doubled.
#[derive(Clone, Debug, Serialize)]
pub struct Gap {
    /// In which table.
    pub table: String,
    /// Of which topic.
    pub topic: String,
    /// Of which partition.
    pub partition: i32,
    /// First offset that landed.
    pub first_offset: i64,
    /// Last offset that landed.
    pub last_offset: i64,
    /// Records between them that are not there.
    pub missing: i64,
    /// Records that are there more than once.
    pub doubled: i64,
    /// Records whose bytes no longer have their digest.
    pub corrupt: i64,
}

impl Warehouse {
    /// Answers one query. Only what reads plans at all.
    ///
    /// # Errors
    /// In the engine's own words, where the query is refused or cannot be answered.
    pub async fn query(&self, sql: &str, at: &AsOf) -> Result<Vec<RecordBatch>, QueryError> {
        metrics::queried("query");
        let frame = statement::opened(&self.session(at).await?, sql).await?;
        let schema = std::sync::Arc::clone(frame.schema().inner());
        let mut batches = statement::all(frame).await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }

    /// The last offset that each table's log says it holds, of every partition of a topic that has landed.
    ///
    /// # Errors
    /// Where a table's log or the rows of `messages` cannot be read.
    pub async fn positions(&self) -> Result<Positions, ReadError> {
        let mut partitions = BTreeSet::new();
        // A file that was backfilled is no partition that anybody consumes, and there may be tens of thousands.
        let sql = "SELECT DISTINCT topic, \"partition\" FROM message_rows WHERE topic NOT LIKE 'backfill.%'";
        for batch in self.base_query(Table::Messages, sql).await? {
            let (topics, numbers) = (texts(&batch, "topic")?, ints(&batch, "partition")?);
            let numbers = numbers.into_iter().map(|number| i32::try_from(number?).ok());
            partitions.extend(
                topics.into_iter().zip(numbers).filter_map(|(topic, number)| Some(TopicPartition { topic: topic?, partition: number? })),
            );
        }
        self.held(&partitions).await
    }

    /// The last offset that each table's log says it holds of these partitions.
    ///
    /// # Errors
    /// Where a table's log cannot be read.
    pub async fn held(&self, partitions: &BTreeSet<TopicPartition>) -> Result<Positions, ReadError> {
        let mut positions = Positions::new();
        for table in Table::ALL {
            let held = self.writer(table).await.held_now(partitions).await;
            for (partition, last) in held.map_err(|source| ReadError::Log { table: table.as_str(), source })? {
                if last >= 0 {
                    positions.entry(partition).or_default().insert(table, last);
                }
            }
        }
        Ok(positions)
    }

    /// The versions that stand now.
    ///
    /// # Errors
    /// Where a table's log cannot be read.
    pub async fn pin(&self) -> Result<Pin, ReadError> {
        let mut versions = BTreeMap::new();
        for table in Table::ALL {
            let delta = self.snapshot(table).await.map_err(|source| ReadError::Log { table: table.as_str(), source })?;
            versions.insert(table, delta.version().and_then(|version| i64::try_from(version).ok()).unwrap_or(0));
        }
        Ok(Pin { versions, watermark: self.watermark().await? })
    }

    /// The newest instant of the log; `None` before anything has landed.
    ///
    /// # Errors
    /// Where the tables cannot be read.
    pub async fn watermark(&self) -> Result<Option<Timestamp>, ReadError> {
        let sql = "SELECT max(known_at) AS watermark FROM message_rows WHERE facility <> 'wardstream'";
        self.of_messages(&self.0.watermark, sql, |batches| {
            let instants = batches.iter().map(|batch| instants(batch, "watermark")).collect::<Result<Vec<_>, _>>()?;
            Ok(instants.into_iter().flatten().flatten().max())
        })
        .await
    }

    /// The alarms that have come back from `drift.alert.v1`, in the order in which they were raised; a repeat counts once.
    /// What others put on that topic is no alarm.
    ///
    /// # Errors
    /// Where the tables cannot be read.
    pub async fn alarms(&self) -> Result<Vec<DriftAlert>, ReadError> {
        let sql = format!(
            "SELECT payload FROM message_rows WHERE split_part(topic, '#', 1) = '{}' AND payload IS NOT NULL ORDER BY \"partition\", \"offset\"",
            schemas::topic::DRIFT_ALERT
        );
        self.of_messages(&self.0.alarms, &sql, |batches| {
            let mut alarms: Vec<DriftAlert> = Vec::new();
            for batch in batches {
                for payload in binaries(batch, "payload")?.into_iter().flatten() {
                    let read: Option<DriftAlert> = serde_json::from_slice(&payload).ok();
                    alarms.extend(read.filter(|read| alarms.iter().all(|alarm| alarm.alert_id != read.alert_id)));
                }
            }
            Ok(alarms)
        })
        .await
    }

    /// What `sql` says of the newest version of `messages`, asked once a version.
    async fn of_messages<T: Clone>(
        &self,
        kept: &OfMessages<T>,
        sql: &str,
        read: impl FnOnce(&[RecordBatch]) -> Result<T, QueryError>,
    ) -> Result<T, ReadError> {
        let log = |source| ReadError::Log { table: Table::Messages.as_str(), source };
        let version = self.snapshot(Table::Messages).await.map_err(log)?.version();
        let mut kept = kept.lock().await;
        if let Some((_, known)) = kept.as_ref().filter(|(of, _)| Some(*of) == version) {
            return Ok(known.clone());
        }
        let known = read(&self.base_query(Table::Messages, sql).await?).map_err(ReadError::Rows)?;
        *kept = version.map(|version| (version, known.clone()));
        Ok(known)
    }

    /// A question about the rows of one table alone, without the cost of the views: within the warehouse's memory, and beginning anew where others
    /// hold too much of it.
    pub(crate) async fn base_query(&self, table: Table, sql: &str) -> Result<Vec<RecordBatch>, ReadError> {
        let ctx = self.empty_session();
        let log = |source| ReadError::Log { table: table.as_str(), source };
        let engine = |error| ReadError::Rows(QueryError::from(error));
        let delta = self.snapshot(table).await.map_err(log)?;
        delta.update_datafusion_session(&ctx.state()).map_err(log)?;
        ctx.register_table(relation(table), delta.table_provider().await.map_err(engine)?).map_err(engine)?;
        statement::all(ctx.sql(sql).await.map_err(engine)?).await.map_err(engine)
    }

    /// Labelled examples of all tasks at a pin, split as the dataset of all tasks is, in an order that depends on nothing else.
    ///
    /// # Errors
    /// Where the views cannot be read.
    pub async fn examples(&self, pin: &Pin) -> Result<Vec<Example>, QueryError> {
        let sql = format!(
            "SELECT task, joint_split AS split, joint_fold AS fold, encounter_id, patient_id, note_id, note_version_id, prediction_at, label FROM examples \
             WHERE task IN ({}) ORDER BY prediction_at, note_id, task, encounter_id",
            asked()
        );
        let at = AsOf { pin: Some(pin.clone()), ..AsOf::default() };
        let bodies = self.bodies(&at).await?;
        let mut examples = Vec::new();
        for batch in self.query(&sql, &at).await? {
            let text = |column| texts(&batch, column);
            let (tasks, splits, folds, notes) = (text("task")?, text("split")?, text("fold")?, text("note_id")?);
            let (encounters, patients, versions) = (text("encounter_id")?, text("patient_id")?, text("note_version_id")?);
            let (times, labels) = (instants(&batch, "prediction_at")?, ints(&batch, "label")?);
            for row in 0..batch.num_rows() {
                examples.push(Example {
                    task: parsed(&tasks, row, "task")?,
                    split: splits.get(row).cloned().flatten(),
                    fold: parsed(&folds, row, "fold")?,
                    encounter_id: parsed(&encounters, row, "encounter_id")?,
                    patient_id: parsed(&patients, row, "patient_id")?,
                    note_id: parsed(&notes, row, "note_id")?,
                    note_version_id: parsed(&versions, row, "note_version_id")?,
                    prediction_at: times.get(row).copied().flatten().ok_or(QueryError::Row { column: "prediction_at" })?,
                    label: labels
                        .get(row)
                        .copied()
                        .flatten()
                        .and_then(|label| i32::try_from(label).ok())
                        .ok_or(QueryError::Row { column: "label" })?,
                    text: versions.get(row).and_then(|version| bodies.get(version.as_deref()?)).cloned().unwrap_or_default(),
                });
            }
        }
        Ok(examples)
    }

    /// The texts of the notes of examples, by version. Apart from the examples: a sort that carries texts asks for memory many times their size.
    async fn bodies(&self, at: &AsOf) -> Result<BTreeMap<String, String>, QueryError> {
        let sql = format!(
            "SELECT note_version_id, min(text) AS text FROM standing_notes \
             WHERE note_version_id IN (SELECT note_version_id FROM examples WHERE task IN ({})) GROUP BY note_version_id",
            asked()
        );
        let mut bodies = BTreeMap::new();
        for batch in self.query(&sql, at).await? {
            let pairs = texts(&batch, "note_version_id")?.into_iter().zip(texts(&batch, "text")?);
            bodies.extend(pairs.filter_map(|(version, text)| version.zip(text)));
        }
        Ok(bodies)
    }

    /// How many labelled examples of any task are known that were to be predicted at `since` or later.
    ///
    /// # Errors
    /// Where the views cannot be read.
    pub async fn examples_since(&self, since: Timestamp) -> Result<usize, QueryError> {
        let sql = format!("SELECT count(*) AS examples FROM examples WHERE prediction_at >= TIMESTAMP '{since}' AND task IN ({})", asked());
        let batches = self.query(&sql, &AsOf::default()).await?;
        let counts = batches.iter().map(|batch| ints(batch, "examples")).collect::<Result<Vec<_>, _>>()?;
        Ok(counts.into_iter().flatten().flatten().filter_map(|count| usize::try_from(count).ok()).sum())
    }

    /// The alarms that stand in `drift`.
    ///
    /// # Errors
    /// Where the views cannot be read.
    pub async fn drift(&self, at: &AsOf) -> Result<Vec<DriftAlert>, QueryError> {
        let sql = "SELECT task, model_version, month, kind, measure, value, low, high, \"limit\", (SELECT max(known_at) FROM message_rows WHERE facility <> 'wardstream') AS alarmed_at \
                   FROM drift WHERE alarm ORDER BY month, task, measure";
        let mut alerts = Vec::new();
        for batch in self.query(sql, at).await? {
            let (tasks, models, kinds, measures) =
                (texts(&batch, "task")?, texts(&batch, "model_version")?, texts(&batch, "kind")?, texts(&batch, "measure")?);
            let (months, alarmed) = (instants(&batch, "month")?, instants(&batch, "alarmed_at")?);
            let (values, lows, highs, limits) =
                (floats(&batch, "value")?, floats(&batch, "low")?, floats(&batch, "high")?, floats(&batch, "limit")?);
            for row in 0..batch.num_rows() {
                let text = |column: &[Option<String>]| column.get(row).cloned().flatten().unwrap_or_default();
                let number = |column: &[Option<f64>]| column.get(row).copied().flatten();
                let month = months.get(row).copied().flatten().ok_or(QueryError::Row { column: "month" })?;
                let kind = match text(&kinds).as_str() {
                    "performance" => DriftKind::Performance,
                    "estimated" => DriftKind::Estimated,
                    "population" => DriftKind::Population,
                    "plumbing" => DriftKind::Plumbing,
                    _ => return Err(QueryError::Row { column: "kind" }),
                };
                alerts.push(DriftAlert {
                    alert_id: DriftAlert::derive_id(&text(&tasks), &text(&models), month, kind, &text(&measures)),
                    task: text(&tasks),
                    model_version: text(&models),
                    month,
                    kind,
                    measure: text(&measures),
                    value: number(&values).unwrap_or(f64::NAN),
                    low: number(&lows),
                    high: number(&highs),
                    limit: number(&limits).unwrap_or(f64::NAN),
                    alarmed_at: alarmed.get(row).copied().flatten().ok_or(QueryError::Row { column: "alarmed_at" })?,
                });
            }
        }
        Ok(alerts)
    }

    /// Ranges in which something is missing, doubled or no longer what its digest says; empty where all is well.
    ///
    /// # Errors
    /// Where the tables cannot be read.
    pub async fn verify(&self) -> Result<Vec<Gap>, QueryError> {
        let sql = "SELECT c.\"table\", c.topic, c.\"partition\", c.first_offset, c.last_offset, c.missing, c.doubled, COALESCE(d.corrupt, 0) AS corrupt \
                   FROM conservation AS c LEFT JOIN (SELECT topic, \"partition\", count(*) AS corrupt FROM message_rows \
                   WHERE digest <> encode(sha256(payload), 'hex') GROUP BY 1, 2) AS d \
                   ON c.\"table\" = 'messages' AND d.topic = c.topic AND d.\"partition\" = c.\"partition\" \
                   WHERE c.missing <> 0 OR c.doubled <> 0 OR COALESCE(d.corrupt, 0) <> 0 ORDER BY 1, 2, 3";
        let mut gaps = Vec::new();
        for batch in self.query(sql, &AsOf::default()).await? {
            let (tables, topics) = (texts(&batch, "table")?, texts(&batch, "topic")?);
            let number = |column| ints(&batch, column);
            let (partitions, firsts, lasts) = (number("partition")?, number("first_offset")?, number("last_offset")?);
            let (missing, doubled, corrupt) = (number("missing")?, number("doubled")?, number("corrupt")?);
            for row in 0..batch.num_rows() {
                let of = |column: &[Option<i64>]| column.get(row).copied().flatten().unwrap_or_default();
                gaps.push(Gap {
                    table: tables.get(row).cloned().flatten().unwrap_or_default(),
                    topic: topics.get(row).cloned().flatten().unwrap_or_default(),
                    partition: i32::try_from(of(&partitions)).unwrap_or(-1),
                    first_offset: of(&firsts),
                    last_offset: of(&lasts),
                    missing: of(&missing),
                    doubled: of(&doubled),
                    corrupt: of(&corrupt),
                });
            }
        }
        Ok(gaps)
    }
}

/// SELECT, EXPLAIN and SHOW plan; nothing else does.
pub(crate) fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

pub(crate) fn column(batch: &RecordBatch, name: &'static str, kind: &DataType) -> Result<datafusion::arrow::array::ArrayRef, QueryError> {
    let array = batch.column_by_name(name).ok_or(QueryError::Row { column: name })?;
    cast(array, kind).map_err(|_| QueryError::Row { column: name })
}

pub(crate) fn texts(batch: &RecordBatch, name: &'static str) -> Result<Vec<Option<String>>, QueryError> {
    let array = column(batch, name, &DataType::Utf8)?;
    Ok(array.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect())
}

pub(crate) fn binaries(batch: &RecordBatch, name: &'static str) -> Result<Vec<Option<Vec<u8>>>, QueryError> {
    let array = column(batch, name, &DataType::Binary)?;
    Ok(array.as_binary::<i32>().iter().map(|value| value.map(<[u8]>::to_vec)).collect())
}

pub(crate) fn ints(batch: &RecordBatch, name: &'static str) -> Result<Vec<Option<i64>>, QueryError> {
    let array = column(batch, name, &DataType::Int64)?;
    Ok(array.as_primitive::<Int64Type>().iter().collect())
}

pub(crate) fn floats(batch: &RecordBatch, name: &'static str) -> Result<Vec<Option<f64>>, QueryError> {
    let array = column(batch, name, &DataType::Float64)?;
    Ok(array.as_primitive::<Float64Type>().iter().collect())
}

pub(crate) fn instants(batch: &RecordBatch, name: &'static str) -> Result<Vec<Option<Timestamp>>, QueryError> {
    let array = column(batch, name, &schemas::table::instant())?;
    array
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .map(|value| value.map(|micros| Timestamp::from_microsecond(micros).map_err(|_| QueryError::Row { column: name })).transpose())
        .collect()
}

pub(crate) fn parsed<T: FromStr>(values: &[Option<String>], row: usize, column: &'static str) -> Result<T, QueryError> {
    values.get(row).and_then(|value| value.as_deref()?.parse().ok()).ok_or(QueryError::Row { column })
}
