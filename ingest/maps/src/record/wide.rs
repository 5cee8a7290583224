//! Records in UTF-16 or UTF-32, told by their byte order mark or by how their first characters stand in them.

use encoding_rs::{UTF_16BE, UTF_16LE};

/// The text of such a record, and the name of its charset; `None` where it is no such record.
pub(super) fn decoded(bytes: &[u8]) -> Option<(String, &'static str)> {
    // A frame may be of single bytes around a message that is not.
    let unframed = bytes.strip_prefix(b"\x0b").unwrap_or(bytes);
    let framed = bytes.len() != unframed.len() && !matches!(bytes, [0x0b, 0, ..]);
    let content = if framed { unframed.strip_suffix(b"\x1c\r").or(unframed.strip_suffix(b"\x1c")).unwrap_or(unframed) } else { bytes };
    match content {
        [0xff, 0xfe, 0, 0, ..] => Some((thirty_two(content, u32::from_le_bytes), "UTF-32LE")),
        [0, 0, 0xfe, 0xff, ..] => Some((thirty_two(content, u32::from_be_bytes), "UTF-32BE")),
        [b'M' | b'm' | b'F' | b'B' | b'{' | b'[' | 0x0b, 0, 0, 0, ..] => Some((thirty_two(content, u32::from_le_bytes), "UTF-32LE")),
        [0, 0, 0, b'M' | b'm' | b'F' | b'B' | b'{' | b'[' | 0x0b, ..] => Some((thirty_two(content, u32::from_be_bytes), "UTF-32BE")),
        [0xff, 0xfe, ..]
        | [b'M' | b'm', 0, b'S' | b's', 0, ..]
        | [b'F' | b'B', 0, b'H', 0, ..]
        | [b'{' | b'[', 0, ..]
        | [0x0b, 0, b'M', 0, ..] => Some((UTF_16LE.decode_with_bom_removal(content).0.into_owned(), UTF_16LE.name())),
        [0xfe, 0xff, ..]
        | [0, b'M' | b'm', 0, b'S' | b's', ..]
        | [0, b'F' | b'B', 0, b'H', ..]
        | [0, b'{' | b'[', ..]
        | [0, 0x0b, 0, b'M', ..] => Some((UTF_16BE.decode_with_bom_removal(content).0.into_owned(), UTF_16BE.name())),
        _ => None,
    }
}

fn thirty_two(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> String {
    let (units, _) = bytes.as_chunks::<4>();
    let letters = units.iter().map(|bytes| char::from_u32(unit(*bytes)).unwrap_or(char::REPLACEMENT_CHARACTER));
    letters.skip_while(|letter| *letter == '\u{feff}').collect()
}
