//! Records that wait to be handled together.

use std::time::{Duration, Instant};

use schemas::TopicPartition;

use crate::record::Record;

/// When waiting records are due; whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many records,
    pub records: usize,
    /// or so many bytes of payload,
    pub bytes: usize,
    /// or the oldest has waited this long.
    pub age: Duration,
}

/// Consumed records that nobody has handled yet.
#[derive(Debug)]
pub struct Pending {
    limits: Limits,
    records: Vec<Record>,
    bytes: usize,
    due: Option<Instant>,
}

impl Pending {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, records: Vec::new(), bytes: 0, due: None }
    }

    /// Adds a record behind those that wait.
    pub fn push(&mut self, record: Record) {
        self.push_patiently(record, self.limits.age);
    }

    /// Adds a record that may wait for `age` instead, unless another one is due before.
    pub fn push_patiently(&mut self, record: Record, age: Duration) {
        self.bytes += record.size();
        let due = Instant::now() + age;
        self.due = Some(self.due.map_or(due, |first| first.min(due)));
        self.records.push(record);
    }

    /// Leaves out what stood on partitions that moved elsewhere: it is theirs to handle.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.records.retain(|record| !partitions.iter().any(|moved| moved.topic == record.topic && moved.partition == record.partition));
        self.bytes = self.records.iter().map(Record::size).sum();
        self.due = self.due.filter(|_| !self.records.is_empty());
    }

    fn left(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Comes when the oldest record has waited long enough; never where none waits.
    pub async fn deadline(&self) {
        match self.left() {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    }

    /// Whether as much waits as may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.records.len() >= self.limits.records || self.bytes >= self.limits.bytes
    }

    /// Whether anything waits and one of the limits is reached.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.left().is_some_and(|left| self.is_full() || left.is_zero())
    }

    /// Everything that waits, in the order in which it came.
    pub fn take(&mut self) -> Vec<Record> {
        (self.bytes, self.due) = (0, None);
        std::mem::take(&mut self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn pending(records: usize, bytes: usize, age: Duration) -> Pending {
        Pending::new(Limits { records, bytes, age })
    }

    fn record(partition: i32, payload: &[u8]) -> Record {
        Record {
            topic: "hl7.raw".to_owned(),
            partition,
            offset: 0,
            timestamp: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            headers: Vec::new(),
            payload: Some(payload.to_vec()),
            skip: None,
        }
    }

    #[test]
    fn whichever_limit_comes_first_makes_it_due() {
        let mut by_records = pending(2, 100, HOUR);
        by_records.push(record(0, b"x"));
        assert!(!by_records.is_due());
        by_records.push(record(0, b"y"));
        assert!(by_records.is_due());
        let mut by_bytes = pending(100, 3, HOUR);
        by_bytes.push(record(0, b"xyz"));
        assert!(by_bytes.is_due());
        let mut by_age = pending(100, 100, Duration::ZERO);
        assert!(!by_age.is_due());
        by_age.push(record(0, b"x"));
        assert!(by_age.is_due());
        assert_eq!(by_age.take().len(), 1);
        assert!(!by_age.is_due());
    }

    #[test]
    fn a_patient_record_goes_with_the_first_that_is_due() {
        let mut pending = pending(100, 100, Duration::ZERO);
        pending.push_patiently(record(0, b"x"), HOUR);
        assert!(!pending.is_due());
        pending.push(record(0, b"y"));
        assert!(pending.is_due());
        assert_eq!(pending.take().len(), 2);
    }

    #[tokio::test]
    async fn what_moved_away_is_not_waited_for() {
        let mut moved = pending(100, 4, Duration::ZERO);
        moved.push(record(0, b"xyz"));
        moved.forget(&[TopicPartition { topic: "hl7.raw".to_owned(), partition: 0 }]);
        assert!(!moved.is_due());
        assert!(tokio::time::timeout(Duration::from_millis(20), moved.deadline()).await.is_err());
        let mut kept = pending(100, 4, HOUR);
        kept.push(record(0, b"xyz"));
        kept.push(record(1, b"x"));
        kept.forget(&[TopicPartition { topic: "hl7.raw".to_owned(), partition: 0 }]);
        assert!(!kept.is_due());
    }
}
