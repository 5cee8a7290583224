//! gzip and Zstandard around a value.

use std::borrow::Cow;
use std::io::Read;

use maps::split;

use crate::layers::{Layer, Wrapping};

/// Unfolds a compressed value. One that is damaged or unfolds to too much is left as it is, and the maps say so.
pub(crate) fn take_off(bytes: &[u8]) -> Option<Layer<'static>> {
    let plain = match bytes {
        [0x1f, 0x8b, ..] => split::unzip(bytes.to_vec()).ok()?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => unfold(bytes)?,
        _ => return None,
    };
    Some(Layer::new(Wrapping::Compression, Cow::Owned(plain)))
}

/// The first bytes of a compressed value, enough for a Confluent frame; `None` where it is not compressed.
pub(crate) fn head(bytes: &[u8]) -> Option<[u8; 5]> {
    let mut head = [0xff; 5];
    let read = match bytes {
        [0x1f, 0x8b, ..] => flate2::bufread::MultiGzDecoder::new(bytes).read_exact(&mut head),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut reader| reader.read_exact(&mut head)),
        _ => return None,
    };
    Some(if read.is_ok() { head } else { [0xff; 5] })
}

fn unfold(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let reader = zstd::stream::read::Decoder::with_buffer(bytes).ok()?;
    reader.take(split::UNZIPPED_BYTES + 1).read_to_end(&mut plain).ok()?;
    (plain.len() as u64 <= split::UNZIPPED_BYTES).then_some(plain)
}
