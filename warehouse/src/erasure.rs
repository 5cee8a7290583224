//! The right to erasure, and retention: rows that go, and what is kept so that the log still adds up.
//!
//! A record's row stays in `messages` with its offset, and says how many facts of it are left; its bytes, key, headers and control id are
//! gone. Refuses to guess whom an identifier means. `messages` is rewritten first and `events` last, and of those what names the person last
//! of all, so that a run that died leaves enough behind for the next to find the patient again. One that died after that is told by the line
//! that the audit has of its beginning. Every table is marked before the first row goes: history ends in its days whatever becomes of the run.

mod audit;
mod bytes;
mod held;
mod marks;
mod retention;
mod rewrite;
mod search;
mod underway;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schemas::Table;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use audit::Deed;
pub use marks::{Since, pending};
pub use rewrite::settle;
use search::Found;

use crate::error::EraseError;
use crate::store::Warehouse;

/// `messages.outcome` of a record whose bytes were erased with a patient.
pub const ERASED: &str = "erased";
/// Looks for records that arrived while the ones before were erased.
const LOOKS: usize = 5;
/// For how long writers are waited for that have begun records and not finished them.
const UNDERWAY: Duration = Duration::from_secs(30);

/// Who is to be erased, as the sender names them. It names a person, so it has no `Debug`.
#[derive(Clone)]
pub struct Subject {
    /// Assigning authority, as in `identifiers.system`.
    pub system: String,
    /// The number.
    pub value: String,
    /// Whose number it is, where several facilities use it.
    pub facility: Option<String>,
}

/// What the tables hold of one person. Numbers only, and names of systems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traces {
    /// Identities, merged ones among them.
    pub identities: usize,
    /// Identifiers of any of them.
    pub identifiers: usize,
    /// Other persons whom the same value names under another authority or at another facility; they are not touched. They may be the same
    /// person, sent without the authority.
    pub namesakes: usize,
    /// Systems of identifiers that other persons of the facility carry too (a placeholder, a number of a family), and how many do. Such an
    /// identifier names nobody: facts and records of others that hold it are left alone.
    pub shared_identifiers: BTreeMap<String, usize>,
    /// Records that speak of them, whose bytes go.
    pub messages: usize,
    /// Those among them that speak of others too, whose facts stay.
    pub shared_messages: usize,
    /// Those among them that gave no fact at all, or not all that they say, and hold one of the identifiers (of four characters or more).
    pub unread_messages: usize,
    /// Those among them that gave facts of others alone, which stay, and hold one of the identifiers where messages have identifiers.
    pub named_messages: usize,
    /// Rows of `events` that go.
    pub events: usize,
    /// Rows of `events` about others that name the person, which stay without the name.
    pub blanked_events: usize,
    /// Rows of `notes` that go.
    pub notes: usize,
    /// Rows of `predictions` that go.
    pub predictions: usize,
    /// Records of theirs that a writer has begun and not finished; they are not counted above, and waited for.
    pub underway: usize,
    /// When the first of these records became known.
    pub first_known_at: Option<Timestamp>,
}

impl Traces {
    fn is_empty(&self) -> bool {
        self.messages + self.events + self.blanked_events + self.notes + self.predictions == 0
    }

    /// Both looks together.
    fn and(self, later: &Self) -> Self {
        Self {
            identities: self.identities.max(later.identities),
            identifiers: self.identifiers.max(later.identifiers),
            namesakes: self.namesakes.max(later.namesakes),
            shared_identifiers: if self.shared_identifiers.is_empty() { later.shared_identifiers.clone() } else { self.shared_identifiers },
            messages: self.messages + later.messages,
            shared_messages: self.shared_messages + later.shared_messages,
            unread_messages: self.unread_messages + later.unread_messages,
            named_messages: self.named_messages + later.named_messages,
            events: self.events + later.events,
            blanked_events: self.blanked_events + later.blanked_events,
            notes: self.notes + later.notes,
            predictions: self.predictions + later.predictions,
            underway: later.underway,
            first_known_at: self.first_known_at.into_iter().chain(later.first_known_at).min(),
        }
    }
}

impl Warehouse {
    /// What the tables hold of a person; changes nothing.
    ///
    /// # Errors
    /// Where nobody or more than one person is known by the identifier, or the tables cannot be read.
    pub async fn traces(&self, subject: &Subject) -> Result<Traces, EraseError> {
        Ok(search::find(self, &search::person(self, subject).await?).await?.traces)
    }

    /// Removes a person from every table's present version. Earlier versions go with the next vacuum after `erasure_within_days`, or
    /// with [`Warehouse::forget_erased`]. Appends go on beside it.
    ///
    /// # Errors
    /// Where nobody or more than one person is known by the identifier, where a writer stands in the middle of records of theirs, or the
    /// tables cannot be read or written: what was done stays done, and the same call goes on from there.
    pub async fn erase(&self, subject: &Subject) -> Result<Traces, EraseError> {
        self.erase_within(subject, UNDERWAY).await
    }

    async fn erase_within(&self, subject: &Subject, patience: Duration) -> Result<Traces, EraseError> {
        let person = search::person(self, subject).await?;
        underway::waited(self, patience).await?;
        let until = Instant::now() + patience;
        let (mut erased, mut looks) = (Traces::default(), 0);
        loop {
            let found = search::find(self, &person).await?;
            if found.traces.is_empty() && found.traces.underway == 0 {
                rewrite::mark(self).await?;
                return Ok(erased);
            }
            if found.traces.is_empty() {
                if Instant::now() >= until {
                    return Err(EraseError::Underway);
                }
                tokio::time::sleep(underway::PAUSE).await;
                continue;
            }
            if looks == LOOKS {
                return Err(EraseError::Arriving);
            }
            if looks == 0 {
                rewrite::mark(self).await?;
            }
            self.remove(&found).await?;
            erased = erased.and(&found.traces);
            looks += 1;
        }
    }

    /// What an erasure does last, for one that died before: history up to now goes within `erasure_within_days`.
    ///
    /// # Errors
    /// Where the tables cannot be read or written: call it again.
    pub async fn end_erasure(&self) -> Result<(), EraseError> {
        rewrite::mark(self).await
    }

    async fn remove(&self, found: &Found) -> Result<(), EraseError> {
        rewrite::empty_messages(self, &found.records).await?;
        rewrite::delete(self, Table::Notes, "note_version_id", &found.notes).await?;
        rewrite::delete(self, Table::Predictions, "prediction_id", &found.predictions).await?;
        rewrite::blank_events(self, &found.blanked).await?;
        for events in &found.events {
            rewrite::delete(self, Table::Events, "event_id", events).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
