//! The same id gives the same bytes, and what could change them gives another id.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use jiff::{SignedDuration, Timestamp};
use schemas::{EventCode, NoteKind, PatientId, Task};

use super::fixture::{Story, at, empty, open, part};
use super::{ALL, DatasetError, Manifest};
use crate::read::texts;
use crate::settings::DEFAULT_RULE;
use crate::store::tests::told_at;
use crate::{AsOf, Example, NEWEST, Warehouse};

const THEN: &str = "2024-06-30T00:00:00Z";

fn then() -> AsOf {
    AsOf { known_at: Some(at(THEN)), ..AsOf::default() }
}

/// Every file of a folder with its bytes.
fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("is a folder");
    entries
        .map(|entry| {
            let path = entry.expect("can be read").path();
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), std::fs::read(&path).expect("can be read"))
        })
        .collect()
}

/// A dataset in its folder.
async fn made(warehouse: &Warehouse, task: &str, at: &AsOf, out: &Path) -> Manifest {
    warehouse.dataset(task, at, out).await.expect("has stays").write().await.expect("is written")
}

async fn id(warehouse: &Warehouse) -> String {
    warehouse.dataset_id("mortality", &then()).await.expect("has stays").0
}

#[tokio::test]
async fn the_same_instant_gives_the_same_bytes_however_the_files_lie_and_whatever_is_known_later() {
    let (warehouse, folder) = empty("dataset-bytes").await;
    let mut story = Story::hospital();
    let whole = story.take();
    for records in whole.messages.chunks(100) {
        warehouse.append(&mut part(&whole, records)).await.expect("appends");
    }
    let first = made(&warehouse, "mortality", &then(), &folder.join("first")).await;
    assert!(first.counts.get("train").is_some_and(|train| train.examples > 20 && train.patients > 10), "{:?}", first.counts);
    assert!(first.counts.get("temporal_test").is_some_and(|test| test.examples > 0), "{:?}", first.counts);
    let rows: u64 = first.files.iter().map(|file| file.rows).sum();
    assert_eq!(rows, first.counts.values().map(|split| split.examples).sum::<u64>());

    warehouse.compact().await.expect("merges");
    warehouse.vacuum("2030-01-01T00:00:00Z".parse().expect("an instant")).await.expect("clears away");
    story.stay("61", "61a", at("2024-07-01T00:00:00Z"), 3);
    warehouse.append(&mut story.take()).await.expect("appends");
    warehouse.compact().await.expect("merges");

    // Opened anew: nothing that was computed or cached is shared. `tests/tests/exports.rs` does the same with two processes.
    let other = open(&folder, |_| {}).await;
    let second = made(&other, "mortality", &then(), &folder.join("second")).await;
    assert_eq!(first, second);
    assert_eq!(bytes(&folder.join("first")), bytes(&folder.join("second")));
    // The same again takes the place of what it wrote.
    made(&other, "mortality", &then(), &folder.join("second")).await;
    assert_eq!(bytes(&folder.join("first")), bytes(&folder.join("second")));
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// Whoever records what leaves the warehouse knows what it is before it is there.
#[tokio::test]
async fn a_dataset_has_its_id_before_its_folder_is_there_whatever_lands_meanwhile() {
    let (warehouse, folder) = empty("dataset-draft").await;
    let mut story = Story::hospital();
    warehouse.append(&mut story.take()).await.expect("appends");
    let draft = warehouse.dataset("mortality", &then(), &folder.join("kept")).await.expect("has stays");
    let settled = draft.id();
    assert!(!folder.join("kept").exists());
    made(&warehouse, "mortality", &then(), &folder.join("before")).await;
    // A record that lands late, from before that instant.
    story.stay("61", "61a", at("2020-03-01T00:00:00Z"), 3);
    warehouse.append(&mut story.take()).await.expect("appends");
    assert_ne!(id(&warehouse).await, settled.0);
    assert_eq!(draft.write().await.expect("is written").dataset_id, settled);
    assert_eq!(bytes(&folder.join("kept")), bytes(&folder.join("before")));
    std::fs::remove_dir_all(&folder).expect("was made");
}

#[tokio::test]
async fn another_rule_task_or_late_row_gives_another_id_and_an_idle_replay_the_same() {
    let (warehouse, folder) = empty("dataset-ids").await;
    let mut story = Story::hospital();
    let mut whole = story.take();
    warehouse.append(&mut whole).await.expect("appends");
    let before = id(&warehouse).await;
    assert_eq!(before.len(), 16);
    assert_ne!(warehouse.dataset_id("readmission", &then()).await.expect("has stays").0, before);

    let salted = |settings: &mut crate::Settings| {
        let mut rule = settings.splits.of("mortality");
        rule.salt = "2".to_owned();
        settings.splits.0.insert("mortality".to_owned(), rule);
    };
    assert_ne!(id(&open(&folder, salted).await).await, before);

    // A replay that found the same facts again leaves the rows of the first reading standing.
    let mut idle = crate::Batch { messages: whole.messages.iter().take(1).cloned().collect(), ..crate::Batch::default() };
    warehouse.append_reading(idle.clone()).await.expect("appends");
    assert_eq!(id(&warehouse).await, before);

    // One that found other facts changes what was known then.
    idle.messages.iter_mut().for_each(|message| message.rows_reading = NEWEST);
    warehouse.append_reading(idle).await.expect("appends");
    let replayed = id(&warehouse).await;
    assert_ne!(replayed, before);

    // A record that lands late, from before that instant.
    story.fact(at("2020-03-01T00:00:00Z"), EventCode::PatientSex, ("1", ""), Some("male"));
    warehouse.append(&mut story.take()).await.expect("appends");
    assert_ne!(id(&warehouse).await, replayed);
    std::fs::remove_dir_all(&folder).expect("was made");
}

#[tokio::test]
async fn a_pin_names_the_dataset_that_can_be_written_later() {
    let (warehouse, folder) = empty("dataset-pin").await;
    warehouse.append(&mut Story::hospital().take()).await.expect("appends");
    let pin = warehouse.pin().await.expect("can be read");
    let watermark = AsOf { known_at: pin.watermark, ..AsOf::default() };
    let examples = warehouse.examples(&pin).await.expect("can be read");
    let pinned = warehouse.dataset_id(ALL, &AsOf { pin: Some(pin), ..AsOf::default() }).await.expect("has stays");
    let mut story = Story::hospital();
    story.take();
    story.stay("61", "61a", at("2025-07-01T00:00:00Z"), 3);
    warehouse.append(&mut story.take()).await.expect("appends");
    let written = made(&warehouse, ALL, &watermark, &folder.join("all")).await;
    assert_eq!(written.dataset_id, pinned);
    let rows: u64 = written.files.iter().map(|file| file.rows).sum();
    assert_eq!(rows, examples.iter().filter(|example| example.split.is_some()).count() as u64);
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// A placeholder is nothing to learn from. The words that take its place are, since they became known, and a correction that takes them away comes too late.
#[tokio::test]
async fn a_note_that_says_nothing_is_no_example_and_the_words_that_follow_are() {
    const WORDS: &str = "Short of breath for three days, with swollen legs and a cough.";
    const FOLLOWED: &str = "2020-03-02T10:00:00Z";
    let (warehouse, folder) = empty("dataset-placeholders").await;
    let (mut story, subject) = (Story::new(), ("1", "v"));
    story.fact(at("2020-03-01T08:00:00Z"), EventCode::EncounterAdmitted, subject, None);
    story.version(at("2020-03-01T10:00:00Z"), NoteKind::Admission, subject, "See dictation.");
    story.version(at(FOLLOWED), NoteKind::Admission, subject, WORDS);
    story.version(at("2020-03-03T10:00:00Z"), NoteKind::Admission, subject, "<NA>");
    story.fact(at("2020-03-05T08:00:00Z"), EventCode::EncounterDischarged, subject, Some("01"));
    story.version(at("2020-03-05T09:00:00Z"), NoteKind::Discharge, subject, "");
    // Somebody comes much later, so that everything is mature.
    story.fact(at("2021-06-01T08:00:00Z"), EventCode::PatientSex, ("2", ""), Some("female"));
    warehouse.append(&mut story.take()).await.expect("appends");

    let prompts = "SELECT kind, prediction_at FROM prompt_notes";
    let told = async |known_at: &str| told_at(&warehouse, prompts, &AsOf { known_at: Some(at(known_at)), ..AsOf::default() }).await;
    assert_eq!(told("2020-03-02T09:00:00Z").await, "");
    for known_at in [FOLLOWED, "2020-03-04T00:00:00Z", "2021-06-01T08:00:00Z"] {
        assert_eq!(told(known_at).await, format!("admission,{FOLLOWED}\n"), "as known at {known_at}");
    }
    let unread = "SELECT encounters FROM attrition WHERE task = 'readmission' AND reason = 'no prompt note'";
    assert_eq!(told_at(&warehouse, unread, &AsOf::default()).await, "1\n");
    let examples = warehouse.examples(&warehouse.pin().await.expect("can be read")).await.expect("can be read");
    assert!(examples.iter().all(|example| example.text == WORDS && example.prediction_at == at(FOLLOWED)));
    let tasks: BTreeSet<&str> = examples.iter().map(|example| example.task.as_str()).collect();
    assert_eq!(tasks, BTreeSet::from(["length_of_stay", "mortality"]));
    let written = made(&warehouse, "mortality", &AsOf::default(), &folder.join("mortality")).await;
    assert_eq!(written.counts.values().map(|split| split.examples).sum::<u64>(), 1);
    let exported =
        warehouse.export_meds(&AsOf::default(), &folder.join("meds"), 20).await.expect("has stays").write().await.expect("is written");
    assert_eq!(exported.labels, 2);
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// What may be learned from each kind of note: its first words, and nothing that was written later.
const SEEN: [(&str, &[&str]); 4] = [
    ("length_of_stay", &["PLANT-admission"]),
    ("mortality", &["PLANT-admission"]),
    ("readmission", &["PLANT-discharge"]),
    (ALL, &["PLANT-admission", "PLANT-discharge"]),
];

/// Notes of a patient's two stays.
const PLANTED: u64 = 11;

/// Two stays with a word planted in every note: corrections, addenda, notes of the days that follow, and admission notes that are told after discharge, once
/// beside one in time and once alone.
fn planted(story: &mut Story, patient: &str, admitted: Timestamp) {
    let after = |hours: i64| admitted + SignedDuration::from_hours(hours);
    let words = |planted: &str| format!("{planted} was short of breath for three days, with swollen legs and a cough.");
    let (first, second) = (format!("{patient}a"), format!("{patient}b"));
    let subject = (patient, first.as_str());
    story.fact(after(0), EventCode::EncounterAdmitted, subject, None);
    story.version(after(2), NoteKind::Admission, subject, &words("PLANT-admission"));
    story.version(after(20), NoteKind::Admission, subject, &words("PLANT-admission-corrected"));
    story.document(after(21), (&format!("{first}-more"), NoteKind::Admission), subject, &words("PLANT-admission-addendum"));
    story.version(after(30), NoteKind::Progress, subject, &words("PLANT-progress"));
    story.version(after(71), NoteKind::Discharge, subject, &words("PLANT-discharge"));
    story.fact(after(72), EventCode::EncounterDischarged, subject, Some("01"));
    story.version(after(96), NoteKind::Discharge, subject, &words("PLANT-discharge-corrected"));
    story.document(after(97), (&format!("{first}-added"), NoteKind::Discharge), subject, &words("PLANT-discharge-addendum"));
    story.document(after(98), (&format!("{first}-late"), NoteKind::Admission), subject, &words("PLANT-admission-late"));
    story.version(after(99), NoteKind::Other, subject, &words("PLANT-afterwards"));
    let subject = (patient, second.as_str());
    story.fact(after(1_200), EventCode::EncounterAdmitted, subject, None);
    story.version(after(1_223), NoteKind::Discharge, subject, &words("PLANT-discharge"));
    story.fact(after(1_224), EventCode::EncounterDischarged, subject, Some("01"));
    story.version(after(1_226), NoteKind::Admission, subject, &words("PLANT-admission-too-late"));
}

/// The planted words of these texts.
fn found<'a>(texts: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
    texts.into_iter().flat_map(|text| text.split_whitespace()).filter(|word| word.starts_with("PLANT-")).collect()
}

/// The texts of all files of a dataset.
async fn texts_of(folder: &Path) -> Vec<String> {
    let ctx = SessionContext::new();
    let files = ctx.read_parquet(folder.display().to_string(), ParquetReadOptions::default()).await.expect("is Parquet");
    let batches = files.select_columns(&["text"]).expect("have texts").collect().await.expect("can be read");
    batches.iter().flat_map(|batch| texts(batch, "text").expect("are texts")).flatten().collect()
}

#[tokio::test]
async fn what_is_written_after_the_note_that_is_asked_about_is_in_no_file_and_no_prompt() {
    let (warehouse, folder) = empty("dataset-planted").await;
    let mut story = Story::new();
    for patient in 0..12_i64 {
        planted(&mut story, &patient.to_string(), at("2020-01-01T08:00:00Z") + SignedDuration::from_hours(patient * 24 * 35));
    }
    // Somebody comes much later, so that everything is mature.
    story.fact(at("2022-06-01T08:00:00Z"), EventCode::PatientSex, ("none", ""), Some("female"));
    warehouse.append(&mut story.take()).await.expect("appends");
    let all = "SELECT count(*) AS n FROM notes WHERE encounter_id IS NOT NULL AND text LIKE 'PLANT-%'";
    assert_eq!(told_at(&warehouse, all, &AsOf::default()).await, format!("{}\n", 12 * PLANTED), "every word is known, and of whom");

    for (task, seen) in SEEN {
        let written = made(&warehouse, task, &AsOf::default(), &folder.join(task)).await;
        assert!(written.counts.values().map(|split| split.examples).sum::<u64>() >= 12, "{task}: {:?}", written.counts);
        assert_eq!(found(&texts_of(&folder.join(task)).await), seen.iter().copied().collect::<BTreeSet<_>>(), "{task}");
    }
    let examples = warehouse.examples(&warehouse.pin().await.expect("can be read")).await.expect("can be read");
    for (task, seen) in SEEN.into_iter().filter(|(task, _)| *task != ALL) {
        let prompts = examples.iter().filter(|example| example.task.as_str() == task).map(|example| &example.text);
        assert_eq!(found(prompts), seen.iter().copied().collect::<BTreeSet<_>>(), "prompts of {task}");
    }
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// Learned together, the tasks' rules differ: what one learns from, another must not test.
#[tokio::test]
async fn nobody_from_whom_any_task_learns_is_in_another_split_of_all_tasks_together() {
    let (warehouse, folder) = empty("dataset-joint").await;
    warehouse.append(&mut Story::hospital().take()).await.expect("appends");
    // As denial's in the paper: a main period over the others' temporal tests, and other shares.
    let own = |settings: &mut crate::Settings| {
        let mut rule = settings.splits.of("length_of_stay");
        rule.main = crate::Period { from: at("2021-03-01T00:00:00Z"), until: at("2025-01-01T00:00:00Z") };
        (rule.folds, rule.temporal) = ([18, 1, 1], Vec::new());
        settings.splits.0.insert("length_of_stay".to_owned(), rule);
    };
    let warehouse = open(&folder, own).await;
    let pin = warehouse.pin().await.expect("can be read");
    let examples = warehouse.examples(&pin).await.expect("can be read");
    let patients = |is_in: &dyn Fn(&Example) -> bool| -> BTreeSet<PatientId> {
        examples.iter().filter(|example| is_in(example)).map(|example| example.patient_id).collect()
    };
    let trains = |example: &Example| example.split.as_deref() == Some("train");
    let (learned, tested) = (patients(&trains), patients(&|example| example.split.is_some() && !trains(example)));
    assert!(learned.len() > 10 && tested.len() > 3, "{} learned, {} tested", learned.len(), tested.len());
    assert!(learned.is_disjoint(&tested));
    // By itself, the task learns from patients whom the others test.
    let written = made(&warehouse, "length_of_stay", &AsOf::default(), &folder.join("alone")).await;
    let of_task = patients(&|example| example.task == Task::LengthOfStay && trains(example));
    assert!(written.counts.get("train").is_some_and(|train| train.patients > of_task.len() as u64), "{:?}", written.counts);
    let together = made(&warehouse, ALL, &AsOf::default(), &folder.join("all")).await;
    assert_eq!(together.counts.get("train").map(|train| train.patients), Some(learned.len() as u64));
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// A hospital of shifted years has examples, and its files would be empty without a word: who made them is told where the examples lie, and what to write.
#[tokio::test]
async fn a_dataset_without_an_example_in_any_period_says_where_its_examples_lie() {
    let (warehouse, folder) = empty("dataset-outside").await;
    warehouse.append(&mut Story::hospital().take()).await.expect("appends");
    assert_eq!(made(&warehouse, "mortality", &then(), &folder.join("inside")).await.outside, None);
    let earlier = |settings: &mut crate::Settings| {
        let mut rule = settings.splits.of("mortality");
        rule.main = crate::Period { from: at("2013-01-01T00:00:00Z"), until: at("2014-06-01T12:00:00Z") };
        rule.temporal.clear();
        settings.splits.0.insert(DEFAULT_RULE.to_owned(), rule);
    };
    let warehouse = open(&folder, earlier).await;
    let told = |manifest: Manifest| manifest.outside.map(|outside| outside.to_string()).unwrap_or_default();
    let of_task = told(made(&warehouse, "mortality", &then(), &folder.join("task")).await);
    let rule = "[warehouse.splits.default] has main from 2013-01-01 until 2014-06-01T12:00:00Z";
    assert!(of_task.contains("lie from 2020-01-01T10:00:00Z to 2024-") && of_task.contains(&format!("({rule});")), "{of_task}");
    let of_all = told(made(&warehouse, ALL, &then(), &folder.join("all")).await);
    assert!(of_all.contains(rule) && of_all.contains("[warehouse.splits.denial] has main from 2021-05-01 until"), "{of_all}");
    std::fs::remove_dir_all(&folder).expect("was made");
}

#[tokio::test]
async fn what_cannot_be_written_leaves_the_folder_as_it_was() {
    let (warehouse, folder) = empty("dataset-refused").await;
    let out = folder.join("out");
    assert!(matches!(warehouse.dataset("mortality", &AsOf::default(), &out).await, Err(DatasetError::Nothing)));
    warehouse.append(&mut Story::hospital().take()).await.expect("appends");
    let refused = warehouse.dataset("mortalty", &then(), &out).await.err().expect("is no task").to_string();
    assert!(refused.contains("`mortalty`") && refused.contains("mortality"), "{refused}");
    assert!(!out.exists());
    std::fs::create_dir_all(&out).expect("can be made");
    std::fs::write(out.join("mine"), "kept").expect("can be written");
    assert!(matches!(warehouse.dataset("mortality", &then(), &out).await, Err(DatasetError::Folder(_))));
    assert_eq!(bytes(&out).len(), 1);
    std::fs::remove_dir_all(&folder).expect("was made");
}
