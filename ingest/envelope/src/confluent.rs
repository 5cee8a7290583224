//! Confluent's frame: a zero, the number of a schema in four bytes, and a payload in that schema.

use std::borrow::Cow;
use std::sync::Arc;

use schemas::Reject;

use crate::avro::{self, Avro};
use crate::layers::{Layer, Schemas, Wrapping, reject};
use crate::{protobuf, sniff};

/// What is known of a schema.
#[derive(Clone)]
pub(crate) enum Known {
    /// An Avro schema.
    Avro(Arc<Avro>),
    /// A Protobuf schema; its fields tell themselves.
    Protobuf,
    /// A JSON schema.
    Json,
    /// A schema that cannot be used, and why.
    Refused(&'static str),
    /// The registry has none of this number.
    Absent,
    /// The registry did not answer.
    Away,
}

/// The schema without which this value cannot be read.
pub(crate) fn needs(value: &[u8]) -> Option<u32> {
    let (id, payload) = split(value)?;
    direct(payload).is_none().then_some(id)
}

/// Takes the frame off. `None` where these bytes are no frame.
pub(crate) fn take_off<'a>(bytes: &'a [u8], schemas: &Schemas) -> Result<Option<Layer<'a>>, Reject> {
    let Some((id, payload)) = split(bytes) else { return Ok(None) };
    if let Some(payload) = direct(payload) {
        return Ok(Some(text(payload)));
    }
    match schemas.known.get(&id) {
        Some(Known::Json) => Ok(Some(text(payload))),
        Some(Known::Avro(schema)) => schema.payload(payload).map(Some),
        Some(Known::Protobuf) => match protobuf::payload(payload)? {
            Some(found) => Ok(Some(Layer::new(Wrapping::ConfluentProtobuf, Cow::Borrowed(found)))),
            None => Err(reject("the Protobuf message holds no field that is a message of ours")),
        },
        Some(Known::Refused(reason)) => Err(reject(reason)),
        Some(Known::Absent) => Err(reject("the schema registry has no schema of the number in the Confluent frame")),
        Some(Known::Away) => Err(reject("the schema of the Confluent frame could not be fetched from the registry")),
        None if schemas.registry => Err(reject("the schema of the Confluent frame was not asked for")),
        None => match guess(payload)? {
            Some(found) => Ok(Some(Layer::new(Wrapping::ConfluentGuess, Cow::Borrowed(found)))),
            None => Err(reject("a Confluent frame in Avro or Protobuf, and no schema registry is configured")),
        },
    }
}

/// The number and the payload of a frame; `None` where the zero belongs to something else.
fn split(value: &[u8]) -> Option<(u32, &[u8])> {
    let (head, payload) = value.split_at_checked(5)?;
    let [0, number @ ..] = head else { return None };
    let wide = matches!(number, [b'M' | b'{' | b'[', 0, ..]);
    // NULs before a message, as some senders pad it, are no frame: what stands behind five bytes of those is not the message's start.
    let padded = !payload.is_empty() && sniff::is_hl7(value) && !sniff::is_hl7(payload);
    let number: [u8; 4] = number.try_into().ok()?;
    (!wide && !padded && !payload.is_empty()).then(|| (u32::from_be_bytes(number), payload))
}

/// The payload where it is JSON or a bare message, whatever its schema says.
fn direct(payload: &[u8]) -> Option<&[u8]> {
    let start = sniff::start(payload);
    let is_json = matches!(start.first(), Some(b'{' | b'[' | b'"')) && std::str::from_utf8(payload).is_ok();
    (is_json || sniff::is_hl7(payload)).then_some(payload)
}

fn text(payload: &[u8]) -> Layer<'_> {
    Layer::new(Wrapping::ConfluentText, Cow::Borrowed(payload))
}

/// Without a schema: the one text that the payload is in Avro, or holds in Protobuf.
fn guess(payload: &[u8]) -> Result<Option<&[u8]>, Reject> {
    match avro::only_text(payload).filter(|text| sniff::is_message(text)) {
        Some(text) => Ok(Some(text)),
        None => protobuf::payload(payload),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Hints;

    const MESSAGE: &[u8] = b"MSH|^~\\&|A|||||2020||ADT^A01|1|P|2.5\rPID|1||4711\r";

    fn framed(payload: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, 0, 42], payload].concat()
    }

    fn read(schemas: &Schemas, value: &[u8]) -> Result<Vec<u8>, String> {
        let read = schemas.unwrap(value, Hints::default());
        read.map(|all| all.payload.into_owned()).map_err(|reject| reject.reason.into_owned())
    }

    fn with(known: Known) -> Schemas {
        Schemas { registry: true, known: BTreeMap::from([(42, known)]) }
    }

    #[test]
    fn json_and_bare_text_need_no_registry() {
        let none = Schemas::default();
        let resource = b"{\"resourceType\":\"Patient\"}";
        assert_eq!(read(&none, &framed(resource)), Ok(resource.to_vec()));
        assert_eq!(read(&none, &framed(MESSAGE)), Ok(MESSAGE.to_vec()));
        assert_eq!((needs(&framed(resource)), needs(&framed(MESSAGE)), needs(MESSAGE)), (None, None, None));
        // The number of the schema may look like the beginning of a message.
        assert_eq!(read(&none, &[&[0, 0, 0, 0, b'{'], &resource[..]].concat()), Ok(resource.to_vec()));
    }

    #[test]
    fn one_text_is_found_without_a_schema() {
        let none = Schemas::default();
        let mut avro = vec![u8::try_from(MESSAGE.len() * 2).expect("short")];
        avro.extend_from_slice(MESSAGE);
        assert_eq!(read(&none, &framed(&avro)), Ok(MESSAGE.to_vec()));
        let nullable = [&[2], avro.as_slice()].concat();
        assert_eq!(read(&none, &framed(&nullable)), Ok(MESSAGE.to_vec()));
        let protobuf = [&[0, 0x08, 1, 0x12, u8::try_from(MESSAGE.len()).expect("short")], MESSAGE].concat();
        assert_eq!(read(&none, &framed(&protobuf)), Ok(MESSAGE.to_vec()));
        assert_eq!(needs(&framed(&protobuf)), Some(42));
    }

    /// Each of these can be mended without the sender: a replay then reads the record.
    #[test]
    fn what_the_registry_cannot_tell_is_a_reason() {
        let value = framed(b"\x02\xff\xfe");
        assert!(read(&with(Known::Absent), &value).is_err_and(|reason| reason.contains("no schema of the number")));
        assert!(read(&with(Known::Away), &value).is_err_and(|reason| reason.contains("could not be fetched")));
        assert!(read(&with(Known::Refused("it is recursive")), &value).is_err_and(|reason| reason.contains("recursive")));
        assert!(read(&with(Known::Protobuf), &value).is_err_and(|reason| reason.contains("no field")));
    }

    /// UTF-16 begins with a zero too, and so does what a sender padded.
    #[test]
    fn a_zero_alone_makes_no_frame() {
        let wide: Vec<u8> = "MSH|^~\\&|A".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for value in [wide.as_slice(), b"\0\0\0MSH|^~\\&|A", b"\0\0\0\0\0\0MSH|^~\\&|A", b"\0\0\0\0\x01"] {
            let read = Schemas::default().unwrap(value, Hints::default()).expect("nothing is refused");
            assert!(read.payload.ends_with(&value[value.len() - 1..]));
            assert_eq!(needs(value), None);
        }
    }
}
