//! Careful looks into JSON values: whatever is missing or of another shape reads as absent, and nothing panics.

use super::kinds;
use super::node::Node;

/// A text that may name something: trimmed, not empty, free of control characters (which separate the parts of an id).
pub(super) fn word<'a>(value: &'a Node<'_>) -> Option<&'a str> {
    let text = trimmed(value.as_str()?);
    (!text.is_empty() && !has_control(text)).then_some(text)
}

/// Without blanks around it, which few texts have.
pub(super) fn trimmed(text: &str) -> &str {
    let may_be_blank = |byte: Option<&u8>| byte.is_some_and(|byte| *byte <= b' ' || !byte.is_ascii());
    let bytes = text.as_bytes();
    if may_be_blank(bytes.first()) || may_be_blank(bytes.last()) { text.trim() } else { text }
}

/// Most texts are printable ASCII, which is seen eight bytes at a time, and need no look at their characters.
fn has_control(text: &str) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let odd = words.iter().fold(0, |odd, word| {
        let word = u64::from_le_bytes(*word);
        odd | word | word.wrapping_sub(ONES * 0x20) | (word ^ (ONES * 0x7f)).wrapping_sub(ONES)
    });
    let is_printable = odd & HIGHS == 0 && rest.iter().all(|byte| matches!(byte, b' '..=b'~'));
    !is_printable && text.contains(char::is_control)
}

/// The type of a resource, if there is such a type: so it can stand in a position or a trigger without telling anything of a person.
pub(super) fn kind<'a>(resource: &'a Node<'_>) -> Option<&'a str> {
    resource["resourceType"].as_str().filter(|kind| kinds::is_known(kind))
}

/// The elements of a list; one value where the sender left the list's brackets out.
pub(super) fn each<'a>(value: &'a Node<'a>) -> impl Iterator<Item = &'a Node<'a>> {
    let items = match value {
        Node::List(items) => items.as_slice(),
        Node::Null => &[],
        single => std::slice::from_ref(single),
    };
    items.iter()
}

/// Walks `period.start` and the like; `Null` where a step is missing.
pub(super) fn at<'a>(value: &'a Node<'a>, path: &str) -> &'a Node<'a> {
    match path.bytes().position(|byte| byte == b'.') {
        Some(dot) => at(value.get(path.get(..dot).unwrap_or_default()), path.get(dot + 1..).unwrap_or_default()),
        None => value.get(path),
    }
}

/// The first of several paths that holds anything.
pub(super) fn first_of<'a>(value: &'a Node<'a>, paths: &[&'static str]) -> Option<(&'static str, &'a Node<'a>)> {
    paths.iter().map(|path| (*path, at(value, path))).find(|(_, found)| !found.is_null())
}

/// A number, also where it was sent as text.
pub(super) fn number(value: &Node<'_>) -> Option<f64> {
    let number = match value {
        Node::Number(number) => number.parse::<f64>().ok(),
        Node::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}
