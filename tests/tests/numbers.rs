//! A patient who is registered under a temporary number and gets a better one later is one person, though nobody merges the two: in whatever
//! order the messages arrive, and from the moment at which both numbers are known to stand together.

use envelope::{Hints, Schemas};
use ingest::reading::{self, Raw};
use jiff::{Timestamp, ToSpan as _};
use schemas::{Facility, Source};
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

#[tokio::test]
async fn a_better_number_beside_the_first_makes_no_second_person() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = Settings { url: folder.path().join("warehouse").display().to_string(), ..Settings::default() };
    let warehouse = Warehouse::open(&settings).await?;
    let (mut batch, messages, began) = (Batch::default(), story(), BEGAN.parse::<Timestamp>()?);
    for (nth, order) in orders().into_iter().enumerate() {
        let facility = Facility::new(&format!("{nth:02}"));
        for (offset, place) in (0_i64..).zip(order) {
            let source = Source { topic: facility.name.clone(), partition: 0, offset };
            let payload = Some(messages[place].clone().into_bytes());
            let known_at = began.checked_add(offset.minutes())?;
            let raw = Raw { source, known_at, key: None, headers: "{}".to_owned(), payload, skip: None, hints: Hints::default() };
            reading::read(raw, &facility, &Schemas::default(), &mut batch);
        }
    }
    let refused: Vec<_> = batch.messages.iter().flat_map(|message| &message.rejects).collect();
    assert!(refused.is_empty(), "the story must be readable: {refused:?}");
    warehouse.append(&mut batch).await?;
    let rows = render(&warehouse.query(PERSONS, &AsOf::default()).await?, Format::Csv)?;
    let each: Vec<String> =
        (0..orders().len()).map(|nth| format!("{nth:02},V1,V1\n{nth:02},V2,V1\n{nth:02},V3,V1\n{nth:02},V4,V4")).collect();
    assert_eq!(rows.trim(), format!("facility,visit_number,first\n{}", each.join("\n")));
    // The first order is the story's own: before its second message nothing ties the temporary number to the better one.
    let first = |rows: &str| rows.lines().filter(|row| row.starts_with("00,")).collect::<Vec<_>>().join(" ");
    for (minutes, expected) in [(0_i64, "00,V1,V1"), (1, "00,V1,V1 00,V2,V1"), (2, "00,V1,V1 00,V2,V1 00,V3,V1")] {
        let at = AsOf { known_at: Some(began.checked_add(minutes.minutes())?), ..AsOf::default() };
        assert_eq!(first(&render(&warehouse.query(PERSONS, &at).await?, Format::Csv)?), expected, "after {minutes} minutes");
    }
    Ok(())
}
