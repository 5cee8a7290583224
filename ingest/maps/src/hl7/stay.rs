//! The facts of a stay: what its trigger makes happen, and what PV1 says of it.

use jiff::{SignedDuration, Timestamp};
use schemas::{EventCode, Fact};

use super::chart::Chart;
use super::reader::{Field, Segment};
use super::visit::Change;

/// By how much the clocks of a sender may differ before an admission counts as one to come: a day holds every mistaken zone.
const CLOCKS: SignedDuration = SignedDuration::from_hours(24);

/// What the trigger makes happen to the stay at hand.
pub(crate) fn happen(chart: &mut Chart<'_>, change: Change, admitted_at: Option<Timestamp>) {
    let message = chart.message;
    let (pv1, pv2, event) = (message.first(b"PV1"), message.first(b"PV2"), message.first(b"EVN"));
    let began_at = admitted_at.or(chart.occurred_at);
    match change {
        Change::Admit | Change::Inpatient => {
            if let Some(pv1) = pv1.filter(|pv1| change == Change::Admit && has_class(pv1, NOT_INPATIENT)) {
                chart.flag(pv1.position(2), "the class is not an inpatient's; admitted, as the trigger says");
            }
            push(chart, EventCode::EncounterAdmitted, began_at, None);
        }
        Change::Register => push(chart, EventCode::EncounterRegistered, began_at, None),
        Change::Preadmit(how) => {
            let expected_at = pv2.and_then(|pv2| chart.expected(&pv2, 8)).or(admitted_at);
            let expected_at = expected_at.or_else(|| event.and_then(|event| chart.expected(&event, 3))).or(began_at);
            push(chart, EventCode::EncounterPreadmitted, expected_at, Some(how.to_owned()));
        }
        Change::Transfer => push(chart, EventCode::EncounterTransferred, chart.occurred_at, pv1.and_then(|pv1| department(&pv1))),
        Change::Discharge => {
            let stated_at = pv1.and_then(|pv1| chart.instant(&pv1, 45)).or(chart.occurred_at);
            push(chart, EventCode::EncounterDischarged, stated_at, pv1.and_then(|pv1| disposition(&pv1)));
        }
        Change::Outpatient => push(chart, EventCode::EncounterMadeOutpatient, chart.occurred_at, None),
        Change::Update => {
            if let Some(pv1) = pv1 {
                restate_discharge(chart, &pv1);
            }
        }
        Change::ExpectTransfer => {
            let expected_at = event.and_then(|event| chart.expected(&event, 3));
            let pending = pv1.and_then(|pv1| place(&pv1.field(42)));
            push(chart, EventCode::EncounterTransferExpected, expected_at, pending);
        }
        Change::ExpectDischarge => {
            let expected_at = pv2.and_then(|pv2| chart.expected(&pv2, 9));
            let expected_at = expected_at.or_else(|| event.and_then(|event| chart.expected(&event, 3)));
            push(chart, EventCode::EncounterDischargeExpected, expected_at, None);
        }
        Change::Mark(code, text) => push(chart, code, chart.occurred_at, text.map(str::to_owned)),
        Change::Person(_) | Change::DeletePerson | Change::Tie(_) => {}
    }
    if let Some(pv1) = pv1.filter(|pv1| speaks_of_admission(change) && has_class(pv1, INPATIENT)) {
        restate_admission(chart, change, &pv1, admitted_at);
    }
}

/// Classes of inpatients (HL7 table 0004), and words for them.
const INPATIENT: &[&str] = &["I", "IP", "INP", "INPATIENT", "IMP"];
/// Classes of patients who are not in a bed, or not yet.
const NOT_INPATIENT: &[&str] = &["O", "OP", "OUTPATIENT", "E", "ER", "EMERGENCY", "R", "P"];

fn has_class(pv1: &Segment<'_>, classes: &[&str]) -> bool {
    let class = pv1.field(2).component(1).raw().trim_ascii();
    classes.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(class))
}

/// Whether PV1-44 of this message is about an admission that has happened. That of an admitting trigger is told already.
fn speaks_of_admission(change: Change) -> bool {
    match change {
        Change::Transfer | Change::Discharge | Change::Register | Change::Update | Change::ExpectTransfer | Change::ExpectDischarge => true,
        Change::Mark(code, _) => !matches!(
            code,
            EventCode::EncounterAdmissionCancelled | EventCode::EncounterDeleted | EventCode::EncounterPreadmissionCancelled
        ),
        _ => false,
    }
}

fn restate_admission(chart: &mut Chart<'_>, change: Change, pv1: &Segment<'_>, admitted_at: Option<Timestamp>) {
    let Some(admitted_at) = admitted_at else { return };
    if chart.asserted_at.is_some_and(|asserted_at| admitted_at.duration_since(asserted_at) > CLOCKS) {
        return chart.flag(pv1.position(44), "an admission to come; not read as one");
    }
    if change == Change::Register {
        chart.flag(pv1.position(2), "the class is an inpatient's; registered, and admitted as PV1-44 says");
    }
    push(chart, EventCode::EncounterAdmissionStated, Some(admitted_at), None);
}

/// A08 corrects the discharge; a deleted one never happened.
fn restate_discharge(chart: &mut Chart<'_>, pv1: &Segment<'_>) {
    let discharged_at = chart.instant(pv1, 45);
    if discharged_at.is_some() {
        push(chart, EventCode::EncounterDischarged, discharged_at, disposition(pv1));
    } else if pv1.field(45).is_delete() {
        push(chart, EventCode::EncounterDischargeCancelled, chart.occurred_at, None);
    } else if let Some(disposition) = disposition(pv1) {
        push(chart, EventCode::EncounterDisposition, None, Some(disposition));
    }
}

/// What PV1 says of the stay itself: class, department, and what of them or of the disposition is deleted.
pub(crate) fn state(chart: &mut Chart<'_>, pv1: &Segment<'_>, change: Change) {
    let deleted = pv1.field(2).is_delete();
    let class = pv1.field(2).component(1).text();
    if class.is_some() || deleted {
        push(chart, EventCode::EncounterClass, None, class);
    }
    let (service, location) = (pv1.field(10), pv1.field(3));
    // Whoever leaves gives up the bed, not the department that they were in.
    let deletes = service.is_delete() || (location.is_delete() && service.is_empty() && change != Change::Discharge);
    let department = department(pv1);
    if department.is_some() || deletes {
        push(chart, EventCode::EncounterDepartment, None, department);
    }
    if pv1.field(36).is_delete() {
        push(chart, EventCode::EncounterDisposition, None, None);
    }
}

/// PV1-10, else the point of care of PV1-3.
pub(crate) fn department(pv1: &Segment<'_>) -> Option<String> {
    pv1.field(10).component(1).text().or_else(|| place(&pv1.field(3)))
}

/// The point of care of a PL.
fn place(location: &Field<'_>) -> Option<String> {
    location.component(1).subcomponent(1).text()
}

/// PV1-36.
fn disposition(pv1: &Segment<'_>) -> Option<String> {
    pv1.field(36).component(1).text()
}

pub(crate) fn push(chart: &mut Chart<'_>, code: EventCode, time: Option<Timestamp>, text_value: Option<String>) {
    chart.facts.push(Fact { time, text_value, ..chart.of_stay(code) });
}
