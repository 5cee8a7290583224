//! MDM: documents, their addenda, edits, replacements and cancellations.

use jiff::Timestamp;
use schemas::{MappedNote, NoteKind, NoteStatus, Stage};

use super::chart::Chart;
use super::reader::{Field, Segment};
use super::{patient, text};

/// Maps an MDM message with this trigger (`T02`).
pub(crate) fn map(chart: &mut Chart<'_>, trigger: &str) {
    if !matches!(trigger, "T01" | "T02" | "T03" | "T04" | "T05" | "T06" | "T07" | "T08" | "T09" | "T10" | "T11") {
        return;
    }
    let message = chart.message;
    let Some(txa) = message.first(b"TXA") else {
        chart.reject(Stage::Parse, "TXA".to_owned(), "the message has no TXA");
        return;
    };
    match message.first(b"PID") {
        Some(pid) => patient::identify(chart, &pid),
        None => chart.reject(Stage::Parse, "PID".to_owned(), "the message has no PID"),
    }
    // An account number must not stand in for the visit's: a note without one is placed by patient and time.
    chart.visit = message.first(b"PV1").and_then(|pv1| pv1.field(19).component(1).text());
    let number = document_number(&txa.field(12));
    let Some(document) = number.clone().or_else(|| chart.control_id.clone()) else {
        chart.reject(Stage::Map, txa.position(12), "the document has no number");
        return;
    };
    let parent = document_number(&txa.field(13));
    let mut note = chart.note(document, kind(&txa), completion(&txa));
    note.type_code = type_code(&txa.field(2));
    note.authored_at = chart.instant(&txa, 6).or_else(|| chart.instant(&txa, 4));
    note.signed_at = signed_at(chart, &txa);
    let after_txa = message.segments.iter().skip_while(|segment| segment.name != *b"TXA");
    let body = text::body(chart, after_txa.filter(|segment| segment.name == *b"OBX").copied());
    note.text = body.text;
    if body.corrected && note.status == NoteStatus::Final {
        note.status = NoteStatus::Amended;
    }
    let withdrawn = matches!(txa.field(19).component(1).text().as_deref(), Some("CA" | "OB" | "UN"));
    // The triggers with content end in an even number; one without any is a loss that must be seen.
    if matches!(trigger, "T02" | "T06" | "T08" | "T10") && note.text.is_empty() && !withdrawn {
        chart.reject(Stage::Map, "OBX[1]-5".to_owned(), "the document has no text");
    }
    let note = if withdrawn { Some(retracted(note)) } else { by_trigger(chart, note, parent, trigger) };
    chart.notes.extend(note.filter(|note| note.status == NoteStatus::Retracted || !note.text.is_empty()));
}

/// What the trigger makes of the note; `None` if it says nothing that a note could hold.
fn by_trigger(chart: &Chart<'_>, mut note: MappedNote, parent: Option<String>, trigger: &str) -> Option<MappedNote> {
    match trigger {
        "T05" | "T06" => {
            // An addendum must never stand as a version of what it adds to.
            if parent.as_ref().is_none_or(|parent| *parent == note.document) {
                note.document = format!("{}/addendum/{}", note.document, chart.control_id.as_deref().unwrap_or_default());
            }
            note.kind = NoteKind::Other;
            note.status = NoteStatus::Amended;
        }
        "T07" | "T08" => note.status = NoteStatus::Amended,
        "T09" | "T10" => {
            let replaced = parent.filter(|parent| *parent != note.document);
            if note.text.is_empty() {
                // The old text no longer stands, and the new one is not here.
                note.document = replaced?;
                return Some(retracted(note));
            }
            note.status = if replaced.is_some() { NoteStatus::Final } else { NoteStatus::Amended };
            note.replaces = replaced;
        }
        "T11" => return Some(retracted(note)),
        _ => {}
    }
    Some(note)
}

fn retracted(note: MappedNote) -> MappedNote {
    MappedNote { status: NoteStatus::Retracted, text: String::new(), replaces: None, ..note }
}

/// Entity identifier; some senders leave the first component empty.
fn document_number(field: &Field<'_>) -> Option<String> {
    field.component(1).text().or_else(|| field.component(3).text())
}

/// TXA-17, HL7 table 0271.
fn completion(txa: &Segment<'_>) -> NoteStatus {
    match txa.field(17).component(1).text().as_deref() {
        Some("PA" | "IP" | "IN" | "DI") => NoteStatus::Preliminary,
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

fn kind(txa: &Segment<'_>) -> NoteKind {
    let field = txa.field(2);
    let known = [1, 4, 2].into_iter().filter_map(|component| kind_of(&field.component(component).text()?)).next();
    known.unwrap_or(NoteKind::Other)
}

/// `DS`, or `LOINC/18842-5` where the sender says LN.
pub(crate) fn type_code(field: &Field<'_>) -> Option<String> {
    let code = field.component(1).text().or_else(|| field.component(2).text())?;
    let loinc = field.component(3).text().is_some_and(|system| matches!(system.to_ascii_uppercase().as_str(), "LN" | "LOINC"));
    Some(if loinc { format!("LOINC/{code}") } else { code })
}

/// HL7 table 0270, LOINC document types and their names.
pub(crate) fn kind_of(code: &str) -> Option<NoteKind> {
    Some(match code.to_ascii_uppercase().as_str() {
        "HP" | "H&P" | "HISTORY AND PHYSICAL" | "34117-2" | "47039-3" => NoteKind::Admission,
        "DS" | "DISCHARGE SUMMARY" | "18842-5" => NoteKind::Discharge,
        "PN" | "PR" | "PROGRESS NOTE" | "11506-3" => NoteKind::Progress,
        "DI" | "CD" | "SP" | "AR" | "RAD" | "PATH" | "RADIOLOGY REPORT" | "PATHOLOGY REPORT" | "18748-4" | "11526-1" => NoteKind::Report,
        _ => return None,
    })
}
