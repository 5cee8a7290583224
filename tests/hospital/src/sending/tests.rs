//! Promises of the whole simulation: what is said, and that it agrees with what is true.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::plan::{Shift, ShiftKind, Speak};
use crate::prose::Kind;
use jiff::civil::{Date, date};

mod learnability;

const YEARS: (Date, Date) = (date(2019, 1, 1), date(2021, 1, 1));

fn plan(seed: u64, shift: Option<ShiftKind>) -> Plan {
    let shift = shift.map(|kind| Shift { kind, at: date(2020, 1, 1) });
    Plan { seed, patients: 1_000, from: YEARS.0, to: YEARS.1, speak: Speak::Both, shift }
}

/// A simulation's folder, which goes with the test.
struct Written(PathBuf);

impl Written {
    fn of(name: &str, plan: &Plan) -> Self {
        let folder = std::env::temp_dir().join(format!("hospital-{}-{name}", std::process::id()));
        simulate(plan, &folder).expect("writes");
        Self(folder)
    }

    fn files(&self, part: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.join(part)).expect("was written");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("reads").path()).collect();
        files.sort();
        files
    }

    fn text(&self) -> String {
        let files = self.files("hl7").into_iter().chain(self.files("fhir")).chain([self.0.join("truth.jsonl")]);
        files.map(|file| std::fs::read_to_string(file).expect("is UTF-8")).collect()
    }

    fn truth(&self) -> String {
        std::fs::read_to_string(self.0.join("truth.jsonl")).expect("was written")
    }

    /// North's HL7 messages in sending order, each as its segments' fields.
    fn messages(&self) -> Vec<Vec<Vec<String>>> {
        let files = self.files("hl7").into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "hl7"));
        let text: String = files.map(|file| std::fs::read_to_string(file).expect("is UTF-8")).collect();
        let framed = text.split('\u{b}').skip(1);
        framed.map(|one| one.split('\r').map(|segment| segment.split('|').map(str::to_owned).collect()).collect()).collect()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("was written");
    }
}

/// A field by segment and number; MSH counts its separator as its first.
fn field<'a>(message: &'a [Vec<String>], segment: &str, number: usize) -> &'a str {
    let found = message.iter().find(|fields| fields.first().is_some_and(|name| name == segment));
    let number = if segment == "MSH" { number - 1 } else { number };
    found.and_then(|fields| fields.get(number)).map_or("", String::as_str)
}

fn patients(plan: &Plan) -> impl Iterator<Item = Patient> {
    (0..plan.patients).map(|number| process::patient(plan, number, &mut Chance::of(plan.seed, number, Draw::Process)))
}

fn lines(plan: &Plan) -> Vec<TruthLine> {
    let told = |patient: Patient| -> Vec<TruthLine> {
        patient.stays.iter().enumerate().flat_map(|(index, stay)| truth::lines(&patient, index, stay, &BTreeSet::new())).collect()
    };
    patients(plan).flat_map(told).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (one, two) = (Written::of("one", &plan(5, None)), Written::of("two", &plan(5, None)));
    let other = Written::of("other", &plan(6, None));
    assert!(one.text() == two.text() && one.text() != other.text());
}

#[test]
fn everything_that_engines_send_is_sent() {
    let text = Written::of("all", &plan(5, None)).text();
    for trigger in ["A01", "A02", "A03", "A04", "A05", "A06", "A08", "A11", "A12", "A13", "A28", "A31", "A40"] {
        assert!(text.contains(&format!("ADT^{trigger}")), "{trigger} is never sent");
    }
    for word in ["MDM^T02", "MDM^T06", "MDM^T08", "MDM^T10", "MDM^T11", "ORU^R01", "DFT^P03", "BAR^P01"] {
        assert!(text.contains(word), "{word} is never sent");
    }
    for kind in ["Patient", "Encounter", "Condition", "DocumentReference", "Composition", "DiagnosticReport", "Claim", "ClaimResponse"] {
        assert!(text.contains(&format!("\"resourceType\":\"{kind}\"")), "{kind} is never sent");
    }
    for word in [
        "ExplanationOfBenefit",
        "MessageHeader",
        "\"transaction\"",
        "\"planned\"",
        "\"in-progress\"",
        "\"finished\"",
        "\"entered-in-error\"",
        "\"amended\"",
        "\"replaces\"",
        "\"appends\"",
        "\"queued\"",
        "Appeal denied",
        "Appeal upheld",
    ] {
        assert!(text.contains(word), "{word} is never sent");
    }
}

#[test]
fn records_come_late_out_of_order_and_twice() {
    let messages = Written::of("order", &plan(5, None)).messages();
    let (mut sent, mut late, mut earlier, mut empty) = (BTreeSet::new(), 0, 0, 0);
    let mut latest = String::new();
    for message in &messages {
        sent.insert(format!("{message:?}"));
        let (said, happened) = (field(message, "MSH", 7), field(message, "EVN", 2));
        assert!(said.ends_with("-0500") && happened.ends_with("-0500"), "a time without an offset");
        late += usize::from(said.get(..8) != happened.get(..8));
        earlier += usize::from(happened < latest.as_str());
        latest = latest.max(happened.to_owned());
        empty += usize::from(field(message, "MSH", 9).starts_with("MDM") && field(message, "PV1", 19).is_empty());
    }
    let repeated = messages.len() - sent.len();
    assert!((0.01..0.03).contains(&(repeated as f64 / messages.len() as f64)), "{repeated} of {} repeated", messages.len());
    assert!(late > 100 && earlier > 100 && empty > 10, "{late} late, {earlier} out of order, {empty} without a visit number");
}

/// Death, cancellation and notes as a careful reader of north's messages finds them.
#[test]
fn norths_messages_tell_what_is_true() {
    let plan = plan(8, None);
    let written = Written::of("north", &plan);
    let (mut dispositions, mut cancelled, mut notes) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for message in written.messages() {
        let visit = field(&message, "PV1", 19).to_owned();
        match field(&message, "MSH", 9) {
            kind if kind.starts_with("ADT^A03") => {
                let told = (field(&message, "MSH", 7).to_owned(), field(&message, "PV1", 36).to_owned());
                let before = dispositions.entry(visit).or_insert_with(|| told.clone());
                *before = before.clone().max(told);
            }
            kind if kind.starts_with("ADT^A11") => drop(cancelled.insert(visit)),
            "MDM^T02" => drop(notes.entry(field(&message, "TXA", 2).to_owned()).or_default().insert(field(&message, "TXA", 12).to_owned())),
            _ => {}
        }
    }
    assert!(!cancelled.is_empty());
    let early = |line: &TruthLine| line.facility == "north" && line.discharged_at < date_at(date(2020, 12, 1));
    let lines: Vec<TruthLine> = lines(&plan).into_iter().filter(early).collect();
    for line in lines.iter().filter(|line| line.task == Task::Mortality) {
        assert!(!cancelled.contains(&line.visit_number));
        let died = dispositions.get(&line.visit_number).map(|(_, disposition)| disposition == "20");
        assert_eq!(died, Some(line.label == 1), "{}", line.visit_number);
        for (code, kind) in [("HP", Kind::Admission), ("DS", Kind::Discharge)] {
            let number = note_number(kind, &line.visit_number);
            assert!(notes.get(code).is_some_and(|numbers| numbers.contains(&number)), "{number} was never sent");
        }
    }
}

fn date_at(day: Date) -> Timestamp {
    day.to_zoned(TimeZone::UTC).expect("a day").timestamp()
}

#[test]
fn admission_notes_are_sent_within_a_day_and_notes_are_long() {
    let plan = plan(4, None);
    let (mut lengths, mut long) = (Vec::new(), 0);
    for patient in patients(&plan) {
        let mut random = Random {
            sending: Chance::of(plan.seed, patient.number, Draw::Sending),
            prose: Chance::of(plan.seed, patient.number, Draw::Prose),
        };
        for stay in &patient.stays {
            let notes = notes::of_stay(&plan, &patient, stay, "V1", &mut random);
            for kind in [Kind::Admission, Kind::Discharge] {
                let standing: Vec<&Writing<'_>> = notes
                    .iter()
                    .filter(|note| note.kind == kind && note.document == note_number(kind, "V1") && note.act == Act::Write)
                    .collect();
                let [first] = standing.as_slice() else { panic!("not one note to ask") };
                lengths.push(first.text.len());
                long += usize::from(first.text.len() > 10_000);
                let begun = if kind == Kind::Admission { stay.admitted_at } else { stay.discharged_at };
                let hours = first.sent_at.duration_since(begun).as_secs_f64() / 3_600.0;
                assert!((0.0..36.1).contains(&hours) && (kind == Kind::Discharge || hours < 24.0));
            }
        }
    }
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().expect("notes");
    assert!((2_200..2_800).contains(&median) && long > 20, "median {median}, {long} of {} over 10 kB", lengths.len());
}

/// A readmission is what happens to the same patient within thirty days, and nothing else.
#[test]
fn the_truth_is_the_processs_own() {
    for patient in patients(&plan(11, None)) {
        for stay in &patient.stays {
            let hours = stay.discharged_at.duration_since(stay.admitted_at).as_secs_f64() / 3_600.0;
            let class = match (hours / 24.0).floor() {
                days if days <= 2.0 => 0,
                days if days <= 3.0 => 1,
                days if days <= 5.0 => 2,
                _ => 3,
            };
            let drawn = stay.outcomes.iter().find(|(task, _, _)| *task == Task::LengthOfStay).map(|(_, class, _)| *class);
            assert_eq!(drawn, Some(class));
            assert!((2.0..22.0).contains(&(hours % 24.0)), "a stay ends near the edge of a day");
        }
        for pair in patient.stays.windows(2) {
            let [stay, next] = pair else { continue };
            let days = next.admitted_at.duration_since(stay.discharged_at).as_secs_f64() / 86_400.0;
            assert_eq!(stay.readmitted, days > 0.0 && days <= 30.0);
            assert!(!stay.died && !(29.6..31.0).contains(&days));
        }
    }
}

#[test]
fn no_answer_where_there_is_no_question() {
    let plan = plan(2, None);
    let asked: BTreeSet<(String, Task)> = lines(&plan).into_iter().map(|line| (line.visit_number, line.task)).collect();
    let mut dropped = [0; 3];
    for patient in patients(&plan) {
        for (index, stay) in patient.stays.iter().enumerate() {
            let visit = truth::visit_number(&patient, index);
            let without = [
                (Task::Readmission, stay.died || matches!(stay.department, "REH" | "DIA" | "PAL")),
                (Task::Comorbidity, stay.codes.is_empty()),
                (Task::Denial, !matches!(stay.billing, process::Billing::Decided { .. })),
            ];
            for ((task, without), dropped) in without.into_iter().zip(&mut dropped) {
                *dropped += u32::from(without);
                assert_eq!(asked.contains(&(visit.clone(), task)), !without, "{task} of {visit}");
            }
        }
    }
    assert!(dropped.iter().all(|dropped| *dropped > 5), "{dropped:?}");
}

/// Shares of the classes and what a perfect model would reach, for a seed that nobody chose.
#[test]
fn rates_and_ceilings_are_as_promised() {
    let lines = lines(&Plan { patients: 6_000, from: date(2013, 1, 1), to: date(2025, 1, 1), ..plan(23, None) });
    let promised: [(Task, &[f64], std::ops::Range<f64>); 5] = [
        (Task::Readmission, &[0.82, 0.18], 0.78..0.83),
        (Task::Mortality, &[0.915, 0.085], 0.85..0.89),
        (Task::LengthOfStay, &[0.27, 0.22, 0.24, 0.27], 0.75..0.81),
        (Task::Comorbidity, &[0.45, 0.25, 0.15, 0.10, 0.05], 0.80..0.88),
        (Task::Denial, &[0.80, 0.20], 0.78..0.84),
    ];
    for (task, shares, range) in promised {
        let of_task: Vec<&TruthLine> = lines.iter().filter(|line| line.task == task).collect();
        for (class, share) in shares.iter().enumerate() {
            let found = of_task.iter().filter(|line| line.label == class).count() as f64 / of_task.len() as f64;
            assert!((found - share).abs() < 0.025, "{task}: class {class} is {found}");
        }
        let best = ceiling(&lines, task).expect("every class occurs");
        assert!(range.contains(&best), "{task}: {best}");
    }
}

#[test]
fn plumbing_changes_what_is_sent_and_nothing_that_is_true() {
    let as_ever = Written::of("ever", &plan(7, None));
    for (name, kind, gone) in [("field", ShiftKind::Field, None), ("template", ShiftKind::Template, Some("## Background"))] {
        let changed = Written::of(name, &plan(7, Some(kind)));
        assert!(changed.truth() == as_ever.truth() && changed.text() != as_ever.text());
        if let Some(heading) = gone {
            assert!(changed.text().contains(heading) && !as_ever.text().contains(heading));
            continue;
        }
        let without = |written: &Written, year: &str| {
            let messages = written.messages();
            let of_year: Vec<_> =
                messages.iter().filter(|one| field(one, "MSH", 7).starts_with(year) && !field(one, "PV1", 2).is_empty()).collect();
            of_year.iter().filter(|one| field(one, "PV1", 10).is_empty() || field(one, "PV1", 19).is_empty()).count() as f64
                / of_year.len() as f64
        };
        assert!(without(&changed, "2019") < 0.05 && without(&changed, "2020") > 0.4 && without(&as_ever, "2020") < 0.05);
    }
}

#[test]
fn a_population_shift_brings_older_and_sicker_people() {
    let plan = plan(9, Some(ShiftKind::Population));
    let (mut age_of, mut sick, mut died) = ([0.0; 2], [0.0; 2], [0.0; 2]);
    let mut count = [0.0; 2];
    for patient in patients(&plan) {
        for stay in &patient.stays {
            let after = usize::from(stay.admitted_at >= date_at(date(2020, 1, 1)));
            let add = |sum: &mut [f64; 2], value: f64| sum.get_mut(after).into_iter().for_each(|sum| *sum += value);
            add(&mut count, 1.0);
            add(&mut age_of, f64::from(age(&patient, stay.admitted_at)));
            add(&mut sick, stay.factors.iter().filter(|has| **has).count() as f64);
            add(&mut died, f64::from(u8::from(stay.died)));
        }
    }
    let [before, after] = count;
    assert!(before > 300.0 && after > 300.0);
    for (name, [old, new], factor) in [("age", age_of, 1.1), ("conditions", sick, 1.25), ("deaths", died, 1.5)] {
        assert!(new / after > factor * old / before, "{name}: {} to {}", old / before, new / after);
    }
}

/// A model that knew the old concept by heart is no better than chance, while the ceiling stays.
#[test]
fn a_concept_shift_takes_the_ground_from_an_old_model() {
    let shifted = Plan { patients: 4_000, ..plan(10, Some(ShiftKind::Concept)) };
    let ever = Plan { shift: None, ..shifted.clone() };
    let since = date_at(date(2020, 1, 1));
    for task in Task::ALL {
        let (mut now, mut believed) = (Vec::new(), Vec::new());
        for patient in patients(&shifted) {
            for (index, stay) in patient.stays.iter().enumerate().filter(|(_, stay)| stay.admitted_at >= since) {
                let told = truth::lines(&patient, index, stay, &BTreeSet::new());
                let Some(line) = told.into_iter().find(|line| line.task == task) else { continue };
                believed.push(TruthLine { probability: process::believed(task, &stay.factors), ..line.clone() });
                now.push(line);
            }
        }
        let best = ceiling(&now, task).expect("every class occurs");
        let before = ceiling(&lines(&ever), task).expect("every class occurs");
        let old = ceiling(&believed, task).expect("every class occurs");
        assert!((best - before).abs() < 0.05 && old < before - 0.2, "{task}: ceiling {before} then {best}, an old model {old}");
    }
}

#[test]
fn a_patient_is_the_same_among_few_and_among_many() {
    let few = lines(&Plan { patients: 100, ..plan(3, None) });
    let many = lines(&plan(3, None));
    let shown = |lines: &[TruthLine]| lines.iter().map(|line| serde_json::to_string(line).expect("JSON")).collect::<Vec<_>>();
    assert!(shown(&many).starts_with(&shown(&few)) && !few.is_empty());
}
