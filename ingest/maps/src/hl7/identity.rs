//! Record numbers: the identifiers of a CX field, which of them names the person, whatever their order, and which others are that person's alone.

use std::collections::HashSet;

use schemas::Identifier;

use super::reader::{Field, Segment};
use crate::number::{Rank, is_placeholder};

/// One number of a person, as CX says it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) identifier: Identifier,
    rank: Rank,
}

impl Number {
    /// Whether somebody else gave the number: relatives may share it.
    pub(crate) fn is_foreign(&self) -> bool {
        self.rank == Rank::Foreign
    }

    fn order(&self) -> (Rank, bool, &str) {
        (self.rank, self.identifier.system.is_empty(), &self.identifier.system)
    }
}

/// A type that was deleted is none.
fn rank(kind: &Field<'_>, authority: &str) -> Rank {
    let kind = kind.raw().trim_ascii();
    Rank::of(if kind == b"\"\"" { b"" } else { kind }, authority)
}

/// The numbers of a CX field, the best one first. Among equals the assigning authorities stand in the order of their names, none last, and the
/// numbers of one authority in the order sent: so the same numbers in another order name the same person. `authority`: that of a number to which
/// the message gives none, by its value, may be empty; a number that somebody else gave is not of it.
pub(crate) fn numbers(field: &Field<'_>, authority: impl Fn(&str) -> String) -> Vec<Number> {
    let mut found: Vec<Number> = field.repetitions().filter_map(|repetition| number(&repetition, &authority)).collect();
    found.sort_by(|one, other| one.order().cmp(&other.order()));
    found
}

fn number(repetition: &Field<'_>, authority: impl Fn(&str) -> String) -> Option<Number> {
    let value = repetition.component(1).text()?;
    let assigned = repetition.component(4);
    let stated = assigned.subcomponent(1).text().or_else(|| assigned.subcomponent(2).text()).unwrap_or_default();
    let rank = rank(&repetition.component(5), &stated);
    let system = if stated.is_empty() && rank != Rank::Foreign { authority(&value) } else { stated };
    Some(Number { identifier: Identifier { system, value }, rank })
}

/// The numbers of a PID: PID-3, else PID-2, else PID-4. `authority`: of the numbers to which the message gives none, as in [`numbers`].
pub(crate) fn of_pid(pid: &Segment<'_>, authority: &str) -> Vec<Number> {
    let of = |field| numbers(&pid.field(field), |_| authority.to_owned());
    [3, 2, 4].into_iter().map(of).find(|numbers| !numbers.is_empty()).unwrap_or_default()
}

/// The numbers that PID itself calls an account's or the mother's: PID-18, PID-21.
pub(crate) fn of_others(pid: &Segment<'_>) -> HashSet<String> {
    [18, 21].into_iter().flat_map(|field| numbers(&pid.field(field), |_| String::new())).map(|number| number.identifier.value).collect()
}

/// How another number of a PID-3 stands to the best one, where the sender gave both to this one person. `own`: their types say so, and they are
/// of two kinds (authority or type). `alike`: they are of one kind, or a type says nothing. `None` where either may be another's too: somebody
/// else gave it, it has no authority, it is a placeholder, or it is among the numbers of others.
pub(crate) fn tie(best: &Number, other: &Number, of_others: &HashSet<String>) -> Option<&'static str> {
    let is_theirs = |number: &Number| {
        let Identifier { system, value } = &number.identifier;
        !number.is_foreign() && !system.is_empty() && !is_placeholder(value) && !of_others.contains(value)
    };
    if !is_theirs(best) || !is_theirs(other) {
        return None;
    }
    let typed = best.rank != Rank::Untyped && other.rank != Rank::Untyped;
    let of_one_kind = best.rank == other.rank && best.identifier.system == other.identifier.system;
    Some(if typed && !of_one_kind { "own" } else { "alike" })
}

/// Numbers that are being merged away. One without an authority is that number of any authority.
#[derive(Default)]
pub(crate) struct Merged(HashSet<Identifier>);

impl Merged {
    pub(crate) fn of(numbers: impl Iterator<Item = Identifier>) -> Self {
        Self(numbers.collect())
    }

    fn holds(&self, number: &Identifier) -> bool {
        let bare = || Identifier { system: String::new(), value: number.value.clone() };
        !self.0.is_empty() && (self.0.contains(number) || self.0.contains(&bare()))
    }
}

/// Puts the number first that names the survivor where some of the numbers are being merged away: a sender may list both. Only one of the
/// same kind can take the first one's place; an insurance number never does.
pub(crate) fn put_survivor_first(numbers: &mut [Number], merged: &Merged) {
    let Some(first) = numbers.first().filter(|first| merged.holds(&first.identifier)).cloned() else { return };
    let stands = |number: &Number| {
        number.rank == first.rank
            && (number.rank == Rank::Record || number.identifier.system == first.identifier.system)
            && !merged.holds(&number.identifier)
    };
    if let Some(place) = numbers.iter().position(stands) {
        numbers.swap(0, place);
    }
}

/// An identifier as another fact's `related`.
pub(crate) fn joined(identifier: &Identifier) -> String {
    format!("{}|{}", identifier.system, identifier.value)
}
