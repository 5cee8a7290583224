//! DG1, and the diagnoses of FT1: what a stay was for, wherever it is sent (ADT, DFT, BAR).

use std::collections::HashSet;

use jiff::civil::date;
use jiff::tz::Offset;
use schemas::{EventCode, Fact, Stage};

use super::chart::Chart;
use super::coding::{self, Coded, Era};
use super::reader::{Field, Segment};

/// Maps every DG1 of the message; one without a code costs itself.
pub(crate) fn map(chart: &mut Chart<'_>) {
    let message = chart.message;
    for dg1 in message.all(b"DG1") {
        if dg1.field(3).is_delete() {
            chart.flag(dg1.position(3), "deleted, but not which diagnosis; nothing is taken back");
            continue;
        }
        let beside = dg1.field(2).component(1).text();
        let Some(code) = code(chart, &dg1.field(3), beside, || dg1.position(3)) else {
            chart.reject(Stage::Map, dg1.position(3), "the diagnosis has no code");
            continue;
        };
        let retracted = dg1.field(21).component(1).text().is_some_and(|action| action.eq_ignore_ascii_case("D"));
        let event = if retracted { EventCode::EncounterDiagnosisRetracted } else { EventCode::EncounterDiagnosed };
        let time = chart.instant(&dg1, 5);
        let numeric_value = rank(&dg1.field(15)).or_else(|| rank(&dg1.field(1)));
        let related = kind(&dg1).map(str::to_owned);
        chart.facts.push(Fact { time, numeric_value, text_value: Some(code), related, ..chart.of_stay(event) });
    }
}

/// FT1-19: the diagnoses that a charge was made for, without a rank; those in `told` are stated already.
pub(crate) fn of_charge(chart: &mut Chart<'_>, ft1: &Segment<'_>, told: &mut HashSet<String>) {
    for repetition in ft1.field(19).repetitions() {
        let Some(code) = code(chart, &repetition, None, || ft1.position(19)) else { continue };
        if told.insert(code.clone()) {
            chart.facts.push(Fact { text_value: Some(code), ..chart.of_stay(EventCode::EncounterDiagnosed) });
        }
    }
}

fn code(chart: &mut Chart<'_>, field: &Field<'_>, beside: Option<String>, position: impl Fn() -> String) -> Option<String> {
    let era = era(chart);
    let Coded { text, guessed } = coding::coded(field, beside, coding::of_diagnoses, |code| coding::shape_of_diagnosis(code, era))?;
    if guessed {
        chart.flag(position(), "no coding system is stated; told by the shape of the code");
    }
    Some(text)
}

fn era(chart: &Chart<'_>) -> Era {
    let turn = Offset::UTC.to_timestamp(date(2015, 10, 1).at(0, 0, 0, 0)).ok();
    if chart.asserted_at.zip(turn).is_some_and(|(asserted_at, turn)| asserted_at < turn) { Era::Ninth } else { Era::Tenth }
}

/// DG1-6, HL7 table 0052.
fn kind(dg1: &Segment<'_>) -> Option<&'static str> {
    Some(match dg1.field(6).component(1).text()?.to_ascii_uppercase().as_str() {
        "A" | "AD" | "ADMITTING" => "admitting",
        "W" | "WORKING" => "working",
        "F" | "FINAL" => "final",
        _ => return None,
    })
}

/// A rank, where the field is a number.
pub(crate) fn rank(field: &Field<'_>) -> Option<f64> {
    field.component(1).text()?.parse().ok().filter(|rank: &f64| rank.is_finite())
}
