//! What one message says, gathered while it is read: its own times, the facts and notes so far, and what could not be used.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use schemas::{EventCode, Facility, Fact, Flag, Format, Identifier, MappedNote, NoteKind, NoteStatus, Outcome, Reject, Stage};

use super::reader::{Field, Message, Segment};
use super::time;
use crate::Mapped;
use crate::rows::{Allowance, Rows, TOO_MUCH};

/// The most rejects, and the most flags, that one message keeps; what comes after adds nothing that a reader could use.
pub(crate) const MOST: usize = 1_000;

/// A message being mapped. No `Debug`: it would show a patient.
pub(crate) struct Chart<'a> {
    pub(crate) message: &'a Message<'a>,
    pub(crate) facility: &'a Facility,
    zone: TimeZone,
    /// MSH-10.
    pub(crate) control_id: Option<String>,
    /// MSH-7.
    pub(crate) sent_at: Option<Timestamp>,
    /// EVN-2, else MSH-7; to the second of MSH-7 where EVN-2 states its minute alone.
    pub(crate) asserted_at: Option<Timestamp>,
    /// EVN-6, else EVN-2, else MSH-7.
    pub(crate) occurred_at: Option<Timestamp>,
    /// Whom it is about, as far as it was read.
    pub(crate) patient: Option<Identifier>,
    /// The stay that it is about.
    pub(crate) visit: Option<String>,
    pub(crate) facts: Rows<Fact>,
    pub(crate) notes: Rows<MappedNote>,
    /// What the message was read in.
    pub(crate) charset: Option<&'static str>,
    latest: Option<Timestamp>,
    rejects: Vec<Reject>,
    flags: Vec<Flag>,
    /// How many of them are about the header.
    opening_rejects: usize,
}

impl<'a> Chart<'a> {
    /// Opens the chart of `message` and reads its own times.
    pub(crate) fn open(message: &'a Message<'a>, facility: &'a Facility, left: Allowance) -> Self {
        let zone = if facility.zone == "UTC" { Ok(TimeZone::UTC) } else { TimeZone::get(&facility.zone) };
        let mut chart = Self {
            message,
            facility,
            zone: zone.as_ref().cloned().unwrap_or(TimeZone::UTC),
            control_id: message.first(b"MSH").and_then(|header| header.field(10).text()),
            sent_at: None,
            asserted_at: None,
            occurred_at: None,
            patient: None,
            visit: None,
            facts: Rows::within(left.facts),
            notes: Rows::within(left.notes),
            charset: None,
            latest: None,
            rejects: Vec::new(),
            flags: Vec::new(),
            opening_rejects: 0,
        };
        if zone.is_err() {
            chart.reject(Stage::Map, "facility.zone".to_owned(), "the facility's zone is not known here; read as UTC");
        }
        chart.sent_at = message.first(b"MSH").and_then(|header| chart.instant(&header, 7));
        let event = message.first(b"EVN");
        let recorded_at = event.and_then(|event| chart.instant(&event, 2)).or(chart.sent_at);
        chart.asserted_at = recorded_at.map(|recorded_at| to_the_second(recorded_at, chart.sent_at));
        chart.occurred_at = event.and_then(|event| chart.instant(&event, 6)).or(recorded_at);
        chart.opening_rejects = chart.rejects.len();
        chart
    }

    /// The instant in a field; an impossible one costs the field.
    pub(crate) fn instant(&mut self, segment: &Segment<'_>, number: usize) -> Option<Timestamp> {
        let instant = self.expected(segment, number);
        self.latest = self.latest.max(instant);
        instant
    }

    /// The instant in a field that speaks of the future: the message states nothing by it.
    pub(crate) fn expected(&mut self, segment: &Segment<'_>, number: usize) -> Option<Timestamp> {
        let stamp = segment.field(number).component(1).subcomponent(1);
        self.stamp(&stamp, || segment.position(number))
    }

    /// The instant in a part of a field, which stands at `position`; an impossible one costs the field.
    pub(crate) fn instant_at(&mut self, stamp: &Field<'_>, position: impl Fn() -> String) -> Option<Timestamp> {
        let instant = self.stamp(stamp, position);
        self.latest = self.latest.max(instant);
        instant
    }

    fn stamp(&mut self, stamp: &Field<'_>, position: impl Fn() -> String) -> Option<Timestamp> {
        if stamp.is_empty() || stamp.is_delete() {
            return None;
        }
        let Some(stated) = time::instant(stamp.raw(), &self.zone) else {
            self.reject(Stage::Map, position(), "not a time stamp");
            return None;
        };
        if let Some(doubt) = stated.doubt {
            self.flag(position(), doubt);
        }
        stated.value
    }

    /// The date in a field, as precise as it is stated; an impossible one costs the field.
    pub(crate) fn date(&mut self, segment: &Segment<'_>, number: usize) -> Option<String> {
        let stamp = segment.field(number).component(1).subcomponent(1);
        if stamp.is_empty() || stamp.is_delete() {
            return None;
        }
        let Some(stated) = time::date(stamp.raw()) else {
            self.reject(Stage::Map, segment.position(number), "not a date");
            return None;
        };
        if let Some(doubt) = stated.doubt {
            self.flag(segment.position(number), doubt);
        }
        stated.value
    }

    /// Notes what could not be used.
    pub(crate) fn reject(&mut self, stage: Stage, position: String, reason: &'static str) {
        let reject = Reject { stage, position, reason: Cow::Borrowed(reason) };
        if self.rejects.len() < MOST && !self.rejects.contains(&reject) {
            self.rejects.push(reject);
        }
    }

    /// Notes what was doubtful and how it was decided.
    pub(crate) fn flag(&mut self, position: String, decision: &'static str) {
        let flag = Flag { position, decision: Cow::Borrowed(decision) };
        if self.flags.len() < MOST && !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// A fact about the patient at hand.
    pub(crate) fn of_patient(&self, code: EventCode) -> Fact {
        Fact {
            code,
            time: None,
            asserted_at: self.asserted_at,
            patient: self.patient.clone(),
            encounter: None,
            numeric_value: None,
            text_value: None,
            related: None,
        }
    }

    /// A fact about the stay at hand.
    pub(crate) fn of_stay(&self, code: EventCode) -> Fact {
        Fact { encounter: self.visit.clone(), ..self.of_patient(code) }
    }

    /// A note about the patient and the stay at hand.
    pub(crate) fn note(&self, document: String, kind: NoteKind, status: NoteStatus) -> MappedNote {
        MappedNote {
            document,
            patient: self.patient.clone(),
            encounter: self.visit.clone(),
            kind,
            type_code: None,
            status,
            authored_at: None,
            signed_at: None,
            asserted_at: self.asserted_at,
            text: String::new(),
            replaces: None,
        }
    }

    /// A name for a text that its sender does not number: the message it came in and when that was sent, since MSH-10 is used again.
    pub(crate) fn unnumbered(&self) -> Option<String> {
        let sent = self.sent_at.and_then(|sent_at| strtime::format("%Y%m%d%H%M%S", sent_at).ok());
        match (&self.control_id, &self.patient, sent) {
            (Some(message), _, Some(sent)) => Some(format!("{message}@{sent}")),
            (Some(message), _, None) => Some(message.clone()),
            (None, Some(patient), Some(sent)) => Some(format!("{}@{sent}", patient.value)),
            (None, ..) => None,
        }
    }

    /// Nothing was said and nothing was refused since the chart was opened.
    pub(crate) fn is_silent(&self) -> bool {
        self.facts.is_empty() && self.notes.is_empty() && self.rejects.len() == self.opening_rejects
    }

    /// Closes the chart of a message that concerns nobody here: what it could not use costs nothing.
    pub(crate) fn ignore(mut self, trigger: Option<String>) -> Mapped {
        self.rejects.clear();
        self.close(trigger)
    }

    /// Closes the chart.
    pub(crate) fn close(mut self, trigger: Option<String>) -> Mapped {
        if self.facts.are_more() || self.notes.are_more() {
            self.reject(Stage::Map, "record".to_owned(), TOO_MUCH);
        }
        let outcome = match (self.facts.is_empty() && self.notes.is_empty(), self.rejects.is_empty()) {
            (false, true) => Outcome::Mapped,
            (false, false) => Outcome::Partly,
            (true, true) => Outcome::Ignored,
            (true, false) => Outcome::Rejected,
        };
        Mapped {
            format: Format::Hl7v2,
            trigger,
            control_id: self.control_id,
            sent_at: self.sent_at,
            stated_at: self.latest,
            outcome,
            rejects: self.rejects,
            flags: self.flags,
            charset: self.charset,
            facts: self.facts.into_vec(),
            notes: self.notes.into_vec(),
        }
    }
}

/// Engines often stamp events to the minute: two of one minute are told apart by when their messages were sent in it.
fn to_the_second(recorded_at: Timestamp, sent_at: Option<Timestamp>) -> Timestamp {
    let whole_minute = recorded_at.as_second() % 60 == 0 && recorded_at.subsec_nanosecond() == 0;
    let same_minute = |sent_at: &Timestamp| sent_at.as_second().div_euclid(60) == recorded_at.as_second().div_euclid(60);
    sent_at.filter(|sent_at| whole_minute && same_minute(sent_at)).unwrap_or(recorded_at)
}
