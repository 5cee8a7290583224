//! What a tokenizer's file says of itself that is refused before any text is given to it.
//!
//! What replaces a character may be of any length, and steps follow one another, so that a file of a few lines can ask for more memory
//! than any machine has. Real ones put three bytes for a space, and three before the text. And words may be split by chance, as some trainings
//! want it: the same note would be other tokens each time.

use serde::Deserialize;
use serde_json::Value;

/// Times the length of a text that its steps may make of it, each at its worst.
const MOST: usize = 256;

/// The steps of a `tokenizer.json` that come before its vocabulary, and how that splits.
#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    model: Option<Splitting>,
}

#[derive(Deserialize)]
struct Splitting {
    /// The share of joins that are left out.
    #[serde(default)]
    dropout: Option<f64>,
}

/// Refuses a file that is no JSON, whose steps may make a text more than [`MOST`] times as long, or that leaves the splitting to chance.
pub(super) fn check(json: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let declared: Declared = serde_json::from_slice(json)?;
    if growth(&declared.normalizer).saturating_mul(growth(&declared.pre_tokenizer)) > MOST {
        return Err("what it puts in the place of characters makes a text too long".into());
    }
    if declared.model.and_then(|model| model.dropout).is_some_and(|share| share != 0.0) {
        return Err("it splits words by chance (dropout): set its dropout to null".into());
    }
    Ok(())
}

/// Times the length of a text that a step, or a sequence of steps, may make of it.
fn growth(step: &Value) -> usize {
    let length = |key: &str| step.get(key).and_then(Value::as_str).map_or(1, |text| text.len().max(1));
    let within = |key: &str| {
        let steps = step.get(key).and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        steps.iter().map(growth).fold(1, usize::saturating_mul)
    };
    match step.get("type").and_then(Value::as_str) {
        Some("Sequence") => within("normalizers").saturating_mul(within("pretokenizers")),
        Some("Replace") => length("content"),
        Some("Prepend") => length("prepend"),
        // A byte that is no printable ASCII becomes a character of two.
        Some("ByteLevel") => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(normalizer: &Value, pre_tokenizer: &Value) -> Result<(), String> {
        let json = json!({"normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "model": {}});
        check(json.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn steps_of_real_tokenizers_are_let_through_and_those_that_multiply_are_not() {
        let replace = |content: &str| json!({"type": "Replace", "pattern": {"String": "a"}, "content": content});
        let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "normalizers": steps});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false});
        let llama = sequence(vec![json!({"type": "Prepend", "prepend": "▁"}), replace("▁")]);
        assert_eq!(checked(&llama, &Value::Null), Ok(()));
        assert_eq!(checked(&Value::Null, &json!({"type": "Sequence", "pretokenizers": [{"type": "Digits"}, bytes]})), Ok(()));
        assert_eq!(check(b"{}").map_err(|error| error.to_string()), Ok(()));
        let long = "a".repeat(1_000);
        let twice = json!({"type": "Sequence", "pretokenizers": vec![bytes; 40]});
        for (normalizer, pre_tokenizer) in [
            (replace(&long), Value::Null),
            (json!({"type": "Prepend", "prepend": long}), Value::Null),
            (sequence(vec![replace("aaaaaaaa"), sequence(vec![replace("aaaaaaaa"), replace("aaaaaaaa")])]), Value::Null),
            (sequence(vec![replace(&long); 9]), Value::Null),
            (Value::Null, twice),
        ] {
            assert!(checked(&normalizer, &pre_tokenizer).is_err_and(|message| message.contains("too long")), "{normalizer}");
        }
    }

    #[test]
    fn words_are_not_split_by_chance() {
        let split = |dropout: Value| check(json!({"model": {"type": "BPE", "dropout": dropout}}).to_string().as_bytes());
        assert!(split(Value::Null).is_ok() && split(json!(0.0)).is_ok());
        assert!(split(json!(0.01)).is_err_and(|error| error.to_string().contains("by chance")));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert!(check(b"{\"decoder\": {\"type\": }}").is_err() && check(b"").is_err());
    }
}
