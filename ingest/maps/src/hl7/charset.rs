//! Charset of a message: MSH-18 by HL7 table 0211 and its usual misspellings, or what the bytes show.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// A message as UTF-8.
pub(crate) struct Decoded<'a> {
    /// The message; borrowed where it already was UTF-8.
    pub(crate) bytes: Cow<'a, [u8]>,
    /// What hexadecimal escapes are code units of.
    pub(crate) encoding: &'static Encoding,
    /// Some bytes were not of the charset that was named or found.
    pub(crate) damaged: bool,
    /// MSH-18 names a charset that is none.
    pub(crate) unknown: bool,
}

/// Decodes `message`, whose MSH-18 is `named` (its first repetition), at a facility that falls back to the WHATWG label `fallback`.
pub(crate) fn decode<'a>(message: &'a [u8], named: &[u8], fallback: &str) -> Decoded<'a> {
    let label: String =
        named.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    let stated = encoding_of(&label);
    let unknown = stated.is_none() && !label.is_empty() && !says_nothing(&label);
    let is_utf8 = std::str::from_utf8(message).is_ok();
    match stated.filter(|encoding| *encoding != UTF_8) {
        None if is_utf8 => Decoded { bytes: Cow::Borrowed(message), encoding: UTF_8, damaged: false, unknown },
        None => {
            let encoding = guess(message, fallback);
            Decoded { unknown, damaged: stated.is_some() || encoding == UTF_8, ..transcode(message, encoding) }
        }
        Some(encoding) => Decoded { unknown, ..transcode(message, encoding) },
    }
}

fn transcode<'a>(message: &'a [u8], encoding: &'static Encoding) -> Decoded<'a> {
    let (text, damaged) = encoding.decode_without_bom_handling(message);
    let bytes = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    Decoded { bytes, encoding, damaged, unknown: false }
}

/// UTF-8 with a few cut characters is still UTF-8; bytes that are never UTF-8 are the facility's charset.
fn guess(message: &[u8], fallback: &str) -> &'static Encoding {
    let (mut good, mut bad) = (0usize, 0usize);
    for chunk in message.utf8_chunks() {
        good += chunk.valid().bytes().filter(|byte| *byte >= 0xc0).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    if good > bad { UTF_8 } else { Encoding::for_label(fallback.as_bytes()).unwrap_or(WINDOWS_1252) }
}

/// ASCII is what senders write who never thought of it; UTF-16 and UTF-32 cannot be true of bytes whose MSH could be read.
fn says_nothing(label: &str) -> bool {
    matches!(label, "ascii" | "usascii" | "iso646" | "isoir6" | "unicode" | "unicodeutf16" | "utf16" | "unicodeutf32" | "utf32")
}

/// `label` is in lower case, letters and digits only.
fn encoding_of(label: &str) -> Option<&'static Encoding> {
    let part = label.strip_prefix("iso").unwrap_or(label).strip_prefix("8859");
    let name = match (label, part) {
        (_, Some(part)) if !part.is_empty() => return Encoding::for_label(format!("iso-8859-{part}").as_bytes()),
        ("unicodeutf8" | "utf8" | "utf" | "unicodeutf" | "utf8unicode" | "iso10646" | "isoir192", _) => "utf-8",
        ("latin1" | "isolatin1" | "ansi" | "cp1252" | "windows1252" | "win1252" | "isoir100", _) => "windows-1252",
        ("windows1250" | "cp1250", _) => "windows-1250",
        ("windows1251" | "cp1251", _) => "windows-1251",
        ("isoir13" | "isoir14" | "shiftjis" | "sjis" | "ms932" | "windows31j", _) => "shift_jis",
        ("isoir87" | "isoir159" | "iso2022jp", _) => "iso-2022-jp",
        ("gb180302000" | "gb18030" | "gb2312" | "gbk" | "cp936", _) => "gb18030",
        ("ksx1001" | "euckr" | "kcs5601" | "ksc5601", _) => "euc-kr",
        ("big5" | "cns116431992", _) => "big5",
        _ => return None,
    };
    Encoding::for_label(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &[u8], named: &str) -> String {
        String::from_utf8_lossy(&decode(message, named.as_bytes(), "windows-1252").bytes).into_owned()
    }

    #[test]
    fn the_named_charset_is_read_however_it_is_spelt() {
        for named in ["8859/1", "ISO8859-1", "ISO 8859/1", "iso-8859-1", "Latin1"] {
            assert_eq!(text(b"M\xfcller", named), "Müller", "{named}");
        }
        for named in ["UNICODE UTF-8", "UTF-8", "utf8", "UNICODE_UTF-8"] {
            assert_eq!(text("Müller".as_bytes(), named), "Müller", "{named}");
        }
        assert_eq!(text(b"\xa4", "8859/15"), "€");
        assert_eq!(text(b"\x82\xa0", "ISO IR14"), "あ");
        assert!(decode(b"M\xfcller", b"8859/99", "windows-1252").unknown);
    }

    #[test]
    fn an_empty_name_is_utf8_if_valid_and_else_the_facilitys() {
        for named in ["", "ASCII"] {
            assert_eq!(text("Müller".as_bytes(), named), "Müller");
            assert_eq!(text(b"M\xfcller", named), "Müller");
        }
        assert_eq!(String::from_utf8_lossy(&decode(b"\xa4", b"", "iso-8859-15").bytes), "€");
    }

    #[test]
    fn a_character_cut_in_two_costs_itself_alone() {
        let decoded = decode(b"M\xc3\xbcller M\xc3\xbcller \xe2\x82", b"", "windows-1252");
        assert_eq!(String::from_utf8_lossy(&decoded.bytes), "Müller Müller \u{fffd}");
        assert!(decoded.damaged);
    }
}
