//! Accounts and visits that go on under another number.

use schemas::{EventCode, Fact, Stage};

use super::super::chart::Chart;
use super::super::reader::Segment;
use super::{Assigned, Prior};

/// PID-18 goes on for MRG-3.
pub(super) fn accounts(chart: &mut Chart<'_>, prior: &Prior<'_>) {
    let account = prior.account();
    let visit = prior.of_visit(19).or_else(|| prior.of_visit(50));
    if visit.is_some() && visit != account {
        return chart.flag(prior.mrg.position(3), "accounts are not the visits here; what becomes of them says nothing of a stay");
    }
    let position = prior.mrg.position(3);
    match (account, prior.of_prior(3)) {
        (Some(account), Some(merged)) => goes_on(chart, position, account, merged, "account"),
        (None, _) => chart.reject(Stage::Map, prior.pid.position(18), "the account has no number"),
        (_, None) => chart.reject(Stage::Map, position, "the merged account has no number"),
    }
}

/// The number in this field of PV1 goes on for the one in this field of MRG.
pub(super) fn visits(chart: &mut Chart<'_>, prior: &Prior<'_>, (of_visit, of_prior): (usize, usize)) {
    let position = prior.mrg.position(of_prior);
    match (prior.of_visit(of_visit), prior.of_prior(of_prior)) {
        (Some(number), Some(merged)) => {
            // A visit is named by PV1-19 where it has that; an alternate number is but another name of it.
            let visit = prior.of_visit(19).unwrap_or(number);
            goes_on(chart, position, visit, merged, "visit");
        }
        (None, _) => chart.reject(Stage::Map, format!("PV1-{of_visit}"), "the visit has no number"),
        (_, None) => chart.reject(Stage::Map, position, "the merged visit has no number"),
    }
}

pub(super) fn goes_on(chart: &mut Chart<'_>, position: String, number: String, merged: String, what: &str) {
    if number == merged {
        return chart.reject(Stage::Map, position, "a visit cannot be merged into itself");
    }
    let (encounter, related, text_value) = (Some(number), Some(merged), Some(what.to_owned()));
    chart.facts.push(Fact { time: chart.occurred_at, encounter, related, text_value, ..chart.of_patient(EventCode::EncounterMerged) });
}

/// A06 and A07 may give the visit another number.
pub(crate) fn renumber(chart: &mut Chart<'_>, pid: &Segment<'_>, pv1: Option<&Segment<'_>>) {
    let Some(mrg) = chart.message.first(b"MRG") else { return };
    let prior = Prior { pid, mrg: &mrg, pv1: pv1.copied(), assigned: &Assigned::default() };
    if let (Some(number), Some(merged)) = (prior.of_visit(19), prior.of_prior(5)) {
        if number != merged {
            goes_on(chart, mrg.position(5), number, merged, "visit");
        }
    } else if prior.of_visit(19).is_none()
        && prior.of_visit(50).is_none()
        && prior.of_prior(3).is_some_and(|merged| Some(merged) != prior.account())
    {
        accounts(chart, &prior);
    }
}
