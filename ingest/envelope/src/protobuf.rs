//! Protobuf without a descriptor: fields tell their own lengths, and the one that is a message is found by what it says.

use schemas::Reject;

use crate::layers::reject;
use crate::sniff;

/// How deep the message may stand in messages of Protobuf.
const DEPTH: usize = 4;
/// A frame names the message type by its place in the schema; nobody nests deeper than this.
const INDEXES: u64 = 16;

/// The one field that holds a message, behind the indexes of the message type. `None` where none does, or the bytes are no Protobuf.
///
/// # Errors
/// Several fields hold one.
pub(crate) fn payload(framed: &[u8]) -> Result<Option<&[u8]>, Reject> {
    let Some(message) = behind_indexes(framed) else { return Ok(None) };
    let mut found = Vec::new();
    if collect(message, DEPTH, &mut found).is_none() {
        return Ok(None);
    }
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(reject("several fields of the Protobuf message hold a message of ours")),
    }
}

fn behind_indexes(framed: &[u8]) -> Option<&[u8]> {
    let (count, mut rest) = varint(framed)?;
    // Zigzag: a count is not negative.
    let count = if count.is_multiple_of(2) { count / 2 } else { return None };
    for _ in 0..count.min(INDEXES + 1) {
        rest = varint(rest)?.1;
    }
    (count <= INDEXES).then_some(rest)
}

/// Adds what holds a message; `None` where the bytes are no Protobuf to the end.
fn collect<'a>(mut rest: &'a [u8], depth: usize, found: &mut Vec<&'a [u8]>) -> Option<()> {
    while !rest.is_empty() {
        let (key, after) = varint(rest)?;
        if key >> 3 == 0 {
            return None;
        }
        rest = match key & 7 {
            0 => varint(after)?.1,
            1 => after.get(8..)?,
            2 => {
                let (length, after) = varint(after)?;
                let (field, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                let before = found.len();
                if sniff::is_message(field) {
                    found.push(field);
                } else if depth > 1 && collect(field, depth - 1, found).is_none() {
                    // A text that begins like a message of Protobuf is none.
                    found.truncate(before);
                }
                after
            }
            5 => after.get(4..)?,
            // Groups are gone since 2008.
            _ => return None,
        };
    }
    Some(())
}

/// A number in base 128, low digits first, and what follows it.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).expect("short")], content].concat()
    }

    #[test]
    fn a_message_is_found_in_any_field_and_depth() {
        let message = b"MSH|^~\\&|A|B";
        let inner = [field(1, b"id-7"), field(4, message)].concat();
        let outer = [&[0x08, 0x96, 0x01, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8], field(3, &inner).as_slice()].concat();
        let found = |bytes: &[u8]| payload(bytes).map(|found| found.map(<[u8]>::to_vec)).map_err(|reject| reject.reason.into_owned());
        assert_eq!(found(&[&[0], outer.as_slice()].concat()), Ok(Some(message.to_vec())));
        assert_eq!(found(&[&[4, 2, 0], outer.as_slice()].concat()), Ok(Some(message.to_vec())));
        assert_eq!(found(&[&[0], field(1, b"hello").as_slice()].concat()), Ok(None));
        assert_eq!(found(&[&[0], outer.as_slice(), b"\x07"].concat()), Ok(None), "no Protobuf to the end");
        assert!(found(&[&[0], outer.as_slice(), outer.as_slice()].concat()).is_err_and(|reason| reason.contains("several")));
        assert_eq!(found(b""), Ok(None));
    }

    #[test]
    fn numbers_end_or_are_none() {
        assert_eq!(varint(&[0x96, 0x01, 7]), Some((150, &[7][..])));
        assert_eq!(varint(&[0x80; 20]), None);
        assert_eq!(varint(&[0x80]), None);
    }
}
