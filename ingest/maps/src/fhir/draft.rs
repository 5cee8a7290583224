//! What a record has said so far, on its way to a `Mapped`.

use std::borrow::Cow;

use jiff::Timestamp;
use schemas::{Fact, Flag, Format, MappedNote, Outcome, Reject, Stage};

use crate::Mapped;
use crate::rows::{Allowance, Rows, TOO_MUCH};

/// A record of nothing but rubbish must not become larger by being described.
pub(super) const MOST_REJECTS: usize = 1_000;

/// Facts, notes and rejects in the order in which they were found.
pub(super) struct Draft {
    pub(super) facts: Rows<Fact>,
    pub(super) notes: Rows<MappedNote>,
    rejects: Vec<Reject>,
    flags: Vec<Flag>,
    stated_at: Option<Timestamp>,
    /// Somewhere in the record a name stands twice in an object.
    pub(super) repeats_a_name: bool,
}

impl Draft {
    /// Nothing yet, and no more than is left to its record.
    pub(super) fn within(left: Allowance) -> Self {
        Self {
            facts: Rows::within(left.facts),
            notes: Rows::within(left.notes),
            rejects: Vec::new(),
            flags: Vec::new(),
            stated_at: None,
            repeats_a_name: false,
        }
    }

    /// Notes what could not be used. The reason is a fixed sentence, so it cannot carry a patient's data.
    /// After `MOST_REJECTS` one more says that there were others.
    pub(super) fn reject(&mut self, stage: Stage, position: String, reason: &'static str) {
        let reason = match self.rejects.len() {
            ..MOST_REJECTS => reason,
            MOST_REJECTS => "this and what follows is not listed in full",
            _ => return,
        };
        self.rejects.push(Reject { stage, position, reason: Cow::Borrowed(reason) });
    }

    /// Notes what was doubtful and how it was decided.
    pub(super) fn flag(&mut self, position: String, decision: &'static str) {
        if self.flags.len() < MOST_REJECTS {
            self.flags.push(Flag { position, decision: Cow::Borrowed(decision) });
        }
    }

    /// Keeps the latest instant that was stated.
    pub(super) fn stated(&mut self, instant: Option<Timestamp>) {
        self.stated_at = self.stated_at.max(instant);
    }

    /// Rejected where there is nothing but rejects, ignored where there is nothing at all.
    pub(super) fn finish(mut self, trigger: String, control_id: Option<String>, sent_at: Option<Timestamp>) -> Mapped {
        if self.facts.are_more() || self.notes.are_more() {
            self.reject(Stage::Map, "record".to_owned(), TOO_MUCH);
        }
        let has_rows = !self.facts.is_empty() || !self.notes.is_empty();
        let outcome = match (has_rows, self.rejects.is_empty()) {
            (true, true) => Outcome::Mapped,
            (true, false) => Outcome::Partly,
            (false, false) => Outcome::Rejected,
            (false, true) => Outcome::Ignored,
        };
        Mapped {
            format: Format::Fhir,
            trigger: Some(trigger),
            control_id,
            sent_at,
            stated_at: self.stated_at,
            outcome,
            rejects: self.rejects,
            flags: self.flags,
            charset: None,
            facts: self.facts.into_vec(),
            notes: self.notes.into_vec(),
        }
    }
}
