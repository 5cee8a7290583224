//! Record numbers: the identifiers of a CX field, which of them names the person, whatever their order, and which others are that person's alone.

use std::collections::HashSet;

use schemas::Identifier;

use super::reader::{Field, Segment};

/// One number of a person, as CX says it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) identifier: Identifier,
    rank: Rank,
}

/// How well a type of number (HL7 table 0203) names a person to this sender; the first is the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The medical record number.
    Record,
    /// Another number by which a sender knows patients.
    Patient,
    /// Of no type, or of one that says nothing: some senders write other things into that component.
    Untyped,
    /// A number that the state, an insurer or an account gave: shared, mistyped and lent more often than the others.
    Foreign,
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

impl Rank {
    /// Some senders write the type where the authority belongs.
    fn of(kind: &Field<'_>, system: &str) -> Self {
        let kind = kind.raw().trim_ascii();
        let is = |kinds: &[&str]| kinds.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(kind));
        match kind {
            b"MR" => Self::Record,
            b"" | b"\"\"" if system.eq_ignore_ascii_case("MR") || system.eq_ignore_ascii_case("MRN") => Self::Record,
            b"" | b"\"\"" if ["SS", "SSN", "SSA", "USSSA"].iter().any(|one| system.eq_ignore_ascii_case(one)) => Self::Foreign,
            b"" | b"\"\"" => Self::Untyped,
            _ if is(&["MR", "MRN"]) => Self::Record,
            _ if is(PATIENT) => Self::Patient,
            _ if is(FOREIGN) || kind.get(..2).is_some_and(|first| first.eq_ignore_ascii_case(b"NN")) => Self::Foreign,
            _ => Self::Untyped,
        }
    }
}

/// Types of numbers by which a sender knows patients.
const PATIENT: &[&str] = &["PI", "PT", "PN", "MRT", "PE", "EPI", "EMPI", "MPI"];
/// Types of numbers that somebody else gave.
const FOREIGN: &[&str] = &[
    "SS", "SSN", "NI", "NH", "DL", "PPN", "TAX", "MC", "MA", "MB", "MI", "SN", "BC", "BR", "CZ", "PRC", "EI", "AN", "ANON", "VN", "AM",
    "MS", "PC",
];

/// The numbers of a CX field, the best one first. Among equals the assigning authorities stand in the order of their names, none last, and the
/// numbers of one authority in the order sent: so the same numbers in another order name the same person.
pub(crate) fn numbers(field: &Field<'_>) -> Vec<Number> {
    let mut found: Vec<Number> = field.repetitions().filter_map(|repetition| number(&repetition)).collect();
    found.sort_by(|one, other| one.order().cmp(&other.order()));
    found
}

fn number(repetition: &Field<'_>) -> Option<Number> {
    let value = repetition.component(1).text()?;
    let authority = repetition.component(4);
    let system = authority.subcomponent(1).text().or_else(|| authority.subcomponent(2).text()).unwrap_or_default();
    let rank = Rank::of(&repetition.component(5), &system);
    Some(Number { identifier: Identifier { system, value }, rank })
}

/// The numbers of a PID: PID-3, else PID-2, else PID-4.
pub(crate) fn of_pid(pid: &Segment<'_>) -> Vec<Number> {
    [3, 2, 4].into_iter().map(|field| numbers(&pid.field(field))).find(|numbers| !numbers.is_empty()).unwrap_or_default()
}

/// The numbers that PID itself calls an account's or the mother's: PID-18, PID-21.
pub(crate) fn of_others(pid: &Segment<'_>) -> HashSet<String> {
    [18, 21].into_iter().flat_map(|field| numbers(&pid.field(field))).map(|number| number.identifier.value).collect()
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

/// Whether this was typed for want of a number: no digit at all, zeros, one digit four times and more, or the digits in their order.
fn is_placeholder(value: &str) -> bool {
    let digits: Vec<u8> = value.bytes().filter(u8::is_ascii_digit).collect();
    let Some((first, rest)) = digits.split_first() else { return true };
    let is_one_digit = (*first == b'0' || rest.len() >= 3) && rest.iter().all(|digit| digit == first);
    let is_in_order = digits.len() >= 5 && b"1234567890".starts_with(&digits);
    value.bytes().filter(u8::is_ascii_alphanumeric).count() == digits.len() && (is_one_digit || is_in_order)
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
