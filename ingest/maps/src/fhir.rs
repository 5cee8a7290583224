//! Maps of FHIR R4 JSON: one resource, a Bundle, an array of resources, or NDJSON become facts, notes and rejects.
//!
//! A Bundle is one part, because its entries speak of one another; the elements of an array and the lines of NDJSON are one
//! part each. R4 is what is read; shapes of STU3 and R5 that say the same under another name are read under that name (see
//! `shape`). FHIR in XML is refused. Of a JSON key that stands twice, the last one counts, and that is flagged.

mod adjudication;
mod attachment;
mod bundle;
mod claim;
mod coding;
mod composition;
mod condition;
mod decision;
mod deletion;
mod document;
mod draft;
mod encounter;
mod instant;
mod insurance;
mod json;
mod kinds;
mod node;
mod number;
mod parse;
mod patient;
mod place;
mod procedure;
mod reading;
mod reference;
mod report;
mod resource;
mod setting;
mod shape;
mod version;
mod visit_number;

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemas::{Facility, Flag, Format, Outcome, Reject, Stage};

use crate::Mapped;
use draft::{Draft, MOST_REJECTS};
use node::Node;
use place::Place;
use reference::Index;
use resource::{Reader, Resource};

/// Maps the bytes of one record into its parts, one or more. Total: whatever the bytes are, there is a part that says so.
///
/// Times without an offset, and dates (which stand for their first instant), are read in the facility's zone, which is UTC where
/// the zone's name is unknown. Bytes that are not UTF-8 and carry no byte order mark are read in the facility's charset; positions of
/// faults then count bytes of the text after decoding. In NDJSON a byte is counted from the start of its line.
#[must_use]
pub fn map(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    let reader = Reader::new(facility, bytes.len());
    let (decoded, charset) = decode(bytes, &reader);
    let mut parts = text(&decoded, &reader);
    if let Some((charset, decision)) = charset {
        for part in &mut parts {
            part.charset = Some(charset);
            part.flags.push(Flag { position: "record".to_owned(), decision: Cow::Borrowed(decision) });
        }
    }
    parts
}

/// UTF-16 by its mark; everything else as `Reader::text` reads it. Where it is not UTF-8, what it was read in, and why.
fn decode<'a>(bytes: &'a [u8], reader: &Reader<'_>) -> (Cow<'a, str>, Option<(&'static str, &'static str)>) {
    match encoding_rs::Encoding::for_bom(bytes) {
        Some((marked, _)) if marked != encoding_rs::UTF_8 => {
            (marked.decode(bytes).0, Some((marked.name(), "JSON is UTF-8; the byte order mark says otherwise, and counts")))
        }
        _ => {
            let (text, charset) = reader.text(bytes);
            let decision = if charset == Some(encoding_rs::UTF_8) {
                "it is damaged UTF-8: what could not be read is replaced"
            } else {
                "JSON is UTF-8; this is not, and is read in the facility's charset"
            };
            (text, charset.map(|charset| (charset.name(), decision)))
        }
    }
}

fn text(decoded: &str, reader: &Reader<'_>) -> Vec<Mapped> {
    let text = decoded.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let skipped = decoded.len() - text.len();
    if text.is_empty() {
        return vec![refused(Stage::Wire, "byte 0".to_owned(), "there is nothing in it")];
    }
    if text.starts_with('<') {
        return vec![refused(Stage::Parse, format!("byte {skipped}"), "FHIR in XML is not read, only JSON")];
    }
    match parse::lines(text) {
        Some(lines) => bounded(lines.flat_map(|(number, line)| record(line, Place::Line(number), 0, reader))),
        None => record(text, Place::Record, skipped, reader),
    }
}

/// One JSON text: a part for each element where it is an array.
fn record(text: &str, place: Place<'_>, skipped: usize, reader: &Reader<'_>) -> Vec<Mapped> {
    let parsed = match parse::parse(text, skipped) {
        Ok(parsed) => parsed,
        Err(refusal) => return vec![refused(Stage::Parse, refusal.position(&place), refusal.reason)],
    };
    match &parsed.value {
        Node::List(items) if items.is_empty() => vec![refused(Stage::Map, Place::Element(&place, 0).to_string(), "there is nothing in it")],
        Node::List(items) => bounded(items.iter().enumerate().map(|(i, item)| {
            let here = Place::Element(&place, i);
            match parsed.broken.get(&i) {
                Some(refusal) => refused(Stage::Parse, refusal.position(&here), refusal.reason),
                None => part(item, here, (&BTreeMap::new(), parsed.repeats_a_name), reader),
            }
        })),
        value => vec![part(value, place, (&parsed.broken, parsed.repeats_a_name), reader)],
    }
}

/// All parts, of the refused ones only the first `MOST_REJECTS` and one that stands for the others.
fn bounded(parts: impl Iterator<Item = Mapped>) -> Vec<Mapped> {
    let mut refusals = 0;
    let mut kept = Vec::new();
    for part in parts {
        refusals += usize::from(part.outcome == Outcome::Rejected);
        if part.outcome != Outcome::Rejected || refusals <= MOST_REJECTS {
            kept.push(part);
        }
    }
    if refusals > MOST_REJECTS {
        kept.push(refused(Stage::Map, "record".to_owned(), "more parts are refused than are listed"));
    }
    kept
}

/// A resource, or a Bundle with all its entries.
fn part(
    value: &Node<'_>,
    place: Place<'_>,
    (broken, repeats_a_name): (&BTreeMap<usize, parse::Refusal>, bool),
    reader: &Reader<'_>,
) -> Mapped {
    let Some(kind) = json::kind(value) else {
        return refused(Stage::Map, place.field("resourceType"), "this is no FHIR resource");
    };
    let mut draft = Draft::within(reader.left.get());
    draft.repeats_a_name = repeats_a_name;
    let here = Place::Kind(&place, kind);
    for (entry, refusal) in broken {
        draft.reject(Stage::Parse, refusal.position(&Place::Entry(&here, *entry)), refusal.reason);
    }
    let mapped = if kind == "Bundle" {
        let header = bundle::map(value, &here, reader, &mut draft);
        draft.finish(header.trigger, header.control_id, header.sent_at)
    } else {
        let index = Index::default();
        let resource = Resource::alone(value, kind, here, reader, &index);
        resource.map(&mut draft);
        draft.finish(kind.to_owned(), resource.id.map(str::to_owned), resource.updated_at)
    };
    reader.left.set(reader.left.get().less(&mapped));
    mapped
}

fn refused(stage: Stage, position: String, reason: &'static str) -> Mapped {
    Mapped::rejected(Format::Fhir, Reject { stage, position, reason: Cow::Borrowed(reason) })
}
