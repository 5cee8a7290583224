//! Escapes of HL7 v2 text. What is no escape stays as it was written.

use encoding_rs::{Encoding, UTF_8};
use memchr::memchr;

use super::separators::Separators;

/// The most blank lines or spaces that one formatting command gives.
const FORMATTED: usize = 64;

/// The text of `raw` (UTF-8): escapes resolved, `encoding` giving the meaning of hexadecimal ones; every line end is `\n`, NULs are gone.
pub(crate) fn decode(raw: &[u8], separators: Separators, encoding: &'static Encoding) -> String {
    let text = match separators.escape.filter(|escape| memchr(*escape, raw).is_some()) {
        Some(escape) => unescape(raw, escape, separators, encoding),
        None => String::from_utf8_lossy(raw).into_owned(),
    };
    if memchr(0, text.as_bytes()).is_none() && memchr(b'\r', text.as_bytes()).is_none() {
        return text;
    }
    text.replace('\0', "").replace("\r\n", "\n").replace('\r', "\n")
}

fn unescape(raw: &[u8], escape: u8, separators: Separators, encoding: &'static Encoding) -> String {
    let mut text = Unescaped { text: String::with_capacity(raw.len()), units: Vec::new(), encoding };
    let mut rest = raw;
    while let Some(begin) = memchr(escape, rest) {
        let (before, from) = rest.split_at(begin);
        text.literal(before);
        let inner = from.get(1..).unwrap_or_default();
        let sequence = memchr(escape, inner).and_then(|end| inner.get(..end));
        rest = match sequence {
            Some(sequence) if text.command(sequence, escape, separators) => inner.get(sequence.len() + 1..).unwrap_or_default(),
            _ => {
                text.literal(&[escape]);
                inner
            }
        };
    }
    text.literal(rest);
    text.flush();
    text.text
}

struct Unescaped {
    text: String,
    /// Code units of hexadecimal escapes that may go on in the next one.
    units: Vec<u8>,
    encoding: &'static Encoding,
}

impl Unescaped {
    fn literal(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.flush();
            self.text.push_str(&String::from_utf8_lossy(bytes));
        }
    }

    fn flush(&mut self) {
        if !self.units.is_empty() {
            let (decoded, _) = self.encoding.decode_without_bom_handling(&self.units);
            self.text.push_str(&decoded);
            self.units.clear();
        }
    }

    /// Whether `sequence` is an escape; if so, it is done.
    fn command(&mut self, sequence: &[u8], escape: u8, separators: Separators) -> bool {
        match sequence {
            b"F" => self.literal(&[separators.field]),
            b"S" => self.literal(&[separators.component]),
            b"T" => self.literal(&[separators.subcomponent]),
            b"R" => self.literal(&[separators.repetition]),
            b"E" => self.literal(&[escape]),
            b"P" => self.literal(&[separators.truncation]),
            b"H" | b"N" => self.flush(),
            [b'X', hex @ ..] => return self.hexadecimal(hex),
            [b'C' | b'M' | b'Z', code @ ..] if code.len() <= 12 && code.iter().all(u8::is_ascii_alphanumeric) => self.flush(),
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
        let sixteen = bytes.len() % 2 == 0 && bytes.chunks(2).all(|unit| matches!(unit, [0, 0x80..=0xff]));
        if self.encoding == UTF_8 && (sixteen || (bytes.len() % 2 == 0 && std::str::from_utf8(&bytes).is_err())) {
            self.flush();
            self.text.push_str(&encoding_rs::UTF_16BE.decode_without_bom_handling(&bytes).0);
        } else {
            self.units.extend(bytes.into_iter().filter(|byte| *byte != 0));
        }
        true
    }

    fn format(&mut self, command: &[u8]) -> bool {
        let name = command.get(..2).unwrap_or_default().to_ascii_lowercase();
        let count = std::str::from_utf8(command.get(2..).unwrap_or_default()).ok().and_then(|count| count.trim().parse::<usize>().ok());
        let times = count.unwrap_or(1).min(FORMATTED);
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

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::{SHIFT_JIS, WINDOWS_1252};

    fn decoded(raw: &str, encoding: &'static Encoding) -> Option<String> {
        Separators::of(b"MSH|^~\\&").map(|separators| decode(raw.as_bytes(), separators, encoding))
    }

    #[test]
    fn each_escape_gives_what_it_stands_for() {
        let cases = [
            (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"),
            (r"one\.br\two\.sp2\three\.in4\four", "one\ntwo\n\nthreefour"),
            (r"\H\bold\N\ plain\C2842\\M2842AB\\Zfoo\", "bold plain"),
            (r"C:\temp\F\file", r"C:\temp|file"),
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
            (r"\X82A0\", "あ", SHIFT_JIS),
        ];
        for (raw, text, encoding) in cases {
            assert_eq!(decoded(raw, encoding).as_deref(), Some(text), "{raw} {}", encoding.name());
        }
    }
}
