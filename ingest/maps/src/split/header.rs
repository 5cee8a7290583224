//! Lines that begin an HL7 v2 message, or open or close a batch.

use super::BYTE_ORDER_MARK;

/// How far into bytes that begin with something else a header is looked for.
const LEAD: usize = 4_096;

/// The most blanks, NULs and byte order marks that may stand before a header on its line.
const INDENT: usize = 64;

/// Which line it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// MSH.
    Message,
    /// FHS.
    FileBegins,
    /// BHS.
    BatchBegins,
    /// BTS.
    BatchEnds,
    /// FTS.
    FileEnds,
}

/// What `line` is, and how many bytes stand before it on the line; `None` for any other line.
pub(crate) fn of(line: &[u8]) -> Option<(Header, usize)> {
    let before = match line.first()? {
        b'M' | b'F' | b'B' | b'm' | b'f' | b'b' => 0,
        0 | b' ' | b'\t' | 0xef => indent(line),
        _ => return None,
    };
    let (name, rest) = line.get(before..)?.split_first_chunk::<3>()?;
    let header = match &name.map(|letter| letter.to_ascii_uppercase()) {
        b"MSH" => Header::Message,
        b"FHS" => Header::FileBegins,
        b"BHS" => Header::BatchBegins,
        b"BTS" => Header::BatchEnds,
        b"FTS" => Header::FileEnds,
        _ => return None,
    };
    let bare = matches!(header, Header::BatchEnds | Header::FileEnds) && matches!(rest.first(), None | Some(b'\r' | b'\n'));
    (bare || rest.first().copied().is_some_and(is_separator)).then_some((header, before))
}

/// Whether MSH-1 may be this byte: printable ASCII, neither letter nor digit, or a control character that frames nothing.
pub(crate) fn is_separator(byte: u8) -> bool {
    byte.is_ascii_punctuation() || (byte.is_ascii_control() && !matches!(byte, 0 | b'\r' | b'\n' | super::FRAME_START | super::FRAME_END))
}

/// Whether a message or a batch begins in `bytes`: at once, or at the beginning of one of the first lines.
pub(super) fn holds(bytes: &[u8]) -> bool {
    let begins = |line: &[u8]| matches!(of(line), Some((Header::Message | Header::FileBegins | Header::BatchBegins, _)));
    if begins(bytes) {
        return true;
    }
    let lead = bytes.get(..LEAD).unwrap_or(bytes);
    memchr::memchr3_iter(b'\r', b'\n', super::FRAME_START, lead).any(|end| bytes.get(end + 1..).is_some_and(begins))
}

fn indent(line: &[u8]) -> usize {
    let mut at = 0;
    while at < INDENT {
        match line.get(at..) {
            Some([0 | b' ' | b'\t', ..]) => at += 1,
            Some(rest) if rest.starts_with(BYTE_ORDER_MARK) => at += BYTE_ORDER_MARK.len(),
            _ => break,
        }
    }
    at
}
