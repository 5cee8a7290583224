//! Charset of a message: MSH-18 by HL7 table 0211 and its usual misspellings, or what the bytes show.

mod names;
mod switching;

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use self::names::Named;

/// A message as text.
pub(crate) struct Decoded<'a> {
    /// The message; borrowed where it already was UTF-8.
    pub(crate) text: Cow<'a, str>,
    /// What hexadecimal escapes are code units of.
    pub(crate) encoding: &'static Encoding,
    /// Some bytes were not of the charset that was named or found.
    pub(crate) damaged: bool,
    /// MSH-18 names a charset that is none.
    pub(crate) unknown: bool,
    /// MSH-18 names a charset that the bytes are not in: how that was decided.
    pub(crate) doubt: Option<&'static str>,
}

const NOT_UTF8: &str = "the bytes are not UTF-8; read in the facility's charset";
const UTF8_AFTER_ALL: &str = "the bytes are UTF-8; read as such";
const NOT_ASCII: &str = "the bytes are not ASCII; read as what they show";
const IMPOSSIBLE: &str = "the bytes cannot be in the charset of this name; read as what they show";
const NEAREST: &str = "the charset of this name is not known here; read as Big5";

/// Decodes `message`, whose MSH-18 is `named` (parted by `repetition`), at a facility that falls back to the WHATWG label `fallback`.
pub(crate) fn decode<'a>(message: &'a [u8], named: &[u8], repetition: u8, fallback: &str) -> Decoded<'a> {
    let (first, others) = match memchr::memchr(repetition, named) {
        Some(end) => (named.get(..end).unwrap_or_default(), named.get(end + 1..).unwrap_or_default()),
        None => (named, [].as_slice()),
    };
    let switches = !others.is_empty();
    match Named::of(first) {
        Named::Nothing | Named::Ascii if switches => switched(message, None, fallback),
        Named::Nothing => by_bytes(message, fallback),
        Named::Utf8 => match std::str::from_utf8(message) {
            Err(_) if Evidence::of(message).speaks_for_utf8() => transcode(message, UTF_8),
            Err(_) => Decoded { doubt: Some(NOT_UTF8), ..in_fallback(message, fallback) },
            Ok(_) => by_bytes(message, fallback),
        },
        Named::Ascii if message.is_ascii() => by_bytes(message, fallback),
        Named::Ascii => Decoded { doubt: Some(NOT_ASCII), ..by_bytes(message, fallback) },
        Named::Impossible => Decoded { doubt: Some(IMPOSSIBLE), ..by_bytes(message, fallback) },
        Named::Unknown => Decoded { unknown: true, ..by_bytes(message, fallback) },
        Named::Japanese => switched(message, Some(encoding_rs::SHIFT_JIS), fallback),
        Named::Charset(encoding) if switches => switched(message, Some(encoding), fallback),
        Named::Charset(encoding) => stated(message, encoding),
        Named::Taiwanese => Decoded { doubt: Some(NEAREST), ..stated(message, encoding_rs::BIG5) },
    }
}

/// In the charset that MSH-18 names, unless the bytes speak against it.
fn stated<'a>(message: &'a [u8], encoding: &'static Encoding) -> Decoded<'a> {
    // Every byte is a letter of a charset of single bytes, but letters that pair up as UTF-8 from end to end are no accident.
    if encoding.is_single_byte() && !message.is_ascii() && std::str::from_utf8(message).is_ok() {
        return Decoded { doubt: Some(UTF8_AFTER_ALL), ..transcode(message, UTF_8) };
    }
    let read = transcode(message, encoding);
    if read.damaged && std::str::from_utf8(message).is_ok() {
        return Decoded { doubt: Some(UTF8_AFTER_ALL), ..transcode(message, UTF_8) };
    }
    read
}

/// With the switches of ISO 2022; `None`: the bytes before the first switch are what they show.
fn switched<'a>(message: &'a [u8], first: Option<&'static Encoding>, fallback: &str) -> Decoded<'a> {
    let message = switching::unescaped(message);
    if memchr::memchr(0x1b, &message).is_none() {
        return match (message, first) {
            (Cow::Borrowed(message), Some(encoding)) => stated(message, encoding),
            (Cow::Borrowed(message), None) => by_bytes(message, fallback),
            (Cow::Owned(message), _) => owned(by_bytes(&message, fallback)),
        };
    }
    let encoding = first.unwrap_or_else(|| by_bytes(&message, fallback).encoding);
    let (text, damaged) = switching::decode(&message, encoding);
    Decoded { text: Cow::Owned(text), encoding, damaged, unknown: false, doubt: None }
}

fn owned(read: Decoded<'_>) -> Decoded<'static> {
    Decoded {
        text: Cow::Owned(read.text.into_owned()),
        encoding: read.encoding,
        damaged: read.damaged,
        unknown: read.unknown,
        doubt: read.doubt,
    }
}

/// UTF-8 if that is what the bytes are, or are but for a few; else the facility's charset.
fn by_bytes<'a>(message: &'a [u8], fallback: &str) -> Decoded<'a> {
    match std::str::from_utf8(message) {
        Ok(text) => Decoded { text: Cow::Borrowed(text), encoding: UTF_8, damaged: false, unknown: false, doubt: None },
        // Where nobody says UTF-8, a cut character alone does not: two letters of Latin-1 look the same.
        Err(_) => match Evidence::of(message) {
            evidence if evidence.whole > 0 && evidence.speaks_for_utf8() => transcode(message, UTF_8),
            _ => in_fallback(message, fallback),
        },
    }
}

fn in_fallback<'a>(message: &'a [u8], fallback: &str) -> Decoded<'a> {
    transcode(message, Encoding::for_label(fallback.as_bytes()).unwrap_or(WINDOWS_1252))
}

fn transcode<'a>(message: &'a [u8], encoding: &'static Encoding) -> Decoded<'a> {
    let (text, damaged) = encoding.decode_without_bom_handling(message);
    Decoded { text, encoding, damaged, unknown: false, doubt: None }
}

/// How the bytes beyond ASCII stand in a message that is not all UTF-8.
#[derive(Default)]
struct Evidence {
    /// Whole characters of several bytes.
    whole: usize,
    /// Beginnings of such that were cut.
    cut: usize,
    /// Bytes that are neither.
    stray: usize,
}

impl Evidence {
    fn of(message: &[u8]) -> Self {
        let mut found = Self::default();
        let mut left = message.len();
        for chunk in message.utf8_chunks() {
            left -= chunk.valid().len() + chunk.invalid().len();
            found.whole += chunk.valid().bytes().filter(|byte| *byte >= 0xc0).count();
            match chunk.invalid() {
                [] => {}
                [0xc2..=0xf4] if left == 0 => found.cut += 1,
                [_] => found.stray += 1,
                _ => found.cut += 1,
            }
        }
        found
    }

    fn speaks_for_utf8(&self) -> bool {
        let characters = self.whole + self.cut;
        characters > 0 && characters >= self.stray
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(message: &'a [u8], named: &str) -> Decoded<'a> {
        decode(message, named.as_bytes(), b'~', "windows-1252")
    }

    fn text(message: &[u8], named: &str) -> String {
        read(message, named).text.into_owned()
    }

    #[test]
    fn the_named_charset_is_read_however_it_is_spelt() {
        for named in ["8859/1", "ISO8859-1", "ISO 8859/1", "iso-8859-1", "ISO_8859-1:1987", "Latin1"] {
            assert_eq!(text(b"M\xfcller", named), "Müller", "{named}");
        }
        for named in ["UNICODE UTF-8", "UTF-8", "utf8", "UNICODE_UTF-8", "UNICODE  UTF 8"] {
            assert_eq!(text("Müller".as_bytes(), named), "Müller", "{named}");
        }
        let unknown = read(b"M\xfcller", "8859/99");
        assert!(unknown.unknown && unknown.text == "Müller");
    }

    #[test]
    fn an_empty_name_is_utf8_if_valid_and_else_the_facilitys() {
        assert_eq!(text("Müller".as_bytes(), ""), "Müller");
        assert_eq!(text(b"M\xfcller", ""), "Müller");
        let read = decode(b"\xa4", b"", b'~', "iso-8859-15");
        assert_eq!((read.text.as_ref(), read.encoding.name(), read.doubt), ("€", "ISO-8859-15", None));
    }

    #[test]
    fn a_name_that_the_bytes_belie_is_decided_and_said() {
        let cases: [(&[u8], &str, &str, Option<&str>); 7] = [
            (b"M\xfcller", "UNICODE UTF-8", "Müller", Some(NOT_UTF8)),
            ("Müller".as_bytes(), "8859/1", "Müller", Some(UTF8_AFTER_ALL)),
            ("Müller".as_bytes(), "ASCII", "Müller", Some(NOT_ASCII)),
            (b"M\xfcller", "ASCII", "Müller", Some(NOT_ASCII)),
            (b"Muller", "ASCII", "Muller", None),
            ("Müller".as_bytes(), "UNICODE UTF-16", "Müller", Some(IMPOSSIBLE)),
            ("Müller…".as_bytes(), "KS X 1001", "Müller…", Some(UTF8_AFTER_ALL)),
        ];
        for (message, named, expected, doubt) in cases {
            let read = read(message, named);
            assert_eq!((read.text.as_ref(), read.doubt, read.damaged), (expected, doubt, false), "{named}");
        }
    }

    #[test]
    fn a_character_cut_in_two_costs_itself_alone() {
        for (message, named) in [
            (b"M\xc3\xbcller M\xc3\xbcller \xe2\x82".as_slice(), ""),
            (b"M\xc3\xbcller M\xc3\xbcller \xe2\x82", "UNICODE UTF-8"),
            (b"M\xc3\xbcller M\xc3\xbcller \xc3", "UNICODE UTF-8"),
        ] {
            let decoded = read(message, named);
            assert!(decoded.damaged && decoded.text == "Müller Müller \u{fffd}" && decoded.encoding == UTF_8);
        }
        assert!(read(b"only the last \xe2\x82", "UNICODE UTF-8").text.ends_with('\u{fffd}'));
        assert_eq!(text(b"caf\xe9\xbb is Latin-1 where nobody says UTF-8", ""), "caf\u{e9}\u{bb} is Latin-1 where nobody says UTF-8");
    }
}
