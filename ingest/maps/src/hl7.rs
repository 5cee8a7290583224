//! HL7 v2: one record's messages become parts. Reads any version's pipe encoding; which trigger a message has is decided in `trigger`, what it
//! means in `visit`, `merge`, `document`, `report` and `billing`, how bytes are read in `reader`, `lines`, `escape`, `charset` and `time`.

mod billing;
mod charset;
mod chart;
mod coding;
#[cfg(test)]
mod corpus;
mod diagnosis;
mod document;
mod escape;
#[cfg(test)]
mod goldens;
mod identity;
mod lines;
mod markup;
mod merge;
mod patient;
mod prose;
mod reader;
mod report;
mod separators;
mod stay;
mod text;
mod time;
mod trigger;
mod visit;

use schemas::{Facility, Format, Reject, Stage};

use self::chart::Chart;
use self::reader::{Message, Reading};
use self::separators::Separators;
use crate::{Mapped, split};

/// The most messages that one record is taken apart into; a real batch has some thousands.
const MESSAGES: usize = 100_000;

/// Maps the bytes of one record into its parts, one or more: one for each message of a frame or a batch.
#[must_use]
pub fn map(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    let messages = split::messages(bytes);
    let mut parts: Vec<Mapped> = messages.iter().take(MESSAGES).map(|message| map_message(message, facility)).collect();
    if messages.len() > MESSAGES {
        parts.push(refused(Stage::Wire, "more messages than one record may hold"));
    }
    parts
}

fn map_message(bytes: &[u8], facility: &Facility) -> Mapped {
    let bytes = split::trim_start(bytes);
    let header = bytes.get(..memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len())).unwrap_or_default();
    let Some(separators) = Separators::of(header).filter(|_| header.starts_with(b"MSH")) else {
        return refused(Stage::Parse, "no message header");
    };
    let charset_name = header.split(|byte| *byte == separators.field).nth(17).unwrap_or_default();
    let charset_name = charset_name.split(|byte| *byte == separators.repetition).next().unwrap_or_default();
    let decoded = charset::decode(bytes, charset_name, &facility.charset);
    let message = Message::cut(&decoded.bytes, Reading { separators, encoding: decoded.encoding });
    let mut chart = Chart::open(&message, facility);
    let trigger = trigger::decide(&mut chart);
    trigger.map(&mut chart);
    if chart.is_silent() {
        return chart.ignore(trigger.name());
    }
    if decoded.unknown {
        chart.reject(Stage::Decode, "MSH-18".to_owned(), "no charset of this name; read as what its bytes show");
    }
    if decoded.damaged {
        chart.reject(Stage::Decode, "MSH-18".to_owned(), "bytes that are not of the charset");
    }
    Mapped { charset: Some(decoded.encoding.name()), ..chart.close(trigger.name()) }
}

fn refused(stage: Stage, reason: &'static str) -> Mapped {
    Mapped::rejected(Format::Hl7v2, Reject { stage, position: "byte 0".to_owned(), reason: reason.into() })
}
