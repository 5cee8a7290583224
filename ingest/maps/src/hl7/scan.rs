//! Finds the bytes that cut a message, a block at a time: they stand so dense that a search from each to the next costs more.

/// How many bytes are looked at together.
const BLOCK: usize = 64;

/// How many of them are counted through together.
const WORD: usize = 8;

/// Calls `found` with the place of each byte of `message` that is `separator`, a carriage return or a line feed, in order, and the byte.
pub(super) fn each(message: &[u8], separator: u8, mut found: impl FnMut(usize, u8)) {
    let (blocks, rest) = message.as_chunks::<BLOCK>();
    let mut begin = 0;
    for block in blocks {
        let marks = marks(block, separator);
        let (words, _) = marks.as_chunks::<WORD>();
        for (word, bytes) in words.iter().zip(block.as_chunks::<WORD>().0) {
            let mut word = u64::from_le_bytes(*word);
            while word != 0 {
                let place = usize::try_from(word.trailing_zeros() / 8).unwrap_or_default();
                word &= word - 1;
                found(begin + place, bytes.get(place).copied().unwrap_or_default());
            }
            begin += WORD;
        }
    }
    for (place, byte) in rest.iter().enumerate().filter(|(_, byte)| cuts(**byte, separator)) {
        found(begin + place, *byte);
    }
}

/// The highest bit of each byte that cuts. A function of its own, for inside another the compiler takes it apart and looks at single bytes.
#[inline(never)]
fn marks(block: &[u8; BLOCK], separator: u8) -> [u8; BLOCK] {
    let mut marks = [0; BLOCK];
    for (mark, byte) in marks.iter_mut().zip(block) {
        *mark = if cuts(*byte, separator) { 0x80 } else { 0 };
    }
    marks
}

fn cuts(byte: u8, separator: u8) -> bool {
    (byte == separator) | (byte == b'\r') | (byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn every_byte_that_cuts_is_found_in_order() {
        let message: Vec<u8> =
            (0..1_000u32).map(|place| if place * place % 7 < 2 { b"|\r\n"[(place % 3) as usize] } else { b'\xfc' }).collect();
        for length in 0..message.len() {
            let message = &message[..length];
            let mut found = Vec::new();
            each(message, b'|', |place, byte| found.push((place, byte)));
            let expected: Vec<(usize, u8)> = message.iter().copied().enumerate().filter(|(_, byte)| *byte != b'\xfc').collect();
            assert_eq!(found, expected);
        }
    }
}
