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

mod moves;
mod numbers;
mod pairs;

use std::collections::HashMap;

use schemas::{EventCode, Fact, Identifier, Stage};

use super::chart::Chart;
use super::identity::{self, Merged, Number, joined};
use super::patient::{self, Corrects};
use super::reader::{Message, Segment};

pub(crate) use numbers::renumber;

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
        Tie::Swap => return pairs::swap(chart, &groups),
        Tie::Link => return pairs::link(chart, &groups, EventCode::PatientLinked),
        Tie::Unlink => return pairs::link(chart, &groups, EventCode::PatientUnlinked),
        _ => {}
    }
    if chart.message.first(b"MRG").is_none() {
        chart.reject(Stage::Parse, "MRG".to_owned(), "the merge has no MRG");
    }
    let authority = chart.facility.authority.as_str();
    for group in &groups {
        let assigned = &Assigned::of(&group.pid, authority);
        let merged = match tie {
            Tie::Account | Tie::Visit | Tie::AlternateVisit | Tie::MovePerson => Merged::default(),
            _ => Merged::of(group.priors.iter().flat_map(|(mrg, _)| prior_numbers(mrg, 1, assigned))),
        };
        patient::identify_survivor(chart, &group.pid, &merged);
        patient::describe(chart, &group.pid, Corrects::No);
        for (mrg, own) in &group.priors {
            let prior = Prior { pid: &group.pid, mrg, pv1: own.or(group.pv1), assigned };
            match tie {
                Tie::Person => persons(chart, &prior, &[1]),
                Tie::External => persons(chart, &prior, &[1, 4]),
                Tie::PersonAndAccount => {
                    persons(chart, &prior, &[1]);
                    if mrg.field(3).component(1).text().is_some() && group.pid.field(18).component(1).text().is_some() {
                        numbers::accounts(chart, &prior);
                    }
                }
                Tie::Account => numbers::accounts(chart, &prior),
                Tie::Visit => numbers::visits(chart, &prior, (19, 5)),
                Tie::AlternateVisit => numbers::visits(chart, &prior, (50, 6)),
                Tie::MovePerson => moves::move_person(chart, &prior),
                Tie::MoveAccount => moves::move_account(chart, &prior),
                Tie::MoveVisit => moves::move_visit(chart, &prior),
                Tie::Swap | Tie::Link | Tie::Unlink => {}
            }
        }
    }
}

/// One MRG, the PID it is merged into, its PV1, and whose its numbers are.
struct Prior<'a> {
    pid: &'a Segment<'a>,
    mrg: &'a Segment<'a>,
    pv1: Option<Segment<'a>>,
    assigned: &'a Assigned<'a>,
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

/// Whose numbers those are to which MRG gives no authority: as PID lists them, else the facility's. Where that has none they stay without.
#[derive(Default)]
struct Assigned<'a> {
    facility: &'a str,
    /// Authorities of the numbers that PID lists, by value.
    listed: HashMap<String, String>,
}

impl<'a> Assigned<'a> {
    fn of(pid: &Segment<'_>, facility: &'a str) -> Self {
        let numbers = if facility.is_empty() { Vec::new() } else { identity::of_pid(pid, facility) };
        // Of two numbers of one value the better one comes last, and counts.
        let own = numbers.into_iter().rev().filter(|number| !number.is_foreign()).map(|number| number.identifier);
        Self { facility, listed: own.map(|identifier| (identifier.value, identifier.system)).collect() }
    }

    fn authority(&self, value: &str) -> String {
        self.listed.get(value).map_or(self.facility, String::as_str).to_owned()
    }
}

/// The numbers of the patient who is merged away; one that an insurer or a state gave only where there is no other.
fn prior_numbers(mrg: &Segment<'_>, field: usize, assigned: &Assigned<'_>) -> Vec<Identifier> {
    let numbers = identity::numbers(&mrg.field(field), |value| assigned.authority(value));
    let foreign = numbers.first().is_some_and(Number::is_foreign);
    numbers.into_iter().filter(|number| foreign || !number.is_foreign()).map(|number| number.identifier).collect()
}

/// The numbers in a field of MRG, as of the survivor's authority where nothing else says of which they are: so is how the patient was named before.
fn prior_patients(chart: &mut Chart<'_>, prior: &Prior<'_>, field: usize) -> Vec<Identifier> {
    let mut numbers = prior_numbers(prior.mrg, field, prior.assigned);
    let Some(system) = chart.patient.as_ref().map(|survivor| survivor.system.clone()).filter(|system| !system.is_empty()) else {
        return numbers;
    };
    for number in numbers.iter_mut().filter(|number| number.system.is_empty()) {
        number.system.clone_from(&system);
        chart.flag(prior.mrg.position(field), "no assigning authority; taken as of the survivor's");
    }
    numbers
}

/// The patient at hand stands for the numbers in the first of these fields of MRG that tells of another one.
fn persons(chart: &mut Chart<'_>, prior: &Prior<'_>, fields: &[usize]) {
    let Some(survivor) = chart.patient.clone() else { return };
    let mut itself = false;
    for field in fields {
        let merged = prior_patients(chart, prior, *field);
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
