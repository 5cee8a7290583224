//! What can go wrong on the bus, sorted by what the caller does about it. No variant carries a record's content.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Why the bus could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The configuration is wrong; a person changes it. The value is left out, since it may be a password.
    #[error("Kafka property {key} is refused: {reason}")]
    Property {
        /// The property's name.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The client could not be built; a person looks at the settings.
    #[error("could not {action}")]
    Client {
        /// What was being built.
        action: &'static str,
        /// The client's own words.
        source: KafkaError,
    },
    /// The client is beyond repair; drop it, build a new one, and start again where the tables say.
    #[error("the Kafka client must be rebuilt: could not {action}")]
    Fatal {
        /// What was being done.
        action: &'static str,
        /// The client's own words.
        source: KafkaError,
    },
    /// One record was not delivered and will not be; the caller decides what becomes of it.
    #[error("could not deliver a record to topic {topic}")]
    Undelivered {
        /// The topic.
        topic: String,
        /// The client's own words.
        source: KafkaError,
    },
    /// A question to the brokers failed; ask again later.
    #[error("could not {action} {object}")]
    Unanswered {
        /// What was asked.
        action: &'static str,
        /// What it was asked about.
        object: String,
        /// The client's own words.
        source: KafkaError,
    },
}

impl BusError {
    /// Whether the record is larger than the client or the broker carries: to send it again is of no use.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let code = match self {
            Self::Undelivered { source, .. } => source.rdkafka_error_code(),
            _ => None,
        };
        matches!(code, Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize))
    }

    /// A client that could not be built. A refused property is named, its value is not.
    pub(crate) fn building(action: &'static str, source: KafkaError) -> Self {
        match source {
            KafkaError::ClientConfig(_, _, key, _) => {
                Self::Property { key, reason: "librdkafka does not know it, or not with this value".to_owned() }
            }
            source => Self::Client { action, source },
        }
    }

    /// A question that stayed without answer.
    pub(crate) fn unanswered(action: &'static str, object: impl Into<String>, source: KafkaError) -> Self {
        Self::Unanswered { action, object: object.into(), source }
    }

    /// A record that was not delivered: beyond repair for all that follow, or for itself alone.
    pub(crate) fn undelivered(topic: &str, source: KafkaError) -> Self {
        match source.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => Self::Fatal { action: "publish", source },
            _ => Self::Undelivered { topic: topic.to_owned(), source },
        }
    }
}
