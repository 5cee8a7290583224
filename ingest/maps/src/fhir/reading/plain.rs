//! Where the plain part of a JSON text ends. Owns the search alone, in many bytes at once; what stands there is the reader's to judge.

use wide::u8x16;

/// How many bytes stand before the first quote, backslash or control character; all of them where there is none.
///
/// Thirty-two are looked at first, which most texts are shorter than. It is always inlined, as texts are short and many.
#[inline(always)]
pub(super) fn length(bytes: &[u8]) -> usize {
    let Some(chunk) = bytes.first_chunk::<32>() else { return of_few(bytes) };
    match sharp(chunk) {
        0 => of_many(bytes),
        found => found.trailing_zeros() as usize,
    }
}

/// The same of what is long (an attachment), sixty-four at a time.
#[inline(never)]
fn of_many(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<64>() {
        let (quarters, _) = chunk.as_chunks::<16>();
        if quarters.iter().fold(u8x16::ZERO, |found, quarter| found | marks(quarter)).to_bitmask() != 0 {
            break;
        }
        rest = after;
    }
    while let Some((chunk, after)) = rest.split_first_chunk::<32>() {
        let found = sharp(chunk);
        if found != 0 {
            return bytes.len() - rest.len() + found.trailing_zeros() as usize;
        }
        rest = after;
    }
    bytes.len() - rest.len() + of_few(rest)
}

/// The same where the record is nearly over.
#[inline(never)]
fn of_few(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte >= b' ' && !matches!(**byte, b'"' | b'\\')).count()
}

/// Which bytes end the plain part: a bit for each, of the first byte the lowest.
#[inline(always)]
fn sharp(chunk: &[u8; 32]) -> u32 {
    let (halves, _) = chunk.as_chunks::<16>();
    halves.iter().rev().fold(0, |found, half| (found << 16) | marks(half).to_bitmask())
}

/// All bits of such a byte, none of any other.
#[inline(always)]
fn marks(chunk: &[u8; 16]) -> u8x16 {
    let bytes = u8x16::new(*chunk);
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | control
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_the_same_byte_however_long_it_is() {
        for sharp in [b'"', b'\\', 0, b'\n', 0x1f] {
            for length_bytes in 0..200_usize {
                let mut bytes: Vec<u8> = (0..=255_u8).filter(|byte| of_few(&[*byte]) == 1).cycle().take(length_bytes).collect();
                assert_eq!(length(&bytes), length_bytes);
                for at in 0..length_bytes {
                    let plain = std::mem::replace(&mut bytes[at], sharp);
                    assert_eq!(length(&bytes), at, "{sharp:#x} at {at} of {length_bytes}");
                    bytes[at] = plain;
                }
            }
        }
    }
}
