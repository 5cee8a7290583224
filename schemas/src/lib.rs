//! The words of the house: ids, instants, events, notes and how they are read, tasks, predictions, tables and topics.
//!
//! Every other room speaks in these types. This room does no I/O, formats no SQL, reads no clock.

pub mod cleaning;
pub mod drift;
pub mod event;
pub mod facility;
pub mod id;
pub mod instant;
pub mod message;
pub mod note;
pub mod prediction;
pub mod table;
pub mod task;
pub mod topic;

pub use drift::{DriftAlert, DriftKind};
pub use event::{Event, EventCode, EventStamp, Fact};
pub use facility::Facility;
pub use id::{ClaimId, DatasetId, Digest, EncounterId, EventId, Identifier, ModelVersion, NoteId, NoteVersionId, PatientId, PredictionId};
pub use message::{Flag, Format, Message, Outcome, Reject, Skip, Skipped, Source, Stage};
pub use note::{CanonicalNote, MappedNote, NoteKind, NoteRow, NoteStatus};
pub use prediction::{Mode, Prediction};
pub use table::Table;
pub use task::Task;
pub use topic::TopicPartition;
