//! One resource with everything needed to read it: its place in the record, its Bundle's index, the facility's zone and charset.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;

use encoding_rs::Encoding;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemas::{EventCode, Facility, Fact, Identifier, Stage};

use super::deletion::{self, Deleted};
use super::draft::Draft;
use super::node::Node;
use super::place::Place;
use super::reference::{Index, Target, identifier_of};
use super::version::Version;
use super::{claim, composition, condition, decision, document, encounter, instant, insurance, json, patient, procedure, report};
use crate::rows::Allowance;

/// Where the facility's records leave out a zone or a charset.
pub(super) struct Reader<'f> {
    pub(super) zone: TimeZone,
    /// WHATWG label, looked up where it is needed.
    charset: &'f str,
    /// What makes an Encounter a stay, and what makes it none.
    pub(super) stays: &'f [String],
    pub(super) visits: &'f [String],
    /// By the system of an identifier, whose numbers these are in HL7 v2.
    pub(super) authorities: &'f BTreeMap<String, String>,
    /// What the record may still give.
    pub(super) left: Cell<Allowance>,
}

impl<'f> Reader<'f> {
    /// Of a record of so many bytes.
    pub(super) fn new(facility: &'f Facility, bytes: usize) -> Self {
        Self {
            zone: TimeZone::get(&facility.zone).unwrap_or(TimeZone::UTC),
            charset: &facility.charset,
            stays: &facility.stays,
            visits: &facility.visits,
            authorities: &facility.authorities,
            left: Cell::new(Allowance::of(bytes)),
        }
    }

    /// Text of bytes that name no charset: UTF-8, or the facility's charset where they are not. Bytes that are UTF-8 beyond doubt up to
    /// the first fault are damaged UTF-8, and only the damage is replaced. Tells what was decided where it was not UTF-8.
    pub(super) fn text<'b>(&self, bytes: &'b [u8]) -> (Cow<'b, str>, Option<&'static Encoding>) {
        match std::str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(text), None),
            Err(fault) if bytes.get(..fault.valid_up_to()).is_some_and(<[u8]>::is_ascii) => {
                let charset = Encoding::for_label(self.charset.as_bytes()).unwrap_or(encoding_rs::WINDOWS_1252);
                (charset.decode_without_bom_handling(bytes).0, Some(charset))
            }
            Err(_) => (String::from_utf8_lossy(bytes), Some(encoding_rs::UTF_8)),
        }
    }

    /// Takes so many bytes off what the attachments of the record may hold; `None` where less is left.
    pub(super) fn unfold(&self, bytes: usize) -> Option<()> {
        let left = self.left.get();
        self.left.set(Allowance { attachments: left.attachments.checked_sub(bytes)?, ..left });
        Some(())
    }

    /// The instant that a JSON text names.
    pub(super) fn instant(&self, value: &Node<'_>) -> Option<Timestamp> {
        instant::parse(value.as_str()?, &self.zone)
    }
}

/// One resource of a record.
pub(super) struct Resource<'a> {
    pub(super) body: &'a Node<'a>,
    pub(super) kind: &'a str,
    pub(super) id: Option<&'a str>,
    /// `Encounter`, `Bundle.entry[2].resource`.
    pub(super) place: Place<'a>,
    /// `meta.lastUpdated`, else the time of its Bundle.
    pub(super) updated_at: Option<Timestamp>,
    /// The same, with its version behind it: what its facts are asserted at.
    pub(super) asserted_at: Option<Timestamp>,
    pub(super) reader: &'a Reader<'a>,
    pub(super) index: &'a Index<'a>,
}

impl<'a> Resource<'a> {
    /// A resource that is not in a Bundle.
    pub(super) fn alone(body: &'a Node<'a>, kind: &'a str, place: Place<'a>, reader: &'a Reader<'a>, index: &'a Index<'a>) -> Self {
        let id = json::word(&body["id"]);
        Self::new((body, kind, id, place), Version::of(body, &Node::Null, reader), reader, index)
    }

    /// A resource with its type, id and place.
    pub(super) fn new(
        (body, kind, id, place): (&'a Node<'a>, &'a str, Option<&'a str>, Place<'a>),
        version: Version,
        reader: &'a Reader<'a>,
        index: &'a Index<'a>,
    ) -> Self {
        Self { body, kind, id, place, updated_at: version.updated_at, asserted_at: version.asserted_at(), reader, index }
    }

    /// Adds what the resource says; resources of other types say nothing to us.
    pub(super) fn map(&self, draft: &mut Draft) {
        draft.stated(self.stated_at());
        let map: fn(&Resource<'_>, &mut Draft) = match self.kind {
            "Patient" => patient::map,
            "Encounter" => encounter::map,
            "Condition" => condition::map,
            "Procedure" => procedure::map,
            "Coverage" => insurance::map_coverage,
            "Account" => insurance::map_account,
            "DocumentReference" => document::map,
            "Composition" => composition::map,
            "DiagnosticReport" => report::map,
            "Claim" => claim::map,
            "ClaimResponse" => decision::map_response,
            "ExplanationOfBenefit" => decision::map_benefit,
            _ => return,
        };
        self.checked(draft, "meta.lastUpdated", &self.body["meta"]["lastUpdated"]);
        if draft.repeats_a_name && self.body.repeats_a_name() {
            draft.flag(self.place.to_string(), "a name stands twice in an object: the last one counts");
        }
        match self.id {
            Some(id) if deletion::is_tombstone(self.body) => {
                let deleted = Deleted { at: self.updated_at, asserted_at: self.asserted_at };
                deletion::map(self.kind, id, &self.place.to_string(), deleted, draft);
            }
            _ => map(self, draft),
        }
    }

    /// The latest instant that the resource states about the past. Ends of plans, coverages and billing years lie in the future and would
    /// carry a backfill's clock with them, so only named fields count.
    fn stated_at(&self) -> Option<Timestamp> {
        let stated = self.body.fields().filter_map(|(name, value)| {
            let stated = match name {
                "date" | "created" | "issued" | "indexed" | "recordedDate" | "assertedDate" | "recorded" | "authoredOn" | "sent"
                | "received" | "timestamp" | "effectiveDateTime" | "effectiveInstant" | "performedDateTime" | "occurrenceDateTime"
                | "onsetDateTime" | "deceasedDateTime" => value,
                "meta" => &value["lastUpdated"],
                "effectivePeriod" | "performedPeriod" | "billablePeriod" => &value["start"],
                "payment" => &value["date"],
                "period" | "actualPeriod" if self.kind == "Encounter" => return self.stayed(value),
                _ => return None,
            };
            self.reader.instant(stated)
        });
        stated.max()
    }

    /// The latest of beginning and end of an Encounter, as far as they are past.
    fn stayed(&self, period: &Node<'_>) -> Option<Timestamp> {
        let start = self.reader.instant(&period["start"]);
        match self.body["status"].as_str() {
            Some("planned") => None,
            Some("finished" | "completed" | "discharged") => start.max(self.reader.instant(&period["end"])),
            _ => start,
        }
    }

    /// Notes that a field could not be used.
    pub(super) fn reject(&self, draft: &mut Draft, field: &str, reason: &'static str) {
        draft.reject(Stage::Map, self.place.field(field), reason);
    }

    /// Notes what was doubtful about a field and how it was decided.
    pub(super) fn flag(&self, draft: &mut Draft, field: &str, decision: &'static str) {
        draft.flag(self.place.field(field), decision);
    }

    /// The logical id; its absence is noted, since nothing can be named without it.
    pub(super) fn required_id(&self, draft: &mut Draft) -> Option<&'a str> {
        if self.id.is_none() {
            self.reject(draft, "id", "the id is missing");
        }
        self.id
    }

    /// The instant at a path, absent or not; one that cannot be read is noted.
    pub(super) fn instant(&self, draft: &mut Draft, field: &str) -> Option<Timestamp> {
        self.checked(draft, field, json::at(self.body, field))
    }

    /// The instant that the value of a field names; one that cannot be read is noted.
    fn checked(&self, draft: &mut Draft, field: &str, value: &Node<'_>) -> Option<Timestamp> {
        let instant = self.reader.instant(value);
        if instant.is_none() && !value.is_null() {
            self.reject(draft, field, "this is no date or time");
        }
        instant
    }

    /// The instant at the first of several paths that holds anything.
    pub(super) fn first_instant(&self, draft: &mut Draft, fields: &[&'static str]) -> Option<Timestamp> {
        let (field, value) = json::first_of(self.body, fields)?;
        self.checked(draft, field, value)
    }

    /// Whom the resource is about. Absence is noted: a fact about nobody helps nobody, but the rest of it is kept.
    pub(super) fn patient(&self, draft: &mut Draft) -> Option<Identifier> {
        let Some((field, reference)) = json::first_of(self.body, &["subject", "patient"]) else {
            self.reject(draft, "subject", "it names no patient");
            return None;
        };
        let patient = self.patient_at(reference);
        if patient.is_none() {
            self.reject(draft, field, "the reference names no patient");
        }
        patient
    }

    /// The patient at the other end of a reference.
    pub(super) fn patient_at(&self, reference: &'a Node<'a>) -> Option<Identifier> {
        match self.index.resolve(reference, self.body, "Patient")? {
            Target::Named(key) => (key.kind == "Patient").then(|| Identifier { system: String::new(), value: key.id.to_owned() }),
            Target::Contained(patient) => {
                let identifier = json::each(&patient["identifier"]).find_map(identifier_of)?;
                Some(Identifier { system: identifier.0.to_owned(), value: identifier.1.to_owned() })
            }
            Target::Identified { system, value } => Some(Identifier { system: system.into_owned(), value: value.into_owned() }),
        }
    }

    /// The visit number at the other end of the first of these references that names one.
    pub(super) fn visit(&self, references: &'a Node<'a>) -> Option<String> {
        json::each(references).find_map(|reference| match self.index.resolve(reference, self.body, "Encounter")? {
            Target::Named(key) => (key.kind == "Encounter").then(|| key.id.to_owned()),
            Target::Contained(encounter) => {
                json::each(&encounter["identifier"]).find_map(identifier_of).map(|identifier| identifier.1.to_owned())
            }
            Target::Identified { value, .. } => Some(value.into_owned()),
        })
    }

    /// A fact asserted when the resource was last updated, about this patient and stay.
    pub(super) fn fact(&self, code: EventCode, patient: Option<&Identifier>, visit: Option<&str>) -> Fact {
        Fact {
            code,
            time: None,
            asserted_at: self.asserted_at,
            patient: patient.cloned(),
            encounter: visit.map(str::to_owned),
            numeric_value: None,
            text_value: None,
            related: None,
        }
    }
}
