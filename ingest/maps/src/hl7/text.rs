//! OBX-5 as prose: lines of one text, embedded documents, and markup taken off.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::{Encoding, WINDOWS_1252};
use schemas::Stage;

use super::chart::Chart;
use super::markup;
use super::reader::{Field, Segment};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// What the observations of one document or report say together.
pub(crate) struct Body {
    /// Plain text, without blank lines at either end.
    pub(crate) text: String,
    /// A line was corrected or taken back.
    pub(crate) corrected: bool,
}

/// Joins the observations that are text, in order; a blank one is a blank line. Numbers and codes are left out.
pub(crate) fn body<'a>(chart: &mut Chart<'_>, observations: impl Iterator<Item = Segment<'a>>) -> Body {
    let mut lines: Vec<String> = Vec::new();
    let mut corrected = false;
    for obx in observations {
        let status = obx.field(11).component(1).text();
        corrected |= matches!(status.as_deref(), Some("C" | "W" | "D"));
        if matches!(status.as_deref(), Some("W" | "D" | "X")) {
            continue;
        }
        match obx.field(2).text().as_deref() {
            // A value of no stated type that has a unit or a range is a result.
            None if !obx.field(6).is_empty() || !obx.field(7).is_empty() => {}
            None | Some("TX" | "FT" | "ST" | "CF") => lines.extend(obx.field(5).repetitions().map(|line| line.prose())),
            Some("ED") => lines.extend(embedded(chart, &obx)),
            Some("RP") => chart.reject(Stage::Map, obx.position(5), "the text is kept elsewhere"),
            Some(_) => {}
        }
    }
    let joined = lines.join("\n");
    let text = markup::plain(&joined).unwrap_or(joined);
    Body { text: text.trim_matches('\n').trim_end().to_owned(), corrected }
}

/// The text of an ED value; an empty one is nothing.
fn embedded(chart: &mut Chart<'_>, obx: &Segment<'_>) -> Option<String> {
    let value = obx.field(5);
    let (subtype, encoding) = (value.component(3).text().unwrap_or_default(), value.component(4).text().unwrap_or_default());
    let data = value.rest_from(5);
    if data.is_empty() {
        return None;
    }
    let found = match encoding.to_ascii_uppercase().as_str() {
        "BASE64" => unpack(&data),
        "HEX" => unhex(&data),
        _ => Ok(data.prose().into_bytes()),
    };
    let text = found.and_then(|bytes| readable(&bytes, &subtype, &chart.facility.charset));
    text.map_err(|reason| chart.reject(Stage::Decode, obx.position(5), reason)).ok()
}

fn unpack(data: &Field<'_>) -> Result<Vec<u8>, &'static str> {
    let letters: Vec<u8> = data.prose().into_bytes().into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(letters).map_err(|_| "attachment is not valid base64")
}

fn unhex(data: &Field<'_>) -> Result<Vec<u8>, &'static str> {
    let digits: Option<Vec<u32>> =
        data.raw().iter().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| char::from(*byte).to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or("attachment is not valid hexadecimal")?;
    Ok(digits.chunks(2).filter_map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte * 16 + digit)).ok()).collect())
}

/// Bytes as plain text, if they are text.
fn readable(bytes: &[u8], subtype: &str, charset: &str) -> Result<String, &'static str> {
    let binary = bytes.starts_with(b"%PDF") || bytes.iter().any(|byte| matches!(byte, 0..=8 | 0x0e..=0x1a));
    let refused = ["PDF", "JPEG", "PNG", "TIFF", "GIF", "DICOM", "BMP"].iter().any(|image| subtype.eq_ignore_ascii_case(image));
    if binary || (refused && std::str::from_utf8(bytes).is_err()) {
        return Err("attachment is not text");
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => Encoding::for_label(charset.as_bytes()).unwrap_or(WINDOWS_1252).decode(bytes).0.into_owned(),
    };
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    Ok(markup::plain(&text).unwrap_or(text))
}
