//! One record's bytes become its parts: unzips, sniffs and hands on to the reader of that format.

mod wide;

use schemas::{Facility, Format, Reject, Stage};

use crate::{Mapped, fhir, hl7, split};

/// Maps one record, whatever its bytes are, into one part or more. Total: it neither fails nor panics, and takes time linear in the bytes.
#[must_use]
pub fn map_record(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    if let Some(text) = quoted(bytes) {
        return map_text(text.as_bytes(), facility);
    }
    if split::is_gzip(bytes) {
        return match split::unzip(bytes.to_vec()) {
            Ok(plain) => map_plain(&plain, facility),
            Err(_) => vec![refused("the gzip stream is damaged or unfolds to too much")],
        };
    }
    map_plain(bytes, facility)
}

/// The text of a record that is one JSON string: what a serializer makes of a message that it was given as text.
fn quoted(bytes: &[u8]) -> Option<String> {
    bytes.trim_ascii().starts_with(b"\"").then(|| serde_json::from_slice(bytes).ok())?
}

fn map_plain(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    let Some((text, charset)) = wide::decoded(bytes) else { return map_text(bytes, facility) };
    let mut parts = map_text(text.as_bytes(), facility);
    for part in parts.iter_mut().filter(|part| part.charset.is_some()) {
        part.charset = Some(charset);
        // What MSH-18 says of UTF-16 cannot be true of the text that it was decoded to.
        part.flags.retain(|flag| flag.position != "MSH-18");
    }
    parts
}

fn map_text(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    let parts = match split::sniff(bytes) {
        Format::Empty => return vec![Mapped::ignored(Format::Empty)],
        Format::Hl7v2 => hl7::map(bytes, facility),
        Format::Fhir => fhir::map(split::trim_end(split::trim_start(bytes)), facility),
        Format::Wardstream | Format::Tombstone | Format::Unknown => return vec![unread(split::trim_start(bytes))],
    };
    if parts.is_empty() { vec![Mapped::ignored(split::sniff(bytes))] } else { parts }
}

/// What is known by name and not read, by its name.
fn unread(bytes: &[u8]) -> Mapped {
    if !bytes.starts_with(b"<") {
        return refused("neither HL7 v2 nor JSON");
    }
    let head = bytes.get(..bytes.len().min(XML_HEAD)).unwrap_or_default();
    let says = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    if says(b"hl7.org/fhir") {
        return Mapped { format: Format::Fhir, ..refused("FHIR in XML is not read, only JSON") };
    }
    if says(b"urn:hl7-org:v2xml") {
        return Mapped { format: Format::Hl7v2, ..refused("HL7 v2 in XML is not read, only its own encoding") };
    }
    refused(if says(b"urn:hl7-org:v3") { "a CDA document is read only within a message or a resource" } else { "XML is not read" })
}

/// Bytes of an XML document within which it says what it is.
const XML_HEAD: usize = 4_096;

fn refused(reason: &'static str) -> Mapped {
    Mapped::rejected(Format::Unknown, Reject { stage: Stage::Wire, position: "byte 0".to_owned(), reason: reason.into() })
}

#[cfg(test)]
mod tests {
    use schemas::Outcome;

    use super::*;

    /// A reader that is quadratic in any of these would not come to an end.
    #[test]
    fn twenty_megabytes_are_read_to_the_end() {
        let header = b"MSH|^~\\&|||||2020||MDM^T02|1|P|2.5\rPID|1||4711\rTXA|1|DS|TX|2020||2020||||||D1\rOBX|1|TX|||".to_vec();
        let units: [&[u8]; 28] = [
            b"a",
            b"\\",
            b"\\X0D\\",
            b"\\.sp64\\",
            b"|",
            b"~",
            b"^",
            b"&",
            b"\r",
            b"\n",
            b"\n\n",
            b" ",
            b"\0",
            b"\x0b",
            b"\x0b ",
            b"\x1c",
            b"\x1c\r",
            b"\xfc",
            b"\xc3\xbc",
            b"\rOBX|1|TX|||x",
            b"\rOBX|1|ED|||^T^^Base64^YQ==",
            b"\rDG1|1",
            b"\rZZ1|",
            b"\nHPI",
            b"\nPV1",
            b"\r  pv1|",
            b"\rMSH|^~\\&|||||2020||ADT^A40",
            b"\rBHS|^~\\&",
        ];
        for unit in units {
            let mut bytes = header.clone();
            bytes.extend(unit.iter().copied().cycle().take(20_000_000));
            let parts = map_record(&bytes, &Facility::new("north"));
            assert!(!parts.is_empty() && parts.iter().all(|part| part.rejects.len() <= 1_000 && part.flags.len() <= 1_000));
        }
        let mut bytes = b"MSH|^~".to_vec();
        bytes.extend([b'\\'; 20_000_000]);
        assert_eq!(map_record(&bytes, &Facility::new("north")).len(), 1);
        for (charset, unit) in
            [("~ISO IR87", b"\x1b$B;3".as_slice()), ("ISO IR87", b"\\M2442\\"), ("KS X 1001", b"\xb1\xe8"), ("8859/5", b"\xbf")]
        {
            let mut bytes = format!("MSH|^~\\&|||||2020||ADT^A08|1|P|2.5||||||{charset}\rPID|1||4711||").into_bytes();
            bytes.extend(unit.iter().copied().cycle().take(20_000_000));
            assert_eq!(map_record(&bytes, &Facility::new("north")).len(), 1);
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
        for (xml, reason) in [
            ("<?xml version='1.0'?>\n<Patient xmlns='http://hl7.org/fhir'/>", "FHIR in XML"),
            ("<ADT_A01 xmlns='urn:hl7-org:v2xml'/>", "HL7 v2 in XML"),
            ("<ClinicalDocument xmlns='urn:hl7-org:v3'/>", "a CDA document"),
            ("<a/>", "XML is not read"),
        ] {
            let part = map_record(xml.as_bytes(), &facility).remove(0);
            assert!(part.rejects.first().is_some_and(|reject| reject.reason.starts_with(reason)), "{xml}");
        }
        let message = "MSH|^~\\&|||||2020||ADT^A31|1\rPID|1||1";
        let expected = [(Format::Hl7v2, Outcome::Mapped)];
        assert_eq!(outcome(format!("\u{feff}\n{message}\0\0").as_bytes()), expected);
        assert_eq!(outcome(format!("\u{b}{message}\r\u{1c}\r").as_bytes()), expected);
        assert_eq!(outcome(serde_json::Value::from(message).to_string().as_bytes()), expected, "a JSON string");
        let wide: Vec<u8> = message.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(outcome(&wide), expected);
        let batch = b"FHS|^~\\&\rMSH|^~\\&|||||2020||ADT^A31|1\rPID|1||1\rMSH|^~\\&|||||2020||ADT^A31|2\rPID|1||1\rFTS|1\r";
        assert_eq!(outcome(batch).len(), 2, "a batch has as many parts as messages");
    }
}
