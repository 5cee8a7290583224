//! HL7 v2: one record's messages become parts. Reads any version's pipe encoding; what a trigger means is in `visit`, `document`, `report`
//! and `diagnosis`, how bytes are read in `reader`, `lines`, `escape`, `charset` and `time`.

mod charset;
mod chart;
#[cfg(test)]
mod corpus;
mod diagnosis;
mod document;
#[cfg(test)]
mod engines;
mod escape;
#[cfg(test)]
mod goldens;
mod lines;
#[cfg(test)]
mod oracle;
mod patient;
mod reader;
mod report;
mod scan;
mod separators;
mod text;
mod time;
mod visit;

use schemas::{Facility, Flag, Format, Reject, Stage};

use self::chart::Chart;
use self::lines::Layout;
use self::reader::{Message, Reading, Segment};
use self::separators::Separators;
use crate::split::batch;
use crate::{Mapped, split};

/// The most messages that one record is taken apart into; a real batch has some thousands.
const MESSAGES: usize = 100_000;

/// Maps the bytes of one record into its parts, one or more: one for each message of a frame or a batch.
#[must_use]
pub fn map(bytes: &[u8], facility: &Facility) -> Vec<Mapped> {
    let cut = batch::cut(bytes);
    let mut parts: Vec<Mapped> = match cut.messages.as_slice() {
        // A batch of nothing was understood.
        [] if cut.enveloped => vec![Mapped::ignored(Format::Hl7v2)],
        [] => vec![map_message(bytes, facility)],
        messages => messages.iter().take(MESSAGES).map(|message| map_message(message, facility)).collect(),
    };
    for batch::Doubt { after, position, decision } in cut.doubts {
        if let Some(part) = parts.get_mut(after.saturating_sub(1)) {
            part.flags.push(Flag { position, decision: decision.into() });
        }
    }
    if cut.messages.len() > MESSAGES {
        parts.push(refused(Stage::Wire, "more messages than one record may hold"));
    }
    parts
}

fn map_message(bytes: &[u8], facility: &Facility) -> Mapped {
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
    let mut chart = Chart::open(&message, facility);
    chart.charset = Some(decoded.encoding.name());
    doubts(&mut chart, &layout, decoded.doubt);
    let (kind, event) = kind_and_event(&message);
    match (kind.as_deref(), event.as_deref()) {
        (Some("ADT"), Some(event)) => visit::map(&mut chart, event),
        (Some("MDM"), Some(event)) => document::map(&mut chart, event),
        (Some("ORU"), Some("R01") | None) => report::map(&mut chart),
        (Some("DFT"), Some("P03" | "P11")) | (Some("BAR"), Some("P01" | "P05" | "P12")) => diagnosis::map_billing(&mut chart),
        (None, _) | (Some("ADT" | "MDM"), None) => chart.reject(Stage::Parse, "MSH-9".to_owned(), "the message says no trigger"),
        _ => return chart.ignore(trigger(kind, event)),
    }
    if chart.is_silent() {
        return chart.ignore(trigger(kind, event));
    }
    if decoded.unknown {
        chart.reject(Stage::Decode, "MSH-18".to_owned(), "no charset of this name; read as what its bytes show");
    }
    if decoded.damaged {
        chart.reject(Stage::Decode, "MSH-18".to_owned(), "bytes that are not of the charset");
    }
    chart.close(trigger(kind, event))
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

/// MSH-9; where it leaves the event out, EVN-1.
fn kind_and_event(message: &Message<'_>) -> (Option<String>, Option<String>) {
    let stated = message.first(b"MSH").map(|header| header.field(9));
    let kind = stated.and_then(|stated| stated.component(1).text());
    let event = stated.and_then(|stated| stated.component(2).text());
    let event = event.or_else(|| message.first(b"EVN")?.field(1).component(1).text());
    let kind = kind.or_else(|| match event.as_deref()?.as_bytes().first()? {
        b'A' => Some("ADT".to_owned()),
        b'T' => Some("MDM".to_owned()),
        _ => None,
    });
    (kind, event)
}

fn trigger(kind: Option<String>, event: Option<String>) -> Option<String> {
    let parts: Vec<String> = kind.into_iter().chain(event).collect();
    (!parts.is_empty()).then(|| parts.join("^"))
}

fn refused(stage: Stage, reason: &'static str) -> Mapped {
    Mapped::rejected(Format::Hl7v2, Reject { stage, position: "byte 0".to_owned(), reason: reason.into() })
}
