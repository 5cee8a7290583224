//! JSON that only carries a message: CloudEvents in structured mode, a string, or an object one field of which is the message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem;
use schemas::{Reject, Stage};
use serde_json::value::RawValue;

use crate::hints::Hints;
use crate::layers::{Layer, Wrapping};
use crate::{sniff, unicode};

/// Which field is meant where several hold a message; the first that does.
pub(crate) const NAMES: [&str; 11] = ["payload", "value", "message", "body", "data", "content", "hl7", "fhir", "resource", "raw", "after"];
/// How deep in an object a message may stand.
const DEPTH: usize = 4;
/// Without one of these words there is no message in an object that is none itself: HL7 v2, plain or in base64, or FHIR.
const WORDS: [&[u8]; 5] = [b"MSH", b"TVNI", b"C01TSH", b"resourceType", b"eyJyZXNvdXJjZVR5cGUi"];

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// What was found in a field.
enum Found<'a> {
    /// A text, decoded from JSON; or its bytes, decoded from base64.
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    /// A resource, as it stands.
    Resource(&'a [u8]),
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Takes a message out of the JSON that carries it. `None` where the JSON is the message, or holds none.
///
/// # Errors
/// Several fields hold one, and no name tells which is meant; or a CloudEvent's data cannot be read.
pub(crate) fn take_off<'a>(bytes: &'a [u8], hints: Hints) -> Result<Option<Layer<'a>>, Reject> {
    let start = sniff::start(bytes);
    match start.first() {
        Some(b'"') => Ok(string(start).filter(|text| sniff::is_message(text)).map(|text| text_layer(Wrapping::JsonString, text))),
        Some(b'{') if !begins_a_resource(start) => object(start, hints),
        _ => Ok(None),
    }
}

/// The way nearly all resources begin, told without reading them.
fn begins_a_resource(start: &[u8]) -> bool {
    start.get(1..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\"resourceType\""))
}

fn object<'a>(start: &'a [u8], hints: Hints) -> Result<Option<Layer<'a>>, Reject> {
    let is_event = hints.structured_event || memmem::find(start, b"\"specversion\"").is_some();
    if !is_event && !WORDS.iter().any(|word| memmem::find(start, word).is_some()) {
        return Ok(None);
    }
    let Ok(fields) = serde_json::from_slice::<Fields<'_>>(start) else { return Ok(None) };
    if fields.contains_key("resourceType") {
        return Ok(None);
    }
    if is_event && fields.contains_key("specversion") && fields.contains_key("type") {
        return event(&fields).map(Some);
    }
    let layer = |found| match found {
        Found::Text(text) => text_layer(Wrapping::JsonField, text),
        Found::Bytes(bytes) => Layer::new(Wrapping::JsonField, Cow::Owned(bytes)),
        Found::Resource(bytes) => Layer::new(Wrapping::JsonField, Cow::Borrowed(bytes)),
    };
    Ok(search(fields, DEPTH)?.map(layer))
}

/// The data of a CloudEvent in structured mode.
fn event<'a>(fields: &Fields<'a>) -> Result<Layer<'a>, Reject> {
    if let Some(data) = fields.get("data_base64") {
        let bytes = string(data.get().as_bytes()).and_then(|text| unfold(&text));
        let bytes = bytes.ok_or_else(|| reject("data_base64", "the data of the CloudEvent is not base64"))?;
        return Ok(Layer::new(Wrapping::CloudEvent, Cow::Owned(bytes)));
    }
    let data = fields.get("data").ok_or_else(|| reject("data", "the CloudEvent holds no data"))?.get();
    Ok(match string(data.as_bytes()) {
        Some(text) => text_layer(Wrapping::CloudEvent, text),
        None => Layer::new(Wrapping::CloudEvent, Cow::Borrowed(data.as_bytes())),
    })
}

/// The one field that holds a message, at any depth up to `depth`.
fn search<'a>(fields: Fields<'a>, depth: usize) -> Result<Option<Found<'a>>, Reject> {
    let mut found: Vec<(String, Found<'a>)> = Vec::new();
    for (name, raw) in fields {
        let text = raw.get();
        let one = if text.starts_with('"') {
            carried(text.as_bytes())
        } else if text.starts_with('{') && depth > 1 {
            match serde_json::from_str::<Fields<'a>>(text) {
                Ok(inner) if inner.contains_key("resourceType") => Some(Found::Resource(text.as_bytes())),
                Ok(inner) => search(inner, depth - 1)?,
                Err(_) => None,
            }
        } else {
            None
        };
        found.extend(one.map(|one| (name, one)));
    }
    one_of(found, |(name, _)| name).map(|one| one.map(|(_, found)| found))
}

/// The only one; or, of several, the one that is named as a message would be.
pub(crate) fn one_of<T>(mut found: Vec<T>, name: impl Fn(&T) -> &str) -> Result<Option<T>, Reject> {
    if found.len() <= 1 {
        return Ok(found.pop());
    }
    let named = NAMES.iter().find_map(|wanted| found.iter().position(|one| name(one).eq_ignore_ascii_case(wanted)));
    match named {
        Some(at) => Ok(Some(found.swap_remove(at))),
        None => Err(reject("value", "several fields hold a message, and none of their names tells which is meant")),
    }
}

/// The message that a JSON string is, plain or in base64.
fn carried<'a>(raw: &[u8]) -> Option<Found<'a>> {
    let text = string(raw)?;
    if sniff::is_message(&text) {
        return Some(Found::Text(text));
    }
    // Every message is longer than its header, and no other text decodes to one.
    let bytes = unfold(&text)?;
    sniff::is_message(&bytes).then_some(Found::Bytes(bytes))
}

fn unfold(text: &[u8]) -> Option<Vec<u8>> {
    let dense: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    LENIENT.decode(dense).ok()
}

/// A JSON string, decoded.
fn string(raw: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<String>(raw).ok().map(String::into_bytes)
}

fn text_layer(wrapping: Wrapping, text: Vec<u8>) -> Layer<'static> {
    let rewritten = match unicode::truthful(&text) {
        Cow::Owned(other) => Some(other),
        Cow::Borrowed(_) => None,
    };
    Layer { recoded: rewritten.is_some(), ..Layer::new(wrapping, Cow::Owned(rewritten.unwrap_or(text))) }
}

fn reject(position: &str, reason: &'static str) -> Reject {
    Reject { stage: Stage::Wire, position: position.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "MSH|^~\\&|A|||||2020||ADT^A01|1|P|2.5\rPID|1||4711\r";

    /// What is taken out, as text; `-` where nothing is, `!` where it is refused.
    fn taken(json: &str) -> String {
        let hints = Hints::default();
        match take_off(json.as_bytes(), hints) {
            Ok(Some(layer)) => String::from_utf8_lossy(&layer.payload).into_owned(),
            Ok(None) => "-".to_owned(),
            Err(reject) => format!("!{}", reject.reason),
        }
    }

    fn quoted(text: &str) -> String {
        serde_json::to_string(text).expect("a string")
    }

    #[test]
    fn a_message_is_taken_out_of_the_string_or_field_that_carries_it() {
        assert_eq!(taken(&quoted(MESSAGE)), MESSAGE);
        assert_eq!(taken(&format!(r#" {{"id": 7, "anything": {}, "n": null}}"#, quoted(MESSAGE))), MESSAGE);
        assert_eq!(taken(&format!(r#"{{"a": {{"b": {{"c": {}}}}}}}"#, quoted(MESSAGE))), MESSAGE);
        let framed = format!("\u{b}{MESSAGE}\u{1c}\r");
        assert_eq!(taken(&format!(r#"{{"message": {}}}"#, quoted(&framed))), framed);
        let folded = base64::engine::general_purpose::STANDARD.encode(MESSAGE);
        assert_eq!(taken(&format!(r#"{{"message": "{folded}"}}"#)), MESSAGE);
        let folded = base64::engine::general_purpose::STANDARD.encode(&framed);
        assert_eq!(taken(&format!(r#"{{"message": "{folded}"}}"#)), framed);
    }

    #[test]
    fn a_resource_is_taken_out_of_what_carries_it_and_left_where_it_is_the_value() {
        let resource = r#"{"resourceType": "Patient", "id": "1"}"#;
        assert_eq!(taken(resource), "-");
        assert_eq!(taken(r#"{"id": "1", "resourceType": "Patient", "note": "MSH|^~\\&|"}"#), "-");
        assert_eq!(taken(&format!(r#"{{"schema": {{"type": "struct"}}, "payload": {resource}}}"#)), resource);
        assert_eq!(taken(&format!(r#"{{"payload": {}}}"#, quoted(resource))), resource);
        assert_eq!(taken(r#"{"a": 1}"#), "-");
        assert_eq!(taken(r#"{"a": "MSH"#), "-", "what is no JSON is for the maps to refuse");
        assert_eq!(taken(r#"{"a": "resourceType MSH and so on"}"#), "-");
    }

    #[test]
    fn of_several_messages_the_name_decides_or_nobody() {
        let two = |one: &str, other: &str| format!(r#"{{"{one}": {}, "{other}": "MSH|^~\\&|other"}}"#, quoted(MESSAGE));
        assert_eq!(taken(&two("payload", "hl7")), MESSAGE);
        assert_eq!(taken(&two("Message", "reply")), MESSAGE);
        assert!(taken(&two("first", "second")).starts_with("!several fields"));
    }

    #[test]
    fn a_structured_cloudevent_gives_its_data() {
        let event = |data: &str| taken(&format!(r#"{{"specversion": "1.0", "id": "1", "type": "t", "source": "/s", {data}}}"#));
        assert_eq!(event(&format!(r#""data": {}"#, quoted(MESSAGE))), MESSAGE);
        assert_eq!(event(r#""data": {"resourceType":"Patient"}"#), r#"{"resourceType":"Patient"}"#);
        assert_eq!(event(&format!(r#""data_base64": "{}""#, base64::engine::general_purpose::STANDARD.encode(MESSAGE))), MESSAGE);
        assert!(event(r#""data_base64": "%""#).starts_with("!the data of the CloudEvent is not base64"));
        assert!(event(r#""subject": "x""#).starts_with("!the CloudEvent holds no data"));
    }

    /// A script that read the message as text already decoded it: MSH-18 must not decode it again.
    #[test]
    fn text_that_was_decoded_already_is_not_decoded_twice() {
        let latin = "MSH|^~\\&|||||2020||ADT^A01|1|P|2.5||||||8859/1\rPID|1||4711||Müller\r";
        assert_eq!(taken(&quoted(latin)), latin.replace("8859/1", "UNICODE UTF-8"));
    }
}
