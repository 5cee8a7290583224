//! ADT: a patient comes, moves, leaves; or none of it happened.
//!
//! What each trigger says of a stay, beside who the patient is (PID) and what PV1, DG1, PR1 and IN1 say of the stay:
//!
//! | trigger | facts |
//! |---|---|
//! | A01 | `encounter.admitted`, whatever the class; a class that is no inpatient's is flagged |
//! | A02 | `encounter.transferred` to PV1-10, else PV1-3.1 |
//! | A03 | `encounter.discharged` at PV1-45, with PV1-36 |
//! | A04 | `encounter.registered` |
//! | A05, A14 | `encounter.preadmitted`: planned, pending; for PV2-8, else PV1-44, else EVN-3 |
//! | A06 | `encounter.admitted`: an outpatient becomes an inpatient; MRG-3 or MRG-5: the number the visit had |
//! | A07 | `encounter.made_outpatient`: an inpatient becomes an outpatient; MRG as in A06 |
//! | A08 | the corrected times of the stay; `""` in PV1-45 is `encounter.discharge_cancelled`; PV1-36 alone `encounter.disposition`. Without PV1 as A31 |
//! | A11 | `encounter.admission_cancelled`: takes A01 and A04 back |
//! | A12, A13 | `encounter.transfer_cancelled` (A02), `encounter.discharge_cancelled` (A03) |
//! | A15, A16 | `encounter.transfer_expected` to PV1-42, `encounter.discharge_expected` for PV2-9; else for EVN-3 |
//! | A21, A22 | `encounter.leave_began`, `encounter.leave_ended` |
//! | A23, A29 | `encounter.deleted`, `patient.deleted` |
//! | A25, A26 | `encounter.expectation_cancelled`: the discharge of A16, the transfer of A15 |
//! | A27, A38 | `encounter.preadmission_cancelled`: of A14, of A05 |
//! | A28, A31 | the person; of the stay only what PV1 says of itself |
//! | A52, A53 | `encounter.leave_cancelled`: A21, A22 |
//! | A17, A18, A24, A30, A34 to A37, A39 to A47, A49 to A51 | see `merge` |
//! | A09, A10, A19, A20, A32, A33, A48, A54, A55, A60 to A62 | nothing: tracking, queries, beds, alternate ids, doctors, allergies. Their PV1 repeats what A08 says |
//!
//! Every message about a stay of an inpatient class that carries PV1-44 states `encounter.admission_stated`, so that a stay whose A01 was lost
//! or comes late is not lost; messages that plan, take back or end an admission do not.

use jiff::Timestamp;
use jiff::fmt::strtime;
use schemas::{EventCode, Fact, Stage};

use super::chart::Chart;
use super::merge::{self, Tie};
use super::patient::{self, Corrects};
use super::reader::Segment;
use super::{billing, stay};

/// What an ADT trigger does to a stay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Admit,
    Register,
    /// `planned` or `pending`.
    Preadmit(&'static str),
    Transfer,
    Discharge,
    Inpatient,
    Outpatient,
    Update,
    ExpectTransfer,
    ExpectDischarge,
    /// A fact at the time of the event, with its text.
    Mark(EventCode, Option<&'static str>),
    /// A28, A31: the person, and of the stay only what PV1 says of itself.
    Person(Corrects),
    DeletePerson,
    Tie(Tie),
}

impl Change {
    fn of(trigger: &str) -> Option<Self> {
        Some(match trigger {
            "A01" => Self::Admit,
            "A02" => Self::Transfer,
            "A03" => Self::Discharge,
            "A04" => Self::Register,
            "A05" => Self::Preadmit("planned"),
            "A06" => Self::Inpatient,
            "A07" => Self::Outpatient,
            "A08" => Self::Update,
            "A11" => Self::Mark(EventCode::EncounterAdmissionCancelled, None),
            "A12" => Self::Mark(EventCode::EncounterTransferCancelled, None),
            "A13" => Self::Mark(EventCode::EncounterDischargeCancelled, None),
            "A14" => Self::Preadmit("pending"),
            "A15" => Self::ExpectTransfer,
            "A16" => Self::ExpectDischarge,
            "A21" => Self::Mark(EventCode::EncounterLeaveBegan, None),
            "A22" => Self::Mark(EventCode::EncounterLeaveEnded, None),
            "A23" => Self::Mark(EventCode::EncounterDeleted, None),
            "A25" => Self::Mark(EventCode::EncounterExpectationCancelled, Some("discharge")),
            "A26" => Self::Mark(EventCode::EncounterExpectationCancelled, Some("transfer")),
            "A27" => Self::Mark(EventCode::EncounterPreadmissionCancelled, Some("pending")),
            "A38" => Self::Mark(EventCode::EncounterPreadmissionCancelled, Some("planned")),
            "A52" => Self::Mark(EventCode::EncounterLeaveCancelled, Some("began")),
            "A53" => Self::Mark(EventCode::EncounterLeaveCancelled, Some("ended")),
            "A28" => Self::Person(Corrects::No),
            "A31" => Self::Person(Corrects::Yes),
            "A29" => Self::DeletePerson,
            _ => Self::Tie(Tie::of(trigger)?),
        })
    }

    /// Whether the trigger may begin a stay, so that a stay without a number can be named by when it begins.
    fn begins(self) -> bool {
        matches!(self, Self::Admit | Self::Inpatient | Self::Register | Self::Preadmit(_))
    }

    fn is_about_a_person(self) -> bool {
        matches!(self, Self::Person(_) | Self::DeletePerson)
    }

    fn corrects(self) -> Corrects {
        match self {
            Self::Update | Self::Mark(EventCode::EncounterDischargeCancelled, _) => Corrects::Yes,
            Self::Person(corrects) => corrects,
            _ => Corrects::No,
        }
    }
}

/// Triggers that are understood and say nothing for us.
const SILENT: &[&str] = &["A09", "A10", "A19", "A20", "A32", "A33", "A48", "A54", "A55", "A60", "A61", "A62"];

/// Maps an ADT message with this trigger (`A01`).
pub(crate) fn map(chart: &mut Chart<'_>, trigger: &str) {
    let Some(change) = Change::of(trigger) else {
        if !SILENT.contains(&trigger) {
            chart.flag("MSH-9".to_owned(), "no rule for this trigger; nothing was read");
        }
        return;
    };
    if let Change::Tie(tie) = change {
        return merge::map(chart, tie);
    }
    let (pid, pv1) = (chart.message.first(b"PID"), chart.message.first(b"PV1"));
    match &pid {
        Some(pid) => {
            patient::identify(chart, pid);
            if change != Change::DeletePerson {
                patient::describe(chart, pid, change.corrects());
            }
        }
        None => chart.reject(Stage::Parse, "PID".to_owned(), "the message has no PID"),
    }
    let plans = matches!(change, Change::Preadmit(_));
    let admitted_at = pv1.and_then(|pv1| if plans { chart.expected(&pv1, 44) } else { chart.instant(&pv1, 44) });
    let began_at = admitted_at.or(chart.occurred_at.filter(|_| change.begins()));
    chart.visit = number(pid.as_ref(), pv1.as_ref()).or_else(|| named_by_start(chart, began_at));
    if change == Change::DeletePerson {
        if chart.patient.is_some() {
            chart.facts.push(Fact { time: chart.occurred_at, ..chart.of_patient(EventCode::PatientDeleted) });
        }
        return;
    }
    if chart.visit.is_none() && change == Change::Update && pv1.is_none() {
        chart.flag("PV1".to_owned(), "no PV1; read as an update of the person");
    } else if chart.visit.is_none() && !change.is_about_a_person() {
        chart.reject(Stage::Map, "PV1[1]-19".to_owned(), "the stay has no number");
    }
    if chart.visit.is_some() || chart.patient.is_some() {
        stay::happen(chart, change, admitted_at);
    }
    if let Some(pv1) = pv1.filter(|_| chart.visit.is_some()) {
        stay::state(chart, &pv1, change);
    }
    if let (Change::Inpatient | Change::Outpatient, Some(pid)) = (change, &pid) {
        merge::renumber(chart, pid, pv1.as_ref());
    }
    billing::state(chart);
}

/// Visit number: PV1-19, else PV1-50, else PID-18.
pub(crate) fn number(pid: Option<&Segment<'_>>, pv1: Option<&Segment<'_>>) -> Option<String> {
    let of_visit = |field: usize| pv1.and_then(|pv1| pv1.field(field).component(1).text());
    of_visit(19).or_else(|| of_visit(50)).or_else(|| pid?.field(18).component(1).text())
}

/// A stay that its sender does not number is named by its patient and the minute it began, in UTC.
pub(crate) fn named_by_start(chart: &Chart<'_>, began_at: Option<Timestamp>) -> Option<String> {
    let minute = strtime::format("%Y%m%d%H%M", began_at?).ok()?;
    Some(format!("{}@{minute}", chart.patient.as_ref()?.value))
}
