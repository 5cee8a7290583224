//! The reader against another team's reading of the same messages: each lies beside the FHIR that they expect of it.

use std::io;
use std::path::Path;

use encoding_rs::UTF_8;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::corpus::{files, folder};
use super::lines::Layout;
use super::reader::{Message, Reading};
use super::separators::Separators;
use super::time;

/// Reads each message of these kinds (the beginnings of their files' names) together with what is expected of it.
fn each(kinds: &[&str], mut compare: impl FnMut(&str, &Message<'_>, &Value)) -> io::Result<usize> {
    let Some(folder) = folder("hl7v2/reportstream-mapping") else { return Ok(usize::MAX) };
    let mut count = 0;
    for path in files(&folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if kinds.iter().any(|kind| name.starts_with(kind)) {
            let (text, expected) = (std::fs::read_to_string(&path)?, expected(&path)?);
            let Some(separators) = Separators::of(text.as_bytes()) else { continue };
            let (layout, reading) = (Layout::of(text.as_bytes(), separators.field), Reading { separators, encoding: UTF_8 });
            compare(&name, &Message::cut(&text, &layout, &reading), &expected);
            count += 1;
        }
    }
    Ok(count)
}

fn expected(path: &Path) -> io::Result<Value> {
    serde_json::from_slice(&std::fs::read(path.with_extension("fhir"))?).map_err(io::Error::other)
}

/// The first resource of this type.
fn resource<'a>(bundle: &'a Value, kind: &str) -> &'a Value {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| &entry["resource"]).find(|resource| resource["resourceType"] == kind).unwrap_or(&Value::Null)
}

fn read(message: &Message<'_>, segment: &[u8; 3], field: usize) -> Vec<u8> {
    message.first(segment).map(|segment| segment.field(field).component(1).raw().to_vec()).unwrap_or_default()
}

/// An instant as they write it: with an offset, or as precise as a date.
fn instant(expected: &Value) -> Option<String> {
    let text = expected.as_str()?;
    Some(text.parse::<Timestamp>().map_or_else(|_| text.to_owned(), |at| at.to_string()))
}

fn stated(stamp: &[u8]) -> Option<String> {
    time::instant(stamp, &TimeZone::UTC)?.value.map(|at| at.to_string())
}

#[test]
fn when_a_message_was_sent() -> io::Result<()> {
    let mut compared = 0;
    let count = each(&[""], |name, message, expected| {
        let Some(sent_at) = instant(&expected["timestamp"]) else { return };
        // Their header was changed after their reading of these.
        let stamp = read(message, b"MSH", 7);
        if expected.to_string().contains(&String::from_utf8_lossy(&stamp).into_owned()) {
            assert_eq!(stated(&stamp), Some(sent_at), "{name}");
            compared += 1;
        }
    })?;
    assert!(count == usize::MAX || compared >= 100, "{compared}");
    Ok(())
}

#[test]
fn instants_and_dates_of_every_precision() -> io::Result<()> {
    let count = each(&["instant__", "date__", "dateTime__", "obx__OBX-to-Observation-dt"], |name, message, expected| {
        let (stamp, expected) = match name.split_once("__") {
            Some(("instant", _)) => (read(message, b"OBR", 22), &resource(expected, "DiagnosticReport")["issued"]),
            Some(("date", _)) => (read(message, b"PID", 7), &resource(expected, "Patient")["birthDate"]),
            Some(("dateTime", _)) => (read(message, b"PID", 29), &resource(expected, "Patient")["deceasedDateTime"]),
            _ => (read(message, b"OBX", 5), &resource(expected, "Observation")["valueDateTime"]),
        };
        let (at, date) = (stated(&stamp), time::date(&stamp).and_then(|date| date.value));
        match expected.as_str() {
            Some(text) if text.len() <= 10 => assert_eq!(date.as_deref(), Some(text), "{name}"),
            Some(_) => assert_eq!(at, instant(expected), "{name}"),
            None => assert_eq!((at, date), (None, None), "{name}"),
        }
    })?;
    assert!(count >= 35, "{count}");
    Ok(())
}

#[test]
fn identifiers_and_their_authorities() -> io::Result<()> {
    let count = each(&["cx__", "pid__pid-to-patient-pid-fully"], |name, message, expected| {
        let text = expected.to_string();
        let fields = message.segments.iter().filter_map(|segment| match &segment.name {
            b"PID" => Some(segment.field(3)),
            b"OBR" => Some(segment.field(53)),
            _ => None,
        });
        for identifier in fields.flat_map(|field| field.repetitions().collect::<Vec<_>>()).filter(|identifier| !identifier.is_empty()) {
            let authority = identifier.component(4);
            let parts = [identifier.component(1), identifier.component(5), authority.subcomponent(1), authority.subcomponent(2)];
            for part in parts.iter().filter_map(|part| part.text()) {
                assert!(text.contains(&format!("{part}\"")), "{name}");
            }
        }
    })?;
    assert!(count >= 10, "{count}");
    Ok(())
}

#[test]
fn values_that_are_texts() -> io::Result<()> {
    let kinds = ["ft-value", "tx-value", "st-value"].map(|kind| format!("obx__OBX-to-Observation-{kind}"));
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let count = each(&kinds, |name, message, expected| {
        let value = message.first(b"OBX").map(|obx| obx.field(5).prose());
        assert_eq!(value.as_deref(), resource(expected, "Observation")["valueString"].as_str(), "{name}");
    })?;
    assert!(count >= 3, "{count}");
    Ok(())
}
