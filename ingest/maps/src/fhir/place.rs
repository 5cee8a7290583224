//! Where in a record something stands, told only when there is something to tell.

use std::fmt;

/// `line[3]`, `[2]`, `Bundle.entry[4].resource`: a step and what it starts from.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// The record itself.
    Record,
    /// A line of NDJSON, counted from 1.
    Line(usize),
    /// An element of an array.
    Element(&'a Place<'a>, usize),
    /// A resource, by its type.
    Kind(&'a Place<'a>, &'a str),
    /// An entry of a Bundle.
    Entry(&'a Place<'a>, usize),
    /// The resource of that entry.
    Resource(&'a Place<'a>),
}

impl Place<'_> {
    /// The position of a field, whose name stands behind the place.
    pub(super) fn field(&self, name: &str) -> String {
        match self {
            Self::Record => name.to_owned(),
            place => format!("{place}.{name}"),
        }
    }

    fn before(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => Ok(()),
            place => write!(f, "{place}."),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => Ok(()),
            Self::Line(number) => write!(f, "line[{number}]"),
            Self::Element(list, i) => {
                list.before(f)?;
                write!(f, "[{i}]")
            }
            Self::Kind(place, kind) => {
                place.before(f)?;
                f.write_str(kind)
            }
            Self::Entry(bundle, i) => write!(f, "{bundle}.entry[{i}]"),
            Self::Resource(entry) => write!(f, "{entry}.resource"),
        }
    }
}
