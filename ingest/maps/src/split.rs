//! Cuts a file or a record into its messages and resources, tells what bytes are, and unzips them.
//!
//! Owns framing only: of HL7 v2 it reads no field but the counts of a batch's trailers, of JSON no value, and every record it gives back is a
//! slice of what came in.

pub(crate) mod batch;
mod frame;
pub(crate) mod header;

use std::io::{self, Read};

use memchr::memchr;
use schemas::{Flag, Format};
use serde::de::IgnoredAny;

pub use self::batch::Rest;
use crate::Mapped;

/// The most bytes a compressed record may unfold to.
pub const UNZIPPED_BYTES: u64 = 64 * 1024 * 1024;

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
        Some(_) if header::holds(start) => Format::Hl7v2,
        Some(_) => Format::Unknown,
    }
}

/// The records of a file, in order: MLLP frames, HL7 v2 messages (batch envelopes skipped), lines of NDJSON, or the file itself.
/// A file without content has none.
#[must_use]
pub fn records(bytes: &[u8]) -> Vec<&[u8]> {
    Splitter::default().split(bytes, Rest::Nothing).records
}

/// Cuts a file that comes in several runs of whole records, and holds the counts of its envelopes against what came.
#[derive(Default)]
pub struct Splitter {
    envelopes: batch::Envelopes,
}

/// The records of a run.
#[derive(Default)]
pub struct Split<'a> {
    /// In order.
    pub records: Vec<&'a [u8]>,
    /// Where an envelope around them disagrees with what came: the place of the record before its line, and what was decided.
    pub flags: Vec<(usize, Flag)>,
}

impl Split<'_> {
    /// Adds to the parts that were made of a record what was decided about the envelope that ends after it.
    pub fn flag(&self, record: usize, parts: &mut [Mapped]) {
        let flags = self.flags.iter().filter(|(at, _)| *at == record).map(|(_, flag)| flag.clone());
        parts.last_mut().into_iter().for_each(|part| part.flags.extend(flags.clone()));
    }
}

impl Splitter {
    /// The records of the next run. HL7 v2 messages come without frames and envelopes; what stands between messages and is none comes
    /// back as well, and a file of HL7 v2 that holds no message as it is.
    pub fn split<'a>(&mut self, run: &'a [u8], rest: Rest) -> Split<'a> {
        let records = match sniff(run) {
            Format::Empty => Vec::new(),
            Format::Hl7v2 => return self.messages(run, rest),
            Format::Fhir => lines_of_json(run).unwrap_or_else(|| vec![run]),
            Format::Wardstream | Format::Tombstone | Format::Unknown => vec![run],
        };
        Split { records, flags: Vec::new() }
    }

    fn messages<'a>(&mut self, run: &'a [u8], rest: Rest) -> Split<'a> {
        let cut = self.envelopes.cut(run, rest);
        if cut.messages.is_empty() {
            return Split { records: vec![run], flags: Vec::new() };
        }
        let flags = cut
            .doubts
            .into_iter()
            .map(|doubt| (doubt.after.saturating_sub(1), Flag { position: doubt.position, decision: doubt.decision.into() }));
        Split { flags: flags.collect(), records: cut.messages }
    }
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
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the compressed record unfolds to more than 64 MB"));
    }
    Ok(plain)
}

/// Whether `bytes` begin with the gzip magic.
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b")
}

/// What follows byte order mark, blanks, NULs and the start of a frame.
pub(crate) fn trim_start(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let blanks = bytes.iter().take_while(|byte| matches!(**byte, 0 | b' ' | b'\t' | b'\r' | b'\n' | FRAME_START)).count();
    let rest = bytes.get(blanks..).unwrap_or_default();
    rest.strip_prefix(BYTE_ORDER_MARK).unwrap_or(rest)
}

/// What stands before line ends, NULs, the end of a frame and that of a DOS file.
pub(crate) fn trim_end(bytes: &[u8]) -> &[u8] {
    let kept =
        bytes.iter().rposition(|byte| !matches!(*byte, 0 | b'\r' | b'\n' | 0x1a | FRAME_START | FRAME_END)).map_or(0, |last| last + 1);
    bytes.get(..kept).unwrap_or_default()
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
