//! ADT that ties two records: merges, changes of number, moves, links and swaps.
//!
//! A message may hold several groups: a PID with the MRG segments that follow it, each with its own PV1. Facts only are stated; chains, circles
//! and reversed order are resolved by whoever reads them, by when each was asserted.
//!
//! | trigger | facts |
//! |---|---|
//! | A18, A30, A34, A36, A39, A40, A46, A47 | `patient.merged`: each number of MRG-1 into the patient of PID. A30, A39, A46: MRG-4 where MRG-1 tells no two numbers apart |
//! | A18, A36 | with MRG-3 also as A35 |
//! | A35, A41, A49 | `encounter.merged`, `account`: MRG-3 into PID-18; nothing where PV1 shows that accounts are not the visits |
//! | A42, A50; A51 | `encounter.merged`, `visit`: MRG-5 into PV1-19; MRG-6 into PV1-50 |
//! | A43 | `patient.merged` where MRG-1 and PID-3 differ (what lay under the number lies under the other); the numbers that stayed behind: `patient.unlinked` |
//! | A44 | `encounter.moved`, `account`: PID-18, else MRG-3, from MRG-1 to PID-3 |
//! | A45 | `encounter.moved`, `visit`: PV1-19, else MRG-5, from MRG-1 to PID-3; where both are stated and differ, `encounter.merged` too |
//! | A17 | of each PID and PV1: `encounter.transferred` to the place stated for it |
//! | A24, A37 | `patient.linked`, `patient.unlinked`: the first PID with each other one, and their visits where both name one |
//!
//! A number is never merged into itself: that costs the MRG, and is said.

use std::collections::HashSet;

use schemas::{EventCode, Fact, Identifier, Stage};

use super::chart::Chart;
use super::identity::{self, Merged, joined};
use super::patient::{self, Corrects};
use super::reader::{Message, Segment};
use super::stay;
use super::visit::{self, Change};

/// What a trigger ties.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    Person,
    /// A30, A39, A46: persons, by their external number where that is the one that changes.
    External,
    PersonAndAccount,
    Account,
    Visit,
    AlternateVisit,
    MovePerson,
    MoveAccount,
    MoveVisit,
    Swap,
    Link,
    Unlink,
}

impl Tie {
    pub(crate) fn of(trigger: &str) -> Option<Self> {
        Some(match trigger {
            "A34" | "A40" | "A47" => Self::Person,
            "A30" | "A39" | "A46" => Self::External,
            "A18" | "A36" => Self::PersonAndAccount,
            "A35" | "A41" | "A49" => Self::Account,
            "A42" | "A50" => Self::Visit,
            "A51" => Self::AlternateVisit,
            "A43" => Self::MovePerson,
            "A44" => Self::MoveAccount,
            "A45" => Self::MoveVisit,
            "A17" => Self::Swap,
            "A24" => Self::Link,
            "A37" => Self::Unlink,
            _ => return None,
        })
    }
}

/// A PID and what follows it: the MRG segments with their PV1, and the first PV1 that belongs to none.
struct Group<'a> {
    pid: Segment<'a>,
    priors: Vec<(Segment<'a>, Option<Segment<'a>>)>,
    pv1: Option<Segment<'a>>,
}

/// The groups of a message. An MRG before the first PID belongs to it.
fn groups<'a>(message: &Message<'a>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut early = Vec::new();
    for segment in &message.segments {
        match (&segment.name, groups.last_mut()) {
            (b"PID", _) => groups.push(Group { pid: *segment, priors: std::mem::take(&mut early), pv1: None }),
            (b"MRG", Some(group)) => group.priors.push((*segment, None)),
            (b"MRG", None) => early.push((*segment, None)),
            (b"PV1", Some(group)) => match group.priors.last_mut() {
                Some((_, own)) if own.is_none() => *own = Some(*segment),
                _ => group.pv1 = group.pv1.or(Some(*segment)),
            },
            _ => {}
        }
    }
    groups
}

/// Maps an ADT message that ties records.
pub(crate) fn map(chart: &mut Chart<'_>, tie: Tie) {
    let groups = groups(chart.message);
    if groups.is_empty() {
        chart.reject(Stage::Parse, "PID".to_owned(), "the message has no PID");
    }
    match tie {
        Tie::Swap => return swap(chart, &groups),
        Tie::Link => return link(chart, &groups, EventCode::PatientLinked),
        Tie::Unlink => return link(chart, &groups, EventCode::PatientUnlinked),
        _ => {}
    }
    if chart.message.first(b"MRG").is_none() {
        chart.reject(Stage::Parse, "MRG".to_owned(), "the merge has no MRG");
    }
    for group in &groups {
        let merged = match tie {
            Tie::Account | Tie::Visit | Tie::AlternateVisit | Tie::MovePerson => Merged::default(),
            _ => Merged::of(group.priors.iter().flat_map(|(mrg, _)| prior_numbers(mrg, 1))),
        };
        patient::identify_survivor(chart, &group.pid, &merged);
        patient::describe(chart, &group.pid, Corrects::No);
        for (mrg, own) in &group.priors {
            let prior = Prior { pid: &group.pid, mrg, pv1: own.or(group.pv1) };
            match tie {
                Tie::Person => persons(chart, &prior, &[1]),
                Tie::External => persons(chart, &prior, &[1, 4]),
                Tie::PersonAndAccount => {
                    persons(chart, &prior, &[1]);
                    if mrg.field(3).component(1).text().is_some() && group.pid.field(18).component(1).text().is_some() {
                        accounts(chart, &prior);
                    }
                }
                Tie::Account => accounts(chart, &prior),
                Tie::Visit => visits(chart, &prior, (19, 5)),
                Tie::AlternateVisit => visits(chart, &prior, (50, 6)),
                Tie::MovePerson => move_person(chart, &prior),
                Tie::MoveAccount => move_account(chart, &prior),
                Tie::MoveVisit => move_visit(chart, &prior),
                Tie::Swap | Tie::Link | Tie::Unlink => {}
            }
        }
    }
}

/// One MRG, the PID it is merged into, and its PV1.
struct Prior<'a> {
    pid: &'a Segment<'a>,
    mrg: &'a Segment<'a>,
    pv1: Option<Segment<'a>>,
}

impl Prior<'_> {
    fn of_visit(&self, field: usize) -> Option<String> {
        self.pv1.and_then(|pv1| pv1.field(field).component(1).text())
    }

    fn account(&self) -> Option<String> {
        self.pid.field(18).component(1).text()
    }

    fn of_prior(&self, field: usize) -> Option<String> {
        self.mrg.field(field).component(1).text()
    }
}

fn prior_numbers(mrg: &Segment<'_>, field: usize) -> Vec<Identifier> {
    identity::numbers(&mrg.field(field)).into_iter().map(|number| number.identifier).collect()
}

/// The numbers in a field of MRG, as of the survivor's authority where they name none: so is how the patient was named before.
fn prior_patients(chart: &mut Chart<'_>, mrg: &Segment<'_>, field: usize) -> Vec<Identifier> {
    let mut numbers = prior_numbers(mrg, field);
    let Some(system) = chart.patient.as_ref().map(|survivor| survivor.system.clone()).filter(|system| !system.is_empty()) else {
        return numbers;
    };
    for number in numbers.iter_mut().filter(|number| number.system.is_empty()) {
        number.system.clone_from(&system);
        chart.flag(mrg.position(field), "no assigning authority; taken as of the survivor's");
    }
    numbers
}

/// The patient at hand stands for the numbers in the first of these fields of MRG that tells of another one.
fn persons(chart: &mut Chart<'_>, prior: &Prior<'_>, fields: &[usize]) {
    let Some(survivor) = chart.patient.clone() else { return };
    let mut itself = false;
    for field in fields {
        let merged = prior_patients(chart, prior.mrg, *field);
        let Some(first) = merged.first() else { continue };
        if *first == survivor {
            itself = true;
            continue;
        }
        if *field != 1 {
            chart.flag(prior.mrg.position(*field), "MRG-1 tells no two numbers apart; MRG-4 names the merged patient");
        }
        for number in merged.iter().filter(|number| **number != survivor) {
            let related = Some(joined(number));
            chart.facts.push(Fact { time: chart.occurred_at, related, ..chart.of_patient(EventCode::PatientMerged) });
        }
        return;
    }
    let reason = if itself { "a patient cannot be merged into itself" } else { "the merged patient has no number" };
    chart.reject(Stage::Map, prior.mrg.position(1), reason);
}

/// PID-18 goes on for MRG-3.
fn accounts(chart: &mut Chart<'_>, prior: &Prior<'_>) {
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
fn visits(chart: &mut Chart<'_>, prior: &Prior<'_>, (of_visit, of_prior): (usize, usize)) {
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

fn goes_on(chart: &mut Chart<'_>, position: String, number: String, merged: String, what: &str) {
    if number == merged {
        return chart.reject(Stage::Map, position, "a visit cannot be merged into itself");
    }
    let (encounter, related, text_value) = (Some(number), Some(merged), Some(what.to_owned()));
    chart.facts.push(Fact { time: chart.occurred_at, encounter, related, text_value, ..chart.of_patient(EventCode::EncounterMerged) });
}

/// A06 and A07 may give the visit another number.
pub(crate) fn renumber(chart: &mut Chart<'_>, pid: &Segment<'_>, pv1: Option<&Segment<'_>>) {
    let Some(mrg) = chart.message.first(b"MRG") else { return };
    let prior = Prior { pid, mrg: &mrg, pv1: pv1.copied() };
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

/// What lay under the number of MRG-1 lies under that of PID-3; the numbers that the person had beside it are another's.
fn move_person(chart: &mut Chart<'_>, prior: &Prior<'_>) {
    let Some(patient) = chart.patient.clone() else { return };
    let numbers = prior_patients(chart, prior.mrg, 1);
    if numbers.first().is_some_and(|first| *first != patient) {
        chart.flag(prior.mrg.position(1), "the moved number is not the patient's own; read as a merge of the number");
        return persons(chart, prior, &[1]);
    }
    let kept: HashSet<Identifier> = identity::of_pid(prior.pid).into_iter().map(|number| number.identifier).collect();
    let left: Vec<Identifier> = numbers
        .into_iter()
        .skip(1)
        .chain(prior_numbers(prior.mrg, 4))
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

fn move_account(chart: &mut Chart<'_>, prior: &Prior<'_>) {
    let before = prior.of_prior(3);
    let Some(number) = prior.account().or_else(|| before.clone()) else {
        return chart.reject(Stage::Map, prior.mrg.position(3), "the account has no number");
    };
    moved(chart, prior, number.clone(), "account");
    if let Some(before) = before.filter(|before| *before != number) {
        goes_on(chart, prior.mrg.position(3), number, before, "account");
    }
}

fn move_visit(chart: &mut Chart<'_>, prior: &Prior<'_>) {
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
    let before = prior_patients(chart, prior.mrg, 1).into_iter().next();
    if before.is_some() && before == chart.patient {
        return chart.reject(Stage::Map, prior.mrg.position(1), "a visit cannot be moved to the patient it belongs to");
    }
    let (encounter, related, text_value) = (Some(number), before.as_ref().map(joined), Some(what.to_owned()));
    chart.facts.push(Fact { time: chart.occurred_at, encounter, related, text_value, ..chart.of_patient(EventCode::EncounterMoved) });
}

/// Each patient is transferred to the place that is stated for them.
fn swap(chart: &mut Chart<'_>, groups: &[Group<'_>]) {
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
fn link(chart: &mut Chart<'_>, groups: &[Group<'_>], code: EventCode) {
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
