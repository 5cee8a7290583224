//! ADT: a patient comes, moves, leaves, is merged; or none of it happened.

use jiff::Timestamp;
use jiff::fmt::strtime;
use schemas::{EventCode, Fact, Stage};

use super::chart::Chart;
use super::reader::Segment;
use super::{diagnosis, patient};

/// What an ADT trigger does to a stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Admit,
    Transfer,
    Discharge,
    Register,
    Preadmit,
    Outpatient,
    Update,
    CancelAdmit,
    CancelTransfer,
    CancelDischarge,
    /// A28, A31: the person, and of the stay only what PV1 says of itself.
    Person,
    Merge,
}

impl Change {
    fn of(trigger: &str) -> Option<Self> {
        Some(match trigger {
            "A01" | "A06" => Self::Admit,
            "A02" => Self::Transfer,
            "A03" => Self::Discharge,
            "A04" => Self::Register,
            "A05" => Self::Preadmit,
            "A07" => Self::Outpatient,
            "A08" => Self::Update,
            "A11" => Self::CancelAdmit,
            "A12" => Self::CancelTransfer,
            "A13" => Self::CancelDischarge,
            "A28" | "A31" => Self::Person,
            "A18" | "A30" | "A34" | "A36" | "A39" | "A40" | "A46" | "A47" => Self::Merge,
            _ => return None,
        })
    }

    /// Whether the trigger may begin a stay, so that a stay without a number can be named by when it begins.
    fn begins(self) -> bool {
        matches!(self, Self::Admit | Self::Register | Self::Preadmit)
    }
}

/// Maps an ADT message with this trigger (`A01`).
pub(crate) fn map(chart: &mut Chart<'_>, trigger: &str) {
    let Some(change) = Change::of(trigger) else { return };
    if change == Change::Merge {
        return merges(chart);
    }
    match chart.message.first(b"PID") {
        Some(pid) => {
            patient::identify(chart, &pid);
            patient::describe(chart, &pid);
        }
        None => chart.reject(Stage::Parse, "PID".to_owned(), "the message has no PID"),
    }
    let pv1 = chart.message.first(b"PV1");
    let admitted_at = pv1.and_then(|pv1| chart.instant(&pv1, 44));
    let began_at = admitted_at.or(chart.occurred_at.filter(|_| change.begins()));
    chart.visit = number(chart).or_else(|| named_by_start(chart, began_at));
    if chart.visit.is_none() && change != Change::Person {
        chart.reject(Stage::Map, "PV1[1]-19".to_owned(), "the stay has no number");
    }
    if chart.visit.is_some() || chart.patient.is_some() {
        happen(chart, change, admitted_at);
    }
    if let Some(pv1) = pv1.filter(|_| chart.visit.is_some()) {
        state(chart, &pv1);
    }
    diagnosis::map(chart);
}

/// Visit number: PV1-19, else PV1-50, else PID-18.
pub(crate) fn number(chart: &Chart<'_>) -> Option<String> {
    let pv1 = chart.message.first(b"PV1");
    let of_visit = |field: usize| pv1.and_then(|pv1| pv1.field(field).component(1).text());
    of_visit(19).or_else(|| of_visit(50)).or_else(|| chart.message.first(b"PID")?.field(18).component(1).text())
}

/// A stay that its sender does not number is named by its patient and the minute it began, in UTC.
fn named_by_start(chart: &Chart<'_>, began_at: Option<Timestamp>) -> Option<String> {
    let minute = strtime::format("%Y%m%d%H%M", began_at?).ok()?;
    Some(format!("{}@{minute}", chart.patient.as_ref()?.value))
}

fn happen(chart: &mut Chart<'_>, change: Change, admitted_at: Option<Timestamp>) {
    let pv1 = chart.message.first(b"PV1");
    let began_at = admitted_at.or(chart.occurred_at);
    match change {
        Change::Admit => push(chart, EventCode::EncounterAdmitted, began_at, None),
        Change::Register => push(chart, EventCode::EncounterRegistered, began_at, None),
        Change::Preadmit => {
            let expected_at = chart.message.first(b"PV2").and_then(|pv2| chart.expected(&pv2, 8));
            push(chart, EventCode::EncounterPreadmitted, expected_at.or(began_at), None);
        }
        Change::Transfer => {
            let department = pv1.and_then(|pv1| department(&pv1));
            push(chart, EventCode::EncounterTransferred, chart.occurred_at, department);
        }
        Change::Discharge => {
            let stated_at = pv1.and_then(|pv1| chart.instant(&pv1, 45)).or(chart.occurred_at);
            push(chart, EventCode::EncounterDischarged, stated_at, pv1.and_then(|pv1| disposition(&pv1)));
        }
        Change::Update => {
            if let Some(pv1) = pv1 {
                restate(chart, &pv1, admitted_at);
            }
        }
        Change::CancelAdmit => push(chart, EventCode::EncounterAdmissionCancelled, chart.occurred_at, None),
        Change::CancelTransfer => push(chart, EventCode::EncounterTransferCancelled, chart.occurred_at, None),
        Change::CancelDischarge => push(chart, EventCode::EncounterDischargeCancelled, chart.occurred_at, None),
        Change::Outpatient | Change::Person | Change::Merge => {}
    }
}

/// A08 corrects the times of a stay: admission of an inpatient, discharge of anybody; a deleted discharge never happened.
fn restate(chart: &mut Chart<'_>, pv1: &Segment<'_>, admitted_at: Option<Timestamp>) {
    let inpatient = pv1.field(2).component(1).text().is_some_and(|class| class.eq_ignore_ascii_case("I"));
    if admitted_at.is_some() && inpatient {
        push(chart, EventCode::EncounterAdmitted, admitted_at, None);
    }
    let discharged_at = chart.instant(pv1, 45);
    if discharged_at.is_some() {
        push(chart, EventCode::EncounterDischarged, discharged_at, disposition(pv1));
    } else if pv1.field(45).is_delete() {
        push(chart, EventCode::EncounterDischargeCancelled, chart.occurred_at, None);
    }
}

/// What PV1 says of the stay itself: class and department.
fn state(chart: &mut Chart<'_>, pv1: &Segment<'_>) {
    if let Some(class) = pv1.field(2).component(1).text() {
        push(chart, EventCode::EncounterClass, None, Some(class));
    }
    if let Some(department) = department(pv1) {
        push(chart, EventCode::EncounterDepartment, None, Some(department));
    }
}

/// Each PID with the MRG segments that follow it.
fn merges(chart: &mut Chart<'_>) {
    let message = chart.message;
    if message.first(b"MRG").is_none() {
        chart.reject(Stage::Parse, "MRG".to_owned(), "the merge has no MRG");
    }
    for segment in &message.segments {
        match &segment.name {
            b"PID" => {
                patient::identify(chart, segment);
                patient::describe(chart, segment);
            }
            b"MRG" => patient::merge(chart, segment),
            _ => {}
        }
    }
}

/// PV1-10, else the point of care of PV1-3.
fn department(pv1: &Segment<'_>) -> Option<String> {
    pv1.field(10).component(1).text().or_else(|| pv1.field(3).component(1).subcomponent(1).text())
}

/// PV1-36.
fn disposition(pv1: &Segment<'_>) -> Option<String> {
    pv1.field(36).component(1).text()
}

fn push(chart: &mut Chart<'_>, code: EventCode, time: Option<Timestamp>, text_value: Option<String>) {
    chart.facts.push(Fact { time, text_value, ..chart.of_stay(code) });
}
