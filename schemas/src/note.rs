//! Notes: as mapped from a message, as a row, and as the canonical record on `clinical.note.v1`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::facility::Facility;
use crate::id::{EncounterId, Identifier, NoteId, NoteVersionId, PatientId};
use crate::message::Source;

/// What a note is for. Prediction tasks ask about `Admission` and `Discharge` notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// History and physical.
    Admission,
    /// Discharge summary.
    Discharge,
    /// Progress note.
    Progress,
    /// Radiology, pathology or another report.
    Report,
    /// Anything else.
    Other,
}

impl NoteKind {
    /// The text in `notes.kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Discharge => "discharge",
            Self::Progress => "progress",
            Self::Report => "report",
            Self::Other => "other",
        }
    }
}

/// Where a note stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteStatus {
    /// Not signed.
    Preliminary,
    /// Signed.
    Final,
    /// Changed after it was signed.
    Amended,
    /// Taken back: never meant, or about somebody else.
    Retracted,
}

impl NoteStatus {
    /// The text in `notes.status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preliminary => "preliminary",
            Self::Final => "final",
            Self::Amended => "amended",
            Self::Retracted => "retracted",
        }
    }
}

/// One version of a note as a message stated it. Holds a person's data, so it has no `Debug`.
#[derive(Clone, PartialEq)]
pub struct MappedNote {
    /// Document number: TXA-12, the resource's id, or what the map derives where there is none.
    pub document: String,
    /// Whom it is about.
    pub patient: Option<Identifier>,
    /// Visit number; `None` where the sender left it out (a view then places the note by patient and time).
    pub encounter: Option<String>,
    /// What it is for.
    pub kind: NoteKind,
    /// The sender's type code, `DS`, `LOINC/18842-5`.
    pub type_code: Option<String>,
    /// Where it stands.
    pub status: NoteStatus,
    /// When it was written.
    pub authored_at: Option<Timestamp>,
    /// When it was signed.
    pub signed_at: Option<Timestamp>,
    /// When the sender said so.
    pub asserted_at: Option<Timestamp>,
    /// Plain text; line breaks kept. Empty for a retraction without text.
    pub text: String,
    /// Document number of the note that this one replaces.
    pub replaces: Option<String>,
}

/// One row of the `notes` table.
#[derive(Clone, PartialEq)]
pub struct NoteRow {
    /// The note.
    pub note_id: NoteId,
    /// This version of it.
    pub note_version_id: NoteVersionId,
    /// The patient, before merges.
    pub patient_id: Option<PatientId>,
    /// The stay, where the sender named it.
    pub encounter_id: Option<EncounterId>,
    /// The note that this one replaces.
    pub replaces: Option<NoteId>,
    /// What the message said.
    pub note: MappedNote,
    /// Whose message.
    pub facility: String,
    /// The broker's timestamp.
    pub known_at: Timestamp,
    /// Where the message stood.
    pub source: Source,
    /// Which reading of the message gave the row: 0 as it came, the number of the replay, or below zero that of the attempt to land it.
    pub reading: i64,
}

impl NoteRow {
    /// Stamps a mapped note with its ids and its place in the log.
    #[must_use]
    pub fn stamp(note: MappedNote, facility: &Facility, known_at: Timestamp, source: Source) -> Self {
        let note_id = NoteId::derive(facility, &note.document);
        Self {
            note_id,
            note_version_id: NoteVersionId::derive(note_id, note.status.as_str(), &note.text),
            patient_id: note.patient.as_ref().map(|patient| PatientId::derive(facility, patient)),
            encounter_id: note.encounter.as_deref().map(|visit| EncounterId::derive(facility, visit)),
            replaces: note.replaces.as_deref().map(|document| NoteId::derive(facility, document)),
            note,
            facility: facility.name.clone(),
            known_at,
            source,
            reading: 0,
        }
    }

    /// The record for `clinical.note.v1`.
    #[must_use]
    pub fn canonical(&self) -> CanonicalNote {
        CanonicalNote {
            note_id: self.note_id,
            note_version_id: self.note_version_id,
            patient_id: self.patient_id,
            encounter_id: self.encounter_id,
            facility: self.facility.clone(),
            kind: self.note.kind,
            status: self.note.status,
            authored_at: self.note.authored_at,
            known_at: self.known_at,
            replaces: self.replaces,
            text: self.note.text.clone(),
            source: self.source.clone(),
        }
    }
}

/// A record of `clinical.note.v1`. `ce_id` is `note_version_id`: a repeat carries the same id.
#[derive(Clone, Serialize, Deserialize)]
pub struct CanonicalNote {
    /// The note.
    pub note_id: NoteId,
    /// This version of it.
    pub note_version_id: NoteVersionId,
    /// The patient, before merges.
    pub patient_id: Option<PatientId>,
    /// The stay, where the sender named it.
    pub encounter_id: Option<EncounterId>,
    /// Whose note.
    pub facility: String,
    /// What it is for.
    pub kind: NoteKind,
    /// Where it stands; `retracted` takes predictions back.
    pub status: NoteStatus,
    /// When it was written.
    pub authored_at: Option<Timestamp>,
    /// The raw record's timestamp: the prediction time of what is asked about this version.
    pub known_at: Timestamp,
    /// The note that this one replaces, as a version replaces the one before it: predictions about it are superseded, and none is taken back.
    pub replaces: Option<NoteId>,
    /// Plain text.
    pub text: String,
    /// The raw record it came from.
    pub source: Source,
}
