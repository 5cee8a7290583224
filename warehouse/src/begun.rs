//! Records that somebody began to land and did not finish: other tables hold what they say, `messages` does not hold them yet.
//!
//! Whoever reads them next may read them otherwise: with newer maps, another zone, another schema registry. So their facts and notes are
//! written again, to every table, as another attempt, and the row in `messages`, which is committed last, names the attempt whose rows
//! stand. What an earlier attempt left behind is history. Attempts have numbers by chance, so that no two processes share one; they stand
//! below zero in the column `reading`, replays above.

use std::collections::{BTreeMap, BTreeSet};

use deltalake_core::DeltaTableError;
use deltalake_core::kernel::Transaction;
use schemas::{Source, Table, TopicPartition};

use crate::append::{Batch, Writer};
use crate::error::ReadError;
use crate::store::{Warehouse, held_by_all};

/// The records of a partition that were begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The last of them.
    pub upto: i64,
    /// The number of the attempt that is made now, above zero.
    pub attempt: i64,
}

/// The tables in which an attempt leaves rows.
pub const ATTEMPTED: [Table; 2] = [Table::Events, Table::Notes];

/// The application id under which a table keeps how far it has come with an attempt. No topic's name is empty, so it is no partition's.
fn attempt_id(partition: &TopicPartition, attempt: i64) -> String {
    format!("wardstream//attempts/{attempt}/{partition}")
}

impl Warehouse {
    /// What was begun of these partitions, by whoever had them before. To be asked when a partition becomes ours.
    ///
    /// # Errors
    /// Where a table's log cannot be read.
    pub async fn begun(&self, partitions: &BTreeSet<TopicPartition>) -> Result<BTreeMap<TopicPartition, Begun>, ReadError> {
        let mut begun = BTreeMap::new();
        for (partition, tables) in self.held(partitions).await? {
            let landed = held_by_all(Some(&tables));
            if let Some(upto) = ATTEMPTED.iter().filter_map(|table| tables.get(table).copied()).max().filter(|upto| *upto > landed) {
                begun.insert(partition, Begun { upto, attempt: rand::random_range(1..i64::MAX) });
            }
        }
        Ok(begun)
    }
}

impl Batch {
    /// Makes what `begun` tells of this batch's records another attempt at them.
    pub fn resume(&mut self, begun: &BTreeMap<TopicPartition, Begun>) {
        let ours = begun.iter().filter(|(partition, _)| self.upto.contains_key(*partition));
        self.begun = ours.map(|(partition, begun)| (partition.clone(), *begun)).collect();
        if self.begun.is_empty() {
            return;
        }
        for message in &mut self.messages {
            if let Some(begun) = begun_at(&self.begun, &message.source) {
                (message.reading, message.rows_reading) = (-begun.attempt, -begun.attempt);
            }
        }
        let reading = |source: &Source| begun_at(&self.begun, source).map_or(0, |begun| -begun.attempt);
        self.events.iter_mut().for_each(|event| event.reading = reading(&event.source));
        self.notes.iter_mut().for_each(|note| note.reading = reading(&note.source));
    }
}

fn begun_at(begun: &BTreeMap<TopicPartition, Begun>, source: &Source) -> Option<Begun> {
    begun.get(&source.topic_partition()).copied().filter(|begun| source.offset <= begun.upto)
}

/// What a table has of the attempts that a batch is part of: the last offset of each; empty for a table in which attempts leave nothing.
#[derive(Default)]
pub struct Attempts(BTreeMap<TopicPartition, (Begun, i64)>);

impl Attempts {
    /// Whether the row is part of an attempt, and if so, whether the table lacks it.
    pub fn lacks(&self, source: &Source) -> Option<bool> {
        let (_, held) = self.0.get(&source.topic_partition()).filter(|(begun, _)| source.offset <= begun.upto)?;
        Some(source.offset > *held)
    }

    /// What a commit of a batch that comes this far says of them; nothing where the table holds all of it.
    pub fn transactions(&self, upto: &BTreeMap<TopicPartition, i64>) -> Vec<Transaction> {
        let due = self.0.iter().filter_map(|(partition, (begun, held))| {
            let last = upto.get(partition).copied()?.min(begun.upto);
            (last > *held).then(|| Transaction::new(attempt_id(partition, begun.attempt), last))
        });
        due.collect()
    }
}

impl Writer {
    /// What this table has of the attempts that `batch` is part of.
    pub async fn attempts(&self, table: Table, batch: &Batch) -> Result<Attempts, DeltaTableError> {
        let mut attempts = Attempts::default();
        if ATTEMPTED.contains(&table) {
            for (partition, begun) in &batch.begun {
                let log = self.delta.log_store();
                let id = attempt_id(partition, begun.attempt);
                let held = self.delta.snapshot()?.transaction_version(log.as_ref(), id).await?;
                attempts.0.insert(partition.clone(), (*begun, held.unwrap_or(-1)));
            }
        }
        Ok(attempts)
    }
}
