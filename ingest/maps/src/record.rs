//! One record's bytes become its parts: unzips, sniffs and hands on to the reader of that format.

use schemas::{Facility, Format, Reject, Stage};

use crate::{Mapped, fhir, hl7, split};

/// Maps one record, whatever its bytes are, into one part or more. Total: it neither fails nor panics, and takes time linear in the bytes.
#[must_use]
pub fn map_record(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    if split::is_gzip(bytes) {
        return match split::unzip(bytes.to_vec()) {
            Ok(plain) => map_plain(&plain, facility),
            Err(_) => vec![refused("the gzip stream is damaged or unfolds to too much")],
        };
    }
    map_plain(bytes, facility)
}

fn map_plain(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    if let Some(text) = wide(bytes) {
        return map_text(text.as_bytes(), facility);
    }
    map_text(bytes, facility)
}

fn map_text(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    let parts = match split::sniff(bytes) {
        Format::Empty => return vec![Mapped::ignored(Format::Empty)],
        Format::Hl7v2 => hl7::map(bytes, facility),
        Format::Fhir => fhir::map(split::trim_end(split::trim_start(bytes)), facility),
        Format::Wardstream | Format::Tombstone | Format::Unknown => return vec![refused("neither HL7 v2 nor JSON")],
    };
    if parts.is_empty() { vec![Mapped::ignored(split::sniff(bytes))] } else { parts }
}

/// UTF-16, told by its byte order mark or by how `MSH` stands in it.
fn wide(bytes: &[u8]) -> Option<String> {
    let encoding = match bytes {
        [0xff, 0xfe, ..] | [b'M', 0, b'S', 0, ..] | [b'{', 0, ..] => encoding_rs::UTF_16LE,
        [0xfe, 0xff, ..] | [0, b'M', 0, b'S', ..] | [0, b'{', ..] => encoding_rs::UTF_16BE,
        _ => return None,
    };
    Some(encoding.decode_with_bom_removal(bytes).0.into_owned())
}

fn refused(reason: &'static str) -> Mapped {
    Mapped::rejected(Format::Unknown, Reject { stage: Stage::Wire, position: "byte 0".to_owned(), reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use schemas::Outcome;

    use super::*;

    const SEEDS: [&[u8]; 4] = [
        b"MSH|^~\\&|A|B|C|D|20200301093100||ADT^A08|1|P|2.5||||||UNICODE UTF-8\rEVN|A08|20200301+0500\rPID|1||4711^^^N&1&ISO^MR~8^^^S||D\xc3\xbc||19610615|F\r\
          PV1|1|I|W^1|||||||MED|||||||||V1|||||||||||||||||01||||||||202003010915|202003051200\rDG1|1|I9|428.0\\F\\|||F\r",
        b"\x0bMSH|^~\\&|||||2020||MDM^T10|1|P|2.5\nPID|1||4711\nTXA|1|DS|TX|2020||2020||||||D2|D1||||AU\nOBX|1|ED|||^T^^Base64^SGVsbG8=\nOBX|2|TX|||a\\X0D0A\\b~c\nHPI\n\x1c\r",
        b"FHS|^~\\&\rMSH|^~\\&|||||2020||ADT^A40|1|P|2.5\rPID|1||1\rMRG|2~3\rPID|1||4\rMRG|4\rMSH|^~\\&|||||2020||ORU^R01|1\rOBR|1||F\rOBX|1|FT|||{\\E\\rtf1 \\E\\'e9}\rFTS|1\r",
        b"{\"resourceType\":\"Patient\",\"id\":\"1\"}\n{\"resourceType\":\"Encounter\",\"id\":\"1\"}\n",
    ];

    /// A small generator (xorshift): the same seed gives the same bytes.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 16).unwrap_or(0) % limit.max(1)
        }

        fn byte(&mut self) -> u8 {
            const SHARP: &[u8] = b"|^~\\&#\r\n\0\x0b\x1c\"{}[]X\xff\xc3+-0MSH";
            if self.below(2) == 0 { SHARP[self.below(SHARP.len())] } else { u8::try_from(self.below(256)).unwrap_or(0) }
        }
    }

    fn mutated(dice: &mut Dice) -> Vec<u8> {
        let mut bytes = SEEDS[dice.below(SEEDS.len())].to_vec();
        for _ in 0..=dice.below(12) {
            let at = dice.below(bytes.len());
            match dice.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, dice.byte()),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = dice.byte(),
                _ => {}
            }
        }
        bytes
    }

    /// The outcome must agree with what was said, and a position must stay a position.
    fn check(parts: &[Mapped]) {
        assert!(!parts.is_empty());
        for part in parts {
            let said = !part.facts.is_empty() || !part.notes.is_empty();
            let expected = match part.outcome {
                Outcome::Mapped | Outcome::Partly => said,
                Outcome::Ignored | Outcome::Rejected => !said,
            };
            assert!(expected && part.rejects.iter().all(|reject| reject.position.len() < 200));
        }
    }

    #[test]
    fn any_bytes_get_an_answer_and_the_same_one_twice() {
        let facility = Facility::new("north");
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for _ in 0..20_000 {
            let bytes = mutated(&mut dice);
            let parts = map_record(&bytes, &facility);
            check(&parts);
            let again = map_record(&bytes, &facility);
            assert!(
                parts
                    .iter()
                    .zip(&again)
                    .all(|(one, other)| one.facts == other.facts && one.notes == other.notes && one.rejects == other.rejects)
            );
        }
        for length in 0..2_000 {
            let bytes: Vec<u8> = (0..length % 97).map(|_| dice.byte()).collect();
            check(&map_record(&bytes, &facility));
        }
    }

    #[test]
    fn every_beginning_of_a_message_gets_an_answer() {
        for seed in SEEDS {
            for end in 0..=seed.len() {
                check(&map_record(&seed[..end], &Facility::new("north")));
            }
        }
    }

    /// A reader that is quadratic in any of these would not come to an end.
    #[test]
    fn twenty_megabytes_are_read_to_the_end() {
        let header = b"MSH|^~\\&|||||2020||MDM^T02|1|P|2.5\rPID|1||4711\rTXA|1|DS|TX|2020||2020||||||D1\rOBX|1|TX|||".to_vec();
        let units: [&[u8]; 10] =
            [b"a", b"\\", b"\\X0D\\", b"~", b"^", b"\r", b"\rOBX|1|TX|||x", b"\rDG1|1", b"\nHPI", b"\rMSH|^~\\&|||||2020||ADT^A40"];
        for unit in units {
            let mut bytes = header.clone();
            bytes.extend(unit.iter().copied().cycle().take(20_000_000));
            check(&map_record(&bytes, &Facility::new("north")));
        }
    }

    #[test]
    fn the_wire_is_taken_off() {
        let facility = Facility::new("north");
        let outcome = |bytes: &[u8]| map_record(bytes, &facility).iter().map(|part| (part.format, part.outcome)).collect::<Vec<_>>();
        assert_eq!(outcome(b""), [(Format::Empty, Outcome::Ignored)]);
        assert_eq!(outcome(b" \r\n"), [(Format::Empty, Outcome::Ignored)]);
        assert_eq!(outcome(b"hello"), [(Format::Unknown, Outcome::Rejected)]);
        assert_eq!(outcome(b"\x1f\x8bnot gzip"), [(Format::Unknown, Outcome::Rejected)]);
        let message = "MSH|^~\\&|||||2020||ADT^A31|1\rPID|1||1";
        let expected = [(Format::Hl7v2, Outcome::Mapped)];
        assert_eq!(outcome(format!("\u{feff}\n{message}\0\0").as_bytes()), expected);
        assert_eq!(outcome(format!("\u{b}{message}\r\u{1c}\r").as_bytes()), expected);
        let wide: Vec<u8> = message.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(outcome(&wide), expected);
        assert_eq!(outcome(SEEDS[2]).len(), 2, "a batch has as many parts as messages");
    }
}
