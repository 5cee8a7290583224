//! CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the value is the data alone.

use jiff::Timestamp;

use crate::Record;

/// The header that holds an event's time.
pub(crate) const TIME: &str = "ce_time";

/// The attributes of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    /// Unique within `source`; the same event always has the same id.
    pub id: String,
    /// Who says so, a URI reference.
    pub source: String,
    /// What kind of event, such as `wardstream.prediction.v1`.
    pub kind: String,
    /// When it happened.
    pub time: Timestamp,
}

/// A record's headers, in order.
pub type HeaderList = Vec<(String, Option<Vec<u8>>)>;

impl CloudEvent {
    /// Headers for a JSON value.
    pub fn headers(&self) -> HeaderList {
        let pair = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        vec![
            pair("ce_specversion", "1.0"),
            pair("ce_id", &self.id),
            pair("ce_source", &self.source),
            pair("ce_type", &self.kind),
            pair(TIME, &self.time.to_string()),
            pair("content-type", "application/json"),
        ]
    }

    /// Reads a record's attributes; `None` if it is not a CloudEvents 1.x record in binary mode.
    pub fn of(record: &Record) -> Option<Self> {
        let text = |name: &str| {
            let (_, value) = record.headers.iter().find(|(key, _)| key == name)?;
            String::from_utf8(value.clone()?).ok()
        };
        text("ce_specversion").filter(|version| version.starts_with("1."))?;
        Some(Self { id: text("ce_id")?, source: text("ce_source")?, kind: text("ce_type")?, time: text(TIME)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What we publish is what we can read.
    #[test]
    fn attributes_survive_the_wire() {
        let event = CloudEvent {
            id: "b7".to_owned(),
            source: "/wardstream/scorer".to_owned(),
            kind: "wardstream.prediction.v1".to_owned(),
            time: "2021-06-01T08:00:00Z".parse().expect("an instant"),
        };
        let mut record = Record {
            topic: "prediction.v1".into(),
            partition: 0,
            offset: 0,
            timestamp: Timestamp::UNIX_EPOCH,
            key: None,
            headers: event.headers(),
            payload: None,
            skip: None,
        };
        assert_eq!(CloudEvent::of(&record), Some(event));
        record.headers.remove(0);
        assert_eq!(CloudEvent::of(&record), None);
    }
}
