//! Every view's `.slt` beside it: the rows that a small, hand-written log must give.

use std::path::Path;

use jiff::Timestamp;
use schemas::{Digest, EventCode, EventStamp, Facility, Fact, Identifier, MappedNote, Message, NoteKind, NoteRow, NoteStatus, Source};

use super::questions;
use crate::dataset::fixture::part;
use crate::store::tests::message;
use crate::{AsOf, Batch, Format as Rows, Settings, Warehouse, render};

/// One record a line: offset, instant of the log, what it says.
struct Log {
    facility: Facility,
    batch: Batch,
}

fn at(text: &str) -> Timestamp {
    format!("{text}:00Z").parse().expect("an instant")
}

impl Log {
    /// A record that gave this many facts and notes.
    fn record(&mut self, known_at: &str, events: i32, notes: i32) -> Source {
        let source =
            Source { topic: "hl7.raw".into(), partition: 0, offset: i64::try_from(self.batch.messages.len()).expect("a short log") };
        self.batch.upto.insert(source.topic_partition(), source.offset);
        self.batch.messages.push(Message {
            payload: Some(known_at.into()),
            digest: Digest::of(known_at.as_bytes()).to_string(),
            facility: self.facility.name.clone(),
            events,
            notes,
            ..message(source.clone(), at(known_at))
        });
        source
    }

    /// A fact about `patient` and, where it is about one, `visit`; its own time is when it became known unless `time` says.
    fn fact(&mut self, known_at: &str, code: EventCode, subject: (&str, &str), said: (Option<&str>, Option<&str>)) {
        let source = self.record(known_at, 1, 0);
        let fact = Fact {
            code,
            time: Some(at(known_at)),
            asserted_at: Some(at(known_at)),
            patient: Some(Identifier { system: "H".into(), value: subject.0.into() }),
            encounter: Some(subject.1.to_owned()).filter(|visit| !visit.is_empty()),
            numeric_value: None,
            text_value: said.0.map(str::to_owned),
            related: said.1.map(str::to_owned),
        };
        let digest = Digest::of(format!("{known_at}{code:?}").as_bytes());
        self.batch.events.push(EventStamp::new(&self.facility, &digest, at(known_at), &source).event(fact));
    }

    fn note(&mut self, known_at: &str, kind: NoteKind, subject: (&str, &str), document: &str) {
        let source = self.record(known_at, 0, 1);
        let note = MappedNote {
            document: document.into(),
            patient: Some(Identifier { system: "H".into(), value: subject.0.into() }),
            encounter: Some(subject.1.to_owned()).filter(|visit| !visit.is_empty()),
            kind,
            type_code: None,
            status: NoteStatus::Final,
            authored_at: Some(at(known_at)),
            signed_at: None,
            asserted_at: Some(at(known_at)),
            text: format!("text of {document} in as many words as a note is read for"),
            replaces: None,
        };
        self.batch.notes.push(NoteRow::stamp(note, &self.facility, at(known_at), source));
    }
}

/// Two stays of one person under two numbers, merged later; the first readmitted, its claim denied and won on appeal; a stay
/// that was cancelled; a discharge summary without a visit number.
fn log() -> Batch {
    let mut log = Log { facility: Facility::new("ward"), batch: Batch::default() };
    log.fact("2020-01-01T08:00", EventCode::EncounterAdmitted, ("1", "V1"), (None, None));
    log.fact("2020-01-01T08:01", EventCode::EncounterClass, ("1", "V1"), (Some("I"), None));
    log.fact("2020-01-01T08:02", EventCode::EncounterDepartment, ("1", "V1"), (Some("MED"), None));
    log.fact("2020-01-01T08:03", EventCode::PatientSex, ("1", ""), (Some("female"), None));
    log.note("2020-01-01T10:00", NoteKind::Admission, ("1", "V1"), "HP1");
    log.fact("2020-01-05T09:00", EventCode::EncounterDischarged, ("1", "V1"), (Some("01"), None));
    log.note("2020-01-05T12:00", NoteKind::Discharge, ("1", ""), "DS1");
    log.fact("2020-01-08T09:00", EventCode::EncounterDiagnosed, ("1", "V1"), (Some("ICD10CM/I50.9"), None));
    log.fact("2020-01-10T09:00", EventCode::ClaimSubmitted, ("1", "V1"), (None, Some("C1")));
    log.fact("2020-01-20T08:00", EventCode::EncounterAdmitted, ("2", "V2"), (None, None));
    log.note("2020-01-20T10:00", NoteKind::Admission, ("2", "V2"), "HP2");
    log.fact("2020-01-21T08:00", EventCode::PatientMerged, ("1", ""), (None, Some("H|2")));
    log.fact("2020-01-22T20:00", EventCode::EncounterDischarged, ("2", "V2"), (Some("20"), None));
    log.fact("2020-02-01T09:00", EventCode::ClaimDecided, ("1", ""), (Some("denied"), Some("C1")));
    log.fact("2020-02-20T09:00", EventCode::ClaimDecided, ("1", ""), (Some("paid"), Some("C1")));
    log.fact("2020-03-01T08:00", EventCode::EncounterAdmitted, ("3", "V3"), (None, None));
    log.fact("2020-03-01T09:00", EventCode::EncounterAdmissionCancelled, ("3", "V3"), (None, None));
    log.fact("2020-12-01T08:00", EventCode::PatientIdentified, ("4", ""), (None, None));
    log.batch
}

/// The queries of an `.slt`: `query`, the SQL, `----`, the rows.
fn queries(text: &str) -> Vec<(String, String)> {
    let blocks = text.split("\nquery\n").skip(1);
    blocks.filter_map(|block| block.split_once("\n----\n")).map(|(sql, rows)| (sql.trim().to_owned(), rows.trim().to_owned())).collect()
}

#[tokio::test]
async fn every_view_gives_the_rows_that_stand_beside_it() {
    let folder = std::env::temp_dir().join(format!("wardstream-views-{}", std::process::id()));
    let settings = Settings { url: folder.display().to_string(), ..Settings::default() };
    let warehouse = Warehouse::open(&settings).await.expect("opens");
    warehouse.append(&mut log()).await.expect("appends");
    // The same batch again changes nothing.
    warehouse.append(&mut log()).await.expect("appends");
    let views = Path::new(env!("CARGO_MANIFEST_DIR")).join("views");
    let mut failures = Vec::new();
    for (name, _, _) in super::VIEWS {
        let file = views.join(format!("{name}.slt"));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut fresh = format!("# The rows of {name} for the log of src/views/golden.rs.\n");
        for (sql, expected) in queries(&text) {
            let batches = warehouse.query(&sql, &AsOf::default()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            let rows = render(&batches, Rows::Csv).expect("csv");
            if rows.trim() != expected {
                failures.push(format!("{name}:\n{}", rows.trim()));
            }
            fresh.push_str(&format!("\nquery\n{sql}\n----\n{}\n", rows.trim()));
        }
        assert!(!queries(&text).is_empty(), "{name}.slt holds no query");
        if option_env!("UPDATE_SLT").is_some() {
            std::fs::write(&file, fresh).expect("writes");
        }
    }
    std::fs::remove_dir_all(&folder).expect("was made");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// The README's questions, asked as they stand there.
#[tokio::test]
async fn the_questions_of_the_readme_are_answered() {
    let questions = questions::twelve();
    assert_eq!(questions.len(), 12);
    let folder = std::env::temp_dir().join(format!("wardstream-questions-{}", std::process::id()));
    let warehouse = Warehouse::open(&Settings { url: folder.display().to_string(), ..Settings::default() }).await.expect("opens");
    warehouse.append(&mut log()).await.expect("appends");
    for (_, sql) in questions {
        let answer = warehouse.query(sql, &AsOf::default()).await;
        assert!(answer.is_ok(), "{sql}\n{:?}", answer.err());
    }
    std::fs::remove_dir_all(&folder).expect("was made");
}

#[tokio::test]
async fn what_becomes_known_later_changes_nothing_of_what_stood_before() {
    const ASKED: [&str; 2] = ["SELECT * FROM encounters ORDER BY encounter_id", "SELECT * FROM labels ORDER BY task, encounter_id"];
    let folder = std::env::temp_dir().join(format!("wardstream-then-{}", std::process::id()));
    let settings = Settings { url: folder.display().to_string(), ..Settings::default() };
    let warehouse = Warehouse::open(&settings).await.expect("opens");
    let ask = async |sql: &str, at: &AsOf| render(&warehouse.query(sql, at).await.expect("answers"), Rows::Csv).expect("csv");
    let whole = log();
    let mut then = Vec::new();
    for records in whole.messages.chunks(3) {
        warehouse.append(&mut part(&whole, records)).await.expect("appends");
        let known_at = records.last().expect("no chunk is empty").known_at;
        for sql in ASKED {
            then.push((known_at, sql, ask(sql, &AsOf::default()).await));
        }
    }
    for (known_at, sql, rows) in &then {
        let at = AsOf { known_at: Some(*known_at), ..AsOf::default() };
        assert_eq!(&ask(sql, &at).await, rows, "{sql} as known at {known_at}");
    }
    let distinct = then.iter().map(|(_, _, rows)| rows).collect::<std::collections::BTreeSet<_>>().len();
    assert!(distinct > ASKED.len() * 2, "the log says something new as it goes");
    std::fs::remove_dir_all(&folder).expect("was made");
}
