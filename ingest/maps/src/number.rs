//! Numbers of persons: how well one of a type names somebody, and which name nobody. HL7 v2 and FHIR share the types (HL7 table 0203).

/// How well a type of number names a person to this sender; the first is the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rank {
    /// The medical record number.
    Record,
    /// Another number by which a sender knows patients.
    Patient,
    /// Of no type, or of one that says nothing: some senders write other things where it belongs.
    Untyped,
    /// A number that the state, an insurer or an account gave: shared, mistyped and lent more often than the others.
    Foreign,
}

impl Rank {
    /// Of the type that stands there, without blanks around it, and of the assigning authority: some senders write the type where that belongs.
    pub(crate) fn of(kind: &[u8], authority: &str) -> Self {
        let is = |kinds: &[&str]| kinds.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(kind));
        let is_of = |authorities: &[&str]| authorities.iter().any(|one| authority.eq_ignore_ascii_case(one));
        match kind {
            b"MR" => Self::Record,
            b"" if is_of(&["MR", "MRN"]) => Self::Record,
            b"" if is_of(&["SS", "SSN", "SSA", "USSSA", SOCIAL_SECURITY]) => Self::Foreign,
            b"" => Self::Untyped,
            _ if is(&["MR", "MRN"]) => Self::Record,
            _ if is(PATIENT) => Self::Patient,
            _ if is(FOREIGN) || kind.get(..2).is_some_and(|first| first.eq_ignore_ascii_case(b"NN")) => Self::Foreign,
            _ => Self::Untyped,
        }
    }
}

/// The OID of the numbers that the United States' Social Security Administration gives.
const SOCIAL_SECURITY: &str = "2.16.840.1.113883.4.1";
/// Types of numbers by which a sender knows patients.
const PATIENT: &[&str] = &["PI", "PT", "PN", "MRT", "PE", "EPI", "EMPI", "MPI"];
/// Types of numbers that somebody else gave.
const FOREIGN: &[&str] = &[
    "SS", "SSN", "NI", "NH", "DL", "PPN", "TAX", "MC", "MA", "MB", "MI", "SN", "BC", "BR", "CZ", "PRC", "EI", "AN", "ANON", "VN", "AM",
    "MS", "PC",
];

/// Whether this was typed for want of a number: no digit at all, zeros, one digit four times and more, or the digits in their order.
pub(crate) fn is_placeholder(value: &str) -> bool {
    let digits: Vec<u8> = value.bytes().filter(u8::is_ascii_digit).collect();
    let Some((first, rest)) = digits.split_first() else { return true };
    let is_one_digit = (*first == b'0' || rest.len() >= 3) && rest.iter().all(|digit| digit == first);
    let is_in_order = digits.len() >= 5 && b"1234567890".starts_with(&digits);
    value.bytes().filter(u8::is_ascii_alphanumeric).count() == digits.len() && (is_one_digit || is_in_order)
}
