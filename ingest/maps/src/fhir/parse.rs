//! Text to JSON values. One entry that is not JSON costs that entry; everything else in its Bundle or array is kept.

use std::collections::BTreeMap;

use super::node::{self, Node};
use super::place::Place;
use super::reading::{self, Fault};

/// What could not be parsed: never its content.
pub(super) struct Refusal {
    /// The first byte of the record that did not fit.
    byte: usize,
    pub(super) reason: &'static str,
}

impl Refusal {
    /// `byte 120`, `Bundle.entry[2] byte 120`.
    pub(super) fn position(&self, place: &Place<'_>) -> String {
        match place {
            Place::Record => format!("byte {}", self.byte),
            place => format!("{place} byte {}", self.byte),
        }
    }
}

/// A JSON text. Where an entry or an element is broken, `null` stands in its place.
pub(super) struct Parsed<'a> {
    pub(super) value: Node<'a>,
    /// What was broken, by its number among the entries or elements.
    pub(super) broken: BTreeMap<usize, Refusal>,
    /// A name stands twice in one of its objects.
    pub(super) repeats_a_name: bool,
}

/// The lines of NDJSON with their numbers from 1, blank ones left out; `None` where the text is one JSON value over one or more lines.
pub(super) fn lines(text: &str) -> Option<impl Iterator<Item = (usize, &str)>> {
    memchr::memchr(b'\n', text.as_bytes())?;
    let numbered = || {
        split(text).enumerate().map(|(i, line)| (i + 1, line.trim().trim_start_matches('\u{feff}'))).filter(|(_, line)| !line.is_empty())
    };
    let mut first_two = numbered().map(|(_, line)| line);
    let (first, second) = (first_two.next()?, first_two.next()?);
    let is_whole = |line: &str| line.starts_with('{') && line.ends_with('}');
    let goes_on = first.ends_with([',', ':', '[', '{']) || second.starts_with([',', ':', '}', ']']);
    let has_record = is_whole(first) || (first.starts_with('{') && is_whole(second));
    (has_record && !goes_on).then(numbered)
}

/// What stands between line feeds.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(b'\n', text.as_bytes());
        let (line, after) = end.and_then(|end| text.split_at_checked(end)).map_or((text, None), |(line, after)| (line, after.get(1..)));
        rest = after;
        Some(line)
    })
}

/// Parses one JSON text that began `skipped` bytes into the record.
///
/// # Errors
/// The place and kind of the first fault, where not even the frame around the entries can be read.
pub(super) fn parse(text: &str, skipped: usize) -> Result<Parsed<'_>, Refusal> {
    match node::parse(text) {
        Ok((value, repeats_a_name)) => Ok(Parsed { value, broken: BTreeMap::new(), repeats_a_name }),
        Err(fault) => by_entry(text, skipped).ok_or_else(|| refusal(fault, skipped)),
    }
}

/// Parses each entry of a Bundle, or each element of an array, on its own. This is the slow way, taken only where the quick one failed.
fn by_entry(text: &str, skipped: usize) -> Option<Parsed<'_>> {
    let mut broken = BTreeMap::new();
    let record = (text.as_ptr() as usize).saturating_sub(skipped);
    let parts = reading::elements(text)?;
    if text.starts_with('[') {
        let value = Node::List(each(&parts, record, &mut broken));
        return Some(Parsed { repeats_a_name: value.repeats_a_name(), value, broken });
    }
    let mut bundle = Vec::new();
    for part in parts {
        let (name, value) = reading::field(part)?;
        let value =
            if name == "entry" { Node::List(each(&reading::elements(value)?, record, &mut broken)) } else { node::parse(value).ok()?.0 };
        bundle.push((name, value));
    }
    let value = Node::Object(bundle);
    (value["resourceType"] == "Bundle").then(|| Parsed { repeats_a_name: value.repeats_a_name(), value, broken })
}

/// `record` is the address at which the record began: an element knows its own, and so its place.
fn each<'a>(items: &[&'a str], record: usize, broken: &mut BTreeMap<usize, Refusal>) -> Vec<Node<'a>> {
    let value = |(i, text): (usize, &&'a str)| match node::parse(text) {
        Ok((value, _)) => value,
        Err(fault) => {
            broken.insert(i, refusal(fault, (text.as_ptr() as usize).saturating_sub(record)));
            Node::Null
        }
    };
    items.iter().enumerate().map(value).collect()
}

fn refusal(fault: Fault, skipped: usize) -> Refusal {
    Refusal { byte: skipped + fault.byte, reason: fault.reason }
}
