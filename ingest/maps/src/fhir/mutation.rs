//! Whatever happens to a record on its way, the maps give an answer, and no answer's reason or place carries what the record said.

use schemas::Outcome;
use serde_json::{Value, json};

use super::tests::south;

/// A record with every part that concerns us. `QQ` marks whatever could tell of a person.
const RECORD: &str = r##"{"resourceType":"Bundle","id":"QQ1","type":"transaction","timestamp":"2020-01-09T00:00:00Z","entry":[
{"fullUrl":"urn:uuid:QQ2","resource":{"resourceType":"Patient","id":"QQ2","birthDate":"1950-02-03","gender":"female","deceasedDateTime":"2020-02-02","identifier":[{"system":"QQ","value":"QQ3"}],"link":[{"other":{"reference":"Patient/QQ9"},"type":"replaces"}]}},
{"resource":{"resourceType":"Encounter","id":"QQ4","status":"finished","class":{"code":"IMP"},"subject":{"reference":"urn:uuid:QQ2"},"period":{"start":"2020-01-01T10:00:00-05:00","end":"2020-01-05T12:00:00-05:00"},"hospitalization":{"dischargeDisposition":{"coding":[{"code":"QQ"}]}},"diagnosis":[{"condition":{"reference":"Condition/QQ5"},"rank":1}],"location":[{"location":{"display":"QQ"},"period":{"start":"2020-01-02"}}]}},
{"resource":{"resourceType":"Condition","id":"QQ5","subject":{"reference":"Patient/QQ2"},"encounter":{"reference":"Encounter/QQ4"},"code":{"coding":[{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"I50.9"}]}}},
{"resource":{"resourceType":"DocumentReference","id":"QQ6","status":"current","subject":{"identifier":{"system":"QQ","value":"QQ3"}},"type":{"coding":[{"system":"http://loinc.org","code":"18842-5"}]},"context":{"encounter":[{"reference":"Encounter/QQ4"}]},"content":[{"attachment":{"contentType":"text/html; charset=utf-8","data":"PHA+UVEmYW1wOzwvcD48Yj4="}},{"attachment":{"contentType":"text/rtf","data":"e1xydGYxIFFRXHBhciBcJ2U0IFx1MjAwP30="}}]}},
{"resource":{"resourceType":"Composition","id":"QQ7","status":"final","subject":{"reference":"Patient/QQ2"},"section":[{"title":"QQ","text":{"div":"<div>QQ &#x41; <p>b</p></div>"}}]}},
{"resource":{"resourceType":"Claim","id":"QQ8","status":"active","use":"claim","patient":{"reference":"Patient/QQ2"},"created":"2020-02-01","item":[{"encounter":[{"reference":"Encounter/QQ4"}]}]}},
{"resource":{"resourceType":"Procedure","id":"QQ10","status":"completed","subject":{"reference":"Patient/QQ2"},"encounter":{"reference":"Encounter/QQ4"},"performedDateTime":"2020-01-02","code":{"coding":[{"system":"http://snomed.info/sct","code":"80146002"}]}}},
{"resource":{"resourceType":"Coverage","id":"QQ11","status":"active","beneficiary":{"reference":"Patient/QQ2"},"payor":[{"display":"QQ"}]}},
{"resource":{"resourceType":"Account","id":"QQ12","status":"active","subject":[{"reference":"Patient/QQ2"}],"coverage":[{"coverage":{"reference":"Coverage/QQ11"},"priority":1}]}},
{"resource":{"resourceType":"Encounter","id":"QQ13","status":"finished","class":{"code":"ACUTE"},"subject":{"reference":"urn:uuid:QQ2"},"partOf":{"reference":"Encounter/QQ4"},"period":{"start":"2020-01-02T10:00:00-05:00"}}},
{"resource":{"resourceType":"ClaimResponse","id":"QQ9","status":"active","use":"claim","outcome":"complete","patient":{"reference":"Patient/QQ2"},"created":"2020-03-01","request":{"reference":"Claim/QQ8"},"total":[{"category":{"coding":[{"code":"benefit"}]},"amount":{"value":0}}],"disposition":"QQ denied"}},
{"request":{"method":"DELETE","url":"Encounter/QQ"}}]}"##;

/// Pieces that break things: JSON's own signs, half characters, odd values.
const PIECES: [&[u8]; 16] =
    [b"\"", b"{", b"}", b"[", b"]", b",", b":", b"\\ud800", b"\\u0000", b"\xff", b"null", b"1e999", b"-1", b"true", b"\n", b"\"QQ\""];

/// A small generator with a fixed seed (Knuth's MMIX constants): the same mutations at every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit.max(1)
    }
}

fn mutated(record: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = record.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        let end = (at + dice.below(40)).min(bytes.len());
        let piece = PIECES.get(dice.below(PIECES.len())).copied().unwrap_or_default();
        match dice.below(5) {
            0 => bytes.truncate(at.max(1)),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..end, piece.iter().copied())),
            3 => drop(bytes.splice(at..at, piece.iter().copied())),
            _ => {
                let again: Vec<u8> = bytes.get(at..end).unwrap_or_default().to_vec();
                drop(bytes.splice(end..end, again));
            }
        }
    }
    bytes
}

/// Puts another value in the place of one of the record's values, so that the JSON stays whole.
fn reshape(value: &mut Value, dice: &mut Dice) {
    let stop = dice.below(6) == 0;
    let inner = match value {
        Value::Array(items) if !stop => {
            let chosen = dice.below(items.len());
            items.get_mut(chosen)
        }
        Value::Object(fields) if !stop => {
            let chosen = dice.below(fields.len());
            fields.values_mut().nth(chosen)
        }
        _ => None,
    };
    if let Some(inner) = inner {
        return reshape(inner, dice);
    }
    let odd = [Value::Null, json!([]), json!({}), json!([[{"QQ": 1}]]), json!(-1.5), json!("QQ 1"), json!(true)];
    *value = odd.get(dice.below(odd.len())).cloned().unwrap_or_default();
}

/// Changes that keep the JSON whole: a value of another shape, a marker before a text, a name twice, a huge number, a deep nest.
fn restructured(value: &Value, dice: &mut Dice) -> String {
    let mut changed = value.clone();
    for _ in 0..=dice.below(3) {
        reshape(&mut changed, dice);
    }
    if dice.below(2) == 0 {
        plant(&mut changed);
    }
    let text = changed.to_string();
    match dice.below(6) {
        0 => text.replacen("\"resource\":{", "\"resource\":{\"id\":\"QQ\",\"id\":\"QQ 2\",\"QQ\":1,\"QQ\":1,", 3),
        1 => text.replacen(":0", ":123456789012345678901234567890.5", 1),
        2 => text.replacen("\"resource\":{", &format!("\"resource\":{{\"section\":{}{},", "[".repeat(90), "]".repeat(90)), 1),
        3 => text.chars().take(dice.below(text.len())).collect(),
        _ => text,
    }
}

/// Puts the marker before every text that is no date, so that whatever is repeated of any text shows.
fn plant(value: &mut Value) {
    match value {
        Value::String(text) if !text.starts_with(['1', '2']) => text.insert_str(0, "QQ"),
        Value::Array(items) => items.iter_mut().for_each(plant),
        Value::Object(fields) => {
            let names = ["resourceType", "type", "status", "use", "code", "reference", "outcome"];
            fields.iter_mut().filter(|(name, _)| !names.contains(&name.as_str())).for_each(|(_, value)| plant(value));
        }
        _ => {}
    }
}

fn answers_without_telling(bytes: &[u8]) -> Outcome {
    let parts = super::map(bytes, &south());
    let again = super::map(bytes, &south());
    assert!(!parts.is_empty() && parts.len() == again.len());
    for (part, other) in parts.iter().zip(&again) {
        assert!(part.outcome != Outcome::Rejected || !part.rejects.is_empty());
        assert!(part.trigger.as_deref().is_none_or(|trigger| !trigger.contains("QQ")));
        assert!(part.rejects.iter().all(|reject| !reject.reason.contains("QQ") && !reject.position.contains("QQ")));
        assert!(part.flags.iter().all(|flag| !flag.decision.contains("QQ") && !flag.position.contains("QQ")));
        assert!(part.facts == other.facts && part.notes == other.notes && part.rejects == other.rejects && part.flags == other.flags);
    }
    parts.iter().map(|part| part.outcome).find(|outcome| *outcome == Outcome::Rejected).unwrap_or(Outcome::Mapped)
}

#[test]
fn the_record_itself_is_mapped_without_a_reject() {
    let parts = super::map(RECORD.as_bytes(), &south());
    assert!(
        parts
            .iter()
            .all(|part| part.outcome == Outcome::Mapped && part.rejects.is_empty() && part.facts.len() >= 10 && part.notes.len() == 2)
    );
}

#[test]
fn broken_bytes_are_answered() {
    let mut dice = Dice(1);
    let rejected = (0..4_000).filter(|_| answers_without_telling(&mutated(RECORD.as_bytes(), &mut dice)) == Outcome::Rejected).count();
    assert!((100..4_000).contains(&rejected), "{rejected}");
}

#[test]
fn every_truncation_is_answered() {
    for end in 0..RECORD.len() {
        answers_without_telling(RECORD.as_bytes().get(..end).unwrap_or_default());
    }
}

#[test]
fn values_of_another_shape_are_answered() -> Result<(), serde_json::Error> {
    let record: Value = serde_json::from_str(RECORD)?;
    let mut dice = Dice(2);
    for _ in 0..6_000 {
        answers_without_telling(restructured(&record, &mut dice).as_bytes());
    }
    Ok(())
}

/// What others wrote, of every kind that the corpus has.
#[test]
fn real_resources_of_another_shape_are_answered() {
    const LONGEST: usize = 40_000;
    let mut dice = Dice(4);
    for sub in ["us-core", "official-r4", "bluebutton-eob", "bulk-10-patients"] {
        let files = super::corpus::files(sub).unwrap_or_default();
        let lines = files.iter().flat_map(|file| crate::split::records(file).into_iter().take(5));
        for record in lines.filter(|record| record.len() < LONGEST) {
            let Ok(value) = serde_json::from_slice::<Value>(record) else { continue };
            for _ in 0..60 {
                answers_without_telling(restructured(&value, &mut dice).as_bytes());
                answers_without_telling(&mutated(record, &mut dice));
            }
        }
    }
}

/// A reader that is quadratic in any of these would not come to an end.
#[test]
fn long_records_take_linear_time() {
    const LONG: usize = 400_000;
    let of = |start: &str, unit: &str, end: &str| format!("{start}{}{end}", unit.repeat(LONG));
    let patient = "{\"resourceType\":\"Patient\",\"id\":\"1\",";
    for record in [
        of(&format!("{patient}\"identifier\":["), "{\"value\":\"7\"},", "{}]}"),
        of(patient, "\"id\":\"1\",", "\"gender\":\"male\"}"),
        of(&format!("{patient}\"link\":["), "{\"type\":\"seealso\",\"other\":{\"reference\":\"#x\"}},", "{}]}"),
        of(
            "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":[",
            "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"1\"}},",
            "{}]}",
        ),
        of("{\"resourceType\":\"Bundle\",\"entry\":[", "{\"request\":{\"method\":\"DELETE\",\"url\":\"x\"}},", "1e999]}"),
        of(
            "{\"resourceType\":\"Encounter\",\"id\":\"1\",\"location\":[",
            "{\"location\":{\"display\":\"a\"},\"period\":{\"start\":\"2020\"}},",
            "{}]}",
        ),
    ] {
        answers_without_telling(record.as_bytes());
    }
}

#[test]
fn random_bytes_and_deep_nesting_are_answered() {
    let mut dice = Dice(3);
    for length in 0..500 {
        let bytes: Vec<u8> = (0..length).map(|_| u8::try_from(dice.below(256)).unwrap_or_default()).collect();
        answers_without_telling(&bytes);
    }
    for sign in ["[", "{\"a\":", "{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":"] {
        assert_eq!(answers_without_telling(sign.repeat(100_000).as_bytes()), Outcome::Rejected);
    }
}

#[test]
fn rubbish_does_not_grow_by_being_described() {
    for sign in ["7", "{}"] {
        let many = vec![sign; 100_000];
        assert_eq!(super::map(format!("[{}]", many.join(",")).as_bytes(), &south()).len(), 1_001);
        let bundle = format!(r#"{{"resourceType":"Bundle","entry":[{{"resource":{}}}]}}"#, many.join(r#"},{"resource":"#));
        assert!(super::map(bundle.as_bytes(), &south()).iter().all(|part| part.rejects.len() == 1_001));
    }
    assert_eq!(super::map("{}\n".repeat(100_000).as_bytes(), &south()).len(), 1_001);
}
