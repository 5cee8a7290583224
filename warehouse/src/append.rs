//! The one place where rows become durable: rows, rejects and offsets in one commit a table.
//!
//! Each table's commit carries, beside its rows, one application transaction per (topic, partition) with the last
//! offset. A table skips what it already holds, so a batch that comes again changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::execution::SessionState;
use deltalake_core::kernel::Transaction;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::protocol::SaveMode;
use deltalake_core::{DeltaTable, DeltaTableError};
use jiff::Timestamp;
use schemas::{Event, Message, NoteRow, Prediction, Source, Table, TopicPartition};

use crate::begun::{ATTEMPTED, Attempts, Begun};
use crate::encode;
use crate::error::AppendError;
use crate::layout;
use crate::maintenance::commit_alone;
use crate::store::Warehouse;

/// A record of `prediction.v1` as it was consumed.
#[derive(Clone)]
pub struct PredictionRow {
    /// What it says.
    pub prediction: Prediction,
    /// The broker's timestamp.
    pub known_at: Timestamp,
    /// Where it stood.
    pub source: Source,
}

/// Rows of a run of records, and the last offset of each partition among them.
#[derive(Clone, Default)]
pub struct Batch {
    /// Every record.
    pub messages: Vec<Message>,
    /// What they say happened.
    pub events: Vec<Event>,
    /// What they say was written.
    pub notes: Vec<NoteRow>,
    /// Predictions that came back.
    pub predictions: Vec<PredictionRow>,
    /// Last offset of each partition.
    pub upto: BTreeMap<TopicPartition, i64>,
    /// What of its records was begun before.
    pub(crate) begun: BTreeMap<TopicPartition, Begun>,
    /// The tables that hold it already.
    pub(crate) done: BTreeSet<Table>,
}

impl Batch {
    /// Adds the rows of records that follow.
    pub fn append(&mut self, mut other: Self) {
        self.messages.append(&mut other.messages);
        self.events.append(&mut other.events);
        self.notes.append(&mut other.notes);
        self.predictions.append(&mut other.predictions);
        for (partition, last) in other.upto {
            let upto = self.upto.entry(partition).or_insert(last);
            *upto = last.max(*upto);
        }
        self.begun.append(&mut other.begun);
    }

    /// Whether a table that holds this much has rows of the batch's records that we know nothing of: they have not `landed`, and were not
    /// there when we were told what was begun.
    fn is_begun_by_another(&self, held: &BTreeMap<TopicPartition, i64>, landed: &BTreeMap<TopicPartition, i64>) -> bool {
        let last = |of: &BTreeMap<TopicPartition, i64>, partition: &TopicPartition| of.get(partition).copied().unwrap_or(-1);
        let unknown = |message: &Message| {
            let (partition, offset) = (message.source.topic_partition(), message.source.offset);
            let known = last(landed, &partition).max(self.begun.get(&partition).map_or(-1, |begun| begun.upto));
            offset > known && offset <= last(held, &partition)
        };
        self.messages.iter().any(unknown)
    }

    fn partitions(&self) -> BTreeSet<TopicPartition> {
        self.upto.keys().cloned().collect()
    }

    /// The rows of `table` that stand behind `held`, and those that it lacks of attempts.
    fn rows(&self, table: Table, held: &BTreeMap<TopicPartition, i64>, attempts: &Attempts) -> Result<RecordBatch, ArrowError> {
        let behind = |source: &Source| held.get(&source.topic_partition()).is_none_or(|last| source.offset > *last);
        let new = |source: &Source| attempts.lacks(source).unwrap_or_else(|| behind(source));
        match table {
            Table::Messages => encode::messages(&kept(&self.messages, |row| new(&row.source))),
            Table::Events => encode::events(&kept(&self.events, |row| new(&row.source))),
            Table::Notes => encode::notes(&kept(&self.notes, |row| new(&row.source))),
            Table::Predictions => encode::predictions(&kept(&self.predictions, |row| new(&row.source))),
        }
    }

    /// Every row counts as the reading of this number.
    fn read_as(&mut self, reading: i64) {
        for message in &mut self.messages {
            message.reading = reading;
            // A reading that says the same as an earlier one leaves that one's rows standing.
            if message.rows_reading == NEWEST {
                message.rows_reading = reading;
            }
        }
        self.events.iter_mut().for_each(|event| event.reading = reading);
        self.notes.iter_mut().for_each(|note| note.reading = reading);
    }
}

/// As `rows_reading` of a message in a replay: the reading that is being made, whose number the tables give.
pub const NEWEST: i64 = -1;

fn kept<T>(rows: &[T], keep: impl Fn(&T) -> bool) -> Vec<&T> {
    rows.iter().filter(|row| keep(row)).collect()
}

/// The application id of a partition's offsets in every table.
pub fn app_id(partition: &TopicPartition) -> String {
    format!("wardstream/{partition}")
}

/// The application id under which every table counts its replays. No topic's name is empty, so it is no partition's.
const REPLAYS: &str = "wardstream//replays";

impl Warehouse {
    /// Makes `batch` durable. Rows that a table holds already are skipped, so a repeat changes nothing.
    ///
    /// # Errors
    /// [`AppendError::Fenced`] where another process has advanced one of the batch's partitions, or begun to, since this one last
    /// looked; anything else is to be tried again with the same batch.
    pub async fn append(&self, batch: &mut Batch) -> Result<(), AppendError> {
        let landed = self.landed(batch).await?;
        for table in Table::ALL {
            self.append_to(table, batch, &landed).await?;
            batch.done.insert(table);
        }
        Ok(())
    }

    /// The last offset that `messages` holds of each of the batch's partitions.
    async fn landed(&self, batch: &Batch) -> Result<BTreeMap<TopicPartition, i64>, AppendError> {
        let table = Table::Messages;
        self.writer(table).await.held(&batch.partitions()).await.map_err(|source| AppendError::Commit { table, source })
    }

    /// Makes another reading of stored records durable: its number is one more than that of any before, in any table. Rows of a reading
    /// that did not come as far as `messages` stand nowhere, so a replay that died is simply made again.
    ///
    /// # Errors
    /// [`AppendError::Commit`] where the store is away, or another replay ran beside this one: begin it anew.
    pub async fn append_reading(&self, mut batch: Batch) -> Result<i64, AppendError> {
        let mut last = 0;
        for table in [Table::Events, Table::Notes, Table::Messages] {
            let mut writer = self.writer(table).await;
            last = last.max(writer.replays().await.map_err(|source| AppendError::Commit { table, source })?);
        }
        let reading = last + 1;
        batch.read_as(reading);
        for table in [Table::Events, Table::Notes, Table::Messages] {
            let rows = batch.rows(table, &BTreeMap::new(), &Attempts::default()).map_err(|source| AppendError::Encode {
                table,
                rows: batch.messages.len(),
                source,
            })?;
            let mut writer = self.writer(table).await;
            writer
                .commit(rows, vec![Transaction::new(REPLAYS, reading)], &self.0.plumbing)
                .await
                .map_err(|source| AppendError::Commit { table, source })?;
        }
        Ok(reading)
    }

    async fn append_to(&self, table: Table, batch: &Batch, landed: &BTreeMap<TopicPartition, i64>) -> Result<(), AppendError> {
        let mut writer = self.writer(table).await;
        let known = writer.held(&batch.partitions()).await.map_err(|source| AppendError::Commit { table, source })?;
        let attempts = writer.attempts(table, batch).await.map_err(|source| AppendError::Commit { table, source })?;
        if ATTEMPTED.contains(&table) && !batch.done.contains(&table) && batch.is_begun_by_another(&known, landed) {
            return Err(AppendError::Fenced { table });
        }
        let mut transactions = attempts.transactions(&batch.upto);
        let is_held = batch.upto.iter().all(|(partition, last)| known.get(partition).is_some_and(|held| held >= last));
        if is_held && transactions.is_empty() {
            return Ok(());
        }
        let rows =
            batch.rows(table, &known, &attempts).map_err(|source| AppendError::Encode { table, rows: batch.messages.len(), source })?;
        // A batch that is late in one partition must not take that one's offset back.
        let ahead = |(partition, last): &(&TopicPartition, &i64)| known.get(*partition).is_none_or(|held| held < *last);
        let advanced: BTreeMap<TopicPartition, i64> =
            batch.upto.iter().filter(ahead).map(|(partition, last)| (partition.clone(), *last)).collect();
        transactions.extend(advanced.iter().map(|(partition, last)| Transaction::new(app_id(partition), *last)));
        let before = writer.delta.version();
        match writer.commit(rows, transactions, &self.0.plumbing).await {
            Ok(()) => {
                // Another process's commit came between: what was known of its partitions no longer counts.
                if writer.delta.version() != before.map(|version| version + 1) {
                    writer.positions.clear();
                }
                writer.positions_of = writer.delta.version();
                writer.positions.extend(advanced);
                Ok(())
            }
            Err(error) => Err(writer.refused(table, batch, error).await),
        }
    }
}

/// A table as its one writer in this process knows it.
pub struct Writer {
    pub delta: DeltaTable,
    /// Offsets this process has read from the table's log or written there.
    pub positions: BTreeMap<TopicPartition, i64>,
    /// The table's version that they were read of.
    pub positions_of: Option<u64>,
}

impl Writer {
    /// One commit: the rows, and what they bring each application to.
    async fn commit(
        &mut self,
        rows: RecordBatch,
        transactions: Vec<Transaction>,
        session: &Arc<SessionState>,
    ) -> Result<(), DeltaTableError> {
        let properties = commit_alone(CommitProperties::default().with_application_transactions(transactions));
        let written = self.delta.clone().write(vec![rows]).with_save_mode(SaveMode::Append).with_writer_properties(layout::writing());
        let written = written.with_session_state(Arc::<SessionState>::clone(session));
        self.delta = written.with_commit_properties(properties).await?;
        Ok(())
    }

    /// Takes a table that was loaded anew for what was known of it, unless that has come further meanwhile.
    pub fn renew(&mut self, fresh: DeltaTable) {
        if fresh.version() >= self.delta.version() {
            self.delta = fresh;
        }
    }

    /// How many replays the table has seen.
    async fn replays(&mut self) -> Result<i64, DeltaTableError> {
        self.delta.update_state().await?;
        let log = self.delta.log_store();
        Ok(self.delta.snapshot()?.transaction_version(log.as_ref(), REPLAYS).await?.unwrap_or(0))
    }

    /// The last offset that the table holds by now of each of these partitions, -1 for none: whoever begins to read a partition starts there.
    pub async fn held_now(&mut self, partitions: &BTreeSet<TopicPartition>) -> Result<BTreeMap<TopicPartition, i64>, DeltaTableError> {
        self.delta.update_state().await?;
        self.held(partitions).await
    }

    /// The same as of the version that this process knows: enough for an append, which is refused where another process has come further.
    async fn held(&mut self, partitions: &BTreeSet<TopicPartition>) -> Result<BTreeMap<TopicPartition, i64>, DeltaTableError> {
        if partitions.iter().any(|partition| !self.positions.contains_key(partition)) {
            self.delta.update_state().await?;
        }
        // Whoever asks a question moves the table on to its newest version, and with it past another process's commits:
        // what was read of an older version no longer counts.
        if self.delta.version() != self.positions_of {
            self.positions.clear();
            self.positions_of = self.delta.version();
        }
        for partition in partitions {
            if !self.positions.contains_key(partition) {
                let log = self.delta.log_store();
                let last = self.delta.snapshot()?.transaction_version(log.as_ref(), app_id(partition)).await?;
                self.positions.insert(partition.clone(), last.unwrap_or(-1));
            }
        }
        Ok(partitions.iter().filter_map(|partition| Some((partition.clone(), *self.positions.get(partition)?))).collect())
    }

    /// After a refused commit: look again, and tell a fence from a passing fault.
    async fn refused(&mut self, table: Table, batch: &Batch, error: DeltaTableError) -> AppendError {
        let before = std::mem::take(&mut self.positions);
        if let Err(source) = self.delta.update_state().await {
            return AppendError::Commit { table, source };
        }
        match self.held(&batch.partitions()).await {
            Ok(now) if now.iter().any(|(partition, last)| before.get(partition).is_some_and(|then| last > then)) => {
                AppendError::Fenced { table }
            }
            _ => AppendError::Commit { table, source: error },
        }
    }
}

#[cfg(test)]
mod tests;
