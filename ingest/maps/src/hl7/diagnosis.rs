//! DG1: diagnoses, wherever they are sent (ADT, DFT, BAR).

use schemas::{EventCode, Fact, Stage};

use super::chart::Chart;
use super::reader::Segment;
use super::{patient, visit};

/// Maps the diagnoses of a DFT or BAR message.
pub(crate) fn map_billing(chart: &mut Chart<'_>) {
    if chart.message.first(b"DG1").is_none() {
        return;
    }
    if let Some(pid) = chart.message.first(b"PID") {
        patient::identify(chart, &pid);
    }
    chart.visit = visit::number(chart);
    map(chart);
}

/// Maps every DG1 of the message; one without a code costs itself.
pub(crate) fn map(chart: &mut Chart<'_>) {
    if chart.visit.is_none() && chart.patient.is_none() {
        return;
    }
    let message = chart.message;
    for dg1 in message.all(b"DG1") {
        let Some(code) = code(&dg1) else {
            chart.reject(Stage::Map, dg1.position(3), "the diagnosis has no code");
            continue;
        };
        let retracted = dg1.field(21).component(1).text().is_some_and(|action| action.eq_ignore_ascii_case("D"));
        let event = if retracted { EventCode::EncounterDiagnosisRetracted } else { EventCode::EncounterDiagnosed };
        let time = chart.instant(&dg1, 5);
        let rank = |field: usize| dg1.field(field).component(1).text()?.parse().ok().filter(|rank: &f64| rank.is_finite());
        chart.facts.push(Fact { time, numeric_value: rank(15).or_else(|| rank(1)), text_value: Some(code), ..chart.of_stay(event) });
    }
}

/// `system/code`: DG1-3, or its alternate; the system may stand in DG1-2 alone.
fn code(dg1: &Segment<'_>) -> Option<String> {
    let field = dg1.field(3);
    let (code, system) = match field.component(1).text() {
        Some(code) => (code, field.component(3).text()),
        None => (field.component(4).text()?, field.component(6).text()),
    };
    let system = system.or_else(|| dg1.field(2).component(1).text()).unwrap_or_default();
    Some(format!("{}/{code}", system_name(&system)))
}

/// HL7 table 0396 and its misspellings; other systems keep their name.
fn system_name(system: &str) -> String {
    let label: String = system.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
    match label.as_str() {
        "I10" | "I10C" | "ICD10" | "ICD10CM" | "10" => "ICD10CM".to_owned(),
        "I9" | "I9C" | "I9CDX" | "ICD9" | "ICD9CM" | "ICD9CMDX" | "9" => "ICD9CM".to_owned(),
        "SCT" | "SNM" | "SNOMED" | "SNOMEDCT" => "SNOMED".to_owned(),
        _ => system.replace('/', "_"),
    }
}
