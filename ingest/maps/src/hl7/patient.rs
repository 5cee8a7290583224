//! PID and MRG: who the patient is, under which numbers, and who was merged into whom.

use schemas::{EventCode, Fact, Identifier, Stage};

use super::chart::Chart;
use super::reader::{Field, Segment};

/// The identifiers of a CX field: the medical record number first, else in the order sent.
pub(crate) fn identifiers(field: &Field<'_>) -> Vec<Identifier> {
    let mut found = Vec::new();
    let mut primary = None;
    for repetition in field.repetitions() {
        let Some(value) = repetition.component(1).text() else { continue };
        let authority = repetition.component(4);
        let system = authority.subcomponent(1).text().or_else(|| authority.subcomponent(2).text()).unwrap_or_default();
        if primary.is_none() && repetition.component(5).text().as_deref() == Some("MR") {
            primary = Some(found.len());
        }
        found.push(Identifier { system, value });
    }
    if let Some(place) = primary {
        let number = found.remove(place);
        found.insert(0, number);
    }
    found
}

/// Identifier as another fact's `related`.
pub(crate) fn joined(identifier: &Identifier) -> String {
    format!("{}|{}", identifier.system, identifier.value)
}

/// Takes the patient of `pid` as the one at hand and says under which numbers the sender knows them.
pub(crate) fn identify(chart: &mut Chart<'_>, pid: &Segment<'_>) {
    let mut numbers = identifiers(&pid.field(3));
    if numbers.is_empty() {
        numbers = identifiers(&pid.field(2));
    }
    chart.patient = numbers.first().cloned();
    let Some(patient) = chart.patient.clone() else {
        chart.reject(Stage::Map, pid.position(3), "the patient has no number");
        return;
    };
    chart.facts.push(chart.of_patient(EventCode::PatientIdentified));
    for other in numbers.iter().skip(1).filter(|other| **other != patient) {
        let related = Some(joined(other));
        chart.facts.push(Fact { related, ..chart.of_patient(EventCode::PatientIdentified) });
    }
}

/// What PID says about the person at hand.
pub(crate) fn describe(chart: &mut Chart<'_>, pid: &Segment<'_>) {
    if chart.patient.is_none() {
        return;
    }
    if let Some(date) = chart.date(pid, 7) {
        say(chart, EventCode::PatientBirthDate, date);
    }
    if let Some(sex) = pid.field(8).component(1).text() {
        say(chart, EventCode::PatientSex, sex_of(&sex).to_owned());
    }
    let race = pid.field(10);
    if let Some(race) = race.component(1).text().or_else(|| race.component(2).text()) {
        say(chart, EventCode::PatientRace, race);
    }
    let died_at = chart.instant(pid, 29);
    let indicator = pid.field(30).component(1).text().map(|indicator| indicator.to_ascii_uppercase());
    let died = match indicator.as_deref() {
        Some("Y" | "YES" | "1" | "TRUE") => true,
        Some("N" | "NO" | "0" | "FALSE") => false,
        _ => died_at.is_some(),
    };
    if died {
        chart.facts.push(Fact { time: died_at, ..chart.of_patient(EventCode::PatientDied) });
    }
}

/// Says that the patient of `mrg` is the one at hand.
pub(crate) fn merge(chart: &mut Chart<'_>, mrg: &Segment<'_>) {
    let Some(survivor) = chart.patient.clone() else { return };
    let merged = identifiers(&mrg.field(1));
    match merged.first() {
        None => chart.reject(Stage::Map, mrg.position(1), "the merged patient has no number"),
        Some(first) if *first == survivor => chart.reject(Stage::Map, mrg.position(1), "a patient cannot be merged into itself"),
        Some(_) => {
            for number in merged.iter().filter(|number| **number != survivor) {
                let related = Some(joined(number));
                chart.facts.push(Fact { time: chart.occurred_at, related, ..chart.of_patient(EventCode::PatientMerged) });
            }
        }
    }
}

fn say(chart: &mut Chart<'_>, code: EventCode, text: String) {
    chart.facts.push(Fact { text_value: Some(text), ..chart.of_patient(code) });
}

/// HL7 table 0001, and words for it.
fn sex_of(code: &str) -> &'static str {
    match code.to_ascii_uppercase().as_str() {
        "M" | "MALE" => "male",
        "F" | "FEMALE" => "female",
        "O" | "A" | "X" | "OTHER" | "AMBIGUOUS" => "other",
        _ => "unknown",
    }
}
