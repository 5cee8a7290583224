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

fn answers_without_telling(bytes: &[u8]) -> Outcome {
    let parts = super::map(bytes, &south());
    assert!(!parts.is_empty());
    for part in &parts {
        assert!(part.outcome != Outcome::Rejected || !part.rejects.is_empty());
        assert!(part.trigger.as_deref().is_none_or(|trigger| !trigger.contains("QQ")));
        assert!(part.rejects.iter().all(|reject| !reject.reason.contains("QQ") && !reject.position.contains("QQ")));
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
    for _ in 0..4_000 {
        let mut changed = record.clone();
        reshape(&mut changed, &mut dice);
        reshape(&mut changed, &mut dice);
        answers_without_telling(changed.to_string().as_bytes());
    }
    Ok(())
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
