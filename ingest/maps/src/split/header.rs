//! Lines that begin an HL7 v2 message, or open or close a batch.

use super::BYTE_ORDER_MARK;

/// How far into bytes that begin with something else a header is looked for.
const LEAD: usize = 4_096;

/// The most blanks, NULs and byte order marks that may stand before a header on its line.
const INDENT: usize = 64;

/// The most characters of MSH-2; an escape may stand there doubled.
const CHOSEN: usize = 8;

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
    let begins = if header.is_trailer() { ends_envelope(rest) } else { chooses_separators(rest) };
    begins.then_some((header, before))
}

impl Header {
    /// Whether it closes a batch or a file.
    pub(super) fn is_trailer(self) -> bool {
        matches!(self, Self::BatchEnds | Self::FileEnds)
    }
}

/// What follows the name of a header: MSH-1, and the characters of MSH-2. `FHS: 140 bpm` and `MSH, 5th floor` are lines of a text.
fn chooses_separators(rest: &[u8]) -> bool {
    let Some((field, rest)) = rest.split_first().filter(|(field, _)| is_separator(**field)) else { return false };
    let chosen = rest.iter().take(CHOSEN + 1).take_while(|byte| *byte != field && !is_line_end(**byte));
    *field == b'|' || (chosen.clone().all(|byte| is_separator(*byte)) && (2..=CHOSEN).contains(&chosen.count()))
}

/// What follows the name of a trailer: nothing, or a separator and where that is not the usual one, a count.
fn ends_envelope(rest: &[u8]) -> bool {
    match rest.split_first() {
        None | Some((b'\r' | b'\n' | b'|', _)) => true,
        Some((field, rest)) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let after = rest.get(digits);
            is_separator(*field) && digits > 0 && after.is_none_or(|byte| byte == field || is_line_end(*byte))
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
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

#[cfg(test)]
mod tests {
    use super::*;

    /// FHS is the fetal heart, BTS and FTS are tests, MSH is a hospital: where a text has lines, they are words of it.
    #[test]
    fn a_word_of_a_text_is_no_header() {
        for line in [
            "FHS: 140 bpm",
            "FHS+ ",
            "FHS:\r",
            "fhs (+)",
            "MSH, 5th floor",
            "MSH: seen",
            "MSH.",
            "MSH\t4711",
            "BHS - twice",
            "FTS: 45/50",
            "BTS.",
        ] {
            assert!(of(line.as_bytes()).is_none(), "{line}");
        }
        for line in [
            "MSH|",
            "MSH|^~\\&|A",
            "MSH#*~!@#A",
            "msh\t:;?,\tA",
            "MSH$%!@*\r",
            "  FHS^~\\&",
            "BTS",
            "FTS\r",
            "BTS|2",
            "BTS|",
            "FTS#2#x",
            "FTS#2",
        ] {
            assert!(of(line.as_bytes()).is_some(), "{line}");
        }
    }
}
