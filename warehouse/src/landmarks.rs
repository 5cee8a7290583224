//! What the tables say of single records, by which a reader tells whether a topic is still the one that they know.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemas::{Digest, Table, TopicPartition};

use crate::error::ReadError;
use crate::literal::quoted;
use crate::read::{instants, ints, texts};
use crate::store::Warehouse;

/// How many records are asked for by one query.
const AT_ONCE: usize = 200;

/// A record that the tables hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landmark {
    known_at: Timestamp,
    digest: String,
}

impl Landmark {
    /// Whether this is the record with that timestamp of the broker and that value. Where brokers keep no timestamps, the bytes decide.
    #[must_use]
    pub fn is_of(&self, timestamp: Timestamp, payload: Option<&[u8]>) -> bool {
        let says_nothing = timestamp == Timestamp::UNIX_EPOCH && !self.digest.is_empty();
        let same = || payload.is_none_or(|payload| self.digest == Digest::of(payload).to_string());
        self.known_at == timestamp && (!says_nothing || same())
    }
}

impl Warehouse {
    /// The records at these offsets; none where `messages` holds none.
    ///
    /// # Errors
    /// Where the tables cannot be read.
    pub async fn landmarks(&self, at: &BTreeMap<TopicPartition, i64>) -> Result<BTreeMap<TopicPartition, Landmark>, ReadError> {
        let mut found = BTreeMap::new();
        let each: Vec<String> = at.iter().map(|(partition, offset)| condition(partition, *offset)).collect();
        for some in each.chunks(AT_ONCE) {
            let sql =
                format!("SELECT topic, \"partition\", known_at, digest FROM message_rows WHERE reading <= 0 AND ({})", some.join(" OR "));
            for batch in self.base_query(Table::Messages, &sql).await? {
                let columns =
                    (texts(&batch, "topic")?, ints(&batch, "partition")?, instants(&batch, "known_at")?, texts(&batch, "digest")?);
                let (topics, numbers, times, digests) = columns;
                for (((topic, number), known_at), digest) in topics.into_iter().zip(numbers).zip(times).zip(digests) {
                    let partition = number.and_then(|number| i32::try_from(number).ok());
                    if let (Some(topic), Some(partition), Some(known_at)) = (topic, partition, known_at) {
                        let landmark = Landmark { known_at, digest: digest.unwrap_or_default() };
                        found.insert(TopicPartition { topic, partition }, landmark);
                    }
                }
            }
        }
        Ok(found)
    }
}

fn condition(partition: &TopicPartition, offset: i64) -> String {
    format!("(topic = {} AND \"partition\" = {} AND \"offset\" = {offset})", quoted(&partition.topic), partition.partition)
}

#[cfg(test)]
mod tests {
    use schemas::instant::{FIRST, LAST};
    use schemas::{EventCode, Fact, Source};

    use super::*;
    use crate::store::tests::{RAW, Record, Ward, fact, rows};

    /// A clock may say anything: its record is known again after a restart, and no query stumbles over it.
    #[tokio::test]
    async fn a_record_of_a_broken_clock_can_be_read() {
        let ward = Ward::empty().await;
        for (offset, at, patient) in [(0, Timestamp::MIN, "4711"), (1, Timestamp::MAX, "4712")] {
            let born = Fact { time: Some(at), asserted_at: Some(at), ..fact(EventCode::PatientBirthDate, patient, None, None) };
            let source = Source { topic: RAW.to_owned(), partition: 0, offset };
            ward.warehouse.append(&mut rows(Record::of(vec![born]), source, at)).await.expect("lands");
        }
        let partition = TopicPartition { topic: RAW.to_owned(), partition: 0 };
        for (offset, known_at) in [(0, FIRST), (1, LAST)] {
            let found = ward.warehouse.landmarks(&[(partition.clone(), offset)].into()).await.expect("can be read");
            assert!(found.get(&partition).is_some_and(|landmark| landmark.is_of(known_at, None)));
        }
        assert_eq!(ward.warehouse.watermark().await.expect("can be read"), Some(LAST));
        let months = "SELECT count(DISTINCT date_trunc('month', known_at)), count(DISTINCT date_trunc('month', time)) FROM events";
        assert_eq!(ward.told_of(months).await.trim(), "2,2");
    }

    /// Another topic's record at the same offset has another timestamp; only where there are none do bytes tell.
    #[test]
    fn a_record_is_known_by_when_it_was_written() {
        let at = |millis| Timestamp::from_millisecond(millis).expect("an instant");
        let landmark = |millis| Landmark { known_at: at(millis), digest: Digest::of(b"x").to_string() };
        assert!(landmark(5).is_of(at(5), Some(b"x")));
        assert!(!landmark(5).is_of(at(6), Some(b"x")));
        assert!(landmark(0).is_of(at(0), Some(b"x")));
        assert!(!landmark(0).is_of(at(0), Some(b"y")));
    }
}
