//! Two patients and more of equal standing: swaps of beds, links and unlinks.

use schemas::{EventCode, Fact, Identifier, Stage};

use super::super::chart::Chart;
use super::super::identity::joined;
use super::super::patient::{self, Corrects};
use super::super::stay;
use super::super::visit::{self, Change};
use super::Group;

/// Each patient is transferred to the place that is stated for them.
pub(super) fn swap(chart: &mut Chart<'_>, groups: &[Group<'_>]) {
    if groups.len() == 1 {
        chart.flag("PID".to_owned(), "a swap of one patient; read as a transfer");
    }
    for group in groups {
        patient::identify(chart, &group.pid);
        patient::describe(chart, &group.pid, Corrects::No);
        let began_at = group.pv1.and_then(|pv1| chart.instant(&pv1, 44));
        chart.visit = visit::number(Some(&group.pid), group.pv1.as_ref()).or_else(|| visit::named_by_start(chart, began_at));
        let Some(pv1) = group.pv1.filter(|_| chart.visit.is_some()) else {
            chart.reject(Stage::Map, "PV1-19".to_owned(), "the stay has no number");
            continue;
        };
        stay::push(chart, EventCode::EncounterTransferred, chart.occurred_at, stay::department(&pv1));
        stay::state(chart, &pv1, Change::Transfer);
    }
}

/// Ties the first patient to each other one, or unties them.
pub(super) fn link(chart: &mut Chart<'_>, groups: &[Group<'_>], code: EventCode) {
    let mut first: Option<(Identifier, Option<String>)> = None;
    for group in groups {
        patient::identify(chart, &group.pid);
        patient::describe(chart, &group.pid, Corrects::No);
        let Some(patient) = chart.patient.clone() else { continue };
        let visit = visit::number(None, group.pv1.as_ref());
        let Some((one, visit_of_one)) = &first else {
            first = Some((patient, visit));
            continue;
        };
        let visits = visit_of_one.clone().zip(visit).filter(|(one, other)| one != other);
        if *one == patient && visits.is_none() {
            chart.reject(Stage::Map, group.pid.position(3), "a patient cannot be linked to itself");
            continue;
        }
        let (encounter, text_value) = visits.unzip();
        let (time, related) = (chart.occurred_at, Some(joined(&patient)));
        let of_one = Fact { patient: Some(one.clone()), ..chart.of_patient(code) };
        chart.facts.push(Fact { time, encounter, text_value, related, ..of_one });
    }
    if groups.len() == 1 {
        chart.reject(Stage::Parse, "PID[2]".to_owned(), "a link needs two patients");
    }
}
