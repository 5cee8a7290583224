//! JSON as a tree that borrows from the record's text: what the maps look at, and nothing else.
//!
//! Of a resource that no map reads only the fields that tell its time are kept, and of the others no narrative that no map reads: most
//! of what a server exports is passed over without being built. What is passed over is checked for JSON's grammar alone.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::ops::Index;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A JSON value. A number is as near as an `f64` comes: amounts are compared, and what was written stays in the record's own bytes.
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Number(f64),
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
        matches!(self, Self::Bool(own) if own == truth)
    }
}

/// Whether two fields have one name. Few are held against each other, many are sorted, so that it takes linear time or little more.
fn repeats(fields: &[(Cow<'_, str>, Node<'_>)]) -> bool {
    const FEW: usize = 16;
    if fields.len() <= FEW {
        let mut before = fields.iter().enumerate();
        return before.any(|(i, (name, _))| fields.iter().take(i).any(|(other, _)| name == other));
    }
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair.first() == pair.last())
}

/// Types that a map reads. Of every other resource only `TIMES` are kept.
const READ: [&str; 15] = [
    "ExplanationOfBenefit",
    "Claim",
    "Encounter",
    "Condition",
    "Procedure",
    "Patient",
    "DocumentReference",
    "DiagnosticReport",
    "Composition",
    "ClaimResponse",
    "Coverage",
    "Account",
    "Binary",
    "Bundle",
    // Only where it is contained: its name.
    "Location",
];
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

/// Builds one value. `repeated` is set where a name stands twice in an object.
#[derive(Clone, Copy)]
struct Build<'s> {
    repeated: &'s Cell<bool>,
    keep: Keep,
}

/// Which fields of an object are built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
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
    fn of(kind: &str) -> Self {
        match kind {
            "Composition" | "DiagnosticReport" => Self::ReadText,
            "Claim" | "ClaimResponse" | "ExplanationOfBenefit" => Self::Bill,
            kind if READ.contains(&kind) => Self::Read,
            _ => Self::Times,
        }
    }

    fn keeps(self, name: &str) -> bool {
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
                    | "provider"
                    | "insurer"
                    | "telecom"
                    | "address"
                    | "contact"
                    | "photo"
                    | "communication"
                    | "author"
                    | "custodian"
                    | "authenticator"
                    | "performer"
                    | "careTeam"
                    | "facility"
                    | "benefitBalance"
            )
        };
        match self {
            Self::All => true,
            Self::Read => name != "text" && !is_unread(),
            Self::ReadText => !is_unread(),
            Self::Bill => !matches!(name, "text" | "procedure" | "priority" | "prescription" | "payee" | "related") && !is_unread(),
            Self::Item => matches!(name, "encounter" | "adjudication" | "extension" | "decision" | "reviewOutcome"),
            Self::Meta => matches!(name, "lastUpdated" | "versionId" | "tag" | "extension"),
            Self::Times => TIMES.contains(&name),
        }
    }

    /// What is built of the value of a field.
    fn within(self, name: &str) -> Self {
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
/// It is not JSON, or is nested deeper than the parser goes.
pub(super) fn parse(text: &str) -> Result<(Node<'_>, bool), serde_json::Error> {
    let repeated = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let node = Build { repeated: &repeated, keep: Keep::All }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((node, repeated.get()))
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers are compared with one another, not kept")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers are compared with one another, not kept")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node<'de>, A::Error> {
        let mut fields = Vec::new();
        let mut keep = self.keep;
        while let Some(name) = entries.next_key_seed(Name)? {
            if !keep.keeps(&name) {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = entries.next_value_seed(Self { keep: keep.within(&name), ..self })?;
            if name == "resourceType"
                && let Node::Text(kind) = &value
            {
                keep = Keep::of(kind);
            }
            fields.push((name, value));
        }
        if repeats(&fields) {
            self.repeated.set(true);
        }
        Ok(Node::Object(fields))
    }
}

/// A field's name, borrowed where it holds no escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_holds_what_was_written() {
        let (node, repeated) = parse(r#"{"a":[1,-2.5,"x\u00e9\n",true,null],"b":{"c":"d"}}"#).expect("this is JSON");
        assert!(!repeated && matches!(&node["a"], Node::List(items) if items.len() == 5));
        assert!(node["b"]["c"] == "d" && node["b"]["x"].is_null() && node["a"]["c"].is_null());
    }

    #[test]
    fn what_no_map_reads_is_passed_over() {
        let (node, _) =
            parse(r#"{"resourceType":"Observation","id":"o","issued":"2020","valueQuantity":{"value":1e999},"text":{"div":"x"}}"#)
                .expect("what is passed over need not be representable");
        assert!(node["id"] == "o" && node["issued"] == "2020" && node["valueQuantity"].is_null());
        let (node, _) = parse(r#"{"resourceType":"Patient","text":{"div":"x"},"gender":"male"}"#).expect("this is JSON");
        assert!(node["text"].is_null() && node["gender"] == "male");
    }

    #[test]
    fn of_two_equal_names_the_last_counts_and_it_is_told() {
        let many: String = (0..40).map(|i| format!("\"k{i}\":{i},")).collect();
        for text in [r#"{"x":[{"a":1,"a":"2"}]}"#.to_owned(), format!("{{\"x\":[{{{many}\"k3\":1,\"a\":\"2\"}}]}}")] {
            let (node, repeated) = parse(&text).expect("this is JSON");
            assert!(repeated && node.repeats_a_name());
            let Node::List(items) = &node["x"] else { panic!("a list") };
            assert!(items[0]["a"] == "2");
        }
    }
}
