//! OBX-5 as prose: lines of one text, embedded documents, and markup taken off.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use schemas::Stage;

use super::chart::Chart;
use super::reader::{Field, Segment};
use crate::{attachment, markup};

/// From how many letters on data of no named encoding may be base64.
const PACKED: usize = 16;

/// What the observations of one document or report say together.
pub(crate) struct Body {
    /// Plain text, without blank lines at either end.
    pub(crate) text: String,
    /// A line was corrected or taken back.
    pub(crate) corrected: bool,
}

/// Joins the observations that are text, in order; a blank one is a blank line. Numbers and codes are left out.
pub(crate) fn body<'a>(chart: &mut Chart<'_>, observations: impl Iterator<Item = Segment<'a>>) -> Body {
    let mut lines = Lines::default();
    let mut corrected = false;
    for obx in observations {
        let status = obx.field(11).component(1).word();
        corrected |= matches!(status.as_deref(), Some("C" | "W" | "D"));
        if matches!(status.as_deref(), Some("W" | "D" | "X")) {
            continue;
        }
        match obx.field(2).word().as_deref() {
            // A value of no stated type that has a unit or a range is a result.
            None if !obx.field(6).is_empty() || !obx.field(7).is_empty() => {}
            None | Some("TX" | "FT" | "ST" | "CF") => {
                for line in obx.field(5).repetitions() {
                    line.append_to(lines.next());
                }
            }
            Some("ED") => {
                if let Some(text) = embedded(chart, &obx) {
                    lines.next().push_str(&text);
                }
            }
            Some("RP") => chart.reject(Stage::Map, obx.position(5), "the text is kept elsewhere"),
            Some(_) => {}
        }
    }
    let mut text = lines.text;
    if let Some(plain) = markup::plain(&text) {
        text = plain;
    }
    text.truncate(text.trim_end().len());
    let blank = text.len() - text.trim_start_matches('\n').len();
    text.drain(..blank);
    Body { text, corrected }
}

/// Lines being joined.
#[derive(Default)]
struct Lines {
    text: String,
    any: bool,
}

impl Lines {
    /// The text, at the beginning of its next line.
    fn next(&mut self) -> &mut String {
        if self.any {
            self.text.push('\n');
        }
        self.any = true;
        &mut self.text
    }
}

/// The text of an ED value; an empty one is nothing.
fn embedded(chart: &mut Chart<'_>, obx: &Segment<'_>) -> Option<String> {
    let value = obx.field(5);
    let data = value.rest_from(5);
    if data.is_empty() || data.is_delete() {
        return None;
    }
    let kind = [3, 2].into_iter().filter_map(|part| value.component(part).text()).collect::<Vec<_>>().join(" ").to_ascii_uppercase();
    let text = unpacked(&value, &data).and_then(|bytes| readable(&bytes, &kind, data.encoding(), &chart.facility.charset));
    text.map_err(|reason| chart.reject(Stage::Decode, obx.position(5), reason)).ok()
}

/// The bytes that component 4 says how to unpack; data whose encoding is none may still be base64.
fn unpacked(value: &Field<'_>, data: &Field<'_>) -> Result<Vec<u8>, &'static str> {
    let encoding: String = value.component(4).text().unwrap_or_default();
    let encoding: String = encoding.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
    match encoding.as_str() {
        "BASE64" | "B64" => attachment::decode_base64(&data.prose()).ok_or("attachment is not valid base64"),
        "HEX" | "HEXADECIMAL" => unhex(data),
        "A" | "ASCII" | "NONE" => Ok(data.prose().into_bytes()),
        _ => {
            let written = data.prose();
            let packed = attachment::decode_base64(written.trim()).filter(|_| looks_packed(&written));
            Ok(packed.unwrap_or_else(|| written.into_bytes()))
        }
    }
}

/// One long word of base64 and nothing else: no prose is.
fn looks_packed(written: &str) -> bool {
    let written = written.trim();
    written.len() >= PACKED && written.len().is_multiple_of(4) && !written.contains(' ')
}

fn unhex(data: &Field<'_>) -> Result<Vec<u8>, &'static str> {
    let digits: Option<Vec<u32>> =
        data.raw().iter().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| char::from(*byte).to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2)).ok_or("attachment is not valid hexadecimal")?;
    Ok(digits.chunks(2).filter_map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte * 16 + digit)).ok()).collect())
}

/// Bytes as plain text, if they are text: in the charset that they show, else that of the message, else the facility's.
fn readable(bytes: &[u8], kind: &str, message: &'static Encoding, facility: &str) -> Result<String, &'static str> {
    let text: Cow<'_, str> = match (Encoding::for_bom(bytes), std::str::from_utf8(bytes)) {
        (Some((marked, length)), _) => marked.decode_without_bom_handling(bytes.get(length..).unwrap_or_default()).0,
        (None, unmarked) => {
            if let Some(reason) = attachment::unreadable(bytes) {
                return Err(reason);
            }
            match unmarked {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => match called(kind) {
                    Some(reason) => return Err(reason),
                    None if message == UTF_8 => {
                        Encoding::for_label(facility.as_bytes()).unwrap_or(WINDOWS_1252).decode_without_bom_handling(bytes).0
                    }
                    None => message.decode_without_bom_handling(bytes).0,
                },
            }
        }
    };
    Ok(markup::plain(&text).unwrap_or_else(|| markup::unified(&text).into_owned()))
}

/// Why bytes that are not UTF-8 are no text either: what they are called.
fn called(kind: &str) -> Option<&'static str> {
    let any = |names: &[&str]| names.iter().any(|name| kind.contains(name));
    if any(&["PDF"]) {
        Some("a PDF holds no text to read")
    } else if any(&["JPEG", "JPG", "PNG", "TIFF", "GIF", "DICOM", "BMP", "IMAGE"]) {
        Some("an image holds no text to read")
    } else {
        None
    }
}
