//! A small hospital for tests: stays with their notes, one record a fact, known when it happened.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use schemas::{Digest, EventCode, EventStamp, Facility, Fact, Identifier, MappedNote, Message, NoteKind, NoteRow, NoteStatus, Source};

use crate::store::tests::message;
use crate::{Batch, Settings, Warehouse};

/// What has been said so far.
pub struct Story {
    facility: Facility,
    offset: i64,
    pub batch: Batch,
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// A fresh warehouse that merges as soon as it can.
pub async fn empty(name: &str) -> (Warehouse, PathBuf) {
    let folder = std::env::temp_dir().join(format!("wardstream-{name}-{}", std::process::id()));
    let _left = std::fs::remove_dir_all(&folder);
    (open(&folder, |_| {}).await, folder)
}

pub async fn open(folder: &std::path::Path, change: impl Fn(&mut Settings)) -> Warehouse {
    let url = folder.join("warehouse").display().to_string();
    let mut settings = Settings { url, compact_files: 2, checkpoint_commits: 2, ..Settings::default() };
    change(&mut settings);
    Warehouse::open(&settings).await.expect("opens")
}

impl Story {
    pub fn new() -> Self {
        Self { facility: Facility::new("north"), offset: 0, batch: Batch::default() }
    }

    fn record(&mut self, known_at: Timestamp, events: i32, notes: i32) -> Source {
        let source = Source { topic: "hl7.raw".into(), partition: 0, offset: self.offset };
        self.offset += 1;
        self.batch.upto.insert(source.topic_partition(), source.offset);
        self.batch.messages.push(Message { facility: self.facility.name.clone(), events, notes, ..message(source.clone(), known_at) });
        source
    }

    pub fn fact(&mut self, known_at: Timestamp, code: EventCode, subject: (&str, &str), text: Option<&str>) {
        let source = self.record(known_at, 1, 0);
        let fact = Fact {
            code,
            time: Some(known_at),
            asserted_at: Some(known_at),
            patient: Some(Identifier { system: "H".into(), value: subject.0.into() }),
            encounter: Some(subject.1.to_owned()).filter(|visit| !visit.is_empty()),
            numeric_value: None,
            text_value: text.map(str::to_owned),
            related: None,
        };
        let digest = Digest::of(source.offset.to_string().as_bytes());
        self.batch.events.push(EventStamp::new(&self.facility, &digest, known_at, &source).event(fact));
    }

    pub fn note(&mut self, known_at: Timestamp, kind: NoteKind, subject: (&str, &str)) {
        self.version(known_at, kind, subject, &format!("text of {}-{kind:?} in as many words as a note is read for", subject.1));
    }

    /// A version of the stay's note of the kind.
    pub fn version(&mut self, known_at: Timestamp, kind: NoteKind, subject: (&str, &str), text: &str) {
        self.document(known_at, (&format!("{}-{kind:?}", subject.1), kind), subject, text);
    }

    /// A version of any document about the stay.
    pub fn document(&mut self, known_at: Timestamp, (document, kind): (&str, NoteKind), subject: (&str, &str), text: &str) {
        let source = self.record(known_at, 0, 1);
        let note = MappedNote {
            document: document.to_owned(),
            patient: Some(Identifier { system: "H".into(), value: subject.0.into() }),
            encounter: Some(subject.1.to_owned()),
            kind,
            type_code: None,
            status: NoteStatus::Final,
            authored_at: Some(known_at),
            signed_at: None,
            asserted_at: Some(known_at),
            text: text.to_owned(),
            replaces: None,
        };
        self.batch.notes.push(NoteRow::stamp(note, &self.facility, known_at, source));
    }

    /// A stay of some days from `admitted` on, with both notes.
    pub fn stay(&mut self, patient: &str, visit: &str, admitted: Timestamp, length: i64) {
        let subject = (patient, visit);
        let hours = |hours: i64| SignedDuration::from_hours(hours);
        self.fact(admitted, EventCode::EncounterAdmitted, subject, None);
        self.fact(admitted, EventCode::EncounterClass, subject, Some("I"));
        self.fact(admitted, EventCode::EncounterDepartment, subject, Some("MED"));
        self.fact(admitted, EventCode::PatientSex, (patient, ""), Some("female"));
        self.note(admitted + hours(2), NoteKind::Admission, subject);
        self.fact(admitted + days(length), EventCode::EncounterDischarged, subject, Some("01"));
        self.note(admitted + days(length) + hours(1), NoteKind::Discharge, subject);
    }

    /// Sixty patients with two stays each, half of them thirty days apart, over some years.
    pub fn hospital() -> Self {
        let mut story = Self::new();
        for patient in 0..60_i64 {
            let first = at("2020-01-01T08:00:00Z") + days(patient * 27);
            let name = patient.to_string();
            story.stay(&name, &format!("{name}a"), first, 2 + patient % 5);
            story.stay(&name, &format!("{name}b"), first + days(if patient % 2 == 0 { 20 } else { 90 }), 3);
        }
        story
    }

    /// What was said, and nothing of it stays.
    pub fn take(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }
}

/// The rows of these records.
pub fn part(whole: &Batch, records: &[Message]) -> Batch {
    let of = |source: &Source| records.iter().any(|record| record.source == *source);
    let mut batch = Batch {
        messages: records.to_vec(),
        events: whole.events.iter().filter(|row| of(&row.source)).cloned().collect(),
        notes: whole.notes.iter().filter(|row| of(&row.source)).cloned().collect(),
        ..Batch::default()
    };
    batch.upto.extend(records.iter().map(|record| (record.source.topic_partition(), record.source.offset)));
    batch
}
