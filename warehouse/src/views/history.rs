//! Random histories of a hospital, for promises that must hold of any: what was said, when it was meant and when it became known.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemas::{
    Digest, EncounterId, EventCode, EventStamp, Facility, Fact, Identifier, MappedNote, Message, Mode, ModelVersion, NoteKind, NoteRow,
    NoteStatus, PatientId, Prediction, PredictionId, Source, Task,
};

use crate::append::{Batch, PredictionRow};
use crate::store::tests;
use crate::{AsOf, Format, Warehouse, render};

/// Minutes of a day.
pub const DAY: i64 = 24 * 60;

/// What a record says.
#[derive(Clone)]
pub enum What {
    Fact { code: EventCode, time: Option<i64>, text: Option<String>, related: Option<String> },
    Note { kind: NoteKind, document: String, status: NoteStatus, text: String },
    Prediction { task: Task, document: String, score: f64, mode: Mode },
}

/// What stands where somebody means to write later, or has nothing to say.
const BLANKS: [&str; 3] = ["See dictation.", "<NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA> <NA>", ""];

/// What a note says where it says something.
fn words(document: &str) -> String {
    format!("Plan: {document} goes on with rest, water and short walks until the next visit.")
}

/// One record. Times are minutes since the beginning of 2020.
#[derive(Clone)]
pub struct Line {
    pub known: i64,
    pub asserted: i64,
    /// A number of the hospital's, or `|id`: a logical id.
    pub patient: String,
    pub visit: String,
    pub what: What,
}

/// A small generator (xorshift): the same seed gives the same history.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 16).unwrap_or(0) % limit.max(1)
    }

    fn hits(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as i64)).unwrap_or(0)]
    }
}

pub fn instant(minutes: i64) -> Timestamp {
    let begin: Timestamp = "2020-01-01T00:00:00Z".parse().expect("an instant");
    begin.checked_add(SignedDuration::from_mins(minutes)).expect("within range")
}

/// A history of so many patients, in the order in which it became known.
pub fn history(seed: u64, patients: i64) -> Vec<Line> {
    told(seed, patients, Teller::life)
}

/// The same with merged visits, people of two names, records that move from one stay to another, and merges of different people. Every number is
/// told to name records; second numbers stand beside the first long before they are merged, and some beside other people's. Some stays are told twice.
pub fn tied_history(seed: u64, patients: i64) -> Vec<Line> {
    let lines = told(seed, patients, |teller, number| {
        teller.life(number);
        teller.ties(number);
    });
    told_twice(named(lines))
}

/// The same, in which a record of its own tells of every third stay besides and lists its visit number: of some before, of some days apart, and of some another record
/// lists the number too. Some leave it out later.
fn told_twice(mut lines: Vec<Line>) -> Vec<Line> {
    let admits = |line: &&Line| matches!(line.what, What::Fact { code: EventCode::EncounterAdmitted, .. });
    let admissions: Vec<Line> = lines.iter().filter(admits).cloned().collect();
    for (nth, stay) in admissions.into_iter().enumerate().filter(|(nth, _)| nth % 3 == 0) {
        let What::Fact { time: Some(came), .. } = stay.what else { continue };
        let mut say = |minutes: i64, record: &str, code, time: Option<i64>, related: Option<String>| {
            let (known, asserted, visit) = (stay.known + minutes, stay.asserted + minutes, format!("{record}{nth}"));
            lines.push(Line {
                known,
                asserted,
                patient: stay.patient.clone(),
                visit,
                what: What::Fact { code, time, text: None, related },
            });
        };
        let (since, came) = (if nth % 2 == 0 { 2 * DAY } else { -30 }, if nth % 7 == 0 { came + 3 * DAY } else { came });
        for record in ["f", "g"].into_iter().take(if nth % 5 == 0 { 2 } else { 1 }) {
            say(since, record, EventCode::EncounterAdmitted, Some(came), None);
            say(since, record, EventCode::EncounterIdentified, None, Some(stay.visit.clone()));
        }
        if nth % 4 == 0 {
            say(40 * DAY, "f", EventCode::EncounterAdmitted, Some(came), None);
        }
    }
    lines.sort_by_key(|line| line.known);
    lines
}

/// The same, in which a record of each number says that it names somebody, and the records of a person of two numbers list both: for some with
/// birth dates that agree or do not, and as numbers of one kind or of two. Of each fifth there is a record under a logical id, which lists the number
/// and, for some, leaves it out later.
fn named(mut lines: Vec<Line>) -> Vec<Line> {
    let mut first: BTreeMap<String, i64> = BTreeMap::new();
    for line in &lines {
        first.entry(line.patient.clone()).or_insert(line.known);
    }
    for (nth, (patient, known)) in first.iter().enumerate() {
        let mut say = |days: i64, patient: &str, code, text: Option<&str>, related: Option<String>| {
            let (known, text) = (known + days * DAY, text.map(str::to_owned));
            let what = What::Fact { code, time: None, text, related };
            lines.push(Line { known, asserted: known, patient: patient.to_owned(), visit: String::new(), what });
        };
        say(0, patient, EventCode::PatientIdentified, None, None);
        if let Some(best) = patient.strip_suffix('b') {
            let born = [None, Some("1950-05-05"), Some("1961-06-06")][nth % 3];
            say(0, patient, EventCode::PatientBirthDate, born, None);
            let tie = if nth % 2 == 0 { "own" } else { "alike" };
            say(2, best, EventCode::PatientIdentified, Some(tie), Some(format!("H|{patient}")));
        }
        if nth % 5 == 0 {
            let (logical, number) = (format!("|{patient}"), Some(format!("H|{patient}")));
            say(3, &logical, EventCode::PatientIdentified, Some("own_now"), number);
            if nth % 2 == 0 {
                say(40, &logical, EventCode::PatientIdentified, None, None);
            }
        }
    }
    lines.sort_by_key(|line| line.known);
    lines
}

fn told(seed: u64, patients: i64, tell: fn(&mut Teller, i64)) -> Vec<Line> {
    let mut teller = Teller { dice: Dice::new(seed), lines: Vec::new(), patient: String::new(), visit: String::new() };
    for number in 0..patients {
        tell(&mut teller, number);
    }
    teller.lines.sort_by_key(|line| line.known);
    teller.lines
}

struct Teller {
    dice: Dice,
    lines: Vec<Line>,
    patient: String,
    visit: String,
}

impl Teller {
    fn say(&mut self, asserted: i64, what: What) {
        let late = if self.dice.hits(8) { 20 * DAY } else { DAY };
        let known = asserted + 1 + self.dice.below(late);
        self.lines.push(Line { known, asserted, patient: self.patient.clone(), visit: self.visit.clone(), what });
    }

    fn fact(&mut self, asserted: i64, code: EventCode, time: Option<i64>, text: Option<&str>) {
        self.say(asserted, What::Fact { code, time, text: text.map(str::to_owned), related: None });
    }

    /// The stays of one person, some under a second number that is merged later.
    fn life(&mut self, number: i64) {
        let (first, second) = (format!("p{number}"), format!("p{number}b"));
        self.patient.clone_from(&first);
        let mut came = self.dice.below(300 * DAY);
        self.visit.clear();
        if self.dice.hits(70) {
            let birth = if self.dice.hits(8) { instant(came).strftime("%Y-%m-%d").to_string() } else { "1950-05-05".to_owned() };
            self.fact(came, EventCode::PatientBirthDate, None, Some(&birth));
        }
        for turn in 0..1 + self.dice.below(3) {
            self.visit = format!("v{number}-{turn}");
            if turn > 0 && self.dice.hits(15) {
                self.patient.clone_from(&second);
            }
            let left = self.stay(came);
            let gap = if self.dice.hits(15) { self.dice.below(2 * DAY) } else { self.dice.below(60 * DAY) };
            came = if self.dice.hits(6) { came + 1 + self.dice.below(3 * DAY) } else { left + gap };
        }
        if self.patient == second {
            self.patient = first;
            self.visit.clear();
            self.say(came, What::Fact { code: EventCode::PatientMerged, time: None, text: None, related: Some(format!("H|{second}")) });
        }
    }

    /// What ties a life to itself and to others besides, each rarely.
    fn ties(&mut self, number: i64) {
        let (first, other, came) = (format!("v{number}-0"), number - 1 - self.dice.below(3), self.dice.below(400 * DAY));
        let tie = |teller: &mut Self, code, text: Option<&str>, related: String| {
            teller.say(came, What::Fact { code, time: None, text: text.map(str::to_owned), related: Some(related) });
        };
        self.patient = format!("p{number}");
        self.visit.clone_from(&first);
        if self.dice.hits(6) {
            tie(self, EventCode::EncounterMerged, None, format!("v{number}-1"));
        }
        if self.dice.hits(5) {
            tie(self, EventCode::PatientIdentified, Some("own"), format!("H|p{other}"));
        }
        if self.dice.hits(15) {
            tie(self, EventCode::EncounterDiagnosed, Some("ICD10CM/N18.3"), format!("Condition/{}", other / 2));
        }
        if self.dice.hits(10) {
            tie(self, EventCode::NoteStatusStated, Some("retracted"), format!("{first}-{}", NoteKind::Discharge.as_str()));
        }
        if self.dice.hits(3) {
            self.visit.clear();
            tie(self, EventCode::PatientMerged, None, format!("H|p{other}"));
        }
    }

    fn stay(&mut self, came: i64) -> i64 {
        let days = self.dice.below(9);
        let left = came + 60 + days * DAY + self.dice.below(DAY);
        if self.dice.hits(10) {
            self.fact(came - 2 * DAY, EventCode::EncounterPreadmitted, Some(came), Some("planned"));
        }
        self.fact(came, EventCode::EncounterAdmitted, Some(came), None);
        let department = self.dice.pick(&["MED", "SUR", "CAR", "REH"]);
        self.fact(came, EventCode::EncounterDepartment, None, Some(department));
        if self.dice.hits(30) {
            self.fact(came + 50, EventCode::EncounterTransferred, Some(came + 50), Some("ICU"));
            self.fact(came + 50, EventCode::EncounterInsured, None, Some("PLAN"));
            self.fact(came + 50, EventCode::EncounterProcedure, Some(came + 55), Some("CPT/74177"));
        }
        if self.dice.hits(5) {
            self.fact(came + 30, EventCode::EncounterAdmissionCancelled, None, None);
        }
        self.note(came + 40, NoteKind::Admission);
        if self.dice.hits(95) {
            self.end(came, left);
        }
        left
    }

    fn end(&mut self, came: i64, left: i64) {
        if self.dice.hits(6) {
            let early = came + (left - came) / 2;
            self.fact(early, EventCode::EncounterDischarged, Some(early), Some("01"));
            self.fact(early + 5, EventCode::EncounterDischargeCancelled, None, None);
        }
        let disposition = self.dice.pick(&["01", "01", "01", "01", "02", "03", "20", "50"]);
        self.fact(left, EventCode::EncounterDischarged, Some(left), Some(disposition).filter(|_| left % 20 != 0));
        if disposition == "20" {
            let by_day = left % 3 == 0;
            self.fact(left, EventCode::PatientDied, Some(if by_day { left - left % DAY } else { left }), by_day.then_some("day"));
        }
        self.note(left + 30, NoteKind::Discharge);
        for code in ["ICD10CM/I50.9", "ICD10CM/E11.9", "ICD10CM/C78.0", "ICD10CM/S72.0"] {
            if self.dice.hits(25) {
                let coded = left + self.dice.below(5 * DAY);
                self.fact(coded, EventCode::EncounterDiagnosed, None, Some(code));
            }
        }
        if self.dice.hits(80) {
            self.claim(left + DAY);
        }
    }

    fn claim(&mut self, sent: i64) {
        let related = Some(format!("c{}", self.visit));
        let say = |teller: &mut Self, at: i64, code, text: Option<&str>| {
            teller.say(at, What::Fact { code, time: Some(at), text: text.map(str::to_owned), related: related.clone() });
        };
        say(self, sent, EventCode::ClaimSubmitted, None);
        let mut at = sent + self.dice.below(60 * DAY);
        if self.dice.hits(10) {
            say(self, at, EventCode::ClaimDecided, Some("pending"));
        } else {
            let denied = self.dice.hits(30);
            say(self, at, EventCode::ClaimDecided, Some(if denied { "denied" } else { "paid" }));
            if denied && self.dice.hits(50) {
                at += 1 + self.dice.below(20 * DAY);
                say(self, at, EventCode::ClaimDecided, Some("appeal_won"));
            }
        }
        if self.dice.hits(5) {
            say(self, at + 10, EventCode::ClaimDecided, Some("cancelled"));
        }
    }

    /// Every sixth note has nothing to say at first, and half of these get their words later, whose record may come before the first. Some are emptied by a
    /// correction.
    fn note(&mut self, at: i64, kind: NoteKind) {
        let document = format!("{}-{}", self.visit, kind.as_str());
        let written =
            |document: &str, status, text: &str| What::Note { kind, document: document.to_owned(), status, text: text.to_owned() };
        let (words, blank) = (words(&document), BLANKS[usize::try_from(at / 12 % 3).unwrap_or(0)]);
        self.say(at, written(&document, NoteStatus::Final, if at % 6 == 0 { blank } else { words.as_str() }));
        if at % 12 == 0 {
            let (patient, visit) = (self.patient.clone(), self.visit.clone());
            let what = written(&document, NoteStatus::Final, &words);
            self.lines.push(Line { known: at + 2 * DAY, asserted: at + 50, patient, visit, what });
        }
        if self.dice.hits(10) {
            self.say(at + 100, written(&document, NoteStatus::Amended, if at % 4 == 1 { blank } else { words.as_str() }));
        }
        if self.dice.hits(6) {
            let again = format!("{document}-again");
            self.say(at + 200, written(&document, NoteStatus::Retracted, &words));
            self.say(at + 210, written(&again, NoteStatus::Final, &self::words(&again)));
        }
        for task in Task::of(kind) {
            let (score, mode) = (self.dice.below(100) as f64 / 100.0, if self.dice.hits(80) { Mode::Live } else { Mode::Silent });
            self.say(at + 25 * DAY, What::Prediction { task, document: document.clone(), score, mode });
        }
    }
}

/// The lines as rows of the tables, from `offset` of `hl7.raw` on.
pub fn batch(lines: &[Line], offset: usize) -> Batch {
    let facility = Facility::new("ward");
    let mut batch = Batch::default();
    for (place, line) in lines.iter().enumerate() {
        let read_back = matches!(line.what, What::Prediction { .. });
        let topic = if read_back { schemas::topic::PREDICTION } else { "hl7.raw" };
        let source = Source { topic: topic.to_owned(), partition: 0, offset: i64::try_from(offset + place).expect("a short log") };
        batch.upto.insert(source.topic_partition(), source.offset);
        let (events, notes) = match &line.what {
            What::Fact { .. } => (1, 0),
            What::Note { .. } => (0, 1),
            What::Prediction { .. } => (0, 0),
        };
        batch.messages.push(message(&source, line, if read_back { "wardstream" } else { "ward" }, (events, notes)));
        row(&mut batch, line, &facility, source);
    }
    batch
}

fn message(source: &Source, line: &Line, facility: &str, (events, notes): (i32, i32)) -> Message {
    Message {
        payload: Some(source.offset.to_string().into()),
        facility: facility.to_owned(),
        events,
        notes,
        ..tests::message(source.clone(), instant(line.known))
    }
}

fn row(batch: &mut Batch, line: &Line, facility: &Facility, source: Source) {
    let (system, value) = line.patient.split_once('|').unwrap_or(("H", line.patient.as_str()));
    let patient = Identifier { system: system.to_owned(), value: value.to_owned() };
    let encounter = Some(line.visit.clone()).filter(|visit| !visit.is_empty());
    match &line.what {
        What::Fact { code, time, text, related } => {
            let fact = Fact {
                code: *code,
                time: time.map(instant),
                asserted_at: Some(instant(line.asserted)),
                patient: Some(patient),
                encounter,
                numeric_value: None,
                text_value: text.clone(),
                related: related.clone(),
            };
            let digest = Digest::of(source.offset.to_string().as_bytes());
            batch.events.push(EventStamp::new(facility, &digest, instant(line.known), &source).event(fact));
        }
        What::Note { kind, document, status, text } => {
            let note = MappedNote {
                document: document.clone(),
                patient: Some(patient),
                encounter,
                kind: *kind,
                type_code: None,
                status: *status,
                authored_at: Some(instant(line.asserted)),
                signed_at: None,
                asserted_at: Some(instant(line.asserted)),
                text: text.clone(),
                replaces: None,
            };
            batch.notes.push(NoteRow::stamp(note, facility, instant(line.known), source));
        }
        What::Prediction { task, document, score, mode } => {
            let note_id = schemas::NoteId::derive(facility, document);
            let note_version_id = schemas::NoteVersionId::derive(note_id, NoteStatus::Final.as_str(), &words(document));
            let model_version = ModelVersion("m1".to_owned());
            let rest = (1.0 - score) / (task.classes() - 1) as f64;
            let probabilities = (0..task.classes()).map(|class| if class == 1 { *score } else { rest }).collect();
            let prediction = Prediction {
                prediction_id: PredictionId::derive(task.as_str(), note_version_id, &model_version),
                task: *task,
                encounter_id: encounter.map(|visit| EncounterId::derive(facility, &visit)),
                patient_id: Some(PatientId::derive(facility, &patient)),
                note_id,
                note_version_id,
                predicted_at: instant(line.asserted),
                model_version,
                dataset_id: None,
                probabilities,
                probability: Some(*score),
                threshold: Some(0.5),
                decision: Some(i32::from(*score >= 0.5)),
                mode: *mode,
                tokens_read: 9,
                truncated: false,
                supersedes: None,
                retracts: None,
                source: source.clone(),
            };
            batch.predictions.push(PredictionRow { prediction, known_at: instant(line.known), source });
        }
    }
}

/// They state where the tables' logs are now. Of an earlier moment the logs say nothing, and the rows answer for themselves.
pub const OF_THE_LOG: [&str; 1] = ["conservation"];

/// Rows as text, in an order of their own; numbers to nine digits, as sums depend on the order of their parts.
pub async fn rows(warehouse: &Warehouse, relation: &str, at: &AsOf) -> Vec<String> {
    let batches = warehouse.query(&format!("SELECT * FROM {relation}"), at).await.unwrap_or_else(|error| panic!("{relation}: {error}"));
    let text = render(&batches, Format::Table).expect("a table");
    let cell = |cell: &str| match cell.trim().parse::<f64>() {
        Ok(number) if cell.contains('.') => format!("{number:.9e}"),
        _ => cell.trim().to_owned(),
    };
    let mut rows: Vec<String> =
        text.lines().filter(|line| !line.starts_with('+')).map(|line| line.split('|').map(cell).collect::<Vec<_>>().join("|")).collect();
    rows.sort();
    rows
}
