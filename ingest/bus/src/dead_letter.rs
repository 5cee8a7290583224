//! A dead letter: the record as it came, with the names that Kafka Connect's tools look for. The table row is the truth; this is a copy
//! for whoever watches topics.

use schemas::{Reject, Stage};

use crate::{Outgoing, Record};

/// What is added to a topic's name.
pub const SUFFIX: &str = ".dlq";

/// The dead letter of a record and the first thing that was wrong with it. Key, value, headers and timestamp are those of the record.
/// `None` for a record that is a dead letter itself: there is no dead letter of a dead letter.
#[must_use]
pub fn dead_letter(record: &Record, reject: &Reject) -> Option<Outgoing> {
    if record.topic.ends_with(SUFFIX) {
        return None;
    }
    let mut headers = record.headers.clone();
    let mut add = |name: &str, value: String| headers.push((format!("__connect.errors.{name}"), Some(value.into_bytes())));
    add("topic", record.topic.clone());
    add("partition", record.partition.to_string());
    add("offset", record.offset.to_string());
    add("connector.name", "wardstream-ingest".to_owned());
    add("task.id", "0".to_owned());
    add("stage", connect_stage(reject.stage).to_owned());
    add("exception.class.name", format!("wardstream.reject.{}", reject.stage.as_str()));
    // A reject holds a position and a fixed sentence, never content: nothing here names a person.
    add("exception.message", format!("{}: {}", reject.position, reject.reason));
    Some(Outgoing {
        topic: format!("{}{SUFFIX}", record.topic),
        key: record.key.clone(),
        payload: record.payload.clone(),
        headers,
        timestamp: Some(record.timestamp),
    })
}

/// Kafka Connect's word for how far the record came.
fn connect_stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Wire | Stage::Decode | Stage::Parse => "VALUE_CONVERTER",
        Stage::Map => "TRANSFORMATION",
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn record(topic: &str) -> Record {
        Record {
            topic: topic.to_owned(),
            partition: 3,
            offset: 41,
            timestamp: Timestamp::UNIX_EPOCH,
            key: Some(b"k".to_vec()),
            headers: vec![("h".to_owned(), None)],
            payload: Some(b"MSH|DOE".to_vec()),
            skip: None,
        }
    }

    /// Whoever repairs the record needs it unchanged, and its address.
    #[test]
    fn a_dead_letter_is_the_record_with_connects_names() {
        let reject = Reject { stage: Stage::Map, position: "PID-3".to_owned(), reason: "no identifier".into() };
        let letter = dead_letter(&record("hl7.raw"), &reject).expect("a dead letter");
        assert_eq!((letter.topic.as_str(), letter.key.as_deref()), ("hl7.raw.dlq", Some(&b"k"[..])));
        assert_eq!((letter.payload.as_deref(), letter.timestamp), (Some(&b"MSH|DOE"[..]), Some(Timestamp::UNIX_EPOCH)));
        assert_eq!(letter.headers.first(), Some(&("h".to_owned(), None)));
        let value = |name: &str| {
            let found = letter.headers.iter().find(|(key, _)| key == &format!("__connect.errors.{name}"))?;
            String::from_utf8(found.1.clone()?).ok()
        };
        assert_eq!(value("topic").as_deref(), Some("hl7.raw"));
        assert_eq!((value("partition").as_deref(), value("offset").as_deref()), (Some("3"), Some("41")));
        assert_eq!(value("stage").as_deref(), Some("TRANSFORMATION"));
        assert_eq!(value("exception.class.name").as_deref(), Some("wardstream.reject.map"));
        assert_eq!(value("exception.message").as_deref(), Some("PID-3: no identifier"));
        assert!(letter.headers.iter().all(|(_, value)| value.as_ref().is_none_or(|bytes| !bytes.windows(3).any(|w| w == b"DOE"))));
        assert!(dead_letter(&record("hl7.raw.dlq"), &reject).is_none());
    }
}
