//! Embedded bytes: base64 as senders write it, and what kinds of bytes hold no text that can be read.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding may be missing and the last bits may be dirty: both are sent, and neither is ambiguous.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// What bytes begin with that are no text, and what they are.
const KINDS: &[(&[u8], &str)] = &[
    (b"%PDF", "a PDF holds no text to read"),
    (b"\xff\xd8\xff", "an image holds no text to read"),
    (b"\x89PNG", "an image holds no text to read"),
    (b"GIF8", "an image holds no text to read"),
    (b"II*\0", "an image holds no text to read"),
    (b"MM\0*", "an image holds no text to read"),
    (b"PK\x03\x04", "a zipped document holds no text to read"),
    (b"\x1f\x8b", "a zipped document holds no text to read"),
    (b"\xd0\xcf\x11\xe0", "a word processor's file holds no text to read"),
];

/// Base64 in either alphabet, broken into lines or not, padded or not.
pub(crate) fn decode_base64(data: &str) -> Option<Vec<u8>> {
    // Many characters at a time, and as strict as nearly all senders are.
    if let Ok(bytes) = base64_simd::STANDARD.decode_to_vec(data) {
        return Some(bytes);
    }
    let mut cleaned: Vec<u8> = Vec::with_capacity(data.len());
    cleaned.extend(data.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }));
    while cleaned.last() == Some(&b'=') {
        cleaned.pop();
    }
    ENGINE.decode(&cleaned).ok()
}

/// Why `bytes` are no text that can be read; `None` where they may be one.
pub(crate) fn unreadable(bytes: &[u8]) -> Option<&'static str> {
    if let Some((_, reason)) = KINDS.iter().find(|(begin, _)| bytes.starts_with(begin)) {
        return Some(reason);
    }
    if bytes.get(128..132) == Some(b"DICM") {
        return Some("an image holds no text to read");
    }
    // Whole runs without a branch: the compiler looks at many bytes at a time.
    let is_odd = |run: &[u8]| run.iter().fold(false, |odd, byte| odd | matches!(byte, 0..=8 | 0x0e..=0x1a));
    bytes.chunks(256).any(is_odd).then_some("attachment is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sloppy_base64_is_still_read() {
        for data in ["YT4/Yg==", "YT4/Yg", "YT4/Yg=", "YT4_Yg==", "YT4/\r\nYg==\n", " Y T4/Yg== ", "YT4/Yh==", "YT4/Yg===="] {
            assert_eq!(decode_base64(data).as_deref(), Some(b"a>?b".as_slice()), "{data}");
        }
        for data in ["YT4/Y", "no base64!", "YQ==YQ=="] {
            assert!(decode_base64(data).is_none(), "{data}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_called_by_their_kind() {
        assert_eq!(unreadable(b"%PDF-1.4"), Some("a PDF holds no text to read"));
        assert_eq!(unreadable(b"\x89PNG\r\n"), Some("an image holds no text to read"));
        assert_eq!(unreadable(b"a\0b"), Some("attachment is not text"));
        assert_eq!(unreadable("Müller\r\n\tclear".as_bytes()), None);
    }
}
