//! Persons, accounts and visits that move to another patient.

use std::collections::HashSet;

use schemas::{EventCode, Fact, Identifier, Stage};

use super::super::chart::Chart;
use super::super::identity::{self, joined};
use super::numbers::goes_on;
use super::{Prior, persons, prior_numbers, prior_patients};

/// What lay under the number of MRG-1 lies under that of PID-3; the numbers that the person had beside it are another's.
pub(super) fn move_person(chart: &mut Chart<'_>, prior: &Prior<'_>) {
    let Some(patient) = chart.patient.clone() else { return };
    let numbers = prior_patients(chart, prior, 1);
    if numbers.first().is_some_and(|first| *first != patient) {
        chart.flag(prior.mrg.position(1), "the moved number is not the patient's own; read as a merge of the number");
        return persons(chart, prior, &[1]);
    }
    let kept: HashSet<Identifier> =
        identity::of_pid(prior.pid, &chart.facility.authority).into_iter().map(|number| number.identifier).collect();
    let left: Vec<Identifier> = numbers
        .into_iter()
        .skip(1)
        .chain(prior_numbers(prior.mrg, 4, prior.assigned))
        .filter(|number| !kept.contains(number) && *number != patient)
        .collect();
    if left.is_empty() {
        chart.flag(prior.mrg.position(1), "the number was moved to another person; nothing that we keep moves with it");
    }
    for number in left {
        let related = Some(joined(&number));
        chart.facts.push(Fact { time: chart.occurred_at, related, ..chart.of_patient(EventCode::PatientUnlinked) });
    }
}

pub(super) fn move_account(chart: &mut Chart<'_>, prior: &Prior<'_>) {
    let before = prior.of_prior(3);
    let Some(number) = prior.account().or_else(|| before.clone()) else {
        return chart.reject(Stage::Map, prior.mrg.position(3), "the account has no number");
    };
    moved(chart, prior, number.clone(), "account");
    if let Some(before) = before.filter(|before| *before != number) {
        goes_on(chart, prior.mrg.position(3), number, before, "account");
    }
}

pub(super) fn move_visit(chart: &mut Chart<'_>, prior: &Prior<'_>) {
    let (stated, before) = (prior.of_visit(19).or_else(|| prior.of_visit(50)), prior.of_prior(5));
    let Some(number) = stated.clone().or_else(|| before.clone()) else {
        return chart.reject(Stage::Map, prior.mrg.position(5), "the visit has no number");
    };
    moved(chart, prior, number.clone(), "visit");
    if let Some(before) = before.filter(|before| *before != number) {
        goes_on(chart, prior.mrg.position(5), number, before, "visit");
    }
}

/// The visit now belongs to the patient at hand.
fn moved(chart: &mut Chart<'_>, prior: &Prior<'_>, number: String, what: &str) {
    if chart.patient.is_none() {
        return;
    }
    let before = prior_patients(chart, prior, 1).into_iter().next();
    if before.is_some() && before == chart.patient {
        return chart.reject(Stage::Map, prior.mrg.position(1), "a visit cannot be moved to the patient it belongs to");
    }
    let (encounter, related, text_value) = (Some(number), before.as_ref().map(joined), Some(what.to_owned()));
    chart.facts.push(Fact { time: chart.occurred_at, encounter, related, text_value, ..chart.of_patient(EventCode::EncounterMoved) });
}
