//! ORU: reports in prose. Numbers and codes of a laboratory are nothing for us.
//!
//! Each OBR is a report of its own with the OBX and NTE that follow it, up to the next OBR, ORC, PID, PV1 or a specimen (SPM) that comes after
//! them. A TX or FT with an empty OBX-3 and a blank OBX are lines of the report that they stand in. A report is named by OBR-3, else OBR-2.

use std::collections::HashMap;

use schemas::{NoteStatus, Stage};

use super::chart::Chart;
use super::reader::Segment;
use super::{document, patient, prose};

/// From how many bytes on a TX or ST value is prose rather than a result.
const NARRATIVE: usize = 80;

/// Maps each OBR whose observations are prose into a report.
pub(crate) fn map(chart: &mut Chart<'_>) {
    let message = chart.message;
    if message.first(b"OBR").is_none() && is_report(None, &message.segments) {
        return chart.reject(Stage::Map, "OBX[1]-5".to_owned(), "a text that belongs to no OBR");
    }
    let mut documents: HashMap<String, usize> = HashMap::new();
    let mut person: Option<Segment<'_>> = None;
    let mut rest = message.segments.as_slice();
    while let Some((segment, after)) = rest.split_first() {
        rest = after;
        match &segment.name {
            b"PID" => (person, chart.patient, chart.visit) = (Some(*segment), None, None),
            b"PV1" => chart.visit = segment.field(19).component(1).text(),
            b"OBR" => {
                let group = of_one(after);
                rest = after.get(group.len()..).unwrap_or_default();
                if is_report(Some(segment), group) || is_withdrawn(segment, group) {
                    if let Some(pid) = person.take() {
                        patient::identify(chart, &pid);
                    }
                    report(chart, segment, group, &mut documents);
                }
            }
            _ => {}
        }
    }
}

/// The segments that belong to an OBR.
fn of_one<'a, 'b>(after: &'b [Segment<'a>]) -> &'b [Segment<'a>] {
    let mut observed = false;
    let end = after.iter().position(|next| match &next.name {
        b"OBX" => {
            observed = true;
            false
        }
        // What is observed of a specimen is not the report's; some senders name the specimen first.
        b"SPM" => observed,
        name => matches!(name, b"OBR" | b"PID" | b"ORC" | b"PV1"),
    });
    after.get(..end.unwrap_or(after.len())).unwrap_or_default()
}

/// A report that was taken back without its text: every line deleted, or the order of an imaging or pathology report cancelled.
fn is_withdrawn(obr: &Segment<'_>, group: &[Segment<'_>]) -> bool {
    let mut observations = group.iter().filter(|segment| segment.name == *b"OBX").peekable();
    if observations.peek().is_some() {
        return observations.all(|obx| {
            matches!(obx.field(2).raw(), b"TX" | b"FT" | b"ED") && matches!(obx.field(11).component(1).raw(), b"D" | b"W") && {
                let value = obx.field(5);
                value.is_empty() || value.is_delete()
            }
        });
    }
    let cancelled = matches!(obr.field(25).component(1).raw(), b"X" | b"D");
    cancelled && is_of_prose(obr)
}

/// Sections that write prose, imaging and pathology (OBR-24, HL7 table 0074).
const SECTIONS: &[&str] = &["RAD", "RX", "CT", "CTH", "MRI", "NMR", "NMS", "RUS", "VUS", "OUS", "CUS", "XRC", "SP", "CP", "PAT"];

/// Whether an order asks for prose by itself: its section does, or its code is that of a document.
fn is_of_prose(obr: &Segment<'_>) -> bool {
    let section = obr.field(24).component(1).raw();
    SECTIONS.iter().any(|one| one.as_bytes() == section) || document::is_document(&obr.field(4))
}

/// Prose, not a panel of results: formatted or embedded text, a long value, or lines of text that all say one thing and stand
/// beside no numbers (or are several, or the order asks for prose).
fn is_report(obr: Option<&Segment<'_>>, group: &[Segment<'_>]) -> bool {
    let mut subject: Option<&[u8]> = None;
    let (mut lines, mut numbers, mut one_subject, mut observed) = (0, false, true, false);
    for obx in group.iter().filter(|segment| segment.name == *b"OBX") {
        let value = obx.field(5);
        observed = true;
        match obx.field(2).raw() {
            b"FT" | b"ED" if !value.is_empty() => return true,
            b"TX" | b"ST" if is_narrative(value.raw()) => return true,
            b"TX" if !value.is_empty() => {
                let code = obx.field(3).component(1).subcomponent(1).raw();
                if !code.is_empty() {
                    one_subject &= *subject.get_or_insert(code) == code;
                }
                lines += 1;
            }
            b"" | b"TX" | b"ST" | b"FT" | b"ED" | b"RP" => {}
            _ => numbers = true,
        }
    }
    // Some senders put the whole report into comments on the order.
    let commented = || group.iter().filter(|segment| segment.name == *b"NTE").any(|nte| is_narrative(nte.field(3).raw()));
    let asked = || obr.is_some_and(is_of_prose);
    (one_subject && (lines > 1 || (lines == 1 && !numbers))) || (lines > 0 && asked()) || (!observed && commented())
}

fn is_narrative(value: &[u8]) -> bool {
    value.len() >= NARRATIVE || value.contains(&b'\n') || memchr::memmem::find(value, b".br").is_some()
}

fn report(chart: &mut Chart<'_>, obr: &Segment<'_>, group: &[Segment<'_>], documents: &mut HashMap<String, usize>) {
    let body = prose::body(chart, group);
    let status = match obr.field(25).component(1).text().as_deref() {
        Some("X" | "D") => NoteStatus::Retracted,
        _ if body.withdrawn => NoteStatus::Retracted,
        Some("C") => NoteStatus::Amended,
        Some("P" | "R" | "I" | "S" | "O" | "A") => NoteStatus::Preliminary,
        _ if body.corrected => NoteStatus::Amended,
        _ => NoteStatus::Final,
    };
    if body.text.is_empty() && status != NoteStatus::Retracted {
        return;
    }
    let number = obr.field(3).component(1).text().or_else(|| obr.field(2).component(1).text());
    let Some(base) = number.clone().or_else(|| chart.unnumbered()) else {
        return chart.reject(Stage::Map, obr.position(3), "the report has no number");
    };
    if number.is_none() {
        chart.flag(obr.position(3), "the report has no number; named by its message");
    }
    // Several reports of one order share its number.
    let count = documents.entry(base.clone()).or_insert(0);
    *count += 1;
    let document = if *count > 1 { format!("{base}#{count}") } else { base };
    let code = obr.field(4);
    let mut note = chart.note(document, document::kind_of_report(obr, group), status);
    note.type_code = document::type_code(&code);
    note.authored_at = chart.instant(obr, 22).or_else(|| chart.instant(obr, 7));
    note.signed_at = note.authored_at.filter(|_| status != NoteStatus::Preliminary);
    if status != NoteStatus::Retracted {
        note.text = body.text;
    }
    chart.notes.push(note);
}
