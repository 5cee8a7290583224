//! One wrapping after the other, from the outside in, until a message stands there or nothing that can be taken off.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemas::{Flag, Reject, Stage};

use crate::confluent::{self, Known};
use crate::{Hints, compression, json};

/// How many wrappings may stand in one another.
const LAYERS: usize = 5;

/// What was taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// gzip or Zstandard.
    Compression,
    /// Confluent's frame before JSON or a bare text.
    ConfluentText,
    /// Confluent's frame and Avro.
    ConfluentAvro,
    /// Confluent's frame and Protobuf.
    ConfluentProtobuf,
    /// Confluent's frame before the one text that its payload holds; no schema says so.
    ConfluentGuess,
    /// A CloudEvent in structured mode.
    CloudEvent,
    /// A JSON string.
    JsonString,
    /// A field of a JSON object.
    JsonField,
}

impl Wrapping {
    /// What is said of it in `flags`, where taking it off was a decision.
    fn decision(self) -> Option<&'static str> {
        match self {
            Self::ConfluentGuess => Some("no schema is at hand; the one text in the Confluent frame is read as the message"),
            Self::JsonString => Some("the value is a JSON string; what it says is read as the message"),
            Self::JsonField => Some("the value is JSON around a message; the field that holds it is read"),
            Self::Compression | Self::ConfluentText | Self::ConfluentAvro | Self::ConfluentProtobuf | Self::CloudEvent => None,
        }
    }
}

/// One wrapping taken off.
pub(crate) struct Layer<'a> {
    pub(crate) wrapping: Wrapping,
    pub(crate) payload: Cow<'a, [u8]>,
    /// MSH-18 was made to say what the text is in now.
    pub(crate) recoded: bool,
}

impl<'a> Layer<'a> {
    pub(crate) fn new(wrapping: Wrapping, payload: Cow<'a, [u8]>) -> Self {
        Self { wrapping, payload, recoded: false }
    }

    fn into_owned(self) -> Layer<'static> {
        Layer { wrapping: self.wrapping, payload: Cow::Owned(self.payload.into_owned()), recoded: self.recoded }
    }
}

/// What a value held. Its payload may name persons: no `Debug`.
pub struct Unwrapped<'a> {
    /// The message; the value itself where nothing had to be taken off.
    pub payload: Cow<'a, [u8]>,
    /// What was taken off, from the outside in.
    pub taken: Vec<Wrapping>,
    /// What was decided on the way.
    pub flags: Vec<Flag>,
}

/// The schemas that a batch needs, as far as they could be had. Cheap to clone.
#[derive(Clone, Default)]
pub struct Schemas {
    /// Whether there is a registry to ask.
    pub(crate) registry: bool,
    pub(crate) known: BTreeMap<u32, Known>,
}

impl Schemas {
    /// Takes off everything that `value` is wrapped in. Pure and total.
    ///
    /// # Errors
    /// A wrapping is there and cannot be taken off: position and reason, never content.
    pub fn unwrap<'a>(&self, value: &'a [u8], hints: Hints) -> Result<Unwrapped<'a>, Reject> {
        if hints.cut {
            return Err(reject("its MLLP frame was cut; what follows may be missing"));
        }
        let mut all = Unwrapped { payload: Cow::Borrowed(value), taken: Vec::new(), flags: Vec::new() };
        while all.taken.len() < LAYERS {
            let layer = match &all.payload {
                Cow::Borrowed(bytes) => self.layer(bytes, hints)?,
                Cow::Owned(bytes) => self.layer(bytes, hints)?.map(Layer::into_owned),
            };
            let Some(Layer { wrapping, payload, recoded }) = layer else { break };
            all.taken.push(wrapping);
            all.flags.extend(wrapping.decision().map(flag));
            all.flags.extend(
                recoded.then(|| flag("the message was decoded before it was wrapped; it is read as Unicode, whatever MSH-18 says")),
            );
            all.payload = payload;
        }
        Ok(all)
    }

    fn layer<'a>(&self, bytes: &'a [u8], hints: Hints) -> Result<Option<Layer<'a>>, Reject> {
        if let Some(layer) = compression::take_off(bytes) {
            return Ok(Some(layer));
        }
        match bytes {
            [b'O', b'b', b'j', 1, ..] => Err(reject("an Avro file; a record holds one datum in a Confluent frame")),
            [0xc3, 0x01, ..] => Err(reject("Avro in single-object encoding; a record holds one datum in a Confluent frame")),
            [0, ..] => confluent::take_off(bytes, self),
            _ => json::take_off(bytes, hints),
        }
    }
}

fn flag(decision: &'static str) -> Flag {
    Flag { position: "value".to_owned(), decision: decision.into() }
}

/// The value as a whole cannot be unwrapped.
pub(crate) fn reject(reason: &'static str) -> Reject {
    Reject { stage: Stage::Wire, position: "value".to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const MESSAGE: &[u8] = b"MSH|^~\\&|A|||||2020||ADT^A01|1|P|2.5\rPID|1||4711\r";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(bytes).expect("memory takes it");
        zipped.finish().expect("memory takes it")
    }

    fn taken(value: &[u8]) -> (Vec<u8>, Vec<Wrapping>) {
        let unwrapped = Schemas::default().unwrap(value, Hints::default()).expect("nothing is refused");
        (unwrapped.payload.into_owned(), unwrapped.taken)
    }

    /// What is wrapped in nothing is not even copied.
    #[test]
    fn a_bare_message_is_left_as_it_is() {
        for value in
            [MESSAGE, b"\x0bMSH|^~\\&|\x1c\r", b"{\"resourceType\":\"Patient\"}", b"", b"\0\0MSH|^~\\&|", b"hello", b"\0", b"{", b"\""]
        {
            let unwrapped = Schemas::default().unwrap(value, Hints::default()).expect("nothing is refused");
            assert!(matches!(unwrapped.payload, Cow::Borrowed(same) if same == value));
            assert!(unwrapped.taken.is_empty() && unwrapped.flags.is_empty());
        }
    }

    #[test]
    fn wrappings_come_off_in_any_order() {
        let carried = [b"{\"m\":".as_slice(), &serde_json::to_vec(&String::from_utf8_lossy(MESSAGE)).expect("a string"), b"}"].concat();
        let framed = [&[0, 0, 0, 0, 7], carried.as_slice()].concat();
        let (payload, wrappings) = taken(&gzip(&framed));
        assert!(payload == MESSAGE);
        assert_eq!(wrappings, [Wrapping::Compression, Wrapping::ConfluentText, Wrapping::JsonField]);
        let (payload, wrappings) = taken(&zstd::encode_all(gzip(MESSAGE).as_slice(), 1).expect("memory takes it"));
        assert!(payload == MESSAGE);
        assert_eq!(wrappings, [Wrapping::Compression; 2]);
    }

    #[test]
    fn what_was_decided_is_flagged_and_what_cannot_be_read_is_refused() {
        let schemas = Schemas::default();
        let carried = b"{\"m\":\"MSH|^~\\\\&|A\"}";
        let unwrapped = schemas.unwrap(carried, Hints::default()).expect("a message");
        assert_eq!(unwrapped.flags.len(), 1);
        let refused = |value: &[u8], hints| schemas.unwrap(value, hints).err().map(|reject| reject.reason.into_owned()).unwrap_or_default();
        assert!(refused(MESSAGE, Hints { cut: true, ..Hints::default() }).contains("cut"));
        assert!(refused(b"Obj\x01\x02", Hints::default()).contains("Avro file"));
        assert!(refused(b"\xc3\x01\0\0\0\0\0\0\0\0", Hints::default()).contains("single-object"));
        assert!(refused(b"\0\0\0\0\x01\xff\xff", Hints::default()).contains("no schema registry"));
    }

    /// No bytes stop a partition: whatever they are, there is an answer, and the same one twice.
    #[test]
    fn any_bytes_get_an_answer_and_the_same_one_twice() {
        let seeds: [&[u8]; 5] = [
            b"\0\0\0\0\x07\0\x0a\x1aMSH|^~\\&|A|||||2020||ADT^A01",
            b"\0\0\0\0\x07\x34MSH|^~\\&|A|||||2020||ADT^A01",
            b"{\"specversion\":\"1.0\",\"type\":\"t\",\"data\":\"MSH|^~\\\\&|A\"}",
            b"{\"a\":{\"b\":\"MSH|^~\\\\&|A\"},\"payload\":\"TVNIfF5+XCZ8\"}",
            b"\x28\xb5\x2f\xfd\x04\x58\x01\x00\x00",
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 16).unwrap_or(0) % limit.max(1)
        };
        let schemas = Schemas::default();
        for _ in 0..20_000 {
            let mut bytes = seeds[below(seeds.len())].to_vec();
            for _ in 0..=below(6) {
                let at = below(bytes.len());
                match below(3) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, u8::try_from(below(256)).unwrap_or(0)),
                    _ if at < bytes.len() => bytes[at] = u8::try_from(below(256)).unwrap_or(0),
                    _ => {}
                }
            }
            let read = || schemas.unwrap(&bytes, Hints::default()).map(|all| (all.payload.into_owned(), all.flags));
            assert!(read() == read());
        }
    }
}
