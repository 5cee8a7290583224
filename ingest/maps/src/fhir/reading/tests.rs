//! The reader is held against serde_json, on whole and on broken texts.

use super::*;

/// The oracle is `serde_json`, but for what is read here on purpose.
fn agree(text: &str) {
    let ours = Reading::new(text).whole();
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    match (&ours, &theirs) {
        (Ok(node), Ok(value)) => assert!(same(node, value), "{text}"),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => {
            let on_purpose = ["number out of range", "surrogate", "hex escape"];
            assert!(on_purpose.iter().any(|reason| error.to_string().contains(reason)), "{text}: {error}");
        }
        (Err(fault), Ok(_)) => panic!("{text}: byte {}", fault.byte),
    }
}

fn same(node: &Node<'_>, value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (node, value) {
        (Node::Null, Value::Null) => true,
        (Node::True, Value::Bool(truth)) => *truth,
        (Node::False, Value::Bool(truth)) => !truth,
        (Node::Number(text), Value::Number(number)) => text.parse::<f64>().ok() == number.as_f64(),
        (Node::Text(text), Value::String(other)) => text == other,
        (Node::List(items), Value::Array(others)) => {
            items.len() == others.len() && items.iter().zip(others).all(|(one, other)| same(one, other))
        }
        (Node::Object(_), Value::Object(fields)) => fields.iter().all(|(name, other)| same(node.get(name), other)),
        _ => false,
    }
}

#[test]
fn it_reads_what_is_json_and_nothing_else() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "]",
        "{}",
        "[]",
        " [ ] ",
        "{ \"a\" : 1 }",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "[1 2]",
        "01",
        "-",
        "-0",
        "-0.0",
        "1.",
        ".5",
        "1.5e",
        "1e+5",
        "1E-2",
        "+1",
        "NaN",
        "tru",
        "true",
        "nul",
        "null",
        "falsey",
        "\"\"",
        "\"a",
        "\"\\\"",
        "\"\\n\\t\\r\\b\\f\\/\\\\\\\"\"",
        "\"\\x\"",
        "\"\\u00e9\"",
        "\"\\u00E\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ud83dx\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"\u{7f}\u{80}é日😀\"",
        "[[[[]]]]",
        "{\"a\":{\"b\":[1,2.50,-3e2,{\"c\":null}]}}",
        "{\"a\":1,\"a\":2}",
        "[1]x",
        "[1],",
        "123456789012345678901234567890",
        "1e999",
        "\"12345678\\\"\"",
        "\"1234567\\\\\"",
        "\"123456789012345\u{1}\"",
        "\u{feff}1",
    ] {
        agree(text);
    }
}

#[test]
fn it_agrees_with_serde_json_on_broken_bytes() {
    let seed =
        r#"{"resource":[{"a":"b\u00e9\\","c":-1.50e3,"d":[true,false,null,{}]},"text with é and \"quotes\"",12],"z":{"y":[[],[1]]}}"#;
    let mut dice = 7_usize;
    let mut roll = |limit: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % limit
    };
    for _ in 0..20_000 {
        let mut text: Vec<char> = seed.chars().collect();
        for _ in 0..=roll(3) {
            let (at, sign) =
                (roll(text.len()), ['"', '\\', '{', '}', '[', ']', ',', ':', '0', '-', '.', 'e', 'u', ' ', '\n', 'd'][roll(16)]);
            match roll(3) {
                0 => text[at] = sign,
                1 => text.insert(at, sign),
                _ => drop(text.remove(at)),
            }
        }
        agree(&text.into_iter().collect::<String>());
    }
}

#[test]
fn half_a_surrogate_pair_costs_its_sign_and_numbers_stay_as_they_were_written() {
    let read = |text: &'static str| Reading::new(text).whole().ok();
    assert!(matches!(read(r#""a\ud83d b""#), Some(Node::Text(text)) if text == "a\u{fffd} b"));
    assert!(matches!(read("[10.50]"), Some(Node::List(items)) if matches!(items.first(), Some(Node::Number("10.50")))));
}

#[test]
fn elements_are_told_by_brackets_and_quotes() {
    assert_eq!(elements(r#"[{"a":tru}, "x,\"]", [1,2 ]"#), None);
    assert_eq!(elements(r#"[{"a":tru}, "x,\"]", [1,2] ]"#), Some(vec![r#"{"a":tru}"#, r#""x,\"]""#, "[1,2]"]));
    assert_eq!(elements(r#"{"a": 1, "b": [}"#), None);
}
