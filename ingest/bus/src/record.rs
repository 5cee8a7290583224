//! One Kafka record as it came, bytes untouched.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::Timestamp;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers, Timestamp as Stamp};
use schemas::instant::{FIRST, LAST, nearest};
use schemas::{Skip, TopicPartition};

/// One record. Key, headers and payload may identify a person, so `Debug` gives only the address and sizes.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
    /// The record's timestamp, whole milliseconds; 1970-01-01 where the record has none, the nearest of [`schemas::instant`] where it is
    /// impossible.
    pub timestamp: Timestamp,
    /// Key, if any.
    pub key: Option<Vec<u8>>,
    /// Headers in order; a name may repeat. A name that is not UTF-8 is `\u{fffd}`, its value is lost with it.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Payload; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The offsets directly before it that hold no record, as far as this feed could see.
    pub skip: Option<Skip>,
}

impl Record {
    /// Where it came from.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }

    /// Bytes of its payload.
    pub(crate) fn size(&self) -> usize {
        self.payload.as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn copy(message: &BorrowedMessage<'_>) -> Self {
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: instant(message.timestamp()),
            key: message.key().map(<[u8]>::to_vec),
            headers: message.headers().map(headers).unwrap_or_default(),
            payload: message.payload().map(<[u8]>::to_vec),
            skip: None,
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.payload.as_ref().map(Vec::len);
        write!(f, "Record({}/{}@{}, payload_bytes: {bytes:?})", self.topic, self.partition, self.offset)
    }
}

/// The client panics on a header name that is not UTF-8. No bytes may stop a partition, so the panic ends here.
fn headers(from: &impl Headers) -> Vec<(String, Option<Vec<u8>>)> {
    let one = |index| {
        let header = from.try_get(index)?;
        Some((header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
    };
    (0..from.count())
        .map(|index| catch_unwind(AssertUnwindSafe(|| one(index))).ok().flatten().unwrap_or(("\u{fffd}".to_owned(), None)))
        .collect()
}

fn instant(stamp: Stamp) -> Timestamp {
    let millis = stamp.to_millis().unwrap_or(0);
    let end = if millis < 0 { FIRST } else { LAST };
    Timestamp::from_millisecond(millis).map_or(end, nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender's clock may be broken; its record still has an instant.
    #[test]
    fn an_impossible_timestamp_is_the_nearest_possible_one() {
        assert_eq!(instant(Stamp::NotAvailable), Timestamp::UNIX_EPOCH);
        assert_eq!(instant(Stamp::CreateTime(i64::MAX)), LAST);
        assert_eq!(instant(Stamp::CreateTime(LAST.as_millisecond() + 1)), LAST);
        assert_eq!(instant(Stamp::CreateTime(i64::MIN)), FIRST);
        assert_eq!(instant(Stamp::CreateTime(-377_705_023_201_000)), FIRST);
        assert_eq!(instant(Stamp::CreateTime(1_500)).as_millisecond(), 1_500);
    }

    /// A log line about a record gives its address, never its content.
    #[test]
    fn debug_shows_no_content() {
        let record = Record {
            topic: "t".into(),
            partition: 0,
            offset: 7,
            timestamp: Timestamp::UNIX_EPOCH,
            key: Some(b"MRN1".to_vec()),
            headers: vec![],
            payload: Some(b"DOE".to_vec()),
            skip: None,
        };
        assert_eq!(format!("{record:?}"), "Record(t/0@7, payload_bytes: Some(3))");
    }
}
