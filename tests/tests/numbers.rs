//! A patient who is registered under a temporary number and gets a better one later is one person, though nobody merges the two: in whatever
//! order the messages arrive, and from the moment at which both numbers are known to stand together. So is one of whom HL7 v2 and FHIR tell,
//! where both name one number of the hospital; and a stay of hers of which both tell is one, where the Encounter lists the visit number.

use envelope::{Hints, Schemas};
use ingest::reading::{self, Raw};
use jiff::{Timestamp, ToSpan as _};
use schemas::{Facility, Source};
use tempfile::TempDir;
use warehouse::{AsOf, Batch, Format, Settings, Warehouse, render};

/// When the first message becomes known; the others follow minute by minute.
const BEGAN: &str = "2020-02-01T00:00:00Z";

/// An ADT with these PID-3 and PID-7, about a visit that began on this day of January at eight.
fn adt(trigger: &str, (numbers, born): (&str, &str), visit: &str, day: &str) -> String {
    let header = format!("MSH|^~\\&|E|F|||202001{day}0800||ADT^{trigger}|{visit}{trigger}|P|2.5\rEVN|{trigger}|202001{day}0800");
    format!("{header}\rPID|1||{numbers}||DOE^JANE||{born}|F\rPV1|1|I|W1|||||||MED|||||||||{visit}|||||||||||||||||||||||||202001{day}0800")
}

/// A stay under the temporary number, the next under both, the third under the better one; a newborn who is sent with the first patient's number.
fn story() -> [String; 4] {
    let (temporary, better) = ("T1^^^H^PI", "M1^^^H^MR");
    [
        adt("A01", (temporary, "19900203"), "V1", "01"),
        adt("A01", (format!("{temporary}~{better}").as_str(), "19900203"), "V2", "10"),
        adt("A01", (better, "19900203"), "V3", "20"),
        adt("A01", (format!("B1^^^H^MR~{temporary}").as_str(), "20200110"), "V4", "10"),
    ]
}

/// Every order of four.
fn orders() -> Vec<[usize; 4]> {
    let all = (0..4).flat_map(|a| (0..4).flat_map(move |b| (0..4).flat_map(move |c| (0..4).map(move |d| [a, b, c, d]))));
    all.filter(|order| (0..4).all(|place| order.contains(&place))).collect()
}

/// Each visit, and the first visit of the same person.
const PERSONS: &str =
    "SELECT facility, visit_number, min(visit_number) OVER (PARTITION BY facility, patient_id) AS first FROM encounters ORDER BY 1, 2";

/// A warehouse of what each facility was told, minute by minute.
async fn told(stories: &[(Facility, Vec<String>)]) -> anyhow::Result<(TempDir, Warehouse)> {
    let folder = tempfile::tempdir()?;
    let settings = Settings { url: folder.path().join("warehouse").display().to_string(), ..Settings::default() };
    let warehouse = Warehouse::open(&settings).await?;
    let (mut batch, began) = (Batch::default(), BEGAN.parse::<Timestamp>()?);
    for (facility, messages) in stories {
        for (offset, message) in (0_i64..).zip(messages) {
            let source = Source { topic: facility.name.clone(), partition: 0, offset };
            let payload = Some(message.clone().into_bytes());
            let known_at = began.checked_add(offset.minutes())?;
            let raw = Raw { source, known_at, key: None, headers: "{}".to_owned(), payload, skip: None, hints: Hints::default() };
            reading::read(raw, facility, &Schemas::default(), &mut batch);
        }
    }
    let refused: Vec<_> = batch.messages.iter().flat_map(|message| &message.rejects).collect();
    assert!(refused.is_empty(), "the stories must be readable: {refused:?}");
    warehouse.append(&mut batch).await?;
    Ok((folder, warehouse))
}

#[tokio::test]
async fn a_better_number_beside_the_first_makes_no_second_person() -> anyhow::Result<()> {
    let messages = story();
    let stories: Vec<(Facility, Vec<String>)> = orders()
        .into_iter()
        .enumerate()
        .map(|(nth, order)| (Facility::new(&format!("{nth:02}")), order.map(|place| messages[place].clone()).to_vec()))
        .collect();
    let (_folder, warehouse) = told(&stories).await?;
    let rows = render(&warehouse.query(PERSONS, &AsOf::default()).await?, Format::Csv)?;
    let each: Vec<String> =
        (0..orders().len()).map(|nth| format!("{nth:02},V1,V1\n{nth:02},V2,V1\n{nth:02},V3,V1\n{nth:02},V4,V4")).collect();
    assert_eq!(rows.trim(), format!("facility,visit_number,first\n{}", each.join("\n")));
    let began = BEGAN.parse::<Timestamp>()?;
    // The first order is the story's own: before its second message nothing ties the temporary number to the better one.
    let first = |rows: &str| rows.lines().filter(|row| row.starts_with("00,")).collect::<Vec<_>>().join(" ");
    for (minutes, expected) in [(0_i64, "00,V1,V1"), (1, "00,V1,V1 00,V2,V1"), (2, "00,V1,V1 00,V2,V1 00,V3,V1")] {
        let at = AsOf { known_at: Some(began.checked_add(minutes.minutes())?), ..AsOf::default() };
        assert_eq!(first(&render(&warehouse.query(PERSONS, &at).await?, Format::Csv)?), expected, "after {minutes} minutes");
    }
    Ok(())
}

/// A FHIR record of Jane, who was born on this day, with this identifier and an inpatient Encounter; the version is of this day of January.
fn bundle(identifier: &str, born: &str, day: &str) -> String {
    let patient = format!(r#"{{"resourceType":"Patient","id":"jane","birthDate":"{born}","identifier":[{identifier}]}}"#);
    let stay = r#"{"resourceType":"Encounter","id":"V2","status":"in-progress","class":{"code":"IMP"},"subject":{"reference":"Patient/jane"},"period":{"start":"2020-01-10T08:00:00Z"}}"#;
    format!(
        r#"{{"resourceType":"Bundle","type":"collection","timestamp":"2020-01-{day}T09:00:00Z","entry":[{{"resource":{patient}}},{{"resource":{stay}}}]}}"#
    )
}

/// The medical record number 4711 of a system, and what else is said of it.
fn record_number(system: &str, rest: &str) -> String {
    format!(r#"{{"type":{{"coding":[{{"code":"MR"}}]}},"system":"{system}","value":"4711"{rest}}}"#)
}

/// Of each case: what the site configures, PID-3, what FHIR says after it, and whether they are one person.
fn cases() -> Vec<(Facility, &'static str, Vec<String>, bool)> {
    let (born, configured) = ("1990-02-03", "http://h/mrn");
    let site = |name: &str| Facility { authorities: [(configured.to_owned(), "HOSP".to_owned())].into(), ..Facility::new(name) };
    let says = |system: &str, rest: &str| vec![bundle(&record_number(system, rest), born, "11")];
    let left_out = |day: &str| bundle(r#"{"system":"http://h/mrn","value":"4712"}"#, born, day);
    vec![
        (site("configured"), "4711^^^HOSP^MR", says(configured, ""), true),
        (Facility::new("not configured"), "4711^^^HOSP^MR", says(configured, ""), false),
        (Facility::new("of an OID"), "4711^^^&1.2.3&ISO^MR", says("urn:oid:1.2.3", ""), true),
        (Facility { authority: "HOSP".to_owned(), ..site("without an authority") }, "4711", says(configured, ""), true),
        (site("of another authority"), "4711^^^ENT^MR", says(configured, ""), false),
        (site("old"), "4711^^^HOSP^MR", says(configured, r#","use":"old""#), false),
        (site("of another birth"), "4711^^^HOSP^MR", vec![bundle(&record_number(configured, ""), "1990-02-04", "11")], false),
        (site("left out later"), "4711^^^HOSP^MR", [says(configured, ""), vec![left_out("12")]].concat(), false),
        (site("left out before"), "4711^^^HOSP^MR", [says(configured, ""), vec![left_out("10")]].concat(), true),
    ]
}

#[tokio::test]
async fn hl7_and_fhir_tell_of_one_person_by_one_number_of_the_hospital() -> anyhow::Result<()> {
    let (mut stories, mut each) = (Vec::new(), Vec::new());
    for (facility, numbers, said, are_one) in cases() {
        let mut messages = [vec![adt("A01", (numbers, "19900203"), "V1", "01")], said].concat();
        for order in ["as told", "backwards"] {
            let facility = Facility { name: format!("{}: {order}", facility.name), ..facility.clone() };
            each.push(format!("{0},V1,V1\n{0},V2,{1}", facility.name, if are_one { "V1" } else { "V2" }));
            stories.push((facility, messages.clone()));
            messages.reverse();
        }
    }
    let (_folder, warehouse) = told(&stories).await?;
    let rows = render(&warehouse.query(PERSONS, &AsOf::default()).await?, Format::Csv)?;
    each.sort_unstable();
    assert_eq!(rows.trim(), format!("facility,visit_number,first\n{}", each.join("\n")));
    // What was told later of a number changes nothing of before.
    let before = AsOf { known_at: Some(BEGAN.parse::<Timestamp>()?.checked_add(1.minutes())?), ..AsOf::default() };
    let rows = render(&warehouse.query(PERSONS, &before).await?, Format::Csv)?;
    assert!(rows.contains("\nleft out later: as told,V2,V1\n"), "{rows}");
    Ok(())
}

/// What FHIR says of Jane's stay in a version of this day, whose Encounter lists these identifiers.
fn listing(identifiers: &str, day: &str) -> String {
    let listed = format!(r#""identifier":[{identifiers}],"period":"#);
    bundle(&record_number("http://h/mrn", ""), "1990-02-03", day).replace(r#""period":"#, &listed)
}

/// Stays that stand, and the number of the first.
const STAYS: &str = "SELECT facility, count(*) AS stays, min(visit_number) AS first FROM encounters GROUP BY facility ORDER BY facility";

#[tokio::test]
async fn hl7_and_fhir_tell_of_one_stay_by_its_visit_number() -> anyhow::Result<()> {
    let authorities = ["http://h/mrn", "http://h/visits"].map(|system| (system.to_owned(), "HOSP".to_owned()));
    let site = |name: &str| Facility { authorities: authorities.clone().into(), ..Facility::new(name) };
    let typed = |value: &str, kind: &str| format!(r#"{{"type":{{"coding":[{{"code":"{kind}"}}]}},"value":"{value}"}}"#);
    let of = |patient: &str, day: &str| adt("A01", (patient, "19900203"), "V1", day);
    let (jane, visit) = ("4711^^^HOSP^MR", typed("V1", "VN"));
    let untyped = r#"{"system":"http://h/visits","value":"V1"}"#;
    let stories = vec![
        (site("an account"), vec![of(jane, "10"), listing(&typed("V1", "AN"), "11")]),
        (site("another number"), vec![of(jane, "10"), listing(&typed("V7", "VN"), "11")]),
        (site("another patient"), vec![of("4712^^^HOSP^MR", "10"), listing(&visit, "11")]),
        (site("backwards"), vec![listing(&visit, "11"), of(jane, "10")]),
        (site("days apart"), vec![of(jane, "07"), listing(&visit, "11")]),
        (site("in turn"), vec![of(jane, "10"), listing("", "11"), listing(&visit, "12"), listing("", "13")]),
        (site("of a system"), vec![of(jane, "10"), listing(untyped, "11")]),
        (site("told"), vec![of(jane, "10"), listing(&visit, "11")]),
    ];
    let (_folder, warehouse) = told(&stories).await?;
    let rows = render(&warehouse.query(STAYS, &AsOf::default()).await?, Format::Csv)?;
    let each = "an account,2,V1\nanother number,2,V1\nanother patient,2,V1\nbackwards,1,V2\ndays apart,2,V1\nin turn,2,V1\nof a system,1,V1\ntold,1,V1";
    assert_eq!(rows.trim(), format!("facility,stays,first\n{each}"));
    // Two before it was known that they are one, and one as long as it was.
    let mut counts = Vec::new();
    for minutes in 0..4_i64 {
        let at = AsOf { known_at: Some(BEGAN.parse::<Timestamp>()?.checked_add(minutes.minutes())?), ..AsOf::default() };
        let rows = render(&warehouse.query(STAYS, &at).await?, Format::Csv)?;
        counts.extend(rows.lines().filter_map(|row| row.strip_prefix("in turn,")).map(str::to_owned));
    }
    assert_eq!(counts, ["1,V1", "2,V1", "1,V1", "2,V1"]);
    Ok(())
}
