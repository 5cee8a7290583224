//! Pure maps: the bytes of one record and its facility become facts, notes and rejects.
//!
//! No Kafka, no table, no clock can be reached from here: same bytes, same facility, same rows. One bad segment costs
//! that segment, never its siblings.

mod attachment;
pub mod fhir;
pub mod hl7;
mod markup;
mod number;
mod record;
mod rows;
pub mod split;

pub use record::map_record;

use jiff::Timestamp;
use schemas::{Fact, Flag, Format, MappedNote, Outcome, Reject};

/// Whether a facility's charset is one: a label of WHATWG's.
#[must_use]
pub fn is_charset(label: &str) -> bool {
    encoding_rs::Encoding::for_label(label.as_bytes()).is_some()
}

/// Version of the maps; raised whenever the same bytes would give other rows, so that `replay` finds what is out of date.
pub const PARSER_VERSION: i32 = 7;

/// What a death's fact says whose hour was not stated.
const BY_DAY: &str = "day";

/// What one message or resource (a part of a record) says.
#[derive(Clone)]
pub struct Mapped {
    /// What its bytes are.
    pub format: Format,
    /// `ADT^A01`, `Encounter`, `Bundle/transaction`.
    pub trigger: Option<String>,
    /// MSH-10, or the resource's id.
    pub control_id: Option<String>,
    /// When it was sent: MSH-7, `meta.lastUpdated`, Bundle time.
    pub sent_at: Option<Timestamp>,
    /// The latest instant that it states anywhere; stands in for `sent_at` in a backfill.
    pub stated_at: Option<Timestamp>,
    /// What became of it.
    pub outcome: Outcome,
    /// What could not be used.
    pub rejects: Vec<Reject>,
    /// What was doubtful and how it was decided.
    pub flags: Vec<Flag>,
    /// The charset that its text was read in, as its WHATWG name, where that had to be decided.
    pub charset: Option<&'static str>,
    /// What happened.
    pub facts: Vec<Fact>,
    /// What was written.
    pub notes: Vec<MappedNote>,
}

impl Mapped {
    /// A part that says nothing.
    #[must_use]
    pub fn ignored(format: Format) -> Self {
        Self {
            format,
            trigger: None,
            control_id: None,
            sent_at: None,
            stated_at: None,
            outcome: Outcome::Ignored,
            rejects: Vec::new(),
            flags: Vec::new(),
            charset: None,
            facts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A part that could not be read at all.
    #[must_use]
    pub fn rejected(format: Format, reject: Reject) -> Self {
        Self { outcome: Outcome::Rejected, rejects: vec![reject], ..Self::ignored(format) }
    }
}
