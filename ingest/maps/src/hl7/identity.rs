//! Record numbers: the identifiers of a CX field, and which of them names the person, whatever their order.

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
    fn order(&self) -> (Rank, bool, &str) {
        (self.rank, self.identifier.system.is_empty(), &self.identifier.system)
    }
}

impl Rank {
    fn of(kind: Option<&str>) -> Self {
        match kind.map(str::to_ascii_uppercase).as_deref() {
            None => Self::Untyped,
            Some("MR" | "MRN") => Self::Record,
            Some("PI" | "PT" | "PN" | "MRT" | "PE" | "EPI" | "EMPI" | "MPI") => Self::Patient,
            Some(
                "SS" | "SSN" | "NI" | "NH" | "DL" | "PPN" | "TAX" | "MC" | "MA" | "MB" | "MI" | "SN" | "BC" | "BR" | "CZ" | "PRC" | "EI"
                | "AN" | "ANON" | "VN" | "AM" | "MS" | "PC",
            ) => Self::Foreign,
            Some(kind) if kind.starts_with("NN") => Self::Foreign,
            Some(_) => Self::Untyped,
        }
    }
}

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
    // Some senders write the type of number where its authority belongs.
    let kind = repetition.component(5).text();
    let rank = match (&kind, system.to_ascii_uppercase().as_str()) {
        (None, "MR" | "MRN") => Rank::Record,
        (None, "SS" | "SSN" | "SSA" | "USSSA") => Rank::Foreign,
        _ => Rank::of(kind.as_deref()),
    };
    Some(Number { identifier: Identifier { system, value }, rank })
}

/// The numbers of a PID: PID-3, else PID-2, else PID-4.
pub(crate) fn of_pid(pid: &Segment<'_>) -> Vec<Number> {
    [3, 2, 4].into_iter().map(|field| numbers(&pid.field(field))).find(|numbers| !numbers.is_empty()).unwrap_or_default()
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
