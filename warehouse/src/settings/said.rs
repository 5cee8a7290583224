//! What is wrong in a TOML text, in one sentence: the line, the key and what it must be. The parser's own picture of the place takes four lines and names types
//! as programs do. A text that stands where none belongs is not told: it may be an address with its password.

/// What the parser calls a type, and what whoever writes the file calls it.
const KINDS: [(&str, &str); 9] = [
    ("a string", "a text"),
    ("path string", "a text"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
    ("a map", "a table"),
    ("u8", "a whole number from 0 to 255"),
    ("u16", "a whole number from 0 to 65535"),
    ("f32", "a number"),
    ("f64", "a number"),
];

/// The sentence about an error in `text`; without a line where the parser knows none.
#[must_use]
pub fn said(error: &toml::de::Error, text: &str) -> String {
    let Some(span) = error.span() else {
        return one_line(&blind(&error.to_string()));
    };
    let before = text.get(..span.start).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let begun = before.rsplit('\n').next().unwrap_or_default();
    let line = text.lines().nth(number - 1).unwrap_or_default();
    format!("line {number}: {}", worded(error.message(), key(begun, line)))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The key whose value stands behind `begun`, what there is of the line before it.
fn key<'a>(begun: &'a str, line: &'a str) -> Option<&'a str> {
    let nearest = begun.trim_end().strip_suffix('=').and_then(|keys| keys.trim_end().rsplit([' ', '\t', ',', '{']).next());
    let first = line.split_once('=').map(|(key, _)| key.trim());
    nearest.or(first).filter(|key| !key.is_empty())
}

/// The parser's words, with the key and in words for people where they are about a value.
fn worded(message: &str, key: Option<&str>) -> String {
    let message = &blind(message);
    let of_value = ["invalid type: ", "invalid value: "].iter().find_map(|words| message.strip_prefix(words));
    match of_value.and_then(|rest| rest.split_once(", expected ")).zip(key) {
        Some(((found, wanted), key)) => one_line(&format!("`{key}` must be {}, not {found}", kind(wanted))),
        None => one_line(message),
    }
}

/// The message without the words of a text that it quotes.
fn blind(message: &str) -> String {
    let Some((before, quoted)) = message.split_once("string \"") else { return message.to_owned() };
    let mut is_escaped = false;
    let end = quoted.find(|letter| {
        let ends = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends
    });
    let after = end.and_then(|end| quoted.get(end + 1..)).unwrap_or_default();
    format!("{before}a text{after}")
}

fn kind(wanted: &str) -> &str {
    match KINDS.iter().find(|(kind, _)| *kind == wanted).map(|(_, words)| *words) {
        Some(words) => words,
        None if ["u32", "u64", "usize"].contains(&wanted) => "a whole number from 0",
        None if ["i8", "i16", "i32", "i64", "isize"].contains(&wanted) => "a whole number",
        None if wanted.starts_with("struct ") => "a table",
        None => wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only what cannot be read is looked at")]
    struct File {
        title: String,
        days: u32,
        #[serde(default)]
        lists: BTreeMap<String, Vec<f64>>,
    }

    fn told(text: &str) -> String {
        said(&toml::from_str::<File>(text).err().expect("is wrong"), text)
    }

    /// Neither of a file, nor of what was put together from one and the environment, which knows no lines.
    #[test]
    fn a_text_in_the_wrong_place_is_not_told() {
        let text = "title = \"a\"\ndays = 1\nlists = \"postgresql://ward:hun\\\"ter2@host/db\"\n";
        assert_eq!(told(text), "line 3: `lists` must be a table, not a text");
        let table: toml::Table = toml::from_str(text).expect("is TOML");
        let error = toml::Value::Table(table).try_into::<File>().err().expect("is wrong");
        let told = said(&error, text);
        assert!(told.contains("not a text") || told.contains("invalid type: a text, expected a map"), "{told}");
        assert!(!told.contains("ward") && !told.contains("ter2"), "{told}");
    }

    #[test]
    fn a_wrong_text_is_told_in_one_sentence_with_its_line() {
        for (text, wanted) in [
            ("title = 5\ndays = 1\n", "line 1: `title` must be a text, not integer `5`"),
            ("title = \"ü\"\ndays = \"1\"\n", "line 2: `days` must be a whole number from 0, not a text"),
            ("title = \"a\"\ndays = -1\n", "line 2: `days` must be a whole number from 0, not integer `-1`"),
            ("title = \"a\"\ndays = 1\nlists = { a = 5 }\n", "line 3: `a` must be a list, not integer `5`"),
            ("title = \"a\"\ndays = 1\nday = 1\n", "line 3: unknown field `day`, expected one of `title`, `days`, `lists`"),
        ] {
            assert_eq!(told(text), wanted);
        }
        for text in ["days = 1\n", "title = \"a\ndays = 1\n", "title =\n", "title = \"a\"\ntitle = \"b\"\ndays = 1\n", "[", ""] {
            let told = told(text);
            assert!(!told.contains(['|', '^', '\n']), "{text}: {told}");
        }
    }
}
