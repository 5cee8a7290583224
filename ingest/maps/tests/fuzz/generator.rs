//! Records for the maps to read: HL7 v2 messages of any separators, charsets and line ends, broken in the ways that engines break them, and
//! bytes that are nothing. And the promises that hold for whatever is read.

use maps::{Mapped, map_record};
use schemas::{Facility, Outcome};

/// Stands in every field that could tell of a person, and must stand in no reject and no flag.
pub const MARK: &str = "QQMARKQQ";

/// A small generator (xorshift): the same seed gives the same records.
pub struct Dice(u64);

impl Dice {
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % limit.max(1)
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }

    fn byte(&mut self) -> u8 {
        const SHARP: &[u8] = b"|^~\\&#\r\n\0\x0b\x1c\x1b\"{}[]<>X\xff\xc3+-0MSH";
        if self.below(2) == 0 { self.pick(SHARP) } else { u8::try_from(self.below(256)).unwrap_or(0) }
    }
}

const TRIGGERS: [&str; 14] = [
    "ADT^A01", "ADT^A02", "ADT^A03", "ADT^A08", "ADT^A11", "ADT^A13", "ADT^A31", "ADT^A40", "ADT^A44", "MDM^T02", "MDM^T06", "MDM^T10",
    "ORU^R01", "DFT^P03",
];
const CHARSETS: [&str; 12] = [
    "",
    "UNICODE UTF-8",
    "8859/1",
    "8859/5",
    "ASCII",
    "~ISO IR87",
    "ISO IR14~ISO IR87",
    "GB 18030-2000",
    "KS X 1001",
    "BIG-5",
    "UNICODE UTF-16",
    "QQMARKQQ",
];
const ENDS: [&str; 6] = ["\r", "\n", "\r\n", "\r\r", "\n\n", "\r\n\0"];
const SEPARATORS: [&str; 8] = ["|^~\\&", "|^~\\&#", "|^~\\", "|^~&", "|", "$%!@*", "\t:;?,", "|~^\\&"];
/// Each with the fields that mean something to the maps, and some that do not.
const SEGMENTS: [(&str, usize); 16] = [
    ("EVN", 7),
    ("PID", 31),
    ("PD1", 3),
    ("PV1", 51),
    ("PV2", 9),
    ("DG1", 22),
    ("MRG", 8),
    ("TXA", 23),
    ("OBR", 26),
    ("OBX", 15),
    ("OBX", 15),
    ("OBX", 7),
    ("NTE", 4),
    ("ZZ9", 3),
    ("XYZ", 2),
    ("IN1", 4),
];
const VALUES: [&str; 36] = [
    "",
    "",
    "",
    "",
    "",
    "\"\"",
    "1",
    "I",
    "F",
    "C",
    "TX",
    "FT",
    "ED",
    "RP",
    "20200301093100",
    "202003010931+0500",
    "20200308023000",
    "00000000",
    "2020-03-01T09:31:00Z",
    "20201332",
    "20200301240000",
    "QQMARKQQ",
    "QQMARKQQ^^^QQMARKQQ&1&ISO^MR~QQMARKQQ^^^QQMARKQQ",
    "QQMARKQQ^^I9",
    "M\u{fc}ller QQMARKQQ",
    "\u{5c71}\u{7530}",
    "QQMARKQQ\nQQMARKQQ|1\nlast",
    "{\\E\\rtf1\\ansi QQMARKQQ\\E\\par \\E\\'e9}",
    "<html><body><p>QQMARKQQ &amp; more</body></html>",
    "<?xml version=\"1.0\"?><ClinicalDocument><title>QQMARKQQ",
    "^T^RTF^Base64^UVFNQVJLUVE=",
    "^A^PDF^Base64^JVBERi0xLjQ=",
    "^T^^HEX^5151",
    "a\\F\\b\\X0D0A\\c\\X00E0\\\\.br\\\\.sp3\\\\H\\d\\N\\\\Zff\\\\",
    "\\M2442\\;3ED\\C2842\\",
    "\\\\QQMARKQQ\\X",
];

/// A record: one message or more, perhaps framed or in a batch, mostly mutated.
pub fn record(dice: &mut Dice) -> Vec<u8> {
    if dice.below(16) == 0 {
        return (0..dice.below(97)).map(|_| dice.byte()).collect();
    }
    let mut bytes = Vec::new();
    let (frame, batch) = (dice.below(4) == 0, dice.below(6) == 0);
    if batch {
        bytes.extend(b"FHS|^~\\&\rBHS|^~\\&|QQMARKQQ\r");
    }
    for _ in 0..=dice.below(3) {
        if frame && dice.below(8) > 0 {
            bytes.push(0x0b);
        }
        bytes.extend(message(dice));
        if frame && dice.below(8) > 0 {
            bytes.extend(b"\x1c\r");
        }
    }
    if batch {
        bytes.extend(format!("BTS|{}\rFTS|QQMARKQQ\r", dice.below(4)).bytes());
    }
    if dice.below(3) > 0 {
        mutate(&mut bytes, dice);
    }
    bytes
}

fn message(dice: &mut Dice) -> Vec<u8> {
    let separators = dice.pick(&SEPARATORS);
    let (field, chosen) = separators.split_at(1);
    let (end, charset) = (dice.pick(&ENDS), dice.pick(&CHARSETS));
    let header = [
        "MSH",
        chosen,
        MARK,
        MARK,
        MARK,
        MARK,
        dice.pick(&VALUES),
        MARK,
        dice.pick(&TRIGGERS),
        MARK,
        "P",
        "2.5",
        "",
        "",
        "",
        "",
        "",
        charset,
    ];
    let mut text = header.join(field);
    for _ in 0..dice.below(14) {
        text.push_str(if dice.below(12) == 0 { dice.pick(&ENDS) } else { end });
        let (name, fields) = dice.pick(&SEGMENTS);
        let name = if dice.below(24) == 0 { format!("  {}", name.to_lowercase()) } else { name.to_owned() };
        let usual: &[&str] = if dice.below(3) > 0 { usual(&name) } else { &[] };
        let given = usual.iter().map(|value| if value.is_empty() { dice.pick(&VALUES) } else { value }).collect::<Vec<_>>();
        let more = dice.below(fields + 1).saturating_sub(given.len());
        let values: Vec<&str> = given.into_iter().chain((0..more).map(|_| dice.pick(&VALUES))).collect();
        text.push_str(&format!("{name}{field}{}", values.join(field)));
    }
    text.push_str(end);
    // Their own separators stand where the standard's did.
    let text: String =
        text.chars().map(|letter| "|^~\\&".find(letter).and_then(|at| separators.chars().nth(at)).unwrap_or(letter)).collect();
    match dice.below(3) {
        0 => text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect(),
        _ => text.into_bytes(),
    }
}

/// What the first fields of a segment mostly are; an empty one is anything.
fn usual(name: &str) -> &'static [&'static str] {
    match name {
        "PID" => &["1", "", "QQMARKQQ^^^QQMARKQQ^MR"],
        "TXA" => &["1", "DS", "TX", "20200301093100", "", "", "", "", "", "", "", "QQMARKQQ"],
        "OBR" => &["1", "QQMARKQQ", "QQMARKQQ", "18842-5^QQMARKQQ^LN"],
        "OBX" => &["1", "TX", "1", "", "", "", "", "", "", "", "F"],
        _ => &[],
    }
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(8) {
        let at = dice.below(bytes.len());
        let end = (at + dice.below(60)).min(bytes.len());
        match dice.below(6) {
            0 if dice.below(4) == 0 => bytes.truncate(at),
            0 | 1 => bytes.insert(at, dice.byte()),
            2 => drop(bytes.drain(at..end)),
            3 if at < bytes.len() => bytes[at] = dice.byte(),
            4 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(end..end, again));
            }
            _ => {}
        }
    }
}

/// Reads `bytes` twice and panics where a promise is broken.
pub fn check(bytes: &[u8], facility: &Facility) {
    let parts = map_record(bytes, facility);
    assert!(!parts.is_empty(), "every record has an answer");
    parts.iter().for_each(check_part);
    let said = |parts: &[Mapped]| parts.iter().map(|part| part.facts.len()).sum::<usize>();
    let written: usize = parts.iter().flat_map(|part| &part.notes).map(|note| note.text.len()).sum();
    assert!(written <= 64 * bytes.len() && said(&parts) <= bytes.len(), "what is read stays in proportion");
    let again = map_record(bytes, facility);
    assert_eq!(parts.len(), again.len());
    for (one, other) in parts.iter().zip(&again) {
        assert!(one.facts == other.facts && one.notes == other.notes && one.rejects == other.rejects && one.flags == other.flags);
        assert!(
            one.outcome == other.outcome
                && one.trigger == other.trigger
                && one.charset == other.charset
                && one.stated_at == other.stated_at
        );
    }
}

fn check_part(part: &Mapped) {
    let said = !part.facts.is_empty() || !part.notes.is_empty();
    let is_told = match part.outcome {
        Outcome::Mapped => said && part.rejects.is_empty(),
        Outcome::Partly => said && !part.rejects.is_empty(),
        Outcome::Ignored => !said && part.rejects.is_empty(),
        Outcome::Rejected => !said && !part.rejects.is_empty(),
    };
    assert!(is_told, "the outcome says what became of it");
    let rejects = part.rejects.iter().map(|reject| (&reject.position, &reject.reason));
    for (position, sentence) in rejects.chain(part.flags.iter().map(|flag| (&flag.position, &flag.decision))) {
        assert!(position.len() < 100, "a position is a position");
        assert!(!position.contains("QQ") && !sentence.contains("QQ"), "no reason tells of a person");
    }
}
