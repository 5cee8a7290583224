//! Avro: a datum is decoded with the schema it was written with, and the message is looked for in what it says.
//!
//! The library decodes by recursion and believes counts, so that it is shown nothing that could make it go on without end: see
//! `bounds`.

mod bounds;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use apache_avro::Schema;
use apache_avro::schema::ResolvedSchema;
use apache_avro::types::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;
use schemas::Reject;

use self::bounds::Bounds;
use crate::json::one_of;
use crate::layers::{Layer, Wrapping, reject};
use crate::protobuf::varint;
use crate::{sniff, unicode};

/// No text of a record is longer than a record.
const ALLOCATION_BYTES: usize = 80 << 20;
/// How deep in a datum the message may stand.
const DEPTH: usize = 4;

const DAMAGED: &str = "the Avro datum does not fit its schema";

/// A schema behind those it refers to.
pub(crate) struct Avro {
    root: Schema,
    /// Each behind those that it refers to itself.
    others: Vec<Schema>,
}

impl Avro {
    /// Reads a schema and those it refers to.
    ///
    /// # Errors
    /// With a reason for the records that name it.
    pub(crate) fn parse(text: &str, references: &[String]) -> Result<Self, &'static str> {
        apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES);
        let parse = || Schema::parse_str_with_list(text, references);
        let parsed = catch_unwind(AssertUnwindSafe(parse)).ok().and_then(Result::ok);
        let (root, others) = parsed.ok_or("the Avro schema of the Confluent frame cannot be read")?;
        let schema = Self { root, others: in_order(others).ok_or("the Avro schema of the Confluent frame refers to one that is missing")? };
        Bounds::of(schema.all()).check(&schema.root)?;
        Ok(schema)
    }

    fn all(&self) -> impl Iterator<Item = &Schema> {
        self.others.iter().chain([&self.root])
    }

    /// The message in a datum.
    ///
    /// # Errors
    /// The datum cannot be decoded, or holds no message, or several.
    pub(crate) fn payload(&self, datum: &[u8]) -> Result<Layer<'static>, Reject> {
        if Bounds::of(self.all()).behind(&self.root, datum) != Some(&[]) {
            return Err(reject(DAMAGED));
        }
        let decode = || apache_avro::from_avro_datum_schemata(&self.root, self.all().collect(), &mut &*datum, None);
        let value = catch_unwind(AssertUnwindSafe(decode)).ok().and_then(Result::ok).ok_or_else(|| reject(DAMAGED))?;
        match flat(value) {
            Value::String(text) => Ok(text_layer(text)),
            Value::Bytes(bytes) | Value::Fixed(_, bytes) => Ok(Layer::new(Wrapping::ConfluentAvro, Cow::Owned(bytes))),
            value => search(value, DEPTH)?.ok_or_else(|| reject("the Avro datum holds no field that is a message of ours")),
        }
    }
}

/// The library knows a name only behind its definition.
fn in_order(mut waiting: Vec<Schema>) -> Option<Vec<Schema>> {
    let mut ordered: Vec<Schema> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let follows = |one: &Schema| ResolvedSchema::try_from(ordered.iter().chain([one]).collect::<Vec<_>>()).is_ok();
        let next = waiting.iter().position(follows)?;
        ordered.push(waiting.swap_remove(next));
    }
    Some(ordered)
}

/// The one text that these bytes are in Avro, nullable or not, if they are nothing else.
pub(crate) fn only_text(datum: &[u8]) -> Option<&[u8]> {
    let text = |bytes| {
        let (length, rest) = varint(bytes)?;
        (length.is_multiple_of(2) && usize::try_from(length / 2).ok()? == rest.len()).then_some(rest)
    };
    text(datum).or_else(|| datum.strip_prefix(&[2]).and_then(text)).or_else(|| datum.strip_prefix(&[0]).and_then(text))
}

/// What a union holds.
fn flat(value: Value) -> Value {
    match value {
        Value::Union(_, inner) => flat(*inner),
        other => other,
    }
}

/// The one field that holds a message, or the record that is a resource itself.
fn search(value: Value, depth: usize) -> Result<Option<Layer<'static>>, Reject> {
    let fields: Vec<(String, Value)> = match flat(value) {
        Value::String(text) if sniff::is_message(text.as_bytes()) => return Ok(Some(text_layer(text))),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) if sniff::is_message(&bytes) => {
            return Ok(Some(Layer::new(Wrapping::ConfluentAvro, Cow::Owned(bytes))));
        }
        Value::Record(fields) => fields,
        Value::Map(fields) => fields.into_iter().collect(),
        _ => return Ok(None),
    };
    if depth == 0 {
        return Ok(None);
    }
    if fields.iter().any(|(name, value)| name == "resourceType" && is_text(value)) {
        let resource = json(Value::Record(fields))?.unwrap_or_default();
        return Ok(Some(Layer::new(Wrapping::ConfluentAvro, Cow::Owned(resource.to_string().into_bytes()))));
    }
    let mut found = Vec::new();
    for (name, value) in fields {
        found.extend(search(value, depth - 1)?.map(|layer| (name, layer)));
    }
    one_of(found, |(name, _)| name).map(|one| one.map(|(_, layer)| layer))
}

fn is_text(value: &Value) -> bool {
    match value {
        Value::Union(_, inner) => is_text(inner),
        Value::String(_) | Value::Enum(..) => true,
        _ => false,
    }
}

fn text_layer(text: String) -> Layer<'static> {
    let text = text.into_bytes();
    let rewritten = match unicode::truthful(&text) {
        Cow::Owned(other) => Some(other),
        Cow::Borrowed(_) => None,
    };
    Layer { recoded: rewritten.is_some(), ..Layer::new(Wrapping::ConfluentAvro, Cow::Owned(rewritten.unwrap_or(text))) }
}

/// A resource in JSON: what is null or empty in Avro is absent there.
fn json(value: Value) -> Result<Option<serde_json::Value>, Reject> {
    let exact = |text: String| serde_json::from_str(&text).ok();
    Ok(match value {
        Value::Union(_, inner) => json(*inner)?,
        Value::Boolean(value) => Some(value.into()),
        Value::Int(value) => Some(value.into()),
        Value::Long(value) => Some(value.into()),
        Value::Float(value) => exact(value.to_string()),
        Value::Double(value) => exact(value.to_string()),
        Value::String(text) | Value::Enum(_, text) => Some(text.into()),
        Value::Uuid(id) => Some(id.to_string().into()),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => Some(STANDARD.encode(bytes).into()),
        Value::Date(days) => Date::new(1970, 1, 1)
            .ok()
            .and_then(|day| day.checked_add(jiff::Span::new().try_days(days).ok()?).ok())
            .map(|day| day.to_string().into()),
        Value::TimestampMillis(at) => Timestamp::from_millisecond(at).ok().map(|at| at.to_string().into()),
        Value::TimestampMicros(at) => Timestamp::from_microsecond(at).ok().map(|at| at.to_string().into()),
        Value::Array(items) => {
            let items: Vec<_> = items.into_iter().filter_map(|item| json(item).transpose()).collect::<Result<_, _>>()?;
            (!items.is_empty()).then(|| items.into())
        }
        Value::Record(fields) => object(fields)?,
        Value::Map(fields) => object(fields)?,
        Value::Null => None,
        _ => return Err(reject("the Avro record is a resource with a type that JSON has no place for")),
    })
}

fn object(fields: impl IntoIterator<Item = (String, Value)>) -> Result<Option<serde_json::Value>, Reject> {
    let mut object = serde_json::Map::new();
    for (name, value) in fields {
        object.extend(json(value)?.map(|value| (name, value)));
    }
    Ok((!object.is_empty()).then(|| object.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "MSH|^~\\&|A|||||2020||ADT^A01|1|P|2.5\rPID|1||4711\r";

    fn written(schema: &str, value: Value) -> Vec<u8> {
        apache_avro::to_avro_datum(&Schema::parse_str(schema).expect("a schema"), value).expect("a datum")
    }

    fn read(schema: &str, datum: &[u8]) -> Result<String, String> {
        let schema = Avro::parse(schema, &[])?;
        let payload = schema.payload(datum).map_err(|reject| reject.reason.into_owned())?.payload;
        Ok(String::from_utf8_lossy(&payload).into_owned())
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    const ENVELOPE: &str = r#"{"type": "record", "name": "E", "fields": [
        {"name": "id", "type": "string"}, {"name": "at", "type": "long"},
        {"name": "data", "type": ["null", {"type": "record", "name": "D", "fields": [{"name": "hl7", "type": "bytes"}]}]}]}"#;

    #[test]
    fn a_message_is_found_wherever_the_record_holds_it() {
        assert_eq!(read(r#""string""#, &written(r#""string""#, text(MESSAGE))), Ok(MESSAGE.to_owned()));
        assert_eq!(read(r#""bytes""#, &written(r#""bytes""#, Value::Bytes(MESSAGE.into()))), Ok(MESSAGE.to_owned()));
        let nullable = r#"["null", "string"]"#;
        assert_eq!(read(nullable, &written(nullable, Value::Union(1, Box::new(text(MESSAGE))))), Ok(MESSAGE.to_owned()));
        let data = Value::Record(vec![("hl7".to_owned(), Value::Bytes(MESSAGE.into()))]);
        let record = Value::Record(vec![
            ("id".to_owned(), text("7")),
            ("at".to_owned(), Value::Long(1)),
            ("data".to_owned(), Value::Union(1, Box::new(data))),
        ]);
        let datum = written(ENVELOPE, record);
        assert_eq!(read(ENVELOPE, &datum), Ok(MESSAGE.to_owned()));
        // The library alone takes a text that is cut for one that is absent.
        for end in 0..datum.len() {
            assert!(read(ENVELOPE, &datum[..end]).is_err(), "cut at {end}");
        }
        assert!(read(ENVELOPE, &[datum.as_slice(), b"x"].concat()).is_err_and(|reason| reason == DAMAGED));
    }

    #[test]
    fn a_record_that_is_a_resource_becomes_json() {
        let schema = r#"{"type": "record", "name": "Patient", "fields": [
            {"name": "resourceType", "type": "string"}, {"name": "active", "type": ["null", "boolean"]},
            {"name": "birthDate", "type": {"type": "int", "logicalType": "date"}},
            {"name": "name", "type": {"type": "array", "items": {"type": "record", "name": "N", "fields": [
                {"name": "family", "type": ["null", "string"]}, {"name": "given", "type": {"type": "array", "items": "string"}}]}}}]}"#;
        let name =
            Value::Record(vec![("family".to_owned(), Value::Union(1, Box::new(text("Doe")))), ("given".to_owned(), Value::Array(vec![]))]);
        let patient = Value::Record(vec![
            ("resourceType".to_owned(), text("Patient")),
            ("active".to_owned(), Value::Union(0, Box::new(Value::Null))),
            ("birthDate".to_owned(), Value::Date(-1)),
            ("name".to_owned(), Value::Array(vec![name])),
        ]);
        let found: serde_json::Value = serde_json::from_str(&read(schema, &written(schema, patient)).expect("a resource")).expect("JSON");
        let wanted = serde_json::json!({"resourceType": "Patient", "birthDate": "1969-12-31", "name": [{"family": "Doe"}]});
        assert_eq!(found, wanted);
    }

    /// The library would go on until the stack or the memory ends.
    #[test]
    fn a_schema_that_bytes_could_make_endless_is_refused() {
        let list = r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}"#;
        assert!(read(list, &[2; 100]).is_err_and(|reason| reason.contains("contains itself")));
        let nothing = r#"{"type": "array", "items": "null"}"#;
        assert!(read(nothing, &[2, 0]).is_err_and(|reason| reason.contains("array of nothing")));
        assert!(read("{", b"").is_err_and(|reason| reason.contains("cannot be read")));
    }

    /// The library is not ours, and no bytes may stop a partition.
    #[test]
    fn any_bytes_are_a_message_or_a_reason() {
        let schema = r#"{"type": "record", "name": "E", "fields": [
            {"name": "tags", "type": {"type": "map", "values": ["null", "string", {"type": "array", "items": "double"}]}},
            {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["A", "B"]}},
            {"name": "sum", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
            {"name": "big", "type": {"type": "bytes", "logicalType": "big-decimal"}},
            {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
            {"name": "hash", "type": {"type": "fixed", "name": "H", "size": 3}},
            {"name": "body", "type": ["null", "string"]}]}"#;
        let schema = Avro::parse(schema, &[]).expect("a schema");
        let mut seed = vec![2, 2, b'k', 2, 2, b'v', 0, 2, 4, 1, 2, 6, 2, 3, 0, 32];
        seed.extend_from_slice(&[7; 16]);
        seed.extend_from_slice(&[1, 2, 3, 2, u8::try_from(MESSAGE.len() * 2).expect("short")]);
        seed.extend_from_slice(MESSAGE.as_bytes());
        assert!(schema.payload(&seed).is_ok_and(|layer| layer.payload == MESSAGE.as_bytes()));
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 16).unwrap_or(0) % limit.max(1)
        };
        let mut read = 0;
        for _ in 0..20_000 {
            let mut datum = seed.clone();
            for _ in 0..=below(3) {
                let at = below(40.min(datum.len()));
                match below(8) {
                    0 => datum.truncate(at),
                    1 => datum.insert(at, u8::try_from(below(256)).unwrap_or(0)),
                    _ if at < datum.len() => datum[at] = u8::try_from(below(256)).unwrap_or(0),
                    _ => {}
                }
            }
            read += usize::from(schema.payload(&datum).is_ok());
        }
        assert!(read > 100, "{read} were read");
    }

    #[test]
    fn a_schema_may_refer_to_others() {
        let inner = r#"{"type": "record", "name": "D", "namespace": "x", "fields": [{"name": "hl7", "type": "string"}]}"#.to_owned();
        let outer = r#"{"type": "record", "name": "E", "namespace": "x", "fields": [{"name": "data", "type": "x.D"}]}"#;
        let schema = Avro::parse(outer, std::slice::from_ref(&inner)).expect("a schema");
        let datum = written(r#""string""#, text(MESSAGE));
        let payload = schema.payload(&datum).expect("a message").payload;
        assert!(payload == MESSAGE.as_bytes());
        assert!(Avro::parse(outer, &[]).is_err());
        let middle = r#"{"type": "record", "name": "M", "namespace": "x", "fields": [{"name": "d", "type": "x.D"}]}"#;
        for references in [[inner.as_str(), middle], [middle, inner.as_str()]] {
            let schema = Avro::parse(&outer.replace("x.D", "x.M"), &references.map(str::to_owned)).expect("a schema");
            assert!(schema.payload(&datum).is_ok_and(|layer| layer.payload == MESSAGE.as_bytes()));
        }
    }

    #[test]
    fn a_text_alone_is_known_by_its_length() {
        assert_eq!(only_text(&[6, b'a', b'b', b'c']), Some(&b"abc"[..]));
        assert_eq!(only_text(&[2, 6, b'a', b'b', b'c']), Some(&b"abc"[..]));
        assert_eq!(only_text(&[8, b'a', b'b', b'c']), None);
        assert_eq!(only_text(&[]), None);
    }
}
