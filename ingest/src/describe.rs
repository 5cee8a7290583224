//! What the maps make of a record, as `wardstream map` shows it: one JSON object a part (CONTRACT section 2).

use maps::Mapped;
use schemas::{Fact, Flag, MappedNote, Outcome, Reject};
use serde::Serialize;

use crate::reading::outcome;

/// One line of `wardstream map`.
#[derive(Serialize)]
pub struct Line<'a> {
    file: &'a str,
    index: usize,
    format: &'static str,
    trigger: Option<&'a str>,
    control_id: Option<&'a str>,
    outcome: Outcome,
    charset: Option<&'static str>,
    rejects: Vec<&'a Reject>,
    flags: Vec<&'a Flag>,
    events: Vec<EventLine<'a>>,
    notes: Vec<NoteLine<'a>>,
}

#[derive(Serialize)]
struct EventLine<'a> {
    code: &'static str,
    time: Option<jiff::Timestamp>,
    patient: Option<&'a schemas::Identifier>,
    encounter: Option<&'a str>,
    text_value: Option<&'a str>,
    numeric_value: Option<f64>,
    related: Option<&'a str>,
}

#[derive(Serialize)]
struct NoteLine<'a> {
    note: &'a str,
    version: u32,
    kind: &'static str,
    status: &'static str,
    patient: Option<&'a schemas::Identifier>,
    encounter: Option<&'a str>,
    replaces: Option<&'a str>,
    text: &'a str,
}

/// The line of one record: its parts told together, as `messages` holds them in one row.
#[must_use]
pub fn line<'a>(file: &'a str, index: usize, parts: &'a [Mapped]) -> Line<'a> {
    let first = parts.first();
    Line {
        file,
        index,
        format: first.map_or("unknown", |part| part.format.as_str()),
        trigger: first.and_then(|part| part.trigger.as_deref()),
        control_id: first.and_then(|part| part.control_id.as_deref()),
        outcome: outcome(parts),
        charset: parts.iter().find_map(|part| part.charset),
        rejects: parts.iter().flat_map(|part| &part.rejects).collect(),
        flags: parts.iter().flat_map(|part| &part.flags).collect(),
        events: parts.iter().flat_map(|part| &part.facts).map(event).collect(),
        notes: versions(parts.iter().flat_map(|part| &part.notes)),
    }
}

fn event(fact: &Fact) -> EventLine<'_> {
    EventLine {
        code: fact.code.as_str(),
        time: fact.time,
        patient: fact.patient.as_ref(),
        encounter: fact.encounter.as_deref(),
        text_value: fact.text_value.as_deref(),
        numeric_value: fact.numeric_value,
        related: fact.related.as_deref(),
    }
}

/// Within one record the versions of a note count from one, in the order they stand.
fn versions<'a>(notes: impl Iterator<Item = &'a MappedNote>) -> Vec<NoteLine<'a>> {
    let mut seen = std::collections::BTreeMap::new();
    notes
        .map(|note| {
            let version = seen.entry(note.document.as_str()).and_modify(|count| *count += 1).or_insert(1);
            NoteLine {
                note: &note.document,
                version: *version,
                kind: note.kind.as_str(),
                status: note.status.as_str(),
                patient: note.patient.as_ref(),
                encounter: note.encounter.as_deref(),
                replaces: note.replaces.as_deref(),
                text: &note.text,
            }
        })
        .collect()
}

impl Line<'_> {
    /// The line itself.
    ///
    /// # Errors
    /// Where a number is not JSON, which no map gives.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}
