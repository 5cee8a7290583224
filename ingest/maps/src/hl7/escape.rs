//! Escapes of HL7 v2 text. What is no escape stays as it was written.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use memchr::memchr;

use super::reader::Reading;
use super::separators::Separators;
use crate::markup;

/// The most blank lines or spaces that one formatting command gives.
const FORMATTED: usize = 64;

/// The most hexadecimal digits of a switch of charset or a command that only its sender knows.
const LOCAL: usize = 12;

/// Appends the text of `raw`: escapes resolved, every line end `\n`, no other control characters but tabs.
pub(crate) fn append(text: &mut String, raw: &str, reading: &Reading) {
    let plain = markup::unified(raw);
    match reading.separators.escape.filter(|escape| memchr(*escape, plain.as_bytes()).is_some()) {
        Some(escape) => unescape(text, &plain, escape, reading),
        None => text.push_str(&plain),
    }
}

fn unescape(text: &mut String, raw: &str, escape: u8, reading: &Reading) {
    text.reserve(raw.len());
    let mut text = Unescaped { text, units: Vec::new(), encoding: reading.encoding };
    let mut rest = raw;
    while let Some(begin) = memchr(escape, rest.as_bytes()) {
        let (before, from) = rest.split_at_checked(begin).unwrap_or_default();
        text.literal(before);
        let inner = from.get(1..).unwrap_or_default();
        let sequence = memchr(escape, inner.as_bytes()).and_then(|end| inner.get(..end));
        rest = match sequence {
            Some(sequence) if text.command(sequence.as_bytes(), escape, reading.separators) => {
                inner.get(sequence.len() + 1..).unwrap_or_default()
            }
            _ => {
                text.character(escape);
                inner
            }
        };
    }
    text.literal(rest);
    text.flush();
}

struct Unescaped<'a> {
    text: &'a mut String,
    /// Code units of hexadecimal escapes that may go on in the next one.
    units: Vec<u8>,
    encoding: &'static Encoding,
}

impl Unescaped<'_> {
    fn literal(&mut self, text: &str) {
        if !text.is_empty() {
            self.flush();
            self.text.push_str(text);
        }
    }

    /// An ASCII character.
    fn character(&mut self, byte: u8) {
        self.flush();
        self.text.push(char::from(byte));
    }

    /// Code units that are none of the charset are the ones that most senders mean.
    fn flush(&mut self) {
        if !self.units.is_empty() {
            let (decoded, damaged) = self.encoding.decode_without_bom_handling(&self.units);
            let decoded = if damaged { WINDOWS_1252.decode_without_bom_handling(&self.units).0 } else { decoded };
            self.text.push_str(&markup::unified(&decoded));
            self.units.clear();
        }
    }

    /// Whether `sequence` is an escape; if so, it is done.
    fn command(&mut self, sequence: &[u8], escape: u8, separators: Separators) -> bool {
        match sequence {
            b"F" => self.character(separators.field),
            b"S" => self.character(separators.component),
            b"T" => self.character(separators.subcomponent),
            b"R" => self.character(separators.repetition),
            b"E" => self.character(escape),
            b"P" => self.character(separators.truncation),
            b"H" | b"N" => self.flush(),
            [b'X', hex @ ..] => return self.hexadecimal(hex),
            // What looks like no code is more likely a part of a path.
            [b'C', code @ ..] if code.len() == 4 && is_hexadecimal(code) => self.flush(),
            [b'M', code @ ..] if matches!(code.len(), 4 | 6) && is_hexadecimal(code) => self.flush(),
            [b'Z', code @ ..] if code.len() <= LOCAL && code.len().is_multiple_of(2) && is_hexadecimal(code) => self.flush(),
            [b'.', command @ ..] => return self.format(command),
            _ => return false,
        }
        true
    }

    fn hexadecimal(&mut self, hex: &[u8]) -> bool {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes: Option<Vec<u8>> =
            hex.chunks(2).map(|pair| Some(digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?)).collect::<Option<_>>();
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return false };
        let sixteen = bytes.len().is_multiple_of(2) && bytes.chunks(2).all(|unit| matches!(unit, [0, 0x80..=0xff]));
        if self.encoding == UTF_8 && (sixteen || self.is_wide(&bytes)) {
            self.flush();
            self.text.push_str(&markup::unified(&encoding_rs::UTF_16BE.decode_without_bom_handling(&bytes).0));
        } else {
            self.units.extend(bytes.into_iter().filter(|byte| *byte != 0));
        }
        true
    }

    /// Whether `bytes`, in a message that is UTF-8, are code units of sixteen bits: no UTF-8, not even with what came before or is to come.
    fn is_wide(&self, bytes: &[u8]) -> bool {
        let begun = !self.units.is_empty();
        let cut = std::str::from_utf8(bytes).err().map(|error| error.error_len());
        bytes.len().is_multiple_of(2)
            && !begun
            && cut.is_some_and(|length| length.is_some())
            && bytes.chunks(2).all(|unit| !matches!(unit, [0xc2..=0xf4, 0x80..=0xbf]))
    }

    fn format(&mut self, command: &[u8]) -> bool {
        let name = command.get(..2).unwrap_or_default().to_ascii_lowercase();
        let rest = std::str::from_utf8(command.get(2..).unwrap_or_default()).unwrap_or("?").trim();
        // `\.brief\` is a part of a path.
        if !rest.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')) {
            return false;
        }
        let times = if rest.is_empty() { 1 } else { rest.parse::<usize>().unwrap_or(1).min(FORMATTED) };
        let given = match name.as_slice() {
            b"br" | b"ce" => "\n".to_owned(),
            b"sp" => "\n".repeat(times.max(1)),
            b"sk" => " ".repeat(times),
            b"in" | b"ti" | b"fi" | b"nf" => String::new(),
            _ => return false,
        };
        self.flush();
        self.text.push_str(&given);
        true
    }
}

fn is_hexadecimal(code: &[u8]) -> bool {
    code.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::{SHIFT_JIS, WINDOWS_1252};

    use crate::hl7::reader::Reading;

    fn decoded(raw: &str, encoding: &'static Encoding) -> Option<String> {
        let separators = Separators::of(b"MSH|^~\\&|")?;
        let mut text = String::new();
        append(&mut text, raw, &Reading { separators, encoding });
        Some(text)
    }

    #[test]
    fn each_escape_gives_what_it_stands_for() {
        let cases = [
            (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"),
            (r"one\.br\two\.sp2\three\.in4\four", "one\ntwo\n\nthreefour"),
            (r"\H\bold\N\ plain\C2842\\M2842AB\\Z0a\\P\", "bold plain#"),
            (r"C:\temp\F\file", r"C:\temp|file"),
            (r"\\server\Common\Music\Zebra\.brief\x.txt", r"\\server\Common\Music\Zebra\.brief\x.txt"),
            (r"lone \ backslash", r"lone \ backslash"),
            (r"ends in \", r"ends in \"),
            (r"\X\ \Xzz\ \X4\", r"\X\ \Xzz\ \X4\"),
            (r"\.sp999999999999999999999\", "\n"),
        ];
        for (raw, text) in cases {
            assert_eq!(decoded(raw, UTF_8).as_deref(), Some(text), "{raw}");
        }
    }

    #[test]
    fn hexadecimal_escapes_are_code_units_of_the_charset() {
        let cases = [
            (r"a\X0D0A\b", "a\nb", UTF_8),
            (r"a\X0D\b\X0A\c", "a\nb\nc", WINDOWS_1252),
            (r"\X00E0\", "à", WINDOWS_1252),
            (r"\X00E0\", "à", UTF_8),
            (r"\XE0\", "à", WINDOWS_1252),
            (r"\XC3A0\", "à", UTF_8),
            (r"\XC3\\XA0\", "à", UTF_8),
            (r"\X20AC\", "€", UTF_8),
            (r"\XE282AC\", "€", UTF_8),
            (r"\XE2\\X82AC\", "€", UTF_8),
            (r"\XE0\", "à", UTF_8),
            (r"\X82A0\", "あ", SHIFT_JIS),
        ];
        for (raw, text, encoding) in cases {
            assert_eq!(decoded(raw, encoding).as_deref(), Some(text), "{raw} {}", encoding.name());
        }
    }
}
