//! Identifiers in the bytes of records: whether one stands there, and whether it stands there as one.
//!
//! A record that gave no fact is searched for the number as a word of its own. One that gave facts of others says many numbers, and a short one may be
//! a result, a code or a day: there it must stand where messages have identifiers, or be like nothing else. What is wrapped in base64 is read
//! in its own bytes. What is compressed is not.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::Finder;

/// An identifier shorter than this is not looked for: it would be found everywhere.
const TELLING_BYTES: usize = 4;
/// An identifier shorter than this is not looked for in base64, of which it would be three signs.
const WRAPPED_BYTES: usize = 6;
/// A number of so many digits is hardly anything else.
const DISTINCT_DIGITS: usize = 9;
/// Segments of HL7 v2 that say who somebody is, or who belongs to them.
const PERSONS: [&[u8]; 8] = [b"PID", b"PD1", b"NK1", b"MRG", b"GT1", b"IN1", b"IN2", b"IN3"];
/// A text that was cut off may end within a sign.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where an identifier counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// As a word, anywhere.
    Anywhere,
    /// Where messages have identifiers; anywhere, if it is like nothing else.
    AsIdentifier,
}

/// A person's identifiers. They name a person, so it has no `Debug`.
pub struct Telling(Vec<Needle>);

struct Needle {
    value: Vec<u8>,
    plain: Finder<'static>,
    /// In base64, as it begins at each of the three bytes that four signs stand for.
    wrapped: Vec<Finder<'static>>,
}

impl Telling {
    /// Those among `values` that can be looked for.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let finder = |bytes: &[u8]| Finder::new(bytes).into_owned();
        let needle = |value: &str| {
            let wrapped = wrapped(value.as_bytes()).iter().map(|form| finder(form)).collect();
            Needle { value: value.as_bytes().to_vec(), plain: finder(value.as_bytes()), wrapped }
        };
        Self(values.into_iter().filter(|value| value.len() >= TELLING_BYTES).map(needle).collect())
    }

    /// Whether one of them stands in `bytes`.
    pub fn stand_in(&self, bytes: &[u8], counts: Counts) -> bool {
        self.0.iter().any(|needle| needle.stands_in(bytes, counts) || needle.stands_within(bytes, counts))
    }
}

impl Needle {
    fn stands_in(&self, bytes: &[u8], counts: Counts) -> bool {
        let mut from = 0;
        while let Some(at) = bytes.get(from..).and_then(|rest| self.plain.find(rest)) {
            let (before, rest) = bytes.split_at(from + at);
            let after = rest.get(self.value.len()..).unwrap_or_default();
            if is_apart(before, after) && (counts == Counts::Anywhere || is_distinct(&self.value) || self.identifies(before, after)) {
                return true;
            }
            from += at + 1;
        }
        false
    }

    /// The same of what is wrapped.
    fn stands_within(&self, bytes: &[u8], counts: Counts) -> bool {
        let held = |at: usize| match unwrapped(bytes, at, &self.plain) {
            Some(inner) => self.stands_in(&inner, counts),
            None => counts == Counts::Anywhere,
        };
        self.wrapped.iter().any(|form| form.find_iter(bytes).any(&held))
    }

    /// Whether it stands where messages have identifiers: first in a field of a segment about persons, or as such a member of a resource.
    fn identifies(&self, before: &[u8], after: &[u8]) -> bool {
        let begins = matches!(before.last(), Some(b'|' | b'~'));
        let ends = matches!(after.first(), None | Some(b'|' | b'^' | b'~' | b'&' | b'\r' | b'\n' | b'\\' | b'"'));
        let is_day = is_day(&self.value) && after.first() != Some(&b'^');
        let segment = segment(before);
        if begins && ends && !is_day && PERSONS.iter().any(|name| segment.starts_with(name)) {
            return true;
        }
        let quoted = after.first() == Some(&b'"');
        quoted && (is_member(before, b"\"value\"") || is_member(before, b"\"id\"") || before.ends_with(b"Patient/"))
    }
}

/// Whether what stands between these is a word of its own.
fn is_apart(before: &[u8], after: &[u8]) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    !part(before.last()) && !part(after.first())
}

/// Whether a text is like no result, code, day or number of a house.
fn is_distinct(value: &[u8]) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = value.iter().any(u8::is_ascii_alphabetic);
    (letters && digits > 0 && value.len() >= WRAPPED_BYTES) || (digits >= DISTINCT_DIGITS && !is_day(value))
}

/// Whether it may be a day, with or without a time.
fn is_day(value: &[u8]) -> bool {
    let long = matches!(value.len(), 8 | 10 | 12 | 14);
    long && value.iter().all(u8::is_ascii_digit) && (value.starts_with(b"19") || value.starts_with(b"20"))
}

/// What stands before something in its segment. A message within JSON has its ends of lines spelled out.
fn segment(before: &[u8]) -> &[u8] {
    let ends = |at: &usize| match before.get(*at) {
        Some(b'\r' | b'\n' | 0x0b | b'"') => true,
        Some(b'r' | b'n') => at.checked_sub(1).and_then(|slash| before.get(slash)) == Some(&b'\\'),
        _ => false,
    };
    let start = (0..before.len()).rev().find(ends).map_or(0, |at| at + 1);
    before.get(start..).unwrap_or_default()
}

/// Whether a text follows that is the member `name` of an object.
fn is_member(before: &[u8], name: &[u8]) -> bool {
    let member = before.strip_suffix(b"\"").and_then(|before| before.trim_ascii_end().strip_suffix(b":"));
    member.is_some_and(|member| member.trim_ascii_end().ends_with(name))
}

/// A sign as addresses and file names have it.
fn safe(sign: u8) -> u8 {
    match sign {
        b'+' => b'-',
        b'/' => b'_',
        other => other,
    }
}

/// And back.
fn usual(sign: u8) -> u8 {
    match sign {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

/// The signs of base64 that a value is sure to give, wherever it begins.
fn wrapped(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for lead in 0..3_usize {
        if value.len() < WRAPPED_BYTES {
            break;
        }
        let mut padded = vec![0_u8; lead];
        padded.extend(value);
        let signs = STANDARD_NO_PAD.encode(&padded).into_bytes();
        // Those in which no bit of a neighbour stands.
        let form = signs.get((lead * 8).div_ceil(6)..padded.len() * 8 / 6).unwrap_or_default().to_vec();
        let other: Vec<u8> = form.iter().map(|sign| safe(*sign)).collect();
        if other != form {
            forms.push(other);
        }
        forms.push(form);
    }
    forms
}

/// What is wrapped around `at`, as far as it holds what `plain` finds; `None` where it does not come out.
fn unwrapped(bytes: &[u8], at: usize, plain: &Finder<'_>) -> Option<Vec<u8>> {
    let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let (before, after) = bytes.split_at(at);
    let start = before.len() - before.iter().rev().take_while(|byte| is_sign(byte)).count();
    let end = at + after.iter().take_while(|byte| is_sign(byte)).count();
    let signs: Vec<u8> = bytes.get(start..end)?.iter().map(|sign| usual(*sign)).collect();
    // What stands before it may belong to it or not.
    (0..4).find_map(|skipped| {
        let signs = signs.get(skipped..)?;
        let whole = if signs.len() % 4 == 1 { signs.len() - 1 } else { signs.len() };
        let inner = LENIENT.decode(signs.get(..whole)?).ok()?;
        plain.find(&inner).is_some().then_some(inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anywhere(value: &str, bytes: &str) -> bool {
        Telling::of([value]).stand_in(bytes.as_bytes(), Counts::Anywhere)
    }

    fn identifies(value: &str, bytes: &str) -> bool {
        Telling::of([value]).stand_in(bytes.as_bytes(), Counts::AsIdentifier)
    }

    #[test]
    fn a_number_is_found_as_a_word_and_not_within_another() {
        assert!(anywhere("4711", "PID|||4711^^^MRN"));
        assert!(anywhere("4711", "x4711 4711"), "the second");
        assert!(!anywhere("4711", "PID|||47112^^^MRN|A4711"));
        assert!(!anywhere("47", "47"), "it would be found everywhere");
    }

    #[test]
    fn among_facts_of_others_a_short_number_counts_where_identifiers_stand() {
        let mother = "MSH|^~\\&|A\rPID|1||555^^^MRN||Kid||20260101|F|||||||||||||4711^^^MRN\rNK1|1|M|MTH|||||||||||||||||||||||||||8888\rOBX|1|NM|GLU||4711|4500";
        assert!(identifies("4711", mother), "PID-21");
        assert!(identifies("8888", mother), "the last field");
        assert!(!identifies("4500", mother), "a result");
        assert!(!identifies("20260101", mother), "a day");
        assert!(!identifies("12345", "PID|1||555^^^MRN||||||Street^^Town^NY^12345"), "a place");
        assert!(identifies("12345", "{\"hl7\":\"MSH|^~\\\\&|A\\rPID|1||12345^^^MRN\\rPV1|1\"}"), "lines that are spelled out");
        assert!(identifies("12345", "{\"identifier\":[{\"system\":\"MRN\",\"value\" : \"12345\"}]}"));
        assert!(identifies("12345", "{\"mother\":{\"reference\":\"Patient/12345\"}}"));
        assert!(!identifies("12345", "{\"postalCode\":\"12345\",\"valueInteger\":12345}"));
        assert!(identifies("PLANTED-111", "OBX|1|TX|||the mother, PLANTED-111, says"), "nothing else is like it");
        assert!(identifies("123456789", "OBX|1|TX|||see 123456789"));
    }

    #[test]
    fn what_is_wrapped_is_read_wherever_it_begins() {
        for lead in 0..7 {
            let message = format!("{}PID|1||MRN-4711^^^MRN\rPV1|1", "x".repeat(lead));
            for engine in [base64::engine::general_purpose::STANDARD, base64::engine::general_purpose::URL_SAFE_NO_PAD] {
                let record = format!("{{\"payload\":\"{}\"}}", engine.encode(&message));
                assert!(anywhere("MRN-4711", &record) && identifies("MRN-4711", &record), "{lead}");
                assert!(!anywhere("MRN-471", &record) && !anywhere("RN-4711", &record), "another number");
            }
        }
    }
}
