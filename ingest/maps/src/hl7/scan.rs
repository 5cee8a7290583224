//! Finds the bytes that cut a message, eight bytes at a time: they stand so dense that a search from each to the next costs more.

/// How many bytes are looked at together.
const WIDTH: usize = 8;

const LOW: u64 = u64::from_le_bytes([0x7f; WIDTH]);

/// Calls `found` with the place of each byte of `message` that is `separator`, a carriage return or a line feed, in order, and the byte.
pub(super) fn each(message: &[u8], separator: u8, mut found: impl FnMut(usize, u8)) {
    let [separators, returns, feeds] = [separator, b'\r', b'\n'].map(|byte| u64::from_le_bytes([byte; WIDTH]));
    let (words, rest) = message.as_chunks::<WIDTH>();
    let mut begin = 0;
    for bytes in words {
        let word = u64::from_le_bytes(*bytes);
        let mut marks = zeros(word ^ separators) | zeros(word ^ returns) | zeros(word ^ feeds);
        while marks != 0 {
            let place = usize::try_from(marks.trailing_zeros() / 8).unwrap_or_default();
            marks &= marks - 1;
            found(begin + place, bytes.get(place).copied().unwrap_or_default());
        }
        begin += WIDTH;
    }
    for (place, byte) in rest.iter().enumerate().filter(|(_, byte)| **byte == separator || matches!(byte, b'\r' | b'\n')) {
        found(begin + place, *byte);
    }
}

/// The highest bit of every byte of `word` that is zero. No carry leaves its byte, so a match cannot feign one beside it.
fn zeros(word: u64) -> u64 {
    !(((word & LOW) + LOW) | word | LOW)
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
