//! A message that was carried as text: whoever wrapped it decoded it already, and what is taken out is UTF-8, whatever MSH-18 says.

use std::borrow::Cow;

const NAME: &[u8] = b"UNICODE UTF-8";
/// MSH-18 stands behind so many separators of its segment, the one that is MSH-1 included.
const SEPARATORS: usize = 17;

/// The message with an MSH-18 that is true, where a false one would have it decoded twice.
pub(crate) fn truthful(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut truthful = Vec::new();
    let mut copied = 0;
    let mut line_at = 0;
    for line in text.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')) {
        if let Some((from, to)) = charset(line) {
            truthful.extend_from_slice(text.get(copied..line_at + from).unwrap_or_default());
            truthful.extend_from_slice(NAME);
            copied = line_at + to;
        }
        line_at += line.len();
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    truthful.extend_from_slice(text.get(copied..).unwrap_or_default());
    Cow::Owned(truthful)
}

/// Where MSH-18 stands in this line, if it names another charset.
fn charset(line: &[u8]) -> Option<(usize, usize)> {
    let blanks = line.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    let segment = line.get(blanks..)?;
    let separator = *segment.strip_prefix(b"MSH")?.first()?;
    let from = memchr::memchr_iter(separator, segment).nth(SEPARATORS - 1)? + 1;
    let rest = segment.get(from..)?;
    let length = rest.iter().position(|byte| *byte == separator || matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
    let named: Vec<u8> = rest.get(..length)?.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
    let other = !named.is_empty() && !named.ends_with(b"utf8");
    other.then_some((blanks + from, blanks + from + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_charset_that_is_no_longer_true_is_replaced() {
        let message =
            |charset: &str, name: &str| format!("\u{b}MSH|^~\\&|||||2020||ADT^A01|1|P|2.5||||||{charset}|x\rPID|1||4711||{name}\r");
        let read = |text: &str| String::from_utf8_lossy(&truthful(text.as_bytes())).into_owned();
        assert_eq!(read(&message("8859/1", "Müller")), message("UNICODE UTF-8", "Müller"));
        assert_eq!(read(&message("8859/1", "Miller")), message("8859/1", "Miller"), "ASCII is the same in all");
        assert_eq!(read(&message("UNICODE UTF-8", "Müller")), message("UNICODE UTF-8", "Müller"));
        assert_eq!(read(&message("", "Müller")), message("", "Müller"));
        assert_eq!(read("MSH|ü"), "MSH|ü");
        let two = message("8859/1", "Müller") + &message("8859/15", "Möller");
        assert_eq!(read(&two), message("UNICODE UTF-8", "Müller") + &message("UNICODE UTF-8", "Möller"));
    }
}
