//! What a message is about: its type and trigger, out of MSH-9 and EVN-1, however these are written. Whatever had to be decided is flagged.
//!
//! MSH-9.2 decides. Where it names a message structure (`ADT_A01`), or leaves the trigger out, EVN-1 does; where EVN-1 says nothing either,
//! the structure's own name is the trigger. Where MSH-9 and EVN-1 are both triggers and differ, MSH-9 wins.

use schemas::Stage;

use super::chart::Chart;
use super::reader::{Field, Segment};
use super::{billing, document, report, visit};

/// From which minor version of HL7 2 on MSH-9 must name a structure.
const STRUCTURED: u32 = 4;

/// A message's type and trigger; no more than the bytes that name them are kept.
pub(crate) struct Trigger {
    kind: Option<String>,
    event: Option<String>,
}

impl Trigger {
    /// `ADT^A01`.
    pub(crate) fn name(&self) -> Option<String> {
        let parts: Vec<&str> = [self.kind.as_deref(), self.event.as_deref()].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("^"))
    }

    /// Maps the message by what its trigger means. Types and triggers that are not here are nothing for us.
    pub(crate) fn map(&self, chart: &mut Chart<'_>) {
        match (self.kind.as_deref(), self.event.as_deref()) {
            (Some("ADT"), Some(event)) => visit::map(chart, event),
            (Some("MDM"), Some(event)) => document::map(chart, event),
            // R03 is the older, display-oriented result; R30 to R32 are results of the bedside. Same segments, same meaning.
            (Some("ORU"), Some("R01" | "R03" | "R30" | "R31" | "R32") | None) => report::map(chart),
            // P02 purges an account and P06 ends it: neither takes back what was diagnosed.
            (Some("DFT"), Some("P03" | "P11") | None) | (Some("BAR"), Some("P01" | "P05" | "P10" | "P12") | None) => billing::map(chart),
            (None, _) | (Some("ADT" | "MDM"), None) => chart.reject(Stage::Parse, "MSH-9".to_owned(), "the message says no trigger"),
            _ => {}
        }
    }
}

/// One component of MSH-9 or EVN-1, taken apart.
#[derive(Default)]
struct Named {
    kind: Option<String>,
    event: Option<String>,
    /// `ADT_A01`: a structure, which several triggers share.
    structure: bool,
    /// The standard would write it otherwise.
    odd: bool,
}

impl Named {
    fn of(field: &Field<'_>) -> Self {
        let Some(text) = field.text() else { return Self::default() };
        let letters: String = text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
        let odd = |expected: &str| field.raw() != expected.as_bytes();
        if is_event(&letters) {
            return Self { odd: odd(&letters), event: Some(letters), ..Self::default() };
        }
        if let Some((kind, event)) = letters.split_at_checked(3).filter(|(_, event)| is_event(event)) {
            let structure = odd(&format!("{kind}_{event}"));
            return Self { kind: Some(kind.to_owned()), event: Some(event.to_owned()), structure: true, odd: structure };
        }
        let kind = text.to_ascii_uppercase();
        Self { odd: odd(&kind), kind: Some(kind), ..Self::default() }
    }
}

/// `A01`: a letter and two digits.
fn is_event(letters: &str) -> bool {
    matches!(letters.as_bytes(), [letter, tens, ones] if letter.is_ascii_uppercase() && tens.is_ascii_digit() && ones.is_ascii_digit())
}

/// Decides on the type and trigger of the message, and flags what was doubtful.
pub(crate) fn decide(chart: &mut Chart<'_>) -> Trigger {
    let Some(header) = chart.message.first(b"MSH") else { return Trigger { kind: None, event: None } };
    let field = header.field(9);
    let said = chart.message.first(b"EVN").map(|event| event.field(1));
    if let Some(trigger) = as_written(&header, &field, said.as_ref()) {
        return trigger;
    }
    let [first, second, third] = [1, 2, 3].map(|component| Named::of(&field.component(component)));
    let event_said = said.map(|said| [1, 2].map(|component| Named::of(&said.component(component)))).and_then(|said| {
        let [one, two] = said;
        one.event.or(two.event)
    });
    if first.odd || second.odd {
        flag(chart, "not spelled as the standard spells it; read as what it means");
    }
    let structures = [&second, &first, &third].into_iter().find(|named| named.structure || named.event.is_some());
    let plain = [&second, &first].into_iter().find(|named| named.event.is_some() && !named.structure).and_then(|named| named.event.clone());
    let event = match (plain, event_said) {
        (Some(event), said) => {
            if said.is_some_and(|said| said != event) {
                flag(chart, "EVN-1 names another trigger; MSH-9 decides");
            }
            Some(event)
        }
        (None, Some(said)) => {
            match structures.is_some_and(|named| named.structure) && (first.structure || second.structure) {
                true => flag(chart, "a message structure stands for the trigger; EVN-1 decides"),
                false => flag(chart, "the trigger is left out; EVN-1 decides"),
            }
            Some(said)
        }
        (None, None) => match structures.and_then(|named| named.event.clone()) {
            Some(event) => {
                flag(chart, "only a message structure is named; read as the trigger of its name");
                Some(event)
            }
            // A trigger of another shape stays as it is written: it is none that we know.
            None => second.kind.clone(),
        },
    };
    if third.event.is_none() && third.kind.is_none() && second.event.is_some() && minor_version(&header) >= STRUCTURED {
        flag(chart, "no message structure; the trigger alone decides");
    }
    let named = [first.kind, second.kind.filter(|_| second.structure), third.kind.filter(|_| third.structure)].into_iter().flatten().next();
    let kind = match named {
        Some(kind) => Some(kind),
        None => {
            let kind = event.as_deref().and_then(kind_of).map(str::to_owned);
            if kind.is_some() {
                flag(chart, "no message type; the trigger decides");
            }
            kind
        }
    };
    Trigger { kind, event }
}

/// The trigger of a message that leaves nothing to decide: most of them.
fn as_written(header: &Segment<'_>, field: &Field<'_>, said: Option<&Field<'_>>) -> Option<Trigger> {
    let [kind, event, structure] = [1, 2, 3].map(|component| field.component(component).raw());
    let agreed = said.is_none_or(|said| said.is_empty() || said.raw() == event);
    let written = kind.len() == 3 && kind.iter().all(u8::is_ascii_uppercase) && std::str::from_utf8(event).is_ok_and(is_event);
    if !(agreed && written) || (structure.is_empty() && minor_version(header) >= STRUCTURED) {
        return None;
    }
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some(Trigger { kind: text(kind), event: text(event) })
}

/// The type of message that a trigger belongs to, where it is left out.
fn kind_of(event: &str) -> Option<&'static str> {
    Some(match event {
        "P03" | "P11" => "DFT",
        "P01" | "P02" | "P05" | "P06" | "P10" | "P12" => "BAR",
        "R01" | "R30" | "R31" | "R32" => "ORU",
        _ => match event.as_bytes().first()? {
            b'A' => "ADT",
            b'T' => "MDM",
            _ => return None,
        },
    })
}

/// The 5 of MSH-12 `2.5.1`; 0 where it is not stated so.
fn minor_version(header: &Segment<'_>) -> u32 {
    let version = std::str::from_utf8(header.field(12).component(1).raw()).unwrap_or_default().trim();
    version.strip_prefix("2.").and_then(|rest| rest.split('.').next()?.parse().ok()).unwrap_or(0)
}

fn flag(chart: &mut Chart<'_>, decision: &'static str) {
    chart.flag("MSH-9".to_owned(), decision);
}
