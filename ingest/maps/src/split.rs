//! Cuts a file or a record into its messages and resources, tells what bytes are, and unzips them.
//!
//! Owns framing only: it reads no field and no JSON value, and every record it gives back is a slice of what came in.

use std::io::{self, Read};

use memchr::memchr;
use schemas::Format;
use serde::de::IgnoredAny;

/// The most bytes a compressed record may unfold to.
pub const UNZIPPED_BYTES: u64 = 256 * 1024 * 1024;

const FRAME_START: u8 = 0x0b;
const FRAME_END: u8 = 0x1c;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What `bytes` are, judged by how they begin; a blank is as good as empty.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Format {
    let start = trim_start(bytes);
    match start.first() {
        None => Format::Empty,
        Some(b'{' | b'[') => Format::Fhir,
        Some(_) if starts_header(start) => Format::Hl7v2,
        Some(_) => Format::Unknown,
    }
}

/// The records of a file, in order: MLLP frames, HL7 v2 messages (batch envelopes skipped), lines of NDJSON, or the file itself.
/// A file without content has none.
#[must_use]
pub fn records(bytes: &[u8]) -> Vec<&[u8]> {
    match sniff(bytes) {
        Format::Empty => Vec::new(),
        Format::Hl7v2 => messages(bytes),
        Format::Fhir => lines_of_json(bytes).unwrap_or_else(|| vec![bytes]),
        Format::Wardstream | Format::Tombstone | Format::Unknown => vec![bytes],
    }
}

/// The HL7 v2 messages in `bytes`, frames and batch envelopes taken off. Bytes that hold no message come back as they are.
#[must_use]
pub fn messages(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    for frame in frames(bytes) {
        let before = found.len();
        cut_messages(frame, &mut found);
        if found.len() == before && !is_envelope(trim_start(frame)) {
            found.push(trim_end(frame));
        }
    }
    if found.is_empty() { vec![bytes] } else { found }
}

/// Unzips what begins with the gzip magic; other bytes come back as they are.
///
/// # Errors
/// The bytes are not valid gzip, or they unfold to more than [`UNZIPPED_BYTES`].
pub fn unzip(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if !is_gzip(&bytes) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    flate2::bufread::MultiGzDecoder::new(bytes.as_slice()).take(UNZIPPED_BYTES + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > UNZIPPED_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the compressed record unfolds to more than 256 MB"));
    }
    Ok(plain)
}

/// Whether `bytes` begin with the gzip magic.
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b")
}

/// Whether a message or a batch envelope begins here: its name, and a separator that can be one.
pub(crate) fn starts_header(line: &[u8]) -> bool {
    matches!(line.get(..3), Some(b"MSH" | b"FHS" | b"BHS")) && line.get(3).copied().is_some_and(is_separator)
}

/// Whether MSH-1 may be this byte: printable ASCII, neither letter nor digit.
pub(crate) fn is_separator(byte: u8) -> bool {
    byte.is_ascii_punctuation() || (byte.is_ascii_control() && !matches!(byte, 0 | b'\r' | b'\n' | FRAME_START | FRAME_END))
}

/// What follows byte order mark, blanks, NULs and the start of a frame.
pub(crate) fn trim_start(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let blanks = bytes.iter().take_while(|byte| matches!(**byte, 0 | b' ' | b'\t' | b'\r' | b'\n' | FRAME_START)).count();
    let rest = bytes.get(blanks..).unwrap_or_default();
    rest.strip_prefix(BYTE_ORDER_MARK).unwrap_or(rest)
}

/// What stands before line ends, NULs and the end of a frame.
pub(crate) fn trim_end(bytes: &[u8]) -> &[u8] {
    let kept = bytes.iter().rposition(|byte| !matches!(*byte, 0 | b'\r' | b'\n' | FRAME_START | FRAME_END)).map_or(0, |last| last + 1);
    bytes.get(..kept).unwrap_or_default()
}

/// Frames and what stands between them, blanks dropped; the whole where nothing is framed.
fn frames(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == FRAME_START).filter(|frame| !trim_start(trim_end(frame)).is_empty())
}

/// Cuts at each line that begins with `MSH` and a separator; envelope lines belong to no message.
fn cut_messages<'a>(frame: &'a [u8], found: &mut Vec<&'a [u8]>) {
    let mut rest = trim_start(frame);
    let mut message: Option<&'a [u8]> = None;
    let mut length = 0;
    while !rest.is_empty() {
        let end = memchr::memchr2(b'\r', b'\n', rest).map_or(rest.len(), |end| end + 1);
        let (line, after) = rest.split_at(end);
        let envelope = is_envelope(line);
        if envelope || starts_header(line) {
            close(message.take(), length, found);
            length = 0;
            message = (!envelope).then_some(rest);
        }
        length += end;
        rest = after;
    }
    close(message, length, found);
}

fn is_envelope(line: &[u8]) -> bool {
    matches!(line.get(..3), Some(b"FHS" | b"BHS" | b"BTS" | b"FTS"))
        && line.get(3).is_none_or(|byte| is_separator(*byte) || matches!(byte, b'\r' | b'\n'))
}

fn close<'a>(message: Option<&'a [u8]>, length: usize, found: &mut Vec<&'a [u8]>) {
    found.extend(message.and_then(|start| start.get(..length)).map(trim_end));
}

/// The lines, if each is a JSON value of its own. One broken line among the first two is forgiven, so that it costs itself alone.
fn lines_of_json(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(trim_line).filter(|line| !line.is_empty());
    let (first, second) = (lines.next()?, lines.next()?);
    let whole = is_json(first) || (first.starts_with(b"{") && first.len() > 1 && second.starts_with(b"{") && is_json(second));
    whole.then(|| [first, second].into_iter().chain(lines).collect())
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

fn trim_line(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    if memchr(0, line).is_some() { trim_end(trim_start(line)) } else { line.trim_ascii() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn messages_are_cut_at_their_headers_whatever_ends_their_lines() {
        for end in ["\r", "\n", "\r\n", "\n\n"] {
            let file = format!("MSH|^~\\&|1{end}PID|1{end}{end}MSH|^~\\&|2{end}PID|2{end}");
            let cut = records(file.as_bytes());
            assert_eq!(cut.len(), 2);
            assert!(cut[0].starts_with(b"MSH|^~\\&|1") && cut[0].ends_with(b"PID|1"));
            assert!(cut[1].starts_with(b"MSH|^~\\&|2") && cut[1].ends_with(b"PID|2"));
        }
    }

    #[test]
    fn frames_give_their_content() {
        let cut = records(b"\x0bMSH|^~\\&|1\rPID|1\r\x1c\r\x0bMSH|^~\\&|2\r\x1c\r");
        assert_eq!(cut, [b"MSH|^~\\&|1\rPID|1".as_slice(), b"MSH|^~\\&|2".as_slice()]);
        let cut = records(b"\x0bMSH|^~\\&|1\r\x1c\r\x0bnoise\x1c\r");
        assert_eq!(cut, [b"MSH|^~\\&|1".as_slice(), b"noise".as_slice()], "what is no message is kept");
    }

    #[test]
    fn envelopes_belong_to_no_message() {
        let cut = records(b"FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|1\rPID|1\rMSH|^~\\&|2\rBTS|2\rFTS|1\r");
        assert_eq!(cut, [b"MSH|^~\\&|1\rPID|1".as_slice(), b"MSH|^~\\&|2".as_slice()]);
        assert_eq!(records(b"FHS|^~\\&\rFTS|0\r").len(), 1, "an empty batch is kept as it is");
    }

    #[test]
    fn json_is_lines_or_one_document() {
        assert_eq!(records(b"{\"a\":1}\n\n{\"a\":2}\r\n"), [b"{\"a\":1}".as_slice(), b"{\"a\":2}".as_slice()]);
        assert_eq!(records(b"{\n \"a\": 1\n}\n").len(), 1);
        assert_eq!(records(b"[\n{\"a\":1},\n{\"a\":2}\n]").len(), 1);
        assert_eq!(records(b"{\"a\":\n{\"a\":2}\n{\"a\":3}").len(), 3, "a broken first line costs itself alone");
    }

    #[test]
    fn anything_else_is_one_record_and_nothing_is_none() {
        assert_eq!(records(b"hello\nthere"), [b"hello\nthere".as_slice()]);
        assert!(records(b"").is_empty());
        assert!(records(b"\xef\xbb\xbf \r\n").is_empty());
        assert_eq!(sniff(b"MSHA"), Format::Unknown);
    }

    #[test]
    fn gzip_is_unfolded_and_other_bytes_are_left() -> io::Result<()> {
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(b"MSH|^~\\&|1")?;
        let mut zipped = zipped.finish()?;
        assert_eq!(unzip(zipped.clone())?, b"MSH|^~\\&|1");
        zipped.truncate(14);
        assert!(unzip(zipped).is_err());
        assert_eq!(unzip(b"plain".to_vec())?, b"plain");
        Ok(())
    }
}
