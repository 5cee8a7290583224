//! ISO 2022 inside a message: escape sequences that switch to another set of characters, and HL7's `\C..\` and `\M..\` that stand for them.

use std::borrow::Cow;

use encoding_rs::{
    BIG5, EUC_JP, EUC_KR, Encoding, GB18030, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6, ISO_8859_7, ISO_8859_8, SHIFT_JIS,
    WINDOWS_874, WINDOWS_1252, WINDOWS_1254,
};
use memchr::{memchr_iter, memmem};

const ESCAPE: u8 = 0x1b;

/// What a switch switches to.
#[derive(Clone, Copy)]
enum Set {
    /// The charset of the message.
    First,
    /// Another charset, its bytes as they are.
    Charset(&'static Encoding),
    /// A set of seven-bit bytes; EUC-JP knows it with eight bits, after this byte.
    Seven { prefix: Option<u8>, width: usize },
}

/// The switches, by what follows the escape character.
const SETS: &[(&[u8], Set)] = &[
    (b"(B", Set::First),
    (b"(J", Set::First),
    (b"$@", Set::Seven { prefix: None, width: 2 }),
    (b"$B", Set::Seven { prefix: None, width: 2 }),
    (b"$(B", Set::Seven { prefix: None, width: 2 }),
    (b"$(D", Set::Seven { prefix: Some(0x8f), width: 2 }),
    (b"(I", Set::Seven { prefix: Some(0x8e), width: 1 }),
    (b")I", Set::Charset(SHIFT_JIS)),
    (b"$)A", Set::Charset(GB18030)),
    (b"$)C", Set::Charset(EUC_KR)),
    (b"$)G", Set::Charset(BIG5)),
    (b"-A", Set::Charset(WINDOWS_1252)),
    (b"-B", Set::Charset(ISO_8859_2)),
    (b"-C", Set::Charset(ISO_8859_3)),
    (b"-D", Set::Charset(ISO_8859_4)),
    (b"-F", Set::Charset(ISO_8859_7)),
    (b"-G", Set::Charset(ISO_8859_6)),
    (b"-H", Set::Charset(ISO_8859_8)),
    (b"-L", Set::Charset(ISO_8859_5)),
    (b"-M", Set::Charset(WINDOWS_1254)),
    (b"-T", Set::Charset(WINDOWS_874)),
];

/// The text of `message`, in `first` until a switch says otherwise, and whether some bytes were of no charset.
pub(super) fn decode(message: &[u8], first: &'static Encoding) -> (String, bool) {
    let mut text = String::with_capacity(message.len());
    let mut damaged = false;
    let mut begin = 0;
    let mut set = Set::First;
    for at in memchr_iter(ESCAPE, message).chain([message.len()]) {
        damaged |= append(&mut text, message.get(begin..at).unwrap_or_default(), set, first);
        let after = message.get(at + 1..).unwrap_or_default();
        let known = SETS.iter().find(|(name, _)| after.starts_with(name));
        damaged |= known.is_none() && at < message.len();
        set = known.map_or(set, |(_, set)| *set);
        begin = at + 1 + known.map_or(0, |(name, _)| name.len());
    }
    (text, damaged)
}

fn append(text: &mut String, bytes: &[u8], set: Set, first: &'static Encoding) -> bool {
    let (encoding, bytes) = match set {
        Set::First => (first, Cow::Borrowed(bytes)),
        Set::Charset(encoding) => (encoding, Cow::Borrowed(bytes)),
        Set::Seven { prefix, width } => (EUC_JP, Cow::Owned(widened(bytes, prefix, width))),
    };
    let (decoded, damaged) = encoding.decode_without_bom_handling(&bytes);
    text.push_str(&decoded);
    damaged
}

/// Characters of `width` seven-bit bytes as EUC-JP writes them; a line end or a blank among them stays what it is.
fn widened(bytes: &[u8], prefix: Option<u8>, width: usize) -> Vec<u8> {
    let mut wide = Vec::with_capacity(bytes.len() * 2);
    let mut rest = bytes;
    while let Some(byte) = rest.first() {
        let taken = if *byte <= b' ' { 1 } else { width.min(rest.len()) };
        let (character, after) = rest.split_at(taken);
        if *byte <= b' ' {
            wide.push(*byte);
        } else {
            wide.extend(prefix);
            wide.extend(character.iter().map(|byte| byte | 0x80));
        }
        rest = after;
    }
    wide
}

/// `message` with the switches that HL7 spells out, `\C2842\` and `\M2442\`, as the escape sequences that they stand for.
pub(super) fn unescaped(message: &[u8]) -> Cow<'_, [u8]> {
    let spelt = ["\\C28", "\\M24"].iter().any(|begin| memmem::find(message, begin.as_bytes()).is_some());
    if !spelt {
        return Cow::Borrowed(message);
    }
    let mut plain = Vec::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, from) = rest.split_at(at);
        plain.extend_from_slice(before);
        let taken = match switch(from) {
            Some((switch, length)) => {
                plain.push(ESCAPE);
                plain.extend(switch);
                length
            }
            None => {
                plain.push(b'\\');
                1
            }
        };
        rest = from.get(taken..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    Cow::Owned(plain)
}

/// The switch at the beginning of `from`, and how many bytes spell it.
fn switch(from: &[u8]) -> Option<(Vec<u8>, usize)> {
    let digits = match from {
        [b'\\', b'C', hex @ ..] if hex.get(4) == Some(&b'\\') => hex.get(..4)?,
        [b'\\', b'M', hex @ ..] if hex.get(4) == Some(&b'\\') => hex.get(..4)?,
        [b'\\', b'M', hex @ ..] if hex.get(6) == Some(&b'\\') => hex.get(..6)?,
        _ => return None,
    };
    let digits = std::str::from_utf8(digits).ok()?;
    let code = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect::<Option<Vec<u8>>>()?;
    SETS.iter().any(|(name, _)| *name == code).then_some((code, digits.len() + 3))
}

#[cfg(test)]
mod tests {
    use crate::hl7::charset;

    fn read(message: &[u8], named: &str) -> (String, bool) {
        let read = charset::decode(message, named.as_bytes(), b'~', "windows-1252");
        (read.text.into_owned(), read.damaged)
    }

    #[test]
    fn japanese_switches_between_its_sets() {
        let cases: [(&[u8], &str, &str); 7] = [
            (b"YAMADA^\x1b$B;3ED\x1b(B^x", "~ISO IR87", "YAMADA^山田^x"),
            (b"\xd4\xcf\xc0\xde^\x1b$B;3ED\x1b(J^x", "ISO IR13~ISO IR87", "ﾔﾏﾀﾞ^山田^x"),
            (b"YAMADA^\\M2442\\;3ED\\C2842\\^x", "~ISO IR87", "YAMADA^山田^x"),
            (b"YAMADA^\\M2442\\;3ED\\C2842\\^x", "ISO IR87", "YAMADA^山田^x"),
            (b"\x1b(ITEXT\x1b(B", "ISO IR14~ISO IR87", "ﾔﾅﾘﾔ"),
            (b"\x82\xa0", "ISO IR14", "あ"),
            (b"\x1b$(D0!\x1b(B", "~ISO IR87~ISO IR159", "丂"),
        ];
        for (message, named, expected) in cases {
            assert_eq!(read(message, named), (expected.to_owned(), false), "{named}");
        }
    }

    #[test]
    fn other_alphabets_are_switched_to_and_back() {
        assert_eq!(read(b"M\xfcller \x1b-L\xbf\x1b-A\xe9", "8859/1~8859/5"), ("Müller Пé".to_owned(), false));
        assert_eq!(read(b"Kim \x1b$)C\xb1\xe8", "~KS X 1001"), ("Kim 김".to_owned(), false));
        assert!(read(b"M\xfcller \x1b!x", "8859/1~8859/5").1);
    }
}
