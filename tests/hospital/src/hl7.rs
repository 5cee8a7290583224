//! HL7 v2 as north's engine writes it.

use jiff::{Timestamp, tz};

/// Offset of north's clocks, all year: its engine knows no summer.
const OFFSET: i8 = -5;

/// A message under way.
pub struct Message(Vec<String>);

/// What stands in PID.
pub struct Person<'a> {
    pub number: &'a str,
    pub birth: &'a str,
    pub sex: &'a str,
    pub race: &'a str,
}

/// What stands in PV1.
#[derive(Clone, Copy, Default)]
pub struct Place<'a> {
    pub class: &'a str,
    pub visit: &'a str,
    pub department: &'a str,
    pub disposition: &'a str,
    pub admitted: Option<Timestamp>,
    pub discharged: Option<Timestamp>,
}

/// `YYYYMMDDHHMMSS-0500`.
pub fn stamp(at: Timestamp) -> String {
    let local = tz::offset(OFFSET).to_datetime(at);
    format!("{}{OFFSET:+03}00", local.strftime("%Y%m%d%H%M%S"))
}

/// Escapes the separators of a text.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\E\\"),
            '|' => out.push_str("\\F\\"),
            '^' => out.push_str("\\S\\"),
            '&' => out.push_str("\\T\\"),
            '~' => out.push_str("\\R\\"),
            c => out.push(c),
        }
    }
    out
}

impl Message {
    /// MSH and EVN.
    pub fn new(kind: &str, trigger: &str, control: &str, sent_at: Timestamp, happened_at: Timestamp) -> Self {
        let structure = if kind == "ADT" { format!("{kind}^{trigger}^{kind}_A01") } else { format!("{kind}^{trigger}") };
        let header = format!("MSH|^~\\&|NORTHADT|NORTH|ENGINE|HUB|{}||{structure}|{control}|P|2.5.1|||||USA|UNICODE UTF-8", stamp(sent_at));
        Self(vec![header, format!("EVN|{trigger}|{}", stamp(happened_at))])
    }

    /// The patient.
    pub fn person(mut self, person: &Person<'_>) -> Self {
        let Person { number, birth, sex, race } = person;
        self.0.push(format!(
            "PID|1||{number}^^^NORTH^MR||TESTPATIENT^{}||{birth}|{sex}||{race}",
            number.replace(|c: char| !c.is_ascii_digit(), "")
        ));
        self
    }

    /// The visit.
    pub fn place(mut self, place: &Place<'_>) -> Self {
        let mut fields = vec![String::new(); 46];
        let at = |when: Option<Timestamp>| when.map(stamp).unwrap_or_default();
        let ward = if place.department.is_empty() { "WARD" } else { place.department };
        for (index, value) in [
            (0, "PV1".to_owned()),
            (1, "1".to_owned()),
            (2, place.class.to_owned()),
            (3, format!("{ward}^101^A^NORTH")),
            (10, place.department.to_owned()),
            (19, place.visit.to_owned()),
            (36, place.disposition.to_owned()),
            (44, at(place.admitted)),
            (45, at(place.discharged)),
        ] {
            if let Some(field) = fields.get_mut(index) {
                *field = value;
            }
        }
        self.0.push(fields.join("|").trim_end_matches('|').to_owned());
        self
    }

    /// Any further segment.
    pub fn segment(mut self, text: String) -> Self {
        self.0.push(text);
        self
    }

    /// A note's text, a line an OBX.
    pub fn text(mut self, text: &str) -> Self {
        for (index, line) in text.lines().enumerate() {
            self.0.push(format!("OBX|{}|TX|NOTE^Note||{}||||||F", index + 1, escape(line)));
        }
        self
    }

    /// MLLP-framed bytes.
    pub fn framed(self) -> Vec<u8> {
        let mut bytes = vec![0x0b];
        bytes.extend_from_slice(self.0.join("\r").as_bytes());
        bytes.extend_from_slice(b"\r\x1c\r");
        bytes
    }
}
