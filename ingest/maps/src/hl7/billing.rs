//! DFT and BAR, and the segments of money that ADT carries too: diagnoses, procedures (PR1, FT1), insurance (IN1).
//!
//! GT1 (who pays) is understood and says nothing of a stay. A charge that credits, adjusts or pays (FT1-6) says nothing of what was done.

use std::collections::HashSet;

use schemas::{EventCode, Fact, Stage};

use super::chart::Chart;
use super::coding::{self, Coded};
use super::diagnosis::{self, rank};
use super::reader::{Field, Segment};
use super::{patient, visit};

/// Maps a DFT or BAR message.
pub(crate) fn map(chart: &mut Chart<'_>) {
    let message = chart.message;
    if !message.segments.iter().any(|segment| matches!(&segment.name, b"DG1" | b"PR1" | b"IN1" | b"FT1")) {
        return;
    }
    let pid = message.first(b"PID");
    if let Some(pid) = &pid {
        patient::identify(chart, pid);
    }
    chart.visit = visit::number(pid.as_ref(), message.first(b"PV1").as_ref());
    if chart.visit.is_none() && chart.patient.is_none() {
        return chart.reject(Stage::Parse, "PID".to_owned(), "neither a patient nor a stay is named");
    }
    let opened = chart.facts.len();
    state(chart);
    let diagnoses = chart.facts.iter().filter(|fact| fact.code == EventCode::EncounterDiagnosed);
    let mut told: HashSet<String> = diagnoses.filter_map(|fact| fact.text_value.clone()).collect();
    for ft1 in message.all(b"FT1") {
        charge(chart, &ft1, &mut told);
    }
    if chart.facts.len() == opened {
        // Who the patient is alone is no news of billing.
        chart.facts.clear();
    }
}

/// What DG1, PR1 and IN1 say of the stay at hand.
pub(crate) fn state(chart: &mut Chart<'_>) {
    if chart.visit.is_none() && chart.patient.is_none() {
        return;
    }
    diagnosis::map(chart);
    let message = chart.message;
    for pr1 in message.all(b"PR1") {
        procedure(chart, &pr1);
    }
    if chart.visit.is_some() {
        for in1 in message.all(b"IN1") {
            insurance(chart, &in1);
        }
    }
}

fn procedure(chart: &mut Chart<'_>, pr1: &Segment<'_>) {
    let Some(code) = procedure_code(chart, &pr1.field(3), pr1.field(2).component(1).text(), || pr1.position(3)) else {
        return chart.reject(Stage::Map, pr1.position(3), "the procedure has no code");
    };
    let retracted = pr1.field(20).component(1).text().is_some_and(|action| action.eq_ignore_ascii_case("D"));
    let event = if retracted { EventCode::EncounterProcedureRetracted } else { EventCode::EncounterProcedure };
    let time = chart.instant(pr1, 5);
    let numeric_value = rank(&pr1.field(14)).or_else(|| rank(&pr1.field(1)));
    chart.facts.push(Fact { time, numeric_value, text_value: Some(code), ..chart.of_stay(event) });
}

/// FT1: the diagnoses and the procedure that a charge was made for.
fn charge(chart: &mut Chart<'_>, ft1: &Segment<'_>, told: &mut HashSet<String>) {
    let kind = ft1.field(6).component(1).text().map(|kind| kind.to_ascii_uppercase());
    if kind.is_some_and(|kind| kind != "CG" && kind != "CO") {
        return;
    }
    diagnosis::of_charge(chart, ft1, told);
    if let Some(code) = procedure_code(chart, &ft1.field(25), None, || ft1.position(25)) {
        let time = chart.instant(ft1, 4);
        chart.facts.push(Fact { time, text_value: Some(code), ..chart.of_stay(EventCode::EncounterProcedure) });
    }
}

fn procedure_code(chart: &mut Chart<'_>, field: &Field<'_>, beside: Option<String>, position: impl Fn() -> String) -> Option<String> {
    let Coded { text, guessed } = coding::coded(field, beside, coding::of_procedures, coding::shape_of_procedure)?;
    if guessed {
        chart.flag(position(), "no coding system is stated; told by the shape of the code");
    }
    Some(text)
}

/// IN1: the plan (IN1-2), else the payer (IN1-3, IN1-4), ranked by IN1-22, else IN1-1.
fn insurance(chart: &mut Chart<'_>, in1: &Segment<'_>) {
    let named = [2, 3, 4].into_iter().find_map(|field| in1.field(field).component(1).text());
    let numeric_value = rank(&in1.field(22)).or_else(|| rank(&in1.field(1)));
    if named.is_some() || in1.field(2).is_delete() {
        chart.facts.push(Fact { numeric_value, text_value: named, ..chart.of_stay(EventCode::EncounterInsured) });
    }
}
