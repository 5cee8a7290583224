//! One record of the log becomes rows. Pure: the same record, the same facility, the same rows.

use envelope::{Hints, Schemas};
use jiff::Timestamp;
use maps::Mapped;
use schemas::{
    Digest, Event, EventStamp, Facility, Flag, Format, Message, NoteRow, Outcome, Prediction, Reject, Skip, Source, Stage, topic,
};
use warehouse::{Batch, PredictionRow};

use crate::consumer::topic_of;

/// A record as it stood on a topic or in a file.
pub struct Raw {
    /// Where it stood.
    pub source: Source,
    /// The broker's timestamp.
    pub known_at: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers as a JSON object.
    pub headers: String,
    /// Its exact bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The offsets directly before it that hold no record.
    pub skip: Option<Skip>,
    /// What its headers say of its value.
    pub hints: Hints,
}

/// The facility that Wardstream's own topics belong to in `messages`.
pub const OWN: &str = "wardstream";

/// What the maps make of a value, whatever it is wrapped in.
#[must_use]
pub fn mapped(value: &[u8], hints: Hints, facility: &Facility, schemas: &Schemas) -> Vec<Mapped> {
    match schemas.unwrap(value, hints) {
        Ok(unwrapped) => {
            let mut parts = maps::map_record(&unwrapped.payload, facility);
            if let Some(first) = parts.first_mut() {
                first.flags.extend(unwrapped.flags);
            }
            parts
        }
        Err(reject) => vec![Mapped::rejected(Format::Unknown, reject)],
    }
}

/// Reads one record and adds its rows to `batch`.
pub fn read(raw: Raw, facility: &Facility, schemas: &Schemas, batch: &mut Batch) {
    match topic_of(&raw.source.topic) {
        topic::PREDICTION => read_prediction(raw, batch),
        topic::DRIFT_ALERT => land(raw, OWN, Summary::own("drift alert"), batch),
        _ => {
            let parts = raw.payload.as_deref().map(|value| mapped(value, raw.hints, facility, schemas));
            stamp(raw, facility, parts, batch);
        }
    }
}

/// Adds the rows of a record whose parts are already mapped.
pub fn stamp(raw: Raw, facility: &Facility, parts: Option<Vec<Mapped>>, batch: &mut Batch) {
    let Some(parts) = parts else {
        return land(raw, &facility.name, Summary::tombstone(), batch);
    };
    let mut summary = Summary::of(&parts);
    let digest = Digest::of(raw.payload.as_deref().unwrap_or_default());
    let (first_event, first_note) = (batch.events.len(), batch.notes.len());
    let mut stamp = EventStamp::new(facility, &digest, raw.known_at, &raw.source);
    for part in parts {
        batch.events.extend(part.facts.into_iter().map(|fact| stamp.event(fact)));
        batch.notes.extend(part.notes.into_iter().map(|note| NoteRow::stamp(note, facility, raw.known_at, raw.source.clone())));
    }
    let (events, notes) = (batch.events.get(first_event..), batch.notes.get(first_note..));
    summary.rows_digest = rows_digest(events.unwrap_or_default(), notes.unwrap_or_default());
    land(raw, &facility.name, summary, batch);
}

/// Digest of what the rows of one record say: two readings with the same digest say the same.
fn rows_digest(events: &[Event], notes: &[NoteRow]) -> String {
    let mut said: Vec<u8> = Vec::new();
    let mut say = |part: Option<&[u8]>| {
        // The length before each part, so that none can borrow from its neighbour; all ones for what is absent.
        said.extend_from_slice(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        said.extend_from_slice(part.unwrap_or_default());
    };
    let instant = |at: Option<Timestamp>| at.map(|at| at.as_microsecond().to_le_bytes());
    for Event { fact, .. } in events {
        say(Some(fact.code.as_str().as_bytes()));
        say(instant(fact.time).as_ref().map(<[u8; 8]>::as_slice));
        say(instant(fact.asserted_at).as_ref().map(<[u8; 8]>::as_slice));
        say(fact.patient.as_ref().map(|patient| patient.system.as_bytes()));
        say(fact.patient.as_ref().map(|patient| patient.value.as_bytes()));
        say(fact.numeric_value.map(f64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
        [&fact.encounter, &fact.text_value, &fact.related].into_iter().for_each(|text| say(text.as_deref().map(str::as_bytes)));
    }
    for NoteRow { note, .. } in notes {
        say(Some(note.kind.as_str().as_bytes()));
        say(Some(note.status.as_str().as_bytes()));
        [note.authored_at, note.signed_at, note.asserted_at].into_iter().for_each(|at| say(instant(at).as_ref().map(<[u8; 8]>::as_slice)));
        say(note.patient.as_ref().map(|patient| patient.system.as_bytes()));
        say(note.patient.as_ref().map(|patient| patient.value.as_bytes()));
        let texts = [Some(&note.document), note.encounter.as_ref(), note.type_code.as_ref(), note.replaces.as_ref(), Some(&note.text)];
        texts.into_iter().for_each(|text| say(text.map(String::as_bytes)));
    }
    Digest::of(&said).to_string().chars().take(32).collect()
}

fn read_prediction(raw: Raw, batch: &mut Batch) {
    let Some(payload) = raw.payload.as_deref() else {
        return land(raw, OWN, Summary::tombstone(), batch);
    };
    let summary = match serde_json::from_slice::<Prediction>(payload) {
        Ok(prediction) => {
            batch.predictions.push(PredictionRow { prediction, known_at: raw.known_at, source: raw.source.clone() });
            Summary::own("prediction")
        }
        Err(_) => Summary {
            outcome: Outcome::Rejected,
            rejects: vec![Reject { stage: Stage::Parse, position: "value".to_owned(), reason: "not a prediction of prediction.v1".into() }],
            ..Summary::own("prediction")
        },
    };
    land(raw, OWN, summary, batch);
}

/// What became of a record with these parts: one whose parts fared differently is `partly` mapped.
#[must_use]
pub fn outcome(parts: &[Mapped]) -> Outcome {
    let all = |outcome| parts.iter().all(|part| part.outcome == outcome);
    let any = |outcome| parts.iter().any(|part| part.outcome == outcome);
    if parts.is_empty() || all(Outcome::Ignored) {
        Outcome::Ignored
    } else if all(Outcome::Rejected) {
        Outcome::Rejected
    } else if any(Outcome::Rejected) || any(Outcome::Partly) {
        Outcome::Partly
    } else {
        Outcome::Mapped
    }
}

/// What `messages` says about a record besides its bytes.
struct Summary {
    format: Format,
    trigger: Option<String>,
    control_id: Option<String>,
    outcome: Outcome,
    rejects: Vec<Reject>,
    flags: Vec<Flag>,
    charset: Option<&'static str>,
    events: i32,
    notes: i32,
    rows_digest: String,
}

impl Summary {
    fn own(what: &str) -> Self {
        Self { format: Format::Wardstream, trigger: Some(what.to_owned()), outcome: Outcome::Mapped, ..Self::tombstone() }
    }

    fn tombstone() -> Self {
        Self {
            format: Format::Tombstone,
            trigger: None,
            control_id: None,
            outcome: Outcome::Ignored,
            rejects: Vec::new(),
            flags: Vec::new(),
            charset: None,
            events: 0,
            notes: 0,
            rows_digest: String::new(),
        }
    }

    /// The first part names the record.
    fn of(parts: &[Mapped]) -> Self {
        let first = parts.first();
        Self {
            format: first.map_or(Format::Unknown, |part| part.format),
            trigger: first.and_then(|part| part.trigger.clone()),
            control_id: first.and_then(|part| part.control_id.clone()),
            outcome: outcome(parts),
            rejects: parts.iter().flat_map(|part| part.rejects.iter().cloned()).collect(),
            flags: parts.iter().flat_map(|part| part.flags.iter().cloned()).collect(),
            charset: parts.iter().find_map(|part| part.charset),
            events: count(parts.iter().map(|part| part.facts.len()).sum()),
            notes: count(parts.iter().map(|part| part.notes.len()).sum()),
            rows_digest: String::new(),
        }
    }
}

/// A record holds far fewer rows than that.
fn count(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}

fn land(raw: Raw, facility: &str, summary: Summary, batch: &mut Batch) {
    let digest = raw.payload.as_deref().map(Digest::of).unwrap_or_else(|| Digest::of(b"")).to_string();
    let upto = batch.upto.entry(raw.source.topic_partition()).or_insert(raw.source.offset);
    *upto = raw.source.offset.max(*upto);
    batch.messages.push(Message {
        source: raw.source,
        known_at: raw.known_at,
        key: raw.key,
        headers: raw.headers,
        payload: raw.payload,
        digest,
        format: summary.format,
        trigger: summary.trigger,
        control_id: summary.control_id,
        facility: facility.to_owned(),
        outcome: summary.outcome,
        rejects: summary.rejects,
        flags: summary.flags,
        charset: summary.charset,
        events: summary.events,
        notes: summary.notes,
        skip: raw.skip,
        rows_digest: summary.rows_digest,
        rows_reading: 0,
        parser_version: maps::PARSER_VERSION,
        reading: 0,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(topic: &str, payload: Option<&[u8]>) -> Raw {
        let source = Source { topic: topic.to_owned(), partition: 0, offset: 7 };
        Raw {
            source,
            known_at: Timestamp::UNIX_EPOCH,
            key: None,
            headers: "{}".to_owned(),
            payload: payload.map(<[u8]>::to_vec),
            skip: None,
            hints: Hints::default(),
        }
    }

    /// Whatever arrives is a row with its exact bytes, and moves the offset that the commit will carry.
    #[test]
    fn every_record_lands() {
        let ward = Facility::new("ward");
        for (topic, payload) in
            [("hl7.raw", None), ("hl7.raw", Some(&b""[..])), ("hl7.raw", Some(&b"\x00\xff"[..])), (topic::PREDICTION, Some(&b"{"[..]))]
        {
            let mut batch = Batch::default();
            read(raw(topic, payload), &ward, &Schemas::default(), &mut batch);
            assert_eq!(batch.messages.len(), 1);
            assert_eq!(batch.messages.first().and_then(|message| message.payload.as_deref()), payload);
            assert_eq!(batch.upto.values().copied().collect::<Vec<_>>(), [7]);
        }
    }
}
