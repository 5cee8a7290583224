//! ORU^R01: reports in prose. Numbers and codes of a laboratory are nothing for us.

use std::collections::HashMap;

use schemas::{NoteKind, NoteStatus};

use super::chart::Chart;
use super::reader::Segment;
use super::{document, patient, text};

/// From how many bytes on a TX or ST value is prose rather than a result.
const NARRATIVE: usize = 80;

/// Maps each OBR whose observations are prose into a report.
pub(crate) fn map(chart: &mut Chart<'_>) {
    let message = chart.message;
    let mut documents: HashMap<String, usize> = HashMap::new();
    let mut person: Option<Segment<'_>> = None;
    let mut rest = message.segments.as_slice();
    while let Some((segment, after)) = rest.split_first() {
        rest = after;
        match &segment.name {
            b"PID" => (person, chart.patient, chart.visit) = (Some(*segment), None, None),
            b"PV1" => chart.visit = segment.field(19).component(1).text(),
            b"OBR" => {
                let end = after.iter().position(|next| matches!(&next.name, b"OBR" | b"PID" | b"ORC" | b"PV1")).unwrap_or(after.len());
                let (group, next) = after.split_at(end);
                rest = next;
                if is_report(group) {
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

/// Prose, not a panel of results: formatted or embedded text, a long value, or lines of text that all say one thing and stand
/// beside no numbers (or are several).
fn is_report(group: &[Segment<'_>]) -> bool {
    let mut subject: Option<&[u8]> = None;
    let (mut lines, mut numbers, mut one_subject) = (0, false, true);
    for obx in group.iter().filter(|segment| segment.name == *b"OBX") {
        let value = obx.field(5);
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
    one_subject && (lines > 1 || (lines == 1 && !numbers))
}

fn is_narrative(value: &[u8]) -> bool {
    value.len() >= NARRATIVE || value.contains(&b'\n') || memchr::memmem::find(value, b".br").is_some()
}

fn report(chart: &mut Chart<'_>, obr: &Segment<'_>, group: &[Segment<'_>], documents: &mut HashMap<String, usize>) {
    let body = text::body(chart, group.iter().filter(|segment| segment.name == *b"OBX").copied());
    let status = match obr.field(25).component(1).text().as_deref() {
        Some("X" | "D") => NoteStatus::Retracted,
        Some("C") => NoteStatus::Amended,
        Some("P" | "R" | "I" | "S" | "O" | "A") => NoteStatus::Preliminary,
        _ if body.corrected => NoteStatus::Amended,
        _ => NoteStatus::Final,
    };
    if body.text.is_empty() && status != NoteStatus::Retracted {
        return;
    }
    let number = obr.field(3).component(1).text().or_else(|| obr.field(2).component(1).text());
    let base = number.or_else(|| chart.control_id.clone()).unwrap_or_default();
    // Several reports of one order share its number.
    let count = documents.entry(base.clone()).or_insert(0);
    *count += 1;
    let document = if *count > 1 { format!("{base}#{count}") } else { base };
    let code = obr.field(4);
    let kind = code.component(1).text().and_then(|code| document::kind_of(&code)).unwrap_or(NoteKind::Report);
    let mut note = chart.note(document, kind, status);
    note.type_code = document::type_code(&code);
    note.authored_at = chart.instant(obr, 22).or_else(|| chart.instant(obr, 7));
    note.signed_at = note.authored_at.filter(|_| status != NoteStatus::Preliminary);
    if status != NoteStatus::Retracted {
        note.text = body.text;
    }
    chart.notes.push(note);
}
