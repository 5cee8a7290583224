//! MDM: documents, their addenda, edits, replacements, cancellations and changes of status.
//!
//! A message may hold several documents, each a TXA with the OBX and NTE that follow it. A document is one note through all its versions, named
//! by TXA-12; TXA-13 names its parent.
//!
//! | trigger | the note |
//! |---|---|
//! | T01, T02 | an original: a version in the status of TXA-17 |
//! | T03, T04 | a new status; with text a version, without it `note.status_stated`, so that the text stands |
//! | T05, T06 | an addendum: a note of its own, and `note.added_to` its parent |
//! | T07, T08 | an edit: a version, amended; under a number of its own it replaces its parent |
//! | T09, T10 | a replacement: a new note that replaces its parent, or under the parent's own number a version; without text the parent is retracted |
//! | T11 | retracted |
//!
//! TXA-19 `CA`, `OB` or `UN` (deleted, obsolete, unavailable) retracts whatever the trigger says. T01, T05 and T07 carry no text by definition.

mod kind;

use jiff::Timestamp;
use schemas::{EventCode, Fact, MappedNote, NoteKind, NoteStatus, Stage};

use super::chart::Chart;
use super::reader::{Field, Segment};
use super::{patient, prose};

pub(crate) use kind::{is_document, kind_of_report, type_code};

/// Maps an MDM message with this trigger (`T02`).
pub(crate) fn map(chart: &mut Chart<'_>, trigger: &str) {
    if !matches!(trigger, "T01" | "T02" | "T03" | "T04" | "T05" | "T06" | "T07" | "T08" | "T09" | "T10" | "T11") {
        return chart.flag("MSH-9".to_owned(), "no rule for this trigger; nothing was read");
    }
    let message = chart.message;
    if message.first(b"TXA").is_none() {
        chart.reject(Stage::Parse, "TXA".to_owned(), "the message has no TXA");
        return;
    }
    if message.first(b"PID").is_none() {
        chart.reject(Stage::Parse, "PID".to_owned(), "the message has no PID");
    }
    let alone = message.all(b"TXA").nth(1).is_none();
    let mut rest = message.segments.as_slice();
    let mut early = rest;
    while let Some((segment, after)) = rest.split_first() {
        rest = after;
        match &segment.name {
            b"PID" => {
                patient::identify(chart, segment);
                chart.visit = None;
            }
            // An account number must not stand in for the visit's: a note without one is placed by patient and time.
            b"PV1" => {
                chart.visit = segment.field(19).component(1).text();
                early = after;
            }
            b"TXA" => {
                let end = after.iter().position(|next| matches!(&next.name, b"TXA" | b"PID" | b"PV1")).unwrap_or(after.len());
                let (mut group, next) = after.split_at(end);
                rest = next;
                if alone && !group.iter().any(|segment| segment.name == *b"OBX") && message.first(b"OBX").is_some() {
                    chart.flag("OBX[1]".to_owned(), "the text stands before its TXA");
                    group = early;
                }
                document(chart, trigger, segment, group);
            }
            _ => {}
        }
    }
}

/// One TXA and what follows it.
fn document(chart: &mut Chart<'_>, trigger: &str, txa: &Segment<'_>, group: &[Segment<'_>]) {
    let Some(document) = number(chart, txa) else {
        chart.reject(Stage::Map, txa.position(12), "the document has no number");
        return;
    };
    let parent = entity(&txa.field(13));
    let mut note = chart.note(document, kind::kind(txa, group), completion(txa));
    note.type_code = type_code(&txa.field(2));
    note.authored_at = chart.instant(txa, 6).or_else(|| chart.instant(txa, 4));
    note.signed_at = signed_at(chart, txa);
    let body = prose::body(chart, group);
    note.text = body.text;
    if body.corrected && note.status == NoteStatus::Final {
        note.status = NoteStatus::Amended;
    }
    let withdrawn = txa.field(19).component(1).text().is_some_and(|availability| matches!(availability.as_str(), "CA" | "OB" | "UN"));
    if withdrawn {
        return chart.notes.push(retracted(note));
    }
    // The triggers with content end in an even number; one without any is a loss that must be seen.
    if matches!(trigger, "T02" | "T06" | "T08" | "T10") && note.text.is_empty() {
        let first = group.iter().find(|segment| segment.name == *b"OBX");
        chart.reject(Stage::Map, first.map_or_else(|| "OBX[1]-5".to_owned(), |obx| obx.position(5)), "the document has no text");
    }
    by_trigger(chart, trigger, note, parent);
}

/// What the trigger makes of the note.
fn by_trigger(chart: &mut Chart<'_>, trigger: &str, mut note: MappedNote, parent: Option<String>) {
    let other = parent.filter(|parent| *parent != note.document);
    match trigger {
        "T03" | "T04" if note.text.is_empty() => return status(chart, &note),
        "T05" | "T06" => {
            // An addendum must never stand as a version of what it adds to.
            let to = other.clone().unwrap_or_else(|| note.document.clone());
            if other.is_none() {
                note.document = format!("{}/addendum/{}", note.document, chart.control_id.as_deref().unwrap_or_default());
            }
            note.kind = NoteKind::Other;
            note.status = amended(note.status);
            if !note.text.is_empty() {
                let (related, text_value) = (Some(to), Some(note.document.clone()));
                chart.facts.push(Fact { related, text_value, ..chart.of_stay(EventCode::NoteAddedTo) });
            }
        }
        "T07" | "T08" => {
            note.status = amended(note.status);
            if note.text.is_empty() {
                return status(chart, &note);
            }
            note.replaces = other;
        }
        "T09" | "T10" => match (other, note.text.is_empty()) {
            // The old text no longer stands, and the new one is not here.
            (Some(replaced), true) => {
                note.document = replaced;
                note = retracted(note);
            }
            (None, true) => {
                note.status = amended(note.status);
                return status(chart, &note);
            }
            (Some(replaced), false) => note.replaces = Some(replaced),
            (None, false) => note.status = amended(note.status),
        },
        "T11" => note = retracted(note),
        _ => {}
    }
    if note.status == NoteStatus::Retracted || !note.text.is_empty() {
        chart.notes.push(note);
    }
}

/// The status of a note whose text is not here: it must not erase what stands.
fn status(chart: &mut Chart<'_>, note: &MappedNote) {
    let (related, text_value) = (Some(note.document.clone()), Some(note.status.as_str().to_owned()));
    chart.facts.push(Fact { time: note.signed_at, related, text_value, ..chart.of_stay(EventCode::NoteStatusStated) });
}

/// A signed text that is changed is amended; a draft stays a draft.
fn amended(status: NoteStatus) -> NoteStatus {
    if status == NoteStatus::Final { NoteStatus::Amended } else { status }
}

fn retracted(note: MappedNote) -> MappedNote {
    MappedNote { status: NoteStatus::Retracted, text: String::new(), replaces: None, ..note }
}

/// TXA-12, else the document's file name (TXA-16), else the message it came in.
fn number(chart: &mut Chart<'_>, txa: &Segment<'_>) -> Option<String> {
    if let Some(number) = entity(&txa.field(12)) {
        return Some(number);
    }
    let found = entity(&txa.field(16)).or_else(|| {
        let message = chart.unnumbered()?;
        Some(if chart.notes.is_empty() { message } else { format!("{message}#{}", chart.notes.len() + 1) })
    })?;
    chart.flag(txa.position(12), "the document has no number; named by its file or by its message");
    Some(found)
}

/// Entity identifier; some senders leave the first component empty.
fn entity(field: &Field<'_>) -> Option<String> {
    field.component(1).text().or_else(|| field.component(3).text())
}

/// TXA-17, HL7 table 0271, and words for it. Dictated, documented and pre-authenticated texts are not signed yet.
fn completion(txa: &Segment<'_>) -> NoteStatus {
    match txa.field(17).component(1).text().map(|status| status.to_ascii_uppercase()).as_deref() {
        Some("PA" | "IP" | "IN" | "DI" | "DO" | "P" | "PRELIMINARY" | "DRAFT" | "INCOMPLETE" | "IN PROGRESS") => NoteStatus::Preliminary,
        Some("AM" | "AMENDED" | "CORRECTED" | "C") => NoteStatus::Amended,
        _ => NoteStatus::Final,
    }
}

/// TXA-22: the time in its fifteenth component, or alone.
fn signed_at(chart: &mut Chart<'_>, txa: &Segment<'_>) -> Option<Timestamp> {
    let signature = txa.field(22);
    let stamp = signature.component(15);
    let stamp = if stamp.is_empty() { signature.component(1) } else { stamp };
    chart.instant_at(&stamp.subcomponent(1), || txa.position(22))
}
