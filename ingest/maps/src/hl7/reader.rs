//! A message's segments, fields, repetitions and components, as slices of its bytes.
//!
//! Nothing here knows what a field means, and nothing is decoded before it is asked for. No `Debug`: it would show a patient.

use std::collections::HashMap;

use encoding_rs::Encoding;
use memchr::{memchr, memchr_iter};

use super::escape;
use super::lines;
use super::separators::Separators;

/// How the bytes of one message are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) separators: Separators,
    /// What hexadecimal escapes are code units of.
    pub(crate) encoding: &'static Encoding,
}

/// A message in UTF-8, cut into segments.
pub(crate) struct Message<'a> {
    pub(crate) segments: Vec<Segment<'a>>,
}

/// One segment.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    pub(crate) name: [u8; 3],
    bytes: &'a [u8],
    /// The how-manieth of its name in the message, from 1.
    occurrence: u32,
    reading: Reading,
}

/// A field, or a part of one.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    bytes: &'a [u8],
    reading: Reading,
}

impl<'a> Message<'a> {
    /// Cuts `bytes`, which begin with `MSH` and a separator.
    pub(crate) fn cut(bytes: &'a [u8], reading: Reading) -> Self {
        let mut counts: HashMap<[u8; 3], u32> = HashMap::new();
        let segments = lines::segments(bytes, reading.separators.field)
            .into_iter()
            .filter_map(|bytes| {
                let name = *bytes.first_chunk::<3>()?;
                let occurrence = counts.entry(name).or_insert(0);
                *occurrence += 1;
                Some(Segment { name, bytes, occurrence: *occurrence, reading })
            })
            .collect();
        Self { segments }
    }

    /// The first segment of this name.
    pub(crate) fn first(&self, name: &[u8; 3]) -> Option<Segment<'a>> {
        self.all(name).next()
    }

    /// All segments of this name, in order.
    pub(crate) fn all(&self, name: &[u8; 3]) -> impl Iterator<Item = Segment<'a>> {
        self.segments.iter().filter(move |segment| segment.name == *name).copied()
    }
}

impl<'a> Segment<'a> {
    /// The field of this number, from 1; empty where the segment ends before it.
    pub(crate) fn field(&self, number: usize) -> Field<'a> {
        let skipped = if self.name == *b"MSH" { number.saturating_sub(1) } else { number };
        Field { bytes: nth(self.bytes, self.reading.separators.field, skipped), reading: self.reading }
    }

    /// Where a field stands: `OBX[3]-5`.
    pub(crate) fn position(&self, number: usize) -> String {
        let name = String::from_utf8_lossy(&self.name);
        match &self.name {
            b"MSH" | b"EVN" => format!("{name}-{number}"),
            _ => format!("{name}[{}]-{number}", self.occurrence),
        }
    }
}

impl<'a> Field<'a> {
    /// Nothing was sent: no news.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.trim_ascii().is_empty()
    }

    /// `""` was sent: what stood there is deleted.
    pub(crate) fn is_delete(&self) -> bool {
        self.bytes.trim_ascii() == b"\"\""
    }

    /// The bytes as they came, in UTF-8.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// The repetitions; one, perhaps empty, at least.
    pub(crate) fn repetitions(&self) -> impl Iterator<Item = Self> + use<'a> {
        let (separator, reading) = (self.reading.separators.repetition, self.reading);
        self.bytes.split(move |byte| *byte == separator).map(move |bytes| Self { bytes, reading })
    }

    /// The component of this number, from 1, of the first repetition.
    pub(crate) fn component(&self, number: usize) -> Self {
        let first = nth(self.bytes, self.reading.separators.repetition, 0);
        Self { bytes: nth(first, self.reading.separators.component, number.saturating_sub(1)), reading: self.reading }
    }

    /// The subcomponent of this number, from 1.
    pub(crate) fn subcomponent(&self, number: usize) -> Self {
        Self { bytes: nth(self.bytes, self.reading.separators.subcomponent, number.saturating_sub(1)), reading: self.reading }
    }

    /// Everything from the component of this number on, of a part that holds no repetitions.
    pub(crate) fn rest_from(&self, number: usize) -> Self {
        let begin = match number.checked_sub(2) {
            Some(skipped) => memchr_iter(self.reading.separators.component, self.bytes).nth(skipped).map_or(self.bytes.len(), |at| at + 1),
            None => 0,
        };
        Self { bytes: self.bytes.get(begin..).unwrap_or_default(), reading: self.reading }
    }

    /// Prose: escapes resolved, line breaks and blanks kept; a deleted value is empty.
    pub(crate) fn prose(&self) -> String {
        if self.is_delete() { String::new() } else { escape::decode(self.bytes, self.reading.separators, self.reading.encoding) }
    }

    /// A code, a number or a name: escapes resolved, trimmed, no control characters. `None` if empty or deleted.
    pub(crate) fn text(&self) -> Option<String> {
        let prose = self.prose();
        let text = prose.trim();
        if text.is_empty() {
            return None;
        }
        let text = if text.contains(char::is_control) { text.replace(char::is_control, "") } else { text.to_owned() };
        Some(text).filter(|text| !text.is_empty())
    }
}

/// The part after `skipped` separators; empty where there are fewer.
fn nth(bytes: &[u8], separator: u8, skipped: usize) -> &[u8] {
    let begin = match skipped.checked_sub(1) {
        Some(before) => memchr_iter(separator, bytes).nth(before).map_or(bytes.len(), |at| at + 1),
        None => 0,
    };
    let rest = bytes.get(begin..).unwrap_or_default();
    memchr(separator, rest).and_then(|end| rest.get(..end)).unwrap_or(rest)
}
