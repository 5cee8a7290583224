//! Whether bytes are a message, judged strictly: what is found inside of a wrapping must not be a message by accident.

use maps::split;
use schemas::Format;
use serde::de::IgnoredAny;

/// The bytes begin with the header of an HL7 v2 message or batch.
pub(crate) fn is_hl7(bytes: &[u8]) -> bool {
    split::sniff(bytes) == Format::Hl7v2
}

/// The bytes are JSON that names a resource: a resource, a Bundle, lines or an array of them.
pub(crate) fn is_fhir(bytes: &[u8]) -> bool {
    split::sniff(bytes) == Format::Fhir
        && memchr::memmem::find(bytes, b"\"resourceType\"").is_some()
        && serde_json::Deserializer::from_slice(start(bytes)).into_iter::<IgnoredAny>().next().is_some_and(|value| value.is_ok())
}

/// Either of these.
pub(crate) fn is_message(bytes: &[u8]) -> bool {
    is_hl7(bytes) || is_fhir(bytes)
}

/// Behind a byte order mark and blanks.
pub(crate) fn start(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start()
}
