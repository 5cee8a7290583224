//! Takes off what a record's value is wrapped in, so that the maps see the message: HL7 v2 or FHIR.
//!
//! The order is: compression (gzip, Zstandard), then Confluent's frame with its JSON Schema, string, Avro or Protobuf payload, then
//! CloudEvents in structured mode, then JSON that only carries a message. A wrapping may stand in another. What the tables keep are the
//! bytes as they came; what is taken off here is taken off again by every replay, with the same result, because [`Schemas::unwrap`] is
//! pure: bytes in, bytes out.
//!
//! It refuses to read a message, to decide what becomes of it, and to guess between several. Only [`Envelopes`] speaks with anybody: it
//! fetches the schemas that a batch names, before the batch is unwrapped.
//!
//! **A schema registry that is away.** Schemas never change, so each is fetched once. While the registry does not answer, the batch
//! waits, and the log with it, for `patience_ms`; then its framed records are rejected at stage `wire` and replayable, and until the
//! registry answers again later batches ask it once and do not wait. Records without a frame never wait.

mod avro;
mod compression;
mod confluent;
mod error;
mod hints;
mod json;
mod layers;
mod protobuf;
mod registry;
mod settings;
mod sniff;
mod unicode;

pub use error::EnvelopeError;
pub use hints::Hints;
pub use layers::{Schemas, Unwrapped, Wrapping};
pub use registry::Envelopes;
pub use settings::{Registry, Settings};
