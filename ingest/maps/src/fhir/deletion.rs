//! What is taken back when a record is deleted: an entry of a Bundle says so by its method, a tombstone by a tag in its `meta`.
//!
//! | deleted | fact |
//! |---|---|
//! | Encounter | `encounter.deleted` |
//! | Patient | `patient.deleted` |
//! | Condition, Procedure, Coverage | retraction or emptying of whatever the record said, by `related` |
//! | Claim | `claim.decided` `cancelled` |
//! | DocumentReference, Composition, DiagnosticReport | a retracted note |
//! | ClaimResponse, ExplanationOfBenefit | none, and a reject: the deletion does not say which claim it was about |

use jiff::Timestamp;
use schemas::{EventCode, Fact, Identifier, MappedNote, NoteKind, NoteStatus, Stage};

use super::draft::Draft;
use super::node::Node;
use super::{coding, composition, json, report};

/// When a deletion was made, and when it is asserted (a version may break the tie).
#[derive(Clone, Copy)]
pub(super) struct Deleted {
    pub(super) at: Option<Timestamp>,
    pub(super) asserted_at: Option<Timestamp>,
}

/// Whether a resource is a tombstone: no more than its name, tagged as deleted.
pub(super) fn is_tombstone(body: &Node<'_>) -> bool {
    let is_deleted = |coding: &coding::Coding<'_>| matches!(coding.code.to_ascii_lowercase().as_str(), "deleted" | "delete" | "tombstone");
    let meta = &body["meta"];
    let extension = || {
        json::each(&meta["extension"])
            .any(|extension| json::word(&extension["url"]).is_some_and(|url| url.to_ascii_lowercase().contains("deleted")))
    };
    coding::codes(&meta["tag"]).any(|tag| is_deleted(&tag)) || extension()
}

/// Adds what the deletion of a resource takes back. `place` is where it is said.
pub(super) fn map(kind: &str, id: &str, place: &str, deleted: Deleted, draft: &mut Draft) {
    let blank = |code| Fact {
        code,
        time: deleted.at,
        asserted_at: deleted.asserted_at,
        patient: None,
        encounter: None,
        numeric_value: None,
        text_value: None,
        related: None,
    };
    let related = || Some(format!("{kind}/{id}"));
    match kind {
        "Encounter" => draft.facts.push(Fact { encounter: Some(id.to_owned()), ..blank(EventCode::EncounterDeleted) }),
        "Patient" => {
            let patient = Some(Identifier { system: String::new(), value: id.to_owned() });
            draft.facts.push(Fact { patient, ..blank(EventCode::PatientDeleted) });
        }
        "Condition" => draft.facts.push(Fact { related: related(), ..blank(EventCode::EncounterDiagnosisRetracted) }),
        "Procedure" => draft.facts.push(Fact { related: related(), ..blank(EventCode::EncounterProcedureRetracted) }),
        "Coverage" => draft.facts.push(Fact { related: related(), ..blank(EventCode::EncounterInsured) }),
        "Claim" => {
            let text_value = Some("cancelled".to_owned());
            draft.facts.push(Fact { text_value, related: Some(id.to_owned()), ..blank(EventCode::ClaimDecided) });
        }
        "DocumentReference" => draft.notes.push(retraction(id.to_owned(), deleted)),
        "Composition" => draft.notes.push(retraction(composition::document(id), deleted)),
        "DiagnosticReport" => draft.notes.push(retraction(report::document(id), deleted)),
        "ClaimResponse" | "ExplanationOfBenefit" => {
            draft.reject(Stage::Map, place.to_owned(), "what a deletion of this type takes back is not known");
        }
        _ => {}
    }
}

fn retraction(document: String, deleted: Deleted) -> MappedNote {
    MappedNote {
        document,
        patient: None,
        encounter: None,
        kind: NoteKind::Other,
        type_code: None,
        status: NoteStatus::Retracted,
        authored_at: None,
        signed_at: None,
        asserted_at: deleted.asserted_at,
        text: String::new(),
        replaces: None,
    }
}
