//! A message's segments, fields, repetitions and components, as slices of its bytes.
//!
//! Nothing here knows what a field means, and nothing is decoded before it is asked for. No `Debug`: it would show a patient.

use std::borrow::Cow;
use std::collections::HashMap;

use encoding_rs::Encoding;
use memchr::{memchr, memchr_iter};

use super::escape;
use super::lines::{FIELDS, Layout, Span};
use super::separators::Separators;

/// The most bytes of a code, a number or a name: it stands in every fact of its message, which would else be as large as the message is long.
const WORD: usize = 1_024;

/// How the text of one message is read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) separators: Separators,
    /// What hexadecimal escapes are code units of.
    pub(crate) encoding: &'static Encoding,
}

/// A message, cut into segments.
pub(crate) struct Message<'a> {
    pub(crate) segments: Vec<Segment<'a>>,
}

/// One segment.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    pub(crate) name: [u8; 3],
    text: &'a str,
    /// Where the first of its separators stand in `text`.
    separators: &'a [u32],
    /// The how-manieth of its name in the message, from 1.
    occurrence: u32,
    reading: &'a Reading,
}

/// A field, or a part of one.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    text: &'a str,
    reading: &'a Reading,
}

impl<'a> Message<'a> {
    /// The segments of `text`, which begins with `MSH` and a separator, where `layout` found them.
    pub(crate) fn cut(text: &'a str, layout: &'a Layout, reading: &'a Reading) -> Self {
        let mut counts = Counts::default();
        let segment = |span: &Span| {
            let text = text.get(span.begin..span.end)?;
            let name = text.as_bytes().first_chunk::<3>()?.map(|letter| letter.to_ascii_uppercase());
            let separators = layout.separators.get(span.first..span.last)?;
            Some(Segment { name, text, separators, occurrence: counts.next(name), reading })
        };
        Self { segments: layout.segments.iter().filter_map(segment).collect() }
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
        Field { text: self.part(skipped).unwrap_or_default(), reading: self.reading }
    }

    /// What follows `skipped` separators, up to the next.
    fn part(&self, skipped: usize) -> Option<&'a str> {
        let place = |separator: usize| self.separators.get(separator).and_then(|at| usize::try_from(*at).ok());
        if skipped >= FIELDS && self.separators.len() == FIELDS {
            let known = self.text.get(place(FIELDS - 1)? + 1..)?;
            return Some(nth(known, self.reading.separators.field, skipped - FIELDS));
        }
        let begin = match skipped.checked_sub(1) {
            Some(before) => place(before)? + 1,
            None => 0,
        };
        self.text.get(begin..place(skipped).unwrap_or(self.text.len()))
    }

    /// Where a field stands: `OBX[3]-5`.
    pub(crate) fn position(&self, number: usize) -> String {
        format!("{}-{number}", self.place())
    }

    /// Where the segment stands: `OBX[3]`.
    pub(crate) fn place(&self) -> String {
        let name = String::from_utf8_lossy(&self.name);
        match &self.name {
            b"MSH" | b"EVN" => name.into_owned(),
            _ => format!("{name}[{}]", self.occurrence),
        }
    }
}

/// How often each name came.
#[derive(Default)]
struct Counts {
    /// The first names, sought one after another; a real message has fewer.
    few: Vec<([u8; 3], u32)>,
    many: HashMap<[u8; 3], u32>,
}

impl Counts {
    fn next(&mut self, name: [u8; 3]) -> u32 {
        const FEW: usize = 32;
        let count = match self.few.iter().rposition(|(known, _)| *known == name) {
            Some(place) => self.few.get_mut(place).map(|(_, count)| count),
            None if self.few.len() < FEW => {
                self.few.push((name, 0));
                self.few.last_mut().map(|(_, count)| count)
            }
            None => Some(self.many.entry(name).or_insert(0)),
        };
        count.map_or(1, |count| {
            *count += 1;
            *count
        })
    }
}

impl<'a> Field<'a> {
    /// Nothing was sent: no news.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.as_bytes().trim_ascii().is_empty()
    }

    /// `""` was sent: what stood there is deleted.
    pub(crate) fn is_delete(&self) -> bool {
        self.text.as_bytes().trim_ascii() == b"\"\""
    }

    /// The bytes as they came, in UTF-8.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// What hexadecimal escapes of the message, and the bytes that it embeds, are code units of.
    pub(super) fn encoding(&self) -> &'static Encoding {
        self.reading.encoding
    }

    /// The repetitions; one, perhaps empty, at least.
    pub(crate) fn repetitions(&self) -> impl Iterator<Item = Self> + use<'a> {
        let reading = self.reading;
        let mut rest = Some(self.text);
        std::iter::from_fn(move || {
            let text = rest?;
            let end = memchr(reading.separators.repetition, text.as_bytes());
            rest = end.and_then(|end| text.get(end + 1..));
            Some(Self { text: end.and_then(|end| text.get(..end)).unwrap_or(text), reading })
        })
    }

    /// The component of this number, from 1, of the first repetition.
    pub(crate) fn component(&self, number: usize) -> Self {
        let first = nth(self.text, self.reading.separators.repetition, 0);
        Self { text: nth(first, self.reading.separators.component, number.saturating_sub(1)), reading: self.reading }
    }

    /// The subcomponent of this number, from 1.
    pub(crate) fn subcomponent(&self, number: usize) -> Self {
        Self { text: nth(self.text, self.reading.separators.subcomponent, number.saturating_sub(1)), reading: self.reading }
    }

    /// Everything from the component of this number on, of a part that holds no repetitions.
    pub(crate) fn rest_from(&self, number: usize) -> Self {
        let begin = match number.checked_sub(2) {
            Some(skipped) => {
                let mut separators = memchr_iter(self.reading.separators.component, self.text.as_bytes());
                separators.nth(skipped).map_or(self.text.len(), |at| at + 1)
            }
            None => 0,
        };
        Self { text: self.text.get(begin..).unwrap_or_default(), reading: self.reading }
    }

    /// Prose: escapes resolved, line breaks and blanks kept; a deleted value is empty.
    pub(crate) fn prose(&self) -> String {
        let mut prose = String::new();
        self.append_to(&mut prose);
        prose
    }

    /// Appends the prose to a text.
    pub(super) fn append_to(&self, text: &mut String) {
        if !self.is_delete() {
            escape::append(text, self.text, self.reading);
        }
    }

    /// A code, a number or a name: escapes resolved, trimmed, no control characters. `None` if empty or deleted. Cut at [`WORD`].
    pub(crate) fn text(&self) -> Option<String> {
        self.word().map(Cow::into_owned)
    }

    /// The same, borrowed from the message where nothing had to be resolved.
    pub(crate) fn word(&self) -> Option<Cow<'a, str>> {
        if self.text.len() > WORD {
            return Self { text: self.text.get(..self.text.floor_char_boundary(WORD)).unwrap_or_default(), ..*self }.word();
        }
        let escape = self.reading.separators.escape.unwrap_or_default();
        if self.text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~') & (byte != escape)) {
            let word = self.text.trim_ascii();
            return (!word.is_empty() && word != "\"\"").then_some(Cow::Borrowed(word));
        }
        let prose = self.prose();
        let word = prose.trim();
        let word = if word.contains(char::is_control) { word.replace(char::is_control, "") } else { word.to_owned() };
        Some(word).filter(|word| !word.is_empty()).map(Cow::Owned)
    }
}

/// The part after `skipped` separators, which are ASCII; empty where there are fewer.
fn nth(text: &str, separator: u8, skipped: usize) -> &str {
    let begin = match skipped.checked_sub(1) {
        Some(before) => memchr_iter(separator, text.as_bytes()).nth(before).map_or(text.len(), |at| at + 1),
        None => 0,
    };
    let rest = text.get(begin..).unwrap_or_default();
    memchr(separator, rest.as_bytes()).and_then(|end| rest.get(..end)).unwrap_or(rest)
}
