//! What an export holds, read back from its files.

use std::collections::BTreeSet;

use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use jiff::SignedDuration;
use schemas::event::DEATHS;
use schemas::{DatasetId, EventCode, Task};

use super::{Made, MedsExport};
use crate::dataset::fixture::{Story, at, empty, open};
use crate::settings::DEFAULT_RULE;
use crate::views::source;
use crate::{AsOf, Format as Rows, Warehouse, render};

/// An export in its folder.
async fn made(warehouse: &Warehouse, at: &AsOf, out: &std::path::Path, subjects: u64) -> MedsExport {
    warehouse.export_meds(at, out, subjects).await.expect("holds rows").write().await.expect("is written")
}

/// The rows of a query over the files of an export, as CSV.
async fn told(folder: &std::path::Path, sql: &str) -> String {
    let config = SessionConfig::new().set_bool("datafusion.execution.listing_table_ignore_subdirectory", false);
    let ctx = SessionContext::new_with_config(config);
    for (name, path) in [
        ("data", "data"),
        ("splits", "metadata/subject_splits.parquet"),
        ("codes", "metadata/codes.parquet"),
        ("readmission", "task_labels/readmission"),
        ("length_of_stay", "task_labels/length_of_stay"),
    ] {
        let path = folder.join(path).display().to_string();
        ctx.register_parquet(name, path, ParquetReadOptions::default()).await.expect("is Parquet");
    }
    render(&ctx.sql(sql).await.expect("plans").collect().await.expect("answers"), Rows::Csv).expect("csv")
}

/// Asked of the files alone, the cohorts and their labels are ours. How many rows each task has.
async fn cohorts_are_ours(warehouse: &Warehouse, then: &AsOf, out: &std::path::Path) -> Vec<usize> {
    let mut rows = Vec::new();
    for (task, config, moment, label) in [
        ("readmission", cohorts::READMISSION, "discharged_at", "l.label = 1"),
        ("mortality", cohorts::MORTALITY, "admitted_at", "l.label = 1"),
        ("length_of_stay", cohorts::LENGTH_OF_STAY, "admitted_at", "l.label = 0"),
    ] {
        let stays = format!(
            "SELECT meds_subject(l.patient_id) AS subject_id, CAST(arrow_cast(e.{moment}, 'Timestamp(µs, \"UTC\")') AS BIGINT) AS at, {label} AS label \
             FROM labels AS l JOIN encounters AS e ON e.encounter_id = l.encounter_id WHERE l.task = '{task}' AND l.label IS NOT NULL ORDER BY 1, 2, 3"
        );
        let labelled = render(&warehouse.query(&stays, then).await.expect("answers"), Rows::Csv).expect("csv");
        let config = cohorts::Config::read(config).expect("is read");
        let mut found = cohorts::extract(&config, out, 2).expect("is an export");
        found.sort_by_key(|one| (one.subject_id, one.at, one.label));
        rows.push(found.len());
        let found =
            found.iter().fold("subject_id,at,label\n".to_owned(), |all, one| format!("{all}{},{},{}\n", one.subject_id, one.at, one.label));
        assert_eq!(found, labelled, "{task}");
    }
    rows
}

#[tokio::test]
async fn an_export_holds_each_subject_once_in_one_shard_sorted_by_time_with_its_labels() {
    let (warehouse, folder) = empty("meds").await;
    warehouse.append(&mut Story::hospital().take()).await.expect("appends");
    let out = folder.join("meds");
    let then = AsOf { known_at: Some(at("2024-06-30T00:00:00Z")), ..AsOf::default() };
    let exported = made(&warehouse, &then, &out, 20).await;
    assert_eq!(exported.subjects, 60);
    assert!(exported.shards >= 4 && exported.labels > 300, "{exported:?}");

    let count = async |sql: &str| told(&out, sql).await;
    assert_eq!(count("SELECT count(*) AS n FROM data").await, format!("n\n{}\n", exported.events));
    assert_eq!(count("SELECT count(*) AS n, count(DISTINCT subject_id) AS s FROM splits").await, "n,s\n60,60\n");
    assert_eq!(
        count(
            "SELECT count(*) AS n FROM (SELECT DISTINCT code FROM data) LEFT JOIN codes USING (code) WHERE COALESCE(description, '') = ''"
        )
        .await,
        "n\n0\n"
    );
    assert_eq!(count("SELECT count(*) AS n FROM readmission WHERE boolean_value").await, "n\n30\n");
    assert_eq!(count("SELECT count(*) AS n FROM length_of_stay WHERE integer_value NOT BETWEEN 0 AND 3").await, "n\n0\n");
    assert!(cohorts_are_ours(&warehouse, &then, &out).await.into_iter().all(|rows| rows > 50));
    let before = "SELECT count(*) AS n FROM (SELECT time, lag(time) OVER () AS before, subject_id, lag(subject_id) OVER () AS of FROM data) WHERE of = subject_id AND time < before";
    for split in ["train", "tuning", "held_out"] {
        let shard = out.join(format!("data/{split}/0.parquet"));
        let ctx = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        ctx.register_parquet("data", shard.display().to_string(), ParquetReadOptions::default()).await.expect("is Parquet");
        let rows = ctx.sql(before).await.expect("plans").collect().await.expect("answers");
        assert_eq!(render(&rows, Rows::Csv).expect("csv"), "n\n0\n", "{split}");
    }

    let subject =
        warehouse.query("SELECT meds_subject(patient_id) AS s FROM encounters WHERE visit_number = '0a'", &then).await.expect("answers");
    let subject = render(&subject, Rows::Csv).expect("csv").lines().nth(1).expect("one stay").to_owned();
    let story = told(
        &out,
        &format!("SELECT time, code, text_value, known_at FROM data WHERE subject_id = {subject} AND code NOT LIKE 'MATURE//%' AND code NOT LIKE 'EXCLUDED//%' AND code NOT LIKE 'STAY_%' AND code NOT LIKE 'EPISODE_%' ORDER BY time NULLS FIRST, code LIMIT 6"),
    )
    .await;
    assert_eq!(
        story,
        "time,code,text_value,known_at\n\
         ,SEX//female,,\n\
         2020-01-01T08:00:00,HOSPITAL_ADMISSION//I,,\n\
         2020-01-01T10:00:00,NOTE//admission,text of 0a-Admission in as many words as a note is read for,2020-01-01T10:00:00\n\
         2020-01-03T08:00:00,DISCHARGED_FROM//MED,,\n\
         2020-01-03T08:00:00,HOSPITAL_DISCHARGE//01,,\n\
         2020-01-03T09:00:00,NOTE//discharge,text of 0a-Discharge in as many words as a note is read for,2020-01-03T09:00:00\n"
    );
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// What was told of a stay under one patient is another's since the stay was moved: nothing of it stays with the first.
#[tokio::test]
async fn a_stay_that_is_moved_takes_along_what_was_told_of_it() {
    let (warehouse, folder) = empty("meds-moved").await;
    let (mut story, came) = (Story::new(), at("2024-01-10T08:00:00Z"));
    story.stay("first", "m", came, 5);
    let coded = [
        (EventCode::EncounterDiagnosed, "ICD10CM/I50.9"),
        (EventCode::EncounterProcedure, "CPT/74177"),
        (EventCode::EncounterTransferred, "ICU"),
        (EventCode::ClaimSubmitted, "C1"),
    ];
    for (hours, (code, text)) in (20..).zip(coded) {
        story.fact(came + SignedDuration::from_hours(hours), code, ("first", "m"), Some(text));
    }
    story.fact(came + SignedDuration::from_hours(200), EventCode::EncounterMoved, ("second", "m"), None);
    warehouse.append(&mut story.take()).await.expect("appends");
    let out = folder.join("meds");
    made(&warehouse, &AsOf::default(), &out, 20).await;
    let whose = "SELECT count(DISTINCT subject_id) AS people, count(*) FILTER (WHERE code LIKE 'DIAGNOSIS//%') AS codes, \
                 count(*) FILTER (WHERE code LIKE 'PROCEDURE//%') AS procedures, count(*) FILTER (WHERE code LIKE 'TRANSFER//%') AS transfers \
                 FROM data WHERE encounter_id IS NOT NULL";
    assert_eq!(told(&out, whose).await, "people,codes,procedures,transfers\n1,1,1,1\n");
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// How many subjects a shard holds, the rule by which subjects are split, and the SQL of the rows decide the bytes, so each is a part of the version.
#[tokio::test]
async fn one_version_has_one_set_of_bytes() {
    let (warehouse, folder) = empty("meds-version").await;
    let mut story = Story::new();
    for patient in ["a", "b", "c"] {
        story.stay(patient, patient, at("2020-01-01T08:00:00Z"), 3);
    }
    warehouse.append(&mut story.take()).await.expect("appends");
    drop(warehouse);
    // Every task has a rule of its own, so that none goes by the one for the others.
    let ruled = async |salt: &str, subjects: u64| {
        let warehouse = open(&folder, |settings| {
            for task in Task::ALL {
                let own = settings.splits.of(task.as_str());
                settings.splits.0.insert(task.to_string(), own);
            }
            let mut other = settings.splits.of(DEFAULT_RULE);
            other.salt = salt.to_owned();
            settings.splits.0.insert(DEFAULT_RULE.to_owned(), other);
        })
        .await;
        made(&warehouse, &AsOf::default(), &folder.join(format!("meds{salt}{subjects}")), subjects).await.dataset_version
    };
    let version = ruled("", 20).await;
    assert_eq!(version, ruled("", 20).await);
    assert_ne!(version, ruled("", 1).await, "subjects of a shard");
    assert_ne!(version, ruled("another", 20).await, "the draw of the subjects");

    let rule = crate::Settings::default().splits.of(DEFAULT_RULE);
    let of = |rows: &str| Made::of(DatasetId("d".to_owned()), rows, &rule, 20).version();
    assert_eq!(of("SELECT 1"), of("SELECT 1"));
    assert_ne!(of("SELECT 1"), of("SELECT 2"), "the SQL of the rows");
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// Whoever records what leaves the warehouse knows what it is before it is there.
#[tokio::test]
async fn an_export_has_its_version_before_its_folder_is_there_whatever_lands_meanwhile() {
    let (warehouse, folder) = empty("meds-draft").await;
    let mut story = Story::new();
    stood(&mut story, ("a", "a"), ("2024-01-10T08:00:00Z", "2024-01-15T08:00:00Z"), Some("01"));
    stood(&mut story, ("b", "b"), ("2024-02-10T08:00:00Z", "2024-02-15T08:00:00Z"), Some("01"));
    warehouse.append(&mut story.take()).await.expect("appends");
    let (out, then) = (folder.join("meds"), AsOf { known_at: Some(at("2024-02-20T00:00:00Z")), ..AsOf::default() });
    let draft = warehouse.export_meds(&then, &out, 20).await.expect("holds rows");
    let version = draft.version().clone();
    assert!(!out.exists());
    stood(&mut story, ("late", "late"), ("2024-01-10T08:00:00Z", "2024-01-15T08:00:00Z"), Some("01"));
    warehouse.append(&mut story.take()).await.expect("appends");
    let exported = draft.write().await.expect("is written");
    assert_eq!((exported.dataset_version, exported.subjects), (version.clone(), 2));
    assert_eq!(told(&out, "SELECT count(DISTINCT subject_id) AS n FROM data").await, "n\n2\n");
    let later = made(&warehouse, &then, &out, 20).await;
    assert!(later.dataset_version != version && later.subjects == 3, "{later:?}");
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// Says something whose own time is not when it became known.
fn say(story: &mut Story, (known_at, own): (&str, &str), code: EventCode, subject: (&str, &str), text: Option<&str>) {
    story.fact(at(known_at), code, subject, text);
    if let Some(event) = story.batch.events.last_mut() {
        event.fact.time = Some(at(own));
    }
}

/// The times of a subject's rows of a kind, and their codes.
async fn of_stay(out: &std::path::Path, visit: &str, warehouse: &Warehouse) -> String {
    let subject = format!("SELECT meds_subject(patient_id) AS s FROM encounters WHERE visit_number = '{visit}'");
    let subject = render(&warehouse.query(&subject, &AsOf::default()).await.expect("answers"), Rows::Csv).expect("csv");
    let subject = subject.lines().nth(1).expect("one stay").to_owned();
    let codes = "code = 'MEDS_DEATH' OR code LIKE 'HOSPITAL%' OR code LIKE 'NOTE%'";
    told(out, &format!("SELECT time, code FROM data WHERE subject_id = {subject} AND ({codes}) ORDER BY time, code")).await
}

/// A death of which the day was stated stands at the end of the stay in which it fell, not at the day's midnight; one whose time was stated stands there, on the
/// full hour as well. The class at admission is the one that was known then.
#[tokio::test]
async fn nothing_of_a_stay_stands_after_its_death_and_its_class_is_the_one_it_began_with() {
    let (warehouse, folder) = empty("meds-deaths").await;
    let mut story = Story::new();
    for (patient, died, by) in
        [("day", "2024-03-01T00:00:00Z", Some("day")), ("minute", "2024-03-01T15:07:00Z", None), ("hour", "2024-03-01T15:00:00Z", None)]
    {
        let subject = (patient, patient);
        story.fact(at("2024-03-01T08:00:00Z"), EventCode::EncounterAdmitted, subject, None);
        story.fact(at("2024-03-01T08:00:00Z"), EventCode::EncounterClass, subject, Some("OBS"));
        story.note(at("2024-03-01T09:00:00Z"), schemas::NoteKind::Admission, subject);
        story.fact(at("2024-03-01T12:00:00Z"), EventCode::EncounterClass, subject, Some("I"));
        story.fact(at("2024-03-01T16:00:00Z"), EventCode::EncounterDischarged, subject, Some("20"));
        say(&mut story, ("2024-03-01T16:00:00Z", died), EventCode::PatientDied, (patient, ""), by);
    }
    warehouse.append(&mut story.take()).await.expect("appends");
    let out = folder.join("meds");
    made(&warehouse, &AsOf::default(), &out, 20).await;
    let rows = "time,code\n2024-03-01T08:00:00,HOSPITAL_ADMISSION//OBS\n2024-03-01T09:00:00,NOTE//admission\n";
    let ends = "2024-03-01T16:00:00,HOSPITAL_DISCHARGE//20\n";
    assert_eq!(of_stay(&out, "day", &warehouse).await, format!("{rows}{ends}2024-03-01T16:00:00,MEDS_DEATH\n"));
    assert_eq!(of_stay(&out, "minute", &warehouse).await, format!("{rows}2024-03-01T15:07:00,MEDS_DEATH\n{ends}"));
    assert_eq!(of_stay(&out, "hour", &warehouse).await, format!("{rows}2024-03-01T15:00:00,MEDS_DEATH\n{ends}"));
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// A stay that came and left then.
fn stood(story: &mut Story, subject: (&str, &str), (came, left): (&str, &str), disposition: Option<&str>) {
    say(story, (came, came), EventCode::EncounterAdmitted, subject, None);
    say(story, (came.max(left), left), EventCode::EncounterDischarged, subject, disposition);
}

/// Stays that begin and end, or are followed by another, in one instant; a death of which no disposition tells; an end that is stated to lie before the
/// beginning, within another stay; a stay that is a fraction of a second short of its days.
#[tokio::test]
async fn the_cohorts_of_hard_stays_are_ours_as_well() {
    let (warehouse, folder) = empty("meds-hard").await;
    let mut story = Story::new();
    stood(&mut story, ("once", "once"), ("2024-01-10T00:00:00Z", "2024-01-10T00:00:00Z"), Some("01"));
    stood(&mut story, ("once", "later"), ("2024-05-01T08:00:00Z", "2024-05-05T12:00:00Z"), Some("20"));
    stood(&mut story, ("unsaid", "unsaid"), ("2024-01-10T08:00:00Z", "2024-01-15T12:00:00Z"), None);
    say(&mut story, ("2024-01-15T11:07:00Z", "2024-01-15T11:07:00Z"), EventCode::PatientDied, ("unsaid", ""), None);
    stood(&mut story, ("moved", "two"), ("2024-02-04T08:00:00Z", "2024-02-06T08:00:00Z"), Some("01"));
    stood(&mut story, ("moved", "three"), ("2024-02-06T08:00:00Z", "2024-02-09T08:00:00Z"), Some("01"));
    stood(&mut story, ("moved", "last"), ("2024-02-09T08:00:00Z", "2024-02-10T08:00:00Z"), Some("20"));
    stood(&mut story, ("turned", "right"), ("2024-01-10T08:00:00Z", "2024-01-15T08:00:00Z"), Some("20"));
    stood(&mut story, ("turned", "wrong"), ("2024-01-20T08:00:00Z", "2024-01-12T08:00:00Z"), Some("01"));
    stood(&mut story, ("short", "short"), ("2024-01-10T08:00:00.700Z", "2024-01-13T08:00:00.200Z"), Some("01"));
    story.fact(at("2025-06-01T00:00:00Z"), EventCode::PatientSex, ("nobody", ""), Some("female"));
    warehouse.append(&mut story.take()).await.expect("appends");
    let out = folder.join("meds");
    made(&warehouse, &AsOf::default(), &out, 20).await;
    assert_eq!(cohorts_are_ours(&warehouse, &AsOf::default(), &out).await, [2, 8, 8]);
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// Stays of one person within one another, of which the inner ends in death and the outer does not; that begin, and that end, in one instant; and a return.
#[tokio::test]
async fn the_cohorts_of_stays_that_overlap_are_ours_as_well() {
    let (warehouse, folder) = empty("meds-overlap").await;
    let mut story = Story::new();
    stood(&mut story, ("within", "outer"), ("2024-01-10T08:00:00Z", "2024-01-20T08:00:00Z"), Some("01"));
    stood(&mut story, ("within", "inner"), ("2024-01-12T08:00:00Z", "2024-01-14T08:00:00Z"), Some("20"));
    stood(&mut story, ("begun", "short"), ("2024-02-01T08:00:00Z", "2024-02-03T08:00:00Z"), Some("20"));
    stood(&mut story, ("begun", "long"), ("2024-02-01T08:00:00Z", "2024-02-09T08:00:00Z"), Some("01"));
    stood(&mut story, ("ended", "longer"), ("2024-03-01T08:00:00Z", "2024-03-10T08:00:00Z"), Some("20"));
    stood(&mut story, ("ended", "shorter"), ("2024-03-08T08:00:00Z", "2024-03-10T08:00:00Z"), Some("01"));
    stood(&mut story, ("ended", "back"), ("2024-03-20T08:00:00Z", "2024-03-24T08:00:00Z"), Some("01"));
    story.fact(at("2025-06-01T00:00:00Z"), EventCode::PatientSex, ("nobody", ""), Some("female"));
    warehouse.append(&mut story.take()).await.expect("appends");
    let out = folder.join("meds");
    made(&warehouse, &AsOf::default(), &out, 20).await;
    assert_eq!(cohorts_are_ours(&warehouse, &AsOf::default(), &out).await, [4, 7, 7]);
    let facts = "SELECT count(DISTINCT time) AS times, count(*) AS n FROM data WHERE code LIKE";
    assert_eq!(told(&out, &format!("{facts} 'HOSPITAL_ADMISSION//%'")).await, "times,n\n6,7\n", "facts keep their own time");
    assert_eq!(told(&out, &format!("{facts} 'STAY_BEGIN'")).await, "times,n\n7,7\n", "marks share none");
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// Whose claim is paid while another is not decided waits for it, however much time has passed.
#[tokio::test]
async fn a_stay_that_waits_for_a_claim_has_no_mark_of_maturity() {
    let (warehouse, folder) = empty("meds-waits").await;
    let mut story = Story::new();
    stood(&mut story, ("p", "v"), ("2024-01-10T08:00:00Z", "2024-01-15T08:00:00Z"), Some("01"));
    for (known, code, claim, text) in [
        ("2024-01-20T08:00:00Z", EventCode::ClaimSubmitted, "first", None),
        ("2024-01-20T09:00:00Z", EventCode::ClaimSubmitted, "second", None),
        ("2024-02-01T08:00:00Z", EventCode::ClaimDecided, "first", Some("paid")),
    ] {
        story.fact(at(known), code, ("p", "v"), text);
        if let Some(event) = story.batch.events.last_mut() {
            event.fact.related = Some(claim.to_owned());
        }
    }
    story.fact(at("2025-06-01T00:00:00Z"), EventCode::PatientSex, ("nobody", ""), Some("female"));
    warehouse.append(&mut story.take()).await.expect("appends");
    let out = folder.join("meds");
    made(&warehouse, &AsOf::default(), &out, 20).await;
    let marks = "SELECT code FROM data WHERE code IN ('MATURE//denial', 'MATURE//mortality')";
    assert_eq!(told(&out, marks).await, "code\nMATURE//mortality\n");
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// A record of a procedure says what its newest version says; what an older one said is no fact any more.
#[tokio::test]
async fn a_procedure_whose_record_changed_its_code_has_the_newest_alone() {
    let (warehouse, folder) = empty("meds-procedures").await;
    let mut story = Story::new();
    stood(&mut story, ("p", "v"), ("2024-01-10T08:00:00Z", "2024-01-15T08:00:00Z"), Some("01"));
    for (known, text) in [("2024-01-11T08:00:00Z", "SNOMED/1"), ("2024-01-12T08:00:00Z", "SNOMED/2")] {
        story.fact(at(known), EventCode::EncounterProcedure, ("p", "v"), Some(text));
        if let Some(event) = story.batch.events.last_mut() {
            event.fact.related = Some("Procedure/1".to_owned());
        }
    }
    warehouse.append(&mut story.take()).await.expect("appends");
    let out = folder.join("meds");
    made(&warehouse, &AsOf::default(), &out, 20).await;
    assert_eq!(told(&out, "SELECT code FROM data WHERE code LIKE 'PROCEDURE//%'").await, "code\nPROCEDURE//SNOMED//2\n");
    std::fs::remove_dir_all(&folder).expect("was made");
}

/// The dispositions that mean death stand where each reader needs them: in the map of FHIR, in SQL, in the cohorts' configurations.
#[test]
fn what_means_death_is_the_same_to_the_maps_the_views_and_the_cohorts() {
    let between = |text: &'static str, begin: &str, end: &str| -> &'static str {
        let (_, rest) = text.split_once(begin).expect(begin);
        rest.split_once(end).expect(end).0
    };
    let ours = BTreeSet::from(DEATHS);
    assert!(ours.iter().all(|word| *word == word.to_lowercase()));
    let view = between(source("outcomes").expect("is a view"), "lower(e.disposition) IN (", ")");
    assert_eq!(view.split(", ").map(|word| word.trim_matches('\'')).collect::<BTreeSet<_>>(), ours);
    for cohort in [cohorts::MORTALITY, cohorts::READMISSION] {
        let died = between(cohort, "\n  died: ", "\n");
        assert_eq!(between(died, "//(", ")$").split('|').collect::<BTreeSet<_>>(), ours, "{died}");
    }
}
