//! Typed publish and subscribe over Kafka: the only home of the Kafka client.
//!
//! The bus owns connections, positions, delivery and patience: a broker that is away is waited for. It refuses to look into
//! a payload, to decide what was processed (the tables do), and to print any content.

pub mod admin;
pub mod cloudevents;
mod dead_letter;
mod error;
mod feed;
mod pending;
mod publisher;
mod record;
mod settings;

pub use admin::{TopicSpec, create_topics, end_offsets, lag, topics};
pub use dead_letter::{SUFFIX as DEAD_LETTERS, dead_letter};
pub use error::BusError;
pub use feed::{Feed, Received, SeekTo, Start};
pub use pending::{Limits, Pending};
pub use publisher::{Delivery, Outgoing, Publisher};
pub use record::Record;
pub use settings::{Property, RECORD_LIMIT_BYTES, Settings};
