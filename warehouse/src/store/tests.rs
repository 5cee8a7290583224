//! A small warehouse for the tests of this room: records that say what a test wants, and what the tables then say.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{Timestamp, ToSpan as _};
use schemas::{
    Digest, EventCode, EventStamp, Facility, Fact, Format, Identifier, MappedNote, Message, Mode, ModelVersion, NoteKind, NoteRow,
    NoteStatus, Outcome, Prediction, PredictionId, Source, Task, TopicPartition,
};

use crate::read::AsOf;
use crate::{Batch, Format as Rows, PredictionRow, Settings, Warehouse, render};

/// The topic on which the ward's records arrive.
pub const RAW: &str = "hl7.raw";
/// The minute of the first record, which the others follow by one minute each.
pub const BEGAN: &str = "2026-01-01T00:00:00Z";

/// A warehouse in a folder of its own.
pub struct Ward {
    pub folder: tempfile::TempDir,
    pub settings: Settings,
    pub warehouse: Warehouse,
    next: BTreeMap<String, i64>,
}

/// One record that is about to arrive.
pub struct Record {
    pub facts: Vec<Fact>,
    pub notes: Vec<MappedNote>,
    pub predictions: Vec<Prediction>,
    pub payload: String,
    pub outcome: Outcome,
}

pub fn identifier(value: &str) -> Identifier {
    Identifier { system: "MRN".to_owned(), value: value.to_owned() }
}

/// A fact about a patient in a visit.
pub fn fact(code: EventCode, patient: &str, visit: Option<&str>, related: Option<&str>) -> Fact {
    Fact {
        code,
        time: None,
        asserted_at: None,
        patient: Some(identifier(patient)).filter(|_| !patient.is_empty()),
        encounter: visit.map(str::to_owned),
        numeric_value: None,
        text_value: Some(format!("said of {patient}")),
        related: related.map(str::to_owned),
    }
}

/// A discharge note about a patient.
pub fn note(document: &str, patient: &str, text: &str) -> MappedNote {
    MappedNote {
        document: document.to_owned(),
        patient: Some(identifier(patient)),
        encounter: None,
        kind: NoteKind::Discharge,
        type_code: None,
        status: NoteStatus::Final,
        authored_at: None,
        signed_at: None,
        asserted_at: None,
        text: text.to_owned(),
        replaces: None,
    }
}

impl Record {
    /// One with these facts; its bytes hold every patient's number.
    pub fn of(facts: Vec<Fact>) -> Self {
        // Bytes of their own for facts of their own, or they would pass for a repeat.
        let said = |fact: &Fact| {
            let patient = fact.patient.as_ref().map_or("", |patient| &patient.value);
            format!("PID|{patient}|{}|{}|", fact.code.as_str(), fact.related.as_deref().unwrap_or_default())
        };
        let payload = facts.iter().map(said).collect();
        Self { facts, notes: Vec::new(), predictions: Vec::new(), payload, outcome: Outcome::Mapped }
    }

    /// The same with a note.
    pub fn with_note(mut self, note: MappedNote) -> Self {
        self.payload.push_str(&note.text);
        self.notes.push(note);
        self
    }

    /// One that nobody could read.
    pub fn refused(payload: &str) -> Self {
        Self { payload: payload.to_owned(), outcome: Outcome::Rejected, ..Self::of(Vec::new()) }
    }

    /// A published prediction about a note.
    pub fn predicted(about: &MappedNote) -> Self {
        let facility = Facility::new("north");
        let row = NoteRow::stamp(about.clone(), &facility, Timestamp::UNIX_EPOCH, Source { topic: RAW.into(), partition: 0, offset: 0 });
        let model = ModelVersion("0123456789abcdef".to_owned());
        let prediction = Prediction {
            prediction_id: PredictionId::derive("readmission", row.note_version_id, &model),
            task: Task::ALL[0],
            encounter_id: None,
            patient_id: row.patient_id,
            note_id: row.note_id,
            note_version_id: row.note_version_id,
            predicted_at: Timestamp::UNIX_EPOCH,
            model_version: model,
            dataset_id: None,
            probabilities: vec![0.5, 0.5],
            probability: Some(0.5),
            threshold: None,
            decision: None,
            mode: Mode::Live,
            tokens_read: 1,
            truncated: false,
            supersedes: None,
            retracts: None,
            source: row.source,
        };
        Self { payload: format!("{{\"patient\":\"{:?}\"}}", prediction.patient_id), predictions: vec![prediction], ..Self::of(Vec::new()) }
    }
}

/// The settings of a warehouse in a folder.
pub fn settings(folder: &Path) -> Settings {
    Settings { url: folder.display().to_string(), ..Settings::default() }
}

impl Ward {
    /// An empty one.
    pub async fn empty() -> Self {
        Self::told(|_| {}).await
    }

    /// An empty one whose settings are changed first.
    pub async fn told(tell: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("room for a folder");
        let mut settings = settings(folder.path());
        tell(&mut settings);
        let warehouse = Warehouse::open(&settings).await.expect("opens");
        Self { folder, settings, warehouse, next: BTreeMap::new() }
    }

    /// The rows of the next record on `topic`.
    pub fn batch(&mut self, topic: &str, record: Record) -> Batch {
        let next = self.next.entry(topic.to_owned()).or_default();
        let source = Source { topic: topic.to_owned(), partition: 0, offset: *next };
        *next += 1;
        let known_at = BEGAN.parse::<Timestamp>().expect("an instant") + source.offset.minutes();
        rows(record, source, known_at)
    }

    /// Records arrive, a commit each.
    pub async fn arrives(&mut self, records: Vec<Record>) {
        for record in records {
            let topic = if record.predictions.is_empty() { RAW } else { schemas::topic::PREDICTION };
            let mut batch = self.batch(topic, record);
            self.warehouse.append(&mut batch).await.expect("lands");
        }
    }

    /// What the tables say, as CSV without its header.
    pub async fn told_of(&self, sql: &str) -> String {
        told_at(&self.warehouse, sql, &AsOf::default()).await
    }

    /// Nothing is missing, doubled or corrupt.
    pub async fn is_conserved(&self) {
        let gaps = self.warehouse.verify().await.expect("can be verified");
        assert!(gaps.is_empty(), "{}", serde_json::to_string(&gaps).expect("JSON"));
    }
}

/// What a warehouse says at a moment.
pub async fn told_at(warehouse: &Warehouse, sql: &str, at: &AsOf) -> String {
    let rows = render(&warehouse.query(sql, at).await.expect("answers"), Rows::Csv).expect("csv");
    rows.split_once('\n').map(|(_, rows)| rows.to_owned()).unwrap_or_default()
}

/// A record as it lands where it was mapped and gave nothing; a test says what is otherwise.
pub fn message(source: Source, known_at: Timestamp) -> Message {
    Message {
        digest: Digest::of(source.offset.to_string().as_bytes()).to_string(),
        source,
        known_at,
        key: None,
        headers: "{}".to_owned(),
        payload: Some(vec![b'x']),
        format: Format::Hl7v2,
        trigger: None,
        control_id: None,
        facility: "north".to_owned(),
        outcome: Outcome::Mapped,
        rejects: Vec::new(),
        flags: Vec::new(),
        charset: None,
        events: 0,
        notes: 0,
        skip: None,
        rows_digest: String::new(),
        rows_reading: 0,
        parser_version: 1,
        reading: 0,
    }
}

/// All rows of one record.
pub fn rows(record: Record, source: Source, known_at: Timestamp) -> Batch {
    let facility = Facility::new(if record.predictions.is_empty() { "north" } else { "wardstream" });
    let digest = Digest::of(record.payload.as_bytes());
    let mut stamp = EventStamp::new(&facility, &digest, known_at, &source);
    let events: Vec<_> = record.facts.into_iter().map(|fact| stamp.event(fact)).collect();
    let notes: Vec<_> = record.notes.into_iter().map(|note| NoteRow::stamp(note, &facility, known_at, source.clone())).collect();
    let row = |prediction| PredictionRow { prediction, known_at, source: source.clone() };
    let predictions: Vec<_> = record.predictions.into_iter().map(row).collect();
    let message = Message {
        key: Some(b"key".to_vec()),
        headers: "{\"who\":\"somebody\"}".to_owned(),
        payload: Some(record.payload.into_bytes()),
        digest: digest.to_string(),
        format: if predictions.is_empty() { Format::Hl7v2 } else { Format::Wardstream },
        control_id: Some("17".to_owned()),
        facility: facility.name.clone(),
        outcome: record.outcome,
        events: i32::try_from(events.len()).expect("few"),
        notes: i32::try_from(notes.len()).expect("few"),
        ..message(source.clone(), known_at)
    };
    let upto = BTreeMap::from([(TopicPartition { topic: source.topic, partition: source.partition }, source.offset)]);
    Batch { messages: vec![message], events, notes, predictions, upto, ..Batch::default() }
}

/// The wall clock, against which the store's own files are dated.
#[expect(clippy::disallowed_methods, reason = "files of a test are dated by the wall clock")]
pub fn clock() -> Timestamp {
    Timestamp::now()
}
