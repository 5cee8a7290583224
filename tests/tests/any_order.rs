//! A stay is what its messages say, in whatever order they arrive: every story is told in many orders, each to a facility of its own, and all
//! facilities must hold the same stays, patients and notes.

use envelope::{Hints, Schemas};
use ingest::reading::{self, Raw};
use jiff::{Timestamp, ToSpan as _};
use schemas::{Facility, Source};
use warehouse::{AsOf, Batch, Format, Settings, Warehouse, render};

/// Orders in which each story is told.
const ORDERS: usize = 24;

/// A segment with these fields.
fn segment(name: &str, fields: &[(usize, &str)]) -> String {
    let mut all = vec![name];
    for (place, field) in fields {
        all.resize(all.len().max(place + 1), "");
        all[*place] = field;
    }
    all.join("|")
}

/// What one message says: trigger, the minute at which it was asserted (January 2020, `DDHHMM`), patient, PID-30, visit, and more of PV1.
struct Said<'a> {
    trigger: &'a str,
    at: &'a str,
    patient: &'a str,
    death: &'a str,
    visit: &'a str,
    pv1: &'a [(usize, &'a str)],
    /// MRG-1 and MRG-5.
    merged: (&'a str, &'a str),
}

const PLAIN: Said<'static> = Said { trigger: "", at: "", patient: "A", death: "", visit: "V1", pv1: &[], merged: ("", "") };

fn adt(said: &Said<'_>) -> String {
    let header = format!("MSH|^~\\&|E|F|||202001{}30||ADT^{}|{}{}|P|2.5", said.at, said.trigger, said.trigger, said.at);
    let number = |patient: &str| if patient.is_empty() { String::new() } else { format!("{patient}^^^H^MR") };
    let mut segments = vec![header, format!("EVN|{}|202001{}", said.trigger, said.at)];
    segments.push(segment("PID", &[(1, "1"), (3, &number(said.patient)), (8, "F"), (30, said.death)]));
    let (patient, visit) = said.merged;
    if !patient.is_empty() || !visit.is_empty() {
        segments.push(segment("MRG", &[(1, &number(patient)), (5, visit)]));
    }
    segments.push(segment("PV1", &[&[(1, "1"), (2, "I"), (3, "W1"), (10, "MED"), (19, said.visit)], said.pv1].concat()));
    segments.join("\r")
}

fn mdm(trigger: &str, at: &str, txa: &[(usize, &str)], text: &str) -> String {
    let txa = segment("TXA", &[&[(1, "1"), (2, "DS"), (3, "TX")], txa].concat());
    let obx = if text.is_empty() { String::new() } else { format!("\rOBX|1|TX|||{text}") };
    format!(
        "MSH|^~\\&|E|F|||202001{at}30||MDM^{trigger}|{trigger}{at}|P|2.5\rEVN|{trigger}|202001{at}\rPID|1||A^^^H^MR\rPV1|1|I|||||||||||||||||V1\r{txa}{obx}"
    )
}

const BEGAN: (usize, &str) = (44, "202001010800");
const LEFT: [(usize, &str); 3] = [BEGAN, (45, "202001051200"), (36, "01")];

/// Trigger, the minute at which it was asserted, and PV1.
type Event = (&'static str, &'static str, &'static [(usize, &'static str)]);

fn stories() -> Vec<Vec<String>> {
    let said = |trigger, at, pv1| Said { trigger, at, pv1, ..PLAIN };
    let plain = |all: &[Event]| all.iter().map(|(trigger, at, pv1)| adt(&said(trigger, at, pv1))).collect::<Vec<_>>();
    vec![
        plain(&[
            ("A05", "010700", &[]),
            ("A01", "010800", &[BEGAN]),
            ("A02", "020900", &[BEGAN, (10, "CAR")]),
            ("A12", "021000", &[BEGAN, (10, "MED")]),
            ("A03", "051200", &LEFT),
            ("A13", "051300", &[BEGAN]),
            ("A08", "051400", &[(44, "202001010815")]),
        ]),
        plain(&[("A01", "010800", &[BEGAN]), ("A11", "010900", &[BEGAN]), ("A08", "011000", &[BEGAN])]),
        plain(&[("A01", "010800", &[BEGAN]), ("A11", "010900", &[BEGAN]), ("A01", "011100", &[BEGAN]), ("A03", "051200", &LEFT)]),
        plain(&[("A04", "010700", &[(2, "E")]), ("A06", "010800", &[BEGAN]), ("A07", "010900", &[(2, "O")]), ("A06", "011000", &[BEGAN])]),
        plain(&[("A03", "051200", &LEFT), ("A08", "061200", &LEFT)]),
        vec![
            adt(&Said { patient: "A", visit: "V1", ..said("A01", "010800", &[BEGAN]) }),
            adt(&Said { patient: "B", merged: ("A", ""), ..said("A40", "020800", &[]) }),
            adt(&Said { patient: "C", merged: ("B", ""), ..said("A40", "030800", &[]) }),
            adt(&Said { patient: "C", visit: "V1", ..said("A03", "051200", &LEFT) }),
        ],
        vec![
            adt(&Said { patient: "A", visit: "V1", ..said("A01", "010800", &[BEGAN]) }),
            adt(&Said { patient: "B", merged: ("A", ""), ..said("A40", "020800", &[]) }),
            adt(&Said { patient: "A", merged: ("B", ""), ..said("A40", "030800", &[]) }),
        ],
        vec![
            adt(&said("A01", "010800", &[BEGAN])),
            adt(&Said { visit: "V2", merged: ("A", "V1"), ..said("A50", "020800", &[]) }),
            adt(&Said { visit: "V2", ..said("A03", "051200", &LEFT) }),
        ],
        vec![
            adt(&said("A01", "010800", &[BEGAN])),
            adt(&Said { patient: "B", merged: ("A", "V1"), ..said("A45", "020800", &[]) }),
            adt(&Said { patient: "B", ..said("A03", "051200", &LEFT) }),
        ],
        vec![
            adt(&Said { death: "Y", ..said("A08", "010800", &[BEGAN]) }),
            adt(&Said { death: "N", ..said("A31", "020800", &[]) }),
            adt(&said("A01", "010700", &[BEGAN])),
        ],
        vec![
            adt(&said("A01", "010800", &[BEGAN])),
            mdm("T02", "010900", &[(12, "D1"), (17, "IP")], "draft"),
            mdm("T03", "011000", &[(12, "D1"), (17, "AU")], ""),
            mdm("T08", "011100", &[(12, "D1"), (17, "AU")], "edited"),
            mdm("T06", "011200", &[(12, "D2"), (13, "D1"), (17, "AU")], "and this"),
            mdm("T02", "011300", &[(12, "D3"), (17, "AU")], "wrong patient"),
            mdm("T11", "011400", &[(12, "D3")], ""),
        ],
        vec![adt(&Said { visit: "", ..said("A01", "010800", &[BEGAN]) }), adt(&Said { visit: "", ..said("A03", "051200", &LEFT) })],
    ]
}

/// A small generator (xorshift): the same seed gives the same orders.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % limit.max(1)
    }
}

/// The first order is the story's own, the second its reverse.
fn ordered(length: usize, order: usize, dice: &mut Dice) -> Vec<usize> {
    let mut places: Vec<usize> = (0..length).collect();
    match order {
        0 => {}
        1 => places.reverse(),
        _ => (1..length).rev().for_each(|last| places.swap(last, dice.below(last + 1))),
    }
    places
}

const ASKED: [&str; 3] = [
    "SELECT e.facility, e.visit_number, e.class, e.department, e.admitted_at, e.discharged_at, e.disposition, i.numbers FROM encounters AS e \
     LEFT JOIN (SELECT patient_id, string_agg(value, ' ' ORDER BY value) AS numbers FROM identifiers GROUP BY patient_id) AS i ON i.patient_id = e.patient_id ORDER BY 1, 2",
    "SELECT i.facility, i.numbers, p.sex, p.died_at IS NULL AS lives FROM patients AS p JOIN (SELECT v.patient_id, v.facility, string_agg(value, ' ' ORDER BY value) AS numbers \
     FROM (SELECT DISTINCT e.patient_id, e.facility, i.value FROM events AS e JOIN identifiers AS i ON i.patient_id = e.patient_id) AS v GROUP BY 1, 2) AS i ON i.patient_id = p.patient_id ORDER BY 1, 2",
    "SELECT n.facility, n.text, n.current_status, n.retracted, n.placed_by, e.visit_number, n.adds_to = note_identity(n.facility, 'D1') AS adds FROM notes AS n \
     LEFT JOIN encounters AS e ON e.encounter_id = n.encounter_id ORDER BY 1, 2, 3",
];

#[tokio::test]
async fn a_stay_is_the_same_in_whatever_order_its_messages_arrive() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = Settings { url: folder.path().join("warehouse").display().to_string(), ..Settings::default() };
    let warehouse = Warehouse::open(&settings).await?;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut batch = Batch::default();
    let stories = stories();
    for (story, messages) in stories.iter().enumerate() {
        for order in 0..ORDERS {
            let facility = Facility::new(&format!("{story:02}/{order:02}"));
            let mut known_at: Timestamp = "2020-02-01T00:00:00Z".parse()?;
            for (offset, place) in ordered(messages.len(), order, &mut dice).into_iter().enumerate() {
                known_at = known_at.checked_add(1.minute())?;
                let source = Source { topic: facility.name.clone(), partition: 0, offset: i64::try_from(offset)? };
                let payload = Some(messages[place].clone().into_bytes());
                let raw = Raw { source, known_at, key: None, headers: "{}".to_owned(), payload, skip: None, hints: Hints::default() };
                reading::read(raw, &facility, &Schemas::default(), &mut batch);
            }
        }
    }
    let refused: Vec<_> = batch.messages.iter().flat_map(|message| &message.rejects).collect();
    assert!(refused.is_empty(), "a story must be readable: {refused:?}");
    warehouse.append(&mut batch).await?;
    for sql in ASKED {
        let rows = render(&warehouse.query(sql, &AsOf::default()).await?, Format::Csv)?;
        let of = |story: usize, order: usize| {
            let facility = format!("{story:02}/{order:02},");
            rows.lines().filter_map(|row| row.strip_prefix(&facility)).collect::<Vec<_>>().join("\n")
        };
        for story in 0..stories.len() {
            for order in 1..ORDERS {
                assert_eq!(of(story, order), of(story, 0), "story {story}, order {order}: {sql}");
            }
        }
        insta::assert_snapshot!((0..stories.len()).map(|story| format!("{story:02}\n{}", of(story, 0))).collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}
