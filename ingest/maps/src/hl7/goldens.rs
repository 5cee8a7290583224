//! One small message for each trigger, and what it must say.

mod billing;
mod bulk;
mod bytes;
mod document;
mod engines;
mod header;
mod identity;
mod merge;
mod report;
mod visit;

use schemas::{Facility, NoteKind, NoteStatus};

use crate::{Mapped, map_record};

/// The only part of a record, read as of a facility in New York.
fn one(message: &str) -> Mapped {
    of_bytes(message.as_bytes())
}

fn of_bytes(message: &[u8]) -> Mapped {
    of_facility(message, &Facility { zone: "America/New_York".to_owned(), ..Facility::new("north") })
}

fn of_facility(message: &[u8], facility: &Facility) -> Mapped {
    let mut parts = map_record(message, facility);
    assert_eq!(parts.len(), 1);
    parts.pop().expect("one part")
}

/// A fact a line: `code time patient stay number text related`, what is absent as `-`, zero seconds left out.
fn told(mapped: &Mapped) -> Vec<String> {
    let fact = |fact: &schemas::Fact| {
        let time = fact.time.map(|time| time.to_string().replace(":00Z", "Z"));
        let patient = fact.patient.as_ref().map(|patient| format!("{}:{}", patient.system, patient.value));
        let number = fact.numeric_value.map(|number| number.to_string());
        let rest = [time, patient, fact.encounter.clone(), number, fact.text_value.clone(), fact.related.clone()];
        [Some(fact.code.as_str().to_owned())].into_iter().chain(rest).map(|part| part.unwrap_or("-".into())).collect::<Vec<_>>().join(" ")
    };
    mapped.facts.iter().map(fact).collect()
}

/// The facts whose code begins so.
fn told_of(mapped: &Mapped, code: &str) -> Vec<String> {
    told(mapped).into_iter().filter(|fact| fact.starts_with(code)).collect()
}

fn refusals(mapped: &Mapped) -> Vec<String> {
    mapped.rejects.iter().map(|reject| format!("{}: {}", reject.position, reject.reason)).collect()
}

fn flags(mapped: &Mapped) -> Vec<String> {
    mapped.flags.iter().map(|flag| format!("{}: {}", flag.position, flag.decision)).collect()
}

const PERSON: &str = "PID|1||4711^^^N^MR||DOE^JANE||19610615|F||2106-3^White";

/// An ADT of this trigger, recorded at 14:30Z, about `PERSON`.
fn adt(trigger: &str, rest: &str) -> Mapped {
    adt_of(trigger, &[PERSON, rest].join("\r"))
}

/// An ADT of this trigger, recorded at 14:30Z.
fn adt_of(trigger: &str, rest: &str) -> Mapped {
    let event = format!("EVN|{trigger}|202003010930|202003030930||||");
    one(&["MSH|^~\\&|A|B|C|D|20200301093100||ADT^", trigger, "^ADT_A01|1|P|2.5\r", &event, "\r", rest].concat())
}

/// What an ADT about `PERSON` says after the four facts about the person.
fn of_stay(mapped: &Mapped) -> Vec<String> {
    let told = told(mapped);
    let person = [
        "patient.identified - N:4711 - - - -",
        "patient.birth_date - N:4711 - - 1961-06-15 -",
        "patient.sex - N:4711 - - female -",
        "patient.race - N:4711 - - 2106-3 -",
    ];
    assert_eq!(told.get(..4).expect("four facts"), person);
    told.get(4..).expect("the rest").to_vec()
}

/// A segment with these fields.
fn segment(name: &str, fields: &[(usize, &str)]) -> String {
    let mut all = vec![name];
    for (place, field) in fields {
        all.resize(all.len().max(place + 1), "");
        all[*place] = field;
    }
    all.join("|")
}

/// PV1 of visit V1 with these fields.
fn pv1(class: &str, admitted: &str, discharged: &str, disposition: &str) -> String {
    let stay = [(36, disposition), (44, admitted), (45, discharged)];
    segment("PV1", &[[(2, class), (3, "WARD^1^2"), (10, "MED"), (19, "V1^^^N")].as_slice(), &stay].concat())
}

/// MDM with these TXA-12, -13, -17 and -19.
fn mdm(trigger: &str, txa: [&str; 4], obx: &str) -> Mapped {
    let header = format!("MSH|^~\\&|||||20200301093100||MDM^{trigger}^MDM_{trigger}|C9|P|2.5\rEVN|{trigger}|20200301");
    one(&[header.as_str(), PERSON, &segment("PV1", &[(19, "V1")]), &txa_of(txa), obx].join("\r"))
}

fn txa_of([number, parent, completion, availability]: [&str; 4]) -> String {
    let kind = [(2, "DS^Discharge Summary"), (4, "20200301"), (6, "202003010800"), (12, number), (13, parent)];
    let state = [(17, completion), (19, availability), (22, "1^A^B^^^^^^^^^^^^202003010900")];
    segment("TXA", &[kind.as_slice(), &state].concat())
}

fn note_of(mapped: &Mapped) -> (String, NoteKind, NoteStatus, String, Option<String>) {
    assert_eq!(mapped.notes.len(), 1, "{:?}", refusals(mapped));
    let note = mapped.notes.first().expect("one note");
    assert_eq!(note.encounter.as_deref(), Some("V1"));
    assert_eq!(note.type_code.as_deref(), Some("DS"));
    (note.document.clone(), note.kind, note.status, note.text.clone(), note.replaces.clone())
}
