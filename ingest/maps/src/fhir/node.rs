//! JSON as a tree that borrows from the record's text: what the maps look at, and nothing else.
//!
//! Of a resource that no map reads only the fields that tell its time are kept, and of the others no narrative that no map reads: most
//! of what a server exports is passed over without being built.

use std::borrow::Cow;
use std::ops::Index;

use super::reading::{Fault, Reading};

/// A JSON value. A number is kept as it was written.
pub(super) enum Node<'a> {
    Null,
    // Two variants, so that every payload begins at a word: a value that is moved is then moved in words.
    True,
    False,
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// The fields in the order in which they stand; of two with one name the last counts.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

static NULL: Node<'static> = Node::Null;

impl<'a> Node<'a> {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether an object holds anything.
    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(fields) if !fields.is_empty())
    }

    /// The field of an object; `Null` where there is none.
    #[inline]
    pub(super) fn get(&self, name: &str) -> &Node<'a> {
        let found = match self {
            Self::Object(fields) => fields.iter().rfind(|(field, _)| field == name),
            _ => None,
        };
        found.map_or(&NULL, |(_, value)| value)
    }

    /// Names and values of an object.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &Node<'a>)> {
        let fields = match self {
            Self::Object(fields) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Whether a name stands twice in an object anywhere in it.
    pub(super) fn repeats_a_name(&self) -> bool {
        match self {
            Self::List(items) => items.iter().any(Self::repeats_a_name),
            Self::Object(fields) => repeats(fields) || fields.iter().any(|(_, value)| value.repeats_a_name()),
            _ => false,
        }
    }
}

impl<'a> Index<&str> for Node<'a> {
    type Output = Node<'a>;

    #[inline]
    fn index(&self, name: &str) -> &Node<'a> {
        self.get(name)
    }
}

impl PartialEq<&str> for Node<'_> {
    fn eq(&self, text: &&str) -> bool {
        self.as_str() == Some(*text)
    }
}

impl PartialEq<bool> for Node<'_> {
    fn eq(&self, truth: &bool) -> bool {
        if *truth { matches!(self, Self::True) } else { matches!(self, Self::False) }
    }
}

/// Whether two fields have one name. Few are held against each other, many are sorted, so that it takes linear time or little more.
pub(super) fn repeats(fields: &[(Cow<'_, str>, Node<'_>)]) -> bool {
    const FEW: usize = 16;
    if fields.len() < 2 {
        return false;
    }
    // Names that differ in length or in their outer letters are different: most objects are small, and done with that.
    let mut seen = 0_u64;
    let may_repeat = fields.iter().fold(false, |found, (name, _)| {
        let bytes = name.as_bytes();
        let letters = bytes.first().zip(bytes.last()).map_or(0, |(first, last)| usize::from(*first) * 7 + usize::from(*last) * 3);
        let mark = 1_u64 << ((letters + bytes.len()) % 64);
        let is_new = seen & mark == 0;
        seen |= mark;
        found | !is_new
    });
    if !may_repeat {
        return false;
    }
    if fields.len() <= FEW {
        let mut before = fields.iter().enumerate();
        return before.any(|(i, (name, _))| fields.iter().take(i).any(|(other, _)| name == other));
    }
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair.first() == pair.last())
}

/// Fields that tell what a resource is and when: of them is made what a record states of the clock.
const TIMES: [&str; 20] = [
    "resourceType",
    "id",
    "meta",
    "date",
    "created",
    "issued",
    "indexed",
    "recordedDate",
    "assertedDate",
    "recorded",
    "authoredOn",
    "sent",
    "received",
    "timestamp",
    "effectiveDateTime",
    "effectiveInstant",
    "performedDateTime",
    "occurrenceDateTime",
    "effectivePeriod",
    "performedPeriod",
];

/// Whether any map reads resources of this type; of every other one only `TIMES` are kept.
pub(super) fn is_read(kind: &str) -> bool {
    matches!(
        kind,
        "ExplanationOfBenefit"
            | "Claim"
            | "Encounter"
            | "Condition"
            | "Procedure"
            | "Patient"
            | "DocumentReference"
            | "DiagnosticReport"
            | "Composition"
            | "ClaimResponse"
            | "Coverage"
            | "Account"
            | "Binary"
            | "Bundle"
            // Only where it is contained: its name.
            | "Location"
    )
}

/// Which fields of an object are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    /// Of a resource that a map reads.
    Read,
    /// The same, and its narrative.
    ReadText,
    /// Of a Claim or an answer to one.
    Bill,
    /// Of its items.
    Item,
    /// Of `meta`.
    Meta,
    /// Of any other resource.
    Times,
}

impl Keep {
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "Composition" | "DiagnosticReport" => Self::ReadText,
            "Claim" | "ClaimResponse" | "ExplanationOfBenefit" => Self::Bill,
            kind if is_read(kind) => Self::Read,
            _ => Self::Times,
        }
    }

    pub(super) fn keeps(self, name: &str) -> bool {
        let is_unread = || {
            matches!(
                name,
                "category"
                    | "maritalStatus"
                    | "generalPractitioner"
                    | "managingOrganization"
                    | "participant"
                    | "serviceProvider"
                    | "reasonCode"
                    | "telecom"
                    | "address"
                    | "contact"
                    | "photo"
                    | "communication"
                    | "author"
                    | "custodian"
                    | "authenticator"
                    | "performer"
            )
        };
        match self {
            Self::All => true,
            Self::Read => name != "text" && !is_unread(),
            Self::ReadText => !is_unread(),
            Self::Bill => {
                let is_unread_in_bills = matches!(
                    name,
                    "text"
                        | "procedure"
                        | "priority"
                        | "prescription"
                        | "payee"
                        | "related"
                        | "provider"
                        | "insurer"
                        | "careTeam"
                        | "facility"
                        | "benefitBalance"
                );
                !is_unread_in_bills && !is_unread()
            }
            Self::Item => matches!(name, "encounter" | "adjudication" | "extension" | "decision" | "reviewOutcome"),
            Self::Meta => matches!(name, "lastUpdated" | "versionId" | "tag" | "extension"),
            Self::Times => TIMES.contains(&name),
        }
    }

    /// What is built of the value of a field.
    pub(super) fn within(self, name: &str) -> Self {
        match name {
            "item" | "addItem" if self == Self::Bill => Self::Item,
            "meta" if self != Self::All => Self::Meta,
            _ => Self::All,
        }
    }
}

/// Parses a JSON text, and tells whether a name stands twice in one of its objects.
///
/// # Errors
/// It is not JSON, or is nested deeper than any resource.
pub(super) fn parse(text: &str) -> Result<(Node<'_>, bool), Fault> {
    let mut reading = Reading::new(text);
    let node = reading.whole()?;
    Ok((node, reading.repeated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_holds_what_was_written() {
        let (node, repeated) = parse(r#"{"a":[1,-2.5,"x\u00e9\n",true,null],"b":{"c":"d"}}"#).ok().expect("this is JSON");
        assert!(!repeated && matches!(&node["a"], Node::List(items) if items.len() == 5));
        assert!(node["b"]["c"] == "d" && node["b"]["x"].is_null() && node["a"]["c"].is_null());
    }

    #[test]
    fn what_no_map_reads_is_passed_over() {
        let (node, _) =
            parse(r#"{"resourceType":"Observation","id":"o","issued":"2020","valueQuantity":{"value":1e999},"text":{"div":"x"}}"#)
                .ok()
                .expect("this is JSON");
        assert!(node["id"] == "o" && node["issued"] == "2020" && node["valueQuantity"].is_null());
        let (node, _) = parse(r#"{"resourceType":"Patient","text":{"div":"x"},"gender":"male"}"#).ok().expect("this is JSON");
        assert!(node["text"].is_null() && node["gender"] == "male");
    }

    #[test]
    fn of_two_equal_names_the_last_counts_and_it_is_told() {
        let many: String = (0..40).map(|i| format!("\"k{i}\":{i},")).collect();
        for text in [r#"{"x":[{"a":1,"a":"2"}]}"#.to_owned(), format!("{{\"x\":[{{{many}\"k3\":1,\"a\":\"2\"}}]}}")] {
            let (node, repeated) = parse(&text).ok().expect("this is JSON");
            assert!(repeated && node.repeats_a_name());
            let Node::List(items) = &node["x"] else { panic!("a list") };
            assert!(items[0]["a"] == "2");
        }
    }
}
