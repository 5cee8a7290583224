//! Erasing a patient, and what must be left.

use std::path::Path;
use std::time::Duration;

use deltalake_core::kernel::Transaction;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::protocol::SaveMode;
use jiff::ToSpan as _;
use schemas::EventCode::{EncounterAdmitted, EncounterMoved, PatientIdentified, PatientLinked, PatientMerged, PatientSex};

use super::*;
use crate::read::AsOf;
use crate::store::tests::{BEGAN, RAW, Record, Ward, fact, note, told_at};
use crate::{Batch, QueryError, Settings, encode};

mod numbers;
mod records;

/// Words that stand in the planted patient's records and nowhere else.
const PLANTED: [&str; 4] = ["PLANTED-111", "PLANTED-222", "planted words", "said of PLANTED"];

fn subject(value: &str) -> Subject {
    Subject { system: "MRN".to_owned(), value: value.to_owned(), facility: None }
}

/// A patient with two numbers, a note and a prediction, among others.
async fn ward() -> Ward {
    let mut ward = Ward::empty().await;
    let about = note("D1", "PLANTED-222", "planted words about the patient");
    let admitted = |patient: &str, visit: &str| {
        Record::of(vec![fact(PatientSex, patient, None, None), fact(EncounterAdmitted, patient, Some(visit), None)])
    };
    let nameless = Record::of(vec![fact(EncounterAdmitted, "", Some("V1"), None), fact(PatientSex, "PLANTED-111", None, None)]);
    let shared = Record::of(vec![
        fact(PatientSex, "PLANTED-111", None, None),
        fact(PatientSex, "3", None, None),
        fact(PatientIdentified, "3", None, None),
    ]);
    ward.arrives(vec![
        admitted("1", "V9"),
        admitted("PLANTED-111", "V1"),
        admitted("PLANTED-222", "V2"),
        nameless,
        shared,
        // The earlier number was merged into the later one, and another patient was tied to it.
        Record::of(vec![fact(PatientMerged, "PLANTED-222", None, Some("MRN|PLANTED-111"))]),
        Record::of(vec![fact(PatientLinked, "3", None, Some("MRN|PLANTED-222"))]),
        Record::of(vec![fact(PatientSex, "PLANTED-222", None, None)]).with_note(about.clone()),
        Record::refused("PID|||PLANTED-111^^^MRN|broken"),
        Record::refused("PID|||PLANTED-1112^^^MRN|another number"),
        Record::predicted(&about),
        Record::of(vec![fact(PatientSex, "1", None, None)]).with_note(note("D2", "1", "other words")),
    ])
    .await;
    ward
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    if path.is_dir() {
        return std::fs::read_dir(path).expect("a folder").any(|entry| holds(&entry.expect("an entry").path(), bytes));
    }
    std::fs::read(path).expect("a file").windows(bytes.len()).any(|window| window == bytes)
}

/// Every value of every table, as text.
async fn everything(ward: &Ward) -> String {
    let mut all = String::new();
    for relation in ["message_rows", "event_rows", "note_rows", "prediction_rows"] {
        for batch in ward.warehouse.query(&format!("SELECT * FROM {relation}"), &AsOf::default()).await.expect("answers") {
            all.push_str(&format!("{:?}", batch.columns()));
        }
        if relation == "message_rows" {
            let payloads = ward.warehouse.query("SELECT payload, key FROM message_rows", &AsOf::default()).await.expect("answers");
            for batch in payloads {
                for payload in crate::read::binaries(&batch, "payload").expect("bytes").into_iter().flatten() {
                    all.push_str(&String::from_utf8_lossy(&payload));
                }
            }
        }
    }
    all
}

#[tokio::test]
async fn looking_counts_every_identity_and_record_of_the_patient_and_changes_nothing() {
    let ward = ward().await;
    let before = ward.warehouse.pin().await.expect("a pin");
    let traces = ward.warehouse.traces(&subject("PLANTED-111")).await.expect("found");
    assert_eq!(traces, ward.warehouse.traces(&subject("PLANTED-222")).await.expect("found by the other number too"));
    let expected = Traces {
        identities: 2,
        identifiers: 2,
        namesakes: 0,
        shared_identifiers: BTreeMap::new(),
        messages: 9,
        shared_messages: 2,
        unread_messages: 1,
        named_messages: 0,
        events: 9,
        blanked_events: 1,
        notes: 1,
        predictions: 1,
        underway: 0,
        first_known_at: Some(BEGAN.parse::<Timestamp>().expect("an instant") + 1.minutes()),
    };
    // The prediction's record lies on a topic of its own, whose clock began anew.
    assert_eq!(Traces { first_known_at: expected.first_known_at, ..traces }, expected);
    assert_eq!(ward.warehouse.pin().await.expect("a pin"), before);
}

#[tokio::test]
async fn an_erased_patient_stands_in_no_table_and_every_record_still_has_its_offset() {
    let ward = ward().await;
    let others = "SELECT event_id, patient_id, code FROM event_rows WHERE patient_value IN ('1', '3') ORDER BY 1";
    let before = ward.told_of(others).await;
    for planted in PLANTED {
        assert!(everything(&ward).await.contains(planted), "{planted} was planted");
    }
    let erased = ward.warehouse.erase(&subject("PLANTED-222")).await.expect("erased");
    assert_eq!((erased.messages, erased.events, erased.notes, erased.predictions), (9, 9, 1, 1));

    let left = everything(&ward).await;
    for planted in PLANTED {
        // The other patient's longer number is nobody's of ours.
        assert!(!left.replace("PLANTED-1112", "").contains(planted), "{planted} is left");
    }
    assert!(left.contains("PLANTED-1112"), "a longer number is another number");
    ward.is_conserved().await;
    assert_eq!(ward.told_of(others).await, before, "the others' facts stay");
    assert_eq!(ward.told_of("SELECT count(*), count(payload), count(key) FROM messages WHERE topic = 'hl7.raw'").await, "11,3,3\n");
    assert_eq!(
        ward.told_of("SELECT count(*) FROM messages WHERE outcome = 'erased' AND headers = '{}' AND control_id IS NULL").await,
        "9\n"
    );
    assert_eq!(ward.told_of("SELECT count(*) FROM duplicates WHERE topic = 'hl7.raw' AND duplicate_of IS NOT NULL").await, "0\n");
    assert_eq!(ward.told_of("SELECT count(*) FROM event_rows WHERE code = 'patient.linked' AND related IS NULL").await, "1\n");
    assert!(matches!(ward.warehouse.erase(&subject("PLANTED-222")).await, Err(EraseError::Nobody)));
}

#[tokio::test]
async fn nothing_of_the_patient_is_left_on_disk_once_earlier_versions_are_gone() {
    let ward = ward().await;
    let pin = ward.warehouse.pin().await.expect("a pin");
    ward.warehouse.erase(&subject("PLANTED-111")).await.expect("erased");
    let files = |table: Table| std::fs::read_dir(ward.folder.path().join(table.as_str())).expect("a folder").count();
    let before = files(Table::Messages);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let now = crate::store::tests::clock();
    // Not before its time is up,
    ward.warehouse.vacuum(now).await.expect("vacuums");
    assert_eq!(files(Table::Messages), before);
    // and at once where that is asked.
    ward.warehouse.forget_erased(now).await.expect("forgets");
    assert!(files(Table::Messages) < before);
    for id in ward_ids() {
        assert!(!holds(ward.folder.path(), id.as_bytes()), "an id that is derived from the number is left in a log");
    }
    let at = AsOf { pin: Some(pin), ..AsOf::default() };
    let refused = ward.warehouse.query("SELECT * FROM events", &at).await.expect_err("those versions are gone");
    assert!(matches!(refused, QueryError::Version { .. }), "{refused}");
    ward.is_conserved().await;
}

/// The ids that the planted numbers give.
fn ward_ids() -> Vec<String> {
    let facility = schemas::Facility::new("north");
    ["PLANTED-111", "PLANTED-222"]
        .map(|value| schemas::PatientId::derive(&facility, &crate::store::tests::identifier(value)).to_string())
        .to_vec()
}

#[tokio::test]
async fn the_same_records_sent_again_are_new_and_those_stored_do_not_come_back() {
    let mut ward = ward().await;
    ward.warehouse.erase(&subject("PLANTED-111")).await.expect("erased");
    // A repeat of an offset that was held is skipped as ever.
    let mut again = crate::store::tests::rows(
        Record::of(vec![fact(PatientSex, "PLANTED-111", None, None)]),
        schemas::Source { topic: RAW.to_owned(), partition: 0, offset: 1 },
        BEGAN.parse().expect("an instant"),
    );
    ward.warehouse.append(&mut again).await.expect("changes nothing");
    assert!(ward.warehouse.find("outcome = 'erased'").await.expect("answers").is_empty(), "there is nothing to replay");
    assert!(matches!(ward.warehouse.traces(&subject("PLANTED-111")).await, Err(EraseError::Nobody)));
    ward.arrives(vec![Record::of(vec![fact(PatientSex, "PLANTED-111", None, None)])]).await;
    assert_eq!(ward.warehouse.traces(&subject("PLANTED-111")).await.expect("new data").events, 1);
    ward.is_conserved().await;
}

/// A stay that was told under somebody else's number first, and moved to its patient since.
#[tokio::test]
async fn what_was_told_of_their_stay_under_another_s_number_goes_and_the_other_stays() {
    let mut ward = Ward::empty().await;
    let admitted = |visit: &str| schemas::Fact { time: BEGAN.parse().ok(), ..fact(EncounterAdmitted, "OTHER-1", Some(visit), None) };
    let moved = fact(EncounterMoved, "PLANTED-111", Some("V2"), Some("MRN|OTHER-1"));
    let theirs = schemas::MappedNote { encounter: Some("V2".to_owned()), ..note("D1", "OTHER-1", "planted words about the patient") };
    let others = schemas::MappedNote { encounter: Some("V1".to_owned()), ..note("D2", "OTHER-1", "words about the other") };
    ward.arrives(vec![
        Record::of(vec![admitted("V1")]).with_note(others),
        Record::of(vec![admitted("V2")]).with_note(theirs),
        Record::of(vec![moved]),
        Record::of(vec![fact(PatientSex, "PLANTED-111", None, None)]),
    ])
    .await;
    ward.warehouse.erase(&subject("PLANTED-111")).await.expect("erases");
    let left = everything(&ward).await;
    assert!(!left.contains("planted words") && !left.contains("PLANTED-111"), "{left}");
    assert!(left.contains("words about the other"));
    assert_eq!(told_at(&ward.warehouse, "SELECT visit_number FROM stays ORDER BY 1", &AsOf::default()).await, "V1\n");
}

#[tokio::test]
async fn an_identifier_that_names_nobody_or_several_is_refused() {
    let mut ward = ward().await;
    assert!(matches!(ward.warehouse.erase(&subject("4711")).await, Err(EraseError::Nobody)));
    // Two who were never merged share a number.
    ward.arrives(vec![
        Record::of(vec![fact(PatientIdentified, "1", None, Some("NATIONAL|5"))]),
        Record::of(vec![fact(PatientIdentified, "3", None, Some("NATIONAL|5"))]),
    ])
    .await;
    let both = Subject { system: "NATIONAL".to_owned(), value: "5".to_owned(), facility: None };
    let refused = ward.warehouse.erase(&both).await.expect_err("two persons");
    assert_eq!(
        refused.to_string(),
        "that identifier names 2 persons, at north: name one with --facility, or by an identifier that is theirs alone"
    );
    // The same number from another authority is told, and not taken for the same person.
    ward.arrives(vec![Record::of(vec![fact(PatientIdentified, "3", None, Some("OTHER|PLANTED-111"))])]).await;
    assert_eq!(ward.warehouse.traces(&subject("PLANTED-111")).await.expect("found").namesakes, 1);
    let elsewhere = Subject { facility: Some("south".to_owned()), ..subject("1") };
    assert!(matches!(ward.warehouse.erase(&elsewhere).await, Err(EraseError::Nobody)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_and_merges_go_on_beside_an_erasure_and_nothing_is_lost_or_doubled() {
    let mut ward = ward().await;
    let writer = Warehouse::open(&Settings { compact_files: 3, ..ward.settings.clone() }).await.expect("opens");
    let mut batches: Vec<_> =
        (0..25).map(|number| ward.batch(RAW, Record::of(vec![fact(PatientSex, &format!("later-{number}"), None, None)]))).collect();
    let appends = async {
        for batch in &mut batches {
            while writer.append(batch).await.is_err() {}
        }
    };
    let merges = async {
        for _ in 0..6 {
            // Where the erasure comes first, the next turn tries again.
            let _ = writer.compact().await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let victim = subject("PLANTED-111");
    let ((), (), erased) = tokio::join!(appends, merges, ward.warehouse.erase(&victim));
    erased.expect("erased");
    assert_eq!(
        ward.told_of("SELECT count(*), count(DISTINCT patient_value) FROM event_rows WHERE patient_value LIKE 'later-%'").await,
        "25,25\n"
    );
    assert!(matches!(ward.warehouse.traces(&victim).await, Err(EraseError::Nobody)));
    ward.is_conserved().await;
}

#[tokio::test]
async fn an_erasure_that_died_between_two_tables_is_finished_by_the_next() {
    let ward = ward().await;
    let victim = subject("PLANTED-111");
    let person = search::person(&ward.warehouse, &victim).await.expect("known");
    let found = search::find(&ward.warehouse, &person).await.expect("found");
    rewrite::empty_messages(&ward.warehouse, &found.records).await.expect("the first table");
    rewrite::delete(&ward.warehouse, Table::Notes, "note_version_id", &found.notes).await.expect("the second");
    ward.warehouse.erase(&victim).await.expect("goes on");
    assert!(matches!(ward.warehouse.traces(&victim).await, Err(EraseError::Nobody)));
    ward.is_conserved().await;
}

#[tokio::test]
async fn rows_past_their_retention_go_and_offsets_still_add_up() {
    let mut ward = ward().await;
    // One of a later day.
    let source = schemas::Source { topic: RAW.to_owned(), partition: 1, offset: 0 };
    let mut late = crate::store::tests::rows(
        Record::of(vec![fact(PatientSex, "late", None, None)]),
        source,
        "2026-02-01T00:00:00Z".parse().expect("an instant"),
    );
    ward.warehouse.append(&mut late).await.expect("lands");
    let retention = [(Table::Messages, 10), (Table::Events, 20), (Table::Notes, 20), (Table::Predictions, 20)];
    ward.settings.retention = crate::Retention(retention.into_iter().collect());
    let keeping = Warehouse::open(&ward.settings).await.expect("opens");
    keeping.vacuum("2026-02-05T00:00:00Z".parse().expect("an instant")).await.expect("vacuums");
    let counted = "SELECT (SELECT count(*) FROM message_rows) AS a, (SELECT count(payload) FROM message_rows) AS b, (SELECT count(*) FROM event_rows) AS c, \
                   (SELECT count(*) FROM note_rows) AS d, (SELECT count(*) FROM prediction_rows) AS e";
    assert_eq!(told_at(&keeping, counted, &AsOf::default()).await, "13,1,1,0,0\n");
    ward.is_conserved().await;
    // The second turn finds nothing to do.
    let version = keeping.snapshot(Table::Messages).await.expect("a table").version();
    keeping.apply_retention("2026-02-05T00:00:00Z".parse().expect("an instant")).await.expect("nothing to do");
    assert_eq!(keeping.snapshot(Table::Messages).await.expect("a table").version(), version);
}

/// A writer commits a batch to one table, and stands.
async fn lands_in(ward: &Ward, table: Table, batch: &Batch) {
    let rows = match table {
        Table::Messages => encode::messages(&batch.messages.iter().collect::<Vec<_>>()),
        Table::Events => encode::events(&batch.events.iter().collect::<Vec<_>>()),
        Table::Notes => encode::notes(&batch.notes.iter().collect::<Vec<_>>()),
        Table::Predictions => encode::predictions(&batch.predictions.iter().collect::<Vec<_>>()),
    };
    let upto = batch.upto.iter().map(|(partition, last)| Transaction::new(crate::append::app_id(partition), *last)).collect();
    let properties = crate::maintenance::commit_alone(CommitProperties::default().with_application_transactions(upto));
    let delta = ward.warehouse.snapshot(table).await.expect("a table");
    let written = delta.write(vec![rows.expect("rows")]).with_save_mode(SaveMode::Append);
    written.with_commit_properties(properties).await.expect("lands");
}

#[tokio::test]
async fn a_record_that_is_being_appended_keeps_nothing_of_the_patient_and_loses_no_count() {
    let mut ward = ward().await;
    let (victim, left) = (subject("PLANTED-111"), "SELECT count(*) FROM event_rows WHERE patient_value LIKE 'PLANTED%'");
    let batch = ward.batch(RAW, Record::of(vec![fact(PatientSex, "PLANTED-111", None, Some("said late"))]));
    lands_in(&ward, Table::Events, &batch).await;
    assert_eq!(ward.warehouse.traces(&victim).await.expect("found").underway, 1);
    // Nobody goes on with it: all else goes, and the fact is left to its writer.
    let refused = ward.warehouse.erase_within(&victim, Duration::from_millis(50)).await;
    assert!(matches!(refused, Err(EraseError::Underway)));
    assert_eq!(ward.told_of(left).await, "1\n");
    let goes_on = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for table in [Table::Notes, Table::Predictions, Table::Messages] {
            lands_in(&ward, table, &batch).await;
        }
    };
    let (erased, ()) = tokio::join!(ward.warehouse.erase_within(&victim, Duration::from_secs(30)), goes_on);
    assert_eq!(erased.expect("erased").messages, 1);
    assert!(!everything(&ward).await.replace("PLANTED-1112", "").contains("PLANTED"));
    ward.is_conserved().await;
}

/// A run that died behind its last table left nobody to be found, and one line of the audit.
#[tokio::test]
async fn what_a_dead_run_had_begun_is_told_by_the_identifier_and_marked_before_the_first_row_went() {
    let ward = ward().await;
    assert!(ward.warehouse.open_deeds().await.expect("read").is_empty(), "there is no audit yet");
    let (victim, at): (Subject, Timestamp) = (subject("PLANTED-111"), "2026-03-01T00:00:00Z".parse().expect("an instant"));
    let traces = ward.warehouse.traces(&victim).await.expect("found");
    let begun = Deed { traces: traces.clone(), ..Deed::begun(&victim, at, "the officer", "asked by letter") };
    ward.warehouse.record_deed(&begun).await.expect("recorded");
    ward.warehouse.record_deed(&Deed::begun(&subject("1"), at, "the officer", "another letter")).await.expect("recorded");
    let before = ward.warehouse.pin().await.expect("a pin");
    ward.warehouse.erase(&victim).await.expect("erased");
    assert!(matches!(ward.warehouse.traces(&victim).await, Err(EraseError::Nobody)));
    let open = ward.warehouse.open_deeds().await.expect("read");
    let mut theirs = open.into_iter().filter(|deed| deed.is_about(&victim));
    let deed = theirs.next().expect("the line is found");
    assert!(theirs.next().is_none(), "and no other's");
    assert_eq!((deed.by.as_str(), deed.reason.as_str(), deed.at, &deed.traces), ("the officer", "asked by letter", at, &traces));
    assert!(!deed.is_about(&Subject { system: "OTHER".to_owned(), ..victim.clone() }));
    // The first commit of each table was the mark.
    for table in Table::ALL {
        let version = before.versions.get(&table).expect("a version") + 1;
        let delta = ward.warehouse.snapshot_at(table, version).await.expect("that version");
        assert!(pending(&delta).await.expect("reads").is_some(), "{table:?}");
    }
    let first = pending(&ward.warehouse.snapshot(Table::Notes).await.expect("a table")).await.expect("reads").expect("marked");
    ward.warehouse.end_erasure().await.expect("ended");
    let again = pending(&ward.warehouse.snapshot(Table::Notes).await.expect("a table")).await.expect("reads").expect("marked");
    assert!(again.oldest == first.oldest && again.newest >= first.newest);
    ward.warehouse.record_deed(&deed.done(at, traces)).await.expect("recorded");
    assert_eq!(ward.warehouse.open_deeds().await.expect("read").len(), 1, "the other's is open");
}

/// What ties a person's ids together goes last: what died before that is found again by each of them.
#[tokio::test]
async fn a_run_that_died_among_the_facts_is_finished_by_any_of_the_numbers() {
    let ward = ward().await;
    let person = search::person(&ward.warehouse, &subject("PLANTED-111")).await.expect("known");
    let found = search::find(&ward.warehouse, &person).await.expect("found");
    let of_events = |turn: usize| found.events.get(turn).expect("three turns");
    assert!(found.events.iter().all(|turn| !turn.is_empty()), "a fact of the stay alone, facts of theirs, and the merge");
    for turn in [0, 1] {
        rewrite::delete(&ward.warehouse, Table::Events, "event_id", of_events(turn)).await.expect("gone");
    }
    for number in ["PLANTED-111", "PLANTED-222"] {
        assert_eq!(ward.warehouse.traces(&subject(number)).await.expect("found by each").identities, 2, "{number}");
    }
}

/// A tombstone of a patient's number: its key is all that it says.
#[tokio::test]
async fn a_tombstone_past_its_retention_loses_its_key() {
    let mut ward = Ward::empty().await;
    let mut batch = ward.batch(RAW, Record::refused(""));
    for message in &mut batch.messages {
        (message.payload, message.key) = (None, Some(b"PLANTED-111".to_vec()));
    }
    ward.warehouse.append(&mut batch).await.expect("lands");
    ward.settings.retention = crate::Retention([(Table::Messages, 10)].into_iter().collect());
    let keeping = Warehouse::open(&ward.settings).await.expect("opens");
    keeping.apply_retention("2026-02-05T00:00:00Z".parse().expect("an instant")).await.expect("drops");
    assert!(!everything(&ward).await.contains("PLANTED-111"));
    let version = keeping.snapshot(Table::Messages).await.expect("a table").version();
    keeping.apply_retention("2026-02-05T00:00:00Z".parse().expect("an instant")).await.expect("nothing to do");
    assert_eq!(keeping.snapshot(Table::Messages).await.expect("a table").version(), version);
}

#[tokio::test]
async fn a_later_erasure_and_retention_put_off_nothing_of_an_earlier_one() {
    let mut ward = ward().await;
    let marks = async |ward: &Ward| pending(&ward.warehouse.snapshot(Table::Events).await.expect("a table")).await.expect("reads");
    assert_eq!(marks(&ward).await, None);
    ward.warehouse.erase(&subject("1")).await.expect("erased");
    let first = marks(&ward).await.expect("marked");
    tokio::time::sleep(Duration::from_millis(20)).await;
    ward.warehouse.erase(&subject("3")).await.expect("erased");
    let both = marks(&ward).await.expect("marked");
    assert!(both.oldest == first.oldest && both.newest > first.newest, "{first:?} {both:?}");
    ward.settings.retention = crate::Retention([(Table::Notes, 1), (Table::Messages, 1)].into_iter().collect());
    let keeping = Warehouse::open(&ward.settings).await.expect("opens");
    keeping.apply_retention("2026-02-05T00:00:00Z".parse().expect("an instant")).await.expect("drops");
    assert_eq!(marks(&ward).await, Some(both));
    // Once history has gone beyond both, the next begins anew.
    settle(&ward.warehouse, Table::Events, both.newest).await.expect("said");
    assert_eq!(marks(&ward).await, None);
    tokio::time::sleep(Duration::from_millis(20)).await;
    ward.warehouse.erase(&subject("PLANTED-111")).await.expect("erased");
    assert!(marks(&ward).await.is_some_and(|marks| marks.oldest > both.newest));
    // What upkeep does of itself: all of it lies further back than anything is kept.
    ward.warehouse.vacuum("2100-01-01T00:00:00Z".parse().expect("an instant")).await.expect("vacuums");
    assert_eq!(marks(&ward).await, None);
}

#[tokio::test]
async fn the_audit_beside_the_tables_keeps_who_and_why_and_not_whom() {
    let ward = ward().await;
    let victim = subject("PLANTED-111");
    let at: Timestamp = "2026-03-01T00:00:00Z".parse().expect("an instant");
    let kept = ward.folder.path().join("erasures");
    assert!(ward.warehouse.deeds_beside().await.expect("read").is_empty());
    assert!(!kept.exists(), "whoever only reads makes no folder");
    let begun = Deed::begun(&victim, at, "the officer", "asked by letter");
    ward.warehouse.record_deed(&begun).await.expect("recorded");
    let salt = begun.salt.clone();
    ward.warehouse.record_deed(&begun.done(at, Traces { events: 9, ..Traces::default() })).await.expect("recorded");
    let lines = ward.warehouse.deeds_beside().await.expect("read");
    let told: Vec<_> = lines.iter().map(|line| (line.event, line.salt == salt, line.traces.events)).collect();
    assert_eq!(told, [("begun", true, 0), ("done", true, 9)], "what began comes first, of one instant too");
    assert!(!holds(&kept, b"PLANTED-111"));
    assert!(std::fs::read_dir(kept).expect("a folder").count() >= 3, "two rows and a log");
    assert!(ward.warehouse.open_deeds().await.expect("read").is_empty(), "it was done");
    // The same person gives another digest each time, and the same one under the same salt.
    assert_ne!(Deed::begun(&victim, at, "", "").subject, Deed::begun(&victim, at, "", "").subject);
}
