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
#[cfg(test)]
mod engines;
mod escape;
#[cfg(test)]
mod goldens;
mod identity;
mod lines;
mod merge;
#[cfg(test)]
mod oracle;
mod patient;
mod prose;
mod reader;
mod report;
mod scan;
mod separators;
mod stay;
mod text;
mod time;
mod trigger;
mod visit;

use schemas::{Facility, Flag, Format, Reject, Stage};

use self::chart::Chart;
use self::lines::Layout;
use self::reader::{Message, Reading, Segment};
use self::separators::Separators;
use crate::rows::Allowance;
use crate::split::batch;
use crate::{Mapped, split};

/// The most messages that one record is taken apart into; a real batch has some thousands.
const MESSAGES: usize = 100_000;

/// Maps the bytes of one record into its parts, one or more: one for each message of a frame or a batch.
#[must_use]
pub fn map(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    let cut = batch::cut(bytes);
    let mut left = Allowance::of(bytes.len());
    let mut parts: Vec<Mapped> = match cut.messages.as_slice() {
        // A batch of nothing was understood.
        [] if cut.enveloped => vec![Mapped::ignored(Format::Hl7v2)],
        [] => vec![map_message(bytes, facility, left)],
        messages => {
            let map = |message: &&[u8]| {
                let part = map_message(message, facility, left);
                left = left.less(&part);
                part
            };
            messages.iter().take(MESSAGES).map(map).collect()
        }
    };
    for batch::Doubt { after, position, decision } in cut.doubts {
        if let Some(part) = parts.get_mut(after.saturating_sub(1)).filter(|part| part.flags.len() < chart::MOST) {
            part.flags.push(Flag { position, decision: decision.into() });
        }
    }
    if cut.messages.len() > MESSAGES {
        parts.push(refused(Stage::Wire, "more messages than one record may hold"));
    }
    parts
}

fn map_message(bytes: &[u8], facility: &Facility, left: Allowance) -> Mapped {
    let bytes = split::trim_start(bytes);
    let header = bytes.get(..memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len())).unwrap_or_default();
    let begins = header.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"MSH"));
    let Some(separators) = Separators::of(header).filter(|_| begins) else {
        return refused(Stage::Parse, "no message header");
    };
    let charset_name = memchr::memchr_iter(separators.field, header).nth(16).and_then(|at| header.get(at + 1..)).unwrap_or_default();
    let charset_name = charset_name.split(|byte| *byte == separators.field).next().unwrap_or_default();
    let decoded = charset::decode(bytes, charset_name, separators.repetition, &facility.charset);
    let reading = Reading { separators, encoding: decoded.encoding };
    let layout = Layout::of(decoded.text.as_bytes(), separators.field);
    let message = Message::cut(&decoded.text, &layout, &reading);
    let mut chart = Chart::open(&message, facility, left);
    chart.charset = Some(decoded.encoding.name());
    doubts(&mut chart, &layout, decoded.doubt);
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
    chart.close(trigger.name())
}

/// What was decided about the message as a whole.
fn doubts(chart: &mut Chart<'_>, layout: &Layout, charset: Option<&'static str>) {
    if let Some(decision) = charset {
        chart.flag("MSH-18".to_owned(), decision);
    }
    let place = |number: Option<usize>| chart.message.segments.get(number?).map(Segment::place);
    let (indented, small) = (place(layout.indented), place(layout.small));
    if let Some(place) = indented {
        chart.flag(place, "blanks before the name of a segment; read without them");
    }
    if let Some(place) = small {
        chart.flag(place, "the name of a segment in small letters; read as in capitals");
    }
}

fn refused(stage: Stage, reason: &'static str) -> Mapped {
    Mapped::rejected(Format::Hl7v2, Reject { stage, position: "byte 0".to_owned(), reason: reason.into() })
}
