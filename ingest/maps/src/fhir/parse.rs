//! Text to JSON values. One entry that is not JSON costs that entry; everything else in its Bundle or array is kept.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::error::Category;
use serde_json::value::RawValue;

use super::node::{self, Node};
use super::place::Place;

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
    let numbered = || split(text).enumerate().map(|(i, line)| (i + 1, line.trim())).filter(|(_, line)| !line.is_empty());
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
        Err(error) => by_entry(text, skipped).ok_or_else(|| refusal(&error, text, skipped)),
    }
}

/// Parses each entry of a Bundle, or each element of an array, on its own. This is the slow way, taken only where the quick one failed:
/// what is skipped over raw is not looked into, so a broken escape or a number out of range stays within its entry.
fn by_entry(text: &str, skipped: usize) -> Option<Parsed<'_>> {
    let mut broken = BTreeMap::new();
    let record = (text.as_ptr() as usize).saturating_sub(skipped);
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        let value = Node::List(each(&items, record, &mut broken));
        return Some(Parsed { repeats_a_name: value.repeats_a_name(), value, broken });
    }
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let mut bundle = Vec::new();
    for (name, raw) in fields {
        let value = if name == "entry" {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
            Node::List(each(&items, record, &mut broken))
        } else {
            node::parse(raw.get()).ok()?.0
        };
        bundle.push((Cow::Owned(name), value));
    }
    let value = Node::Object(bundle);
    (value["resourceType"] == "Bundle").then(|| Parsed { repeats_a_name: value.repeats_a_name(), value, broken })
}

/// `record` is the address at which the record began: an element knows its own, and so its place.
fn each<'a>(items: &[&'a RawValue], record: usize, broken: &mut BTreeMap<usize, Refusal>) -> Vec<Node<'a>> {
    let value = |(i, raw): (usize, &&'a RawValue)| match node::parse(raw.get()) {
        Ok((value, _)) => value,
        Err(error) => {
            let start = (raw.get().as_ptr() as usize).saturating_sub(record);
            broken.insert(i, refusal(&error, raw.get(), start));
            Node::Null
        }
    };
    items.iter().enumerate().map(value).collect()
}

fn refusal(error: &serde_json::Error, text: &str, skipped: usize) -> Refusal {
    let line_start = memchr::memchr_iter(b'\n', text.as_bytes()).nth(error.line().wrapping_sub(2)).map_or(0, |newline| newline + 1);
    let reason = if error.classify() == Category::Eof { "the JSON text ends too early" } else { "this is not JSON" };
    Refusal { byte: skipped + line_start + error.column(), reason }
}
