//! MLLP frames: `0x0B`, content, `0x1C 0x0D`; either end may be missing, and both bytes may stand in a text, where they frame nothing.

use memchr::memchr2_iter;

use super::{FRAME_END, FRAME_START, header, trim_end, trim_start};

/// The most blanks that may stand between the end of a frame and what comes next.
const GAP: usize = 16;

/// The contents of the frames and what stands between them, blanks dropped; the whole where nothing is framed.
pub(super) fn contents(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    let mut begun = 0;
    let mut outside = true;
    let mut checked = 0;
    for at in memchr2_iter(FRAME_START, FRAME_END, bytes) {
        // Whether anything but blanks has come since the last frame ended; each byte is looked at once.
        outside = outside && is_blank(bytes.get(checked..at).unwrap_or_default());
        checked = at + 1;
        let after = bytes.get(at + 1..).unwrap_or_default();
        if bytes.get(at) == Some(&FRAME_START) {
            if outside || begins_message(after) {
                cuts.push((begun, at));
                begun = at + 1;
                outside = false;
            }
        } else if matches!(after.first(), None | Some(&(b'\r' | b'\n' | FRAME_START))) || begins_message(after) {
            cuts.push((begun, at));
            begun = at + 1;
            outside = true;
        }
    }
    cuts.push((begun, bytes.len()));
    cuts.into_iter().filter_map(|(begin, end)| bytes.get(begin..end)).filter(|content| !trim_start(trim_end(content)).is_empty())
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n'))
}

fn begins_message(after: &[u8]) -> bool {
    let near = after.get(..GAP).unwrap_or(after);
    let blanks = near.iter().take_while(|byte| matches!(**byte, 0 | b' ' | b'\t' | b'\r' | b'\n')).count();
    after.get(blanks..).and_then(header::of).is_some()
}
