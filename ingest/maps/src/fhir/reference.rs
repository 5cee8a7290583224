//! What a reference points at: by `Type/id`, by URL, by `urn:uuid` through its Bundle, by `#id` within its resource, or by identifier.

use std::collections::HashMap;

use super::coding::has_code;
use super::json;
use super::node::Node;

/// What the entries of a Bundle know of one another. Empty for a resource alone.
#[derive(Default)]
pub(super) struct Index<'a> {
    /// `Type/id` of each `fullUrl`.
    by_url: HashMap<&'a str, Key>,
    resources: HashMap<Key, &'a Node<'a>>,
    by_identifier: HashMap<(String, String), Key>,
    /// Stay and rank that an Encounter gives to a Condition, by the Condition's id.
    diagnoses: HashMap<String, Diagnosis>,
}

/// Resource type and logical id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: String,
    pub(super) id: String,
}

/// How an Encounter refers to a Condition.
#[derive(Clone)]
pub(super) struct Diagnosis {
    pub(super) visit: String,
    pub(super) rank: Option<f64>,
}

/// The other end of a reference.
pub(super) enum Target<'a> {
    /// A resource by its id; the type is what the reference says, or empty.
    Named(Key),
    /// A resource within the one that refers to it.
    Contained(&'a Node<'a>),
    /// Somebody or something by an identifier alone.
    Identified { system: String, value: String },
}

impl<'a> Index<'a> {
    /// Takes up an entry: its `fullUrl`, its resource, its resource's identifiers.
    pub(super) fn add(&mut self, full_url: Option<&'a str>, key: &Key, resource: &'a Node<'a>) {
        if let Some(url) = full_url {
            self.by_url.insert(url, key.clone());
        }
        if matches!(key.kind.as_str(), "Patient" | "Encounter") {
            for identifier in json::each(&resource["identifier"]) {
                if let Some((system, value)) = identifier_of(identifier) {
                    self.by_identifier.insert((format!("{}|{system}", key.kind), value), key.clone());
                }
            }
        }
        self.resources.insert(key.clone(), resource);
    }

    /// Takes up what an Encounter says of its diagnoses, once all entries are known.
    pub(super) fn link(&mut self, visit: &str, encounter: &Node<'_>) {
        for diagnosis in json::each(&encounter["diagnosis"]) {
            let condition = json::first_of(diagnosis, &["condition.reference.reference", "condition"]);
            let rank = rank(diagnosis);
            for reference in condition.into_iter().flat_map(|(_, reference)| json::each(reference)) {
                if let Some(Target::Named(key)) = self.resolve(reference, encounter, "Condition") {
                    self.diagnoses.insert(key.id, Diagnosis { visit: visit.to_owned(), rank });
                }
            }
        }
    }

    /// What an Encounter of the same Bundle said of this Condition.
    pub(super) fn diagnosis(&self, condition: &str) -> Option<&Diagnosis> {
        self.diagnoses.get(condition)
    }

    /// The resource of the same Bundle at an address.
    pub(super) fn resource(&self, address: &str) -> Option<&'a Node<'a>> {
        let key = self.by_url.get(address).cloned().or_else(|| by_path(address))?;
        self.resources.get(&key).copied()
    }

    /// Follows a `Reference` (or a bare text that stands for one) made in `from`, expecting a resource of type `kind`.
    pub(super) fn resolve(&self, reference: &Node<'_>, from: &'a Node<'a>, kind: &str) -> Option<Target<'a>> {
        let address = json::word(&reference["reference"]).or_else(|| json::word(reference));
        if let Some(address) = address {
            return self.follow(address, from, kind);
        }
        let (system, value) = identifier_of(&reference["identifier"])?;
        Some(self.identified(system, value, kind))
    }

    /// The resource of the same Bundle that a conditional address (`Encounter?identifier=system|value`) means.
    pub(super) fn by_query(&self, address: &str, kind: &str) -> Option<Key> {
        match self.follow(address, &Node::Null, kind)? {
            Target::Named(key) => Some(key),
            _ => None,
        }
    }

    fn follow(&self, address: &str, from: &'a Node<'a>, kind: &str) -> Option<Target<'a>> {
        if let Some(local) = address.strip_prefix('#') {
            let is_meant = |inner: &&Node<'_>| json::word(&inner["id"]).is_some_and(|id| id.trim_start_matches('#') == local);
            return json::each(&from["contained"]).find(is_meant).map(Target::Contained);
        }
        if let Some(key) = self.by_url.get(address) {
            return Some(Target::Named(key.clone()));
        }
        if let Some(uuid) = address.strip_prefix("urn:uuid:").or_else(|| address.strip_prefix("urn:oid:")) {
            return Some(Target::Named(Key { kind: kind.to_owned(), id: uuid.to_owned() }));
        }
        if let Some((_, query)) = address.split_once('?') {
            let wanted = query.split('&').find_map(|part| part.strip_prefix("identifier="))?;
            let wanted = unescaped(wanted);
            let (system, value) = wanted.split_once('|').unwrap_or(("", &wanted));
            return Some(self.identified(system.to_owned(), value.to_owned(), kind));
        }
        by_path(address).map(Target::Named)
    }

    fn identified(&self, system: String, value: String, kind: &str) -> Target<'a> {
        let wanted = (format!("{kind}|{system}"), value);
        match self.by_identifier.get(&wanted) {
            Some(key) => Target::Named(key.clone()),
            None => Target::Identified { system, value: wanted.1 },
        }
    }
}

/// The rank that an Encounter gives to a diagnosis; the one it calls principal is the first.
pub(super) fn rank(diagnosis: &Node<'_>) -> Option<f64> {
    let principal = || has_code(&diagnosis["use"], &["principal", "PDX"]).then_some(1.0);
    json::number(&diagnosis["rank"]).filter(|rank| *rank >= 1.0).or_else(principal)
}

/// `Type/id` at the end of a relative or absolute address, without `/_history/n`, query and fragment.
pub(super) fn by_path(address: &str) -> Option<Key> {
    let path = address.split(['?', '#']).next()?;
    let path = path.split("/_history").next()?.trim_end_matches('/');
    let mut steps = path.rsplit('/');
    let (id, kind) = (steps.next()?, steps.next()?);
    let is_type = kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_type && !id.is_empty()).then(|| Key { kind: kind.to_owned(), id: id.to_owned() })
}

/// What addresses most often escape in an identifier.
fn unescaped(query: &str) -> String {
    [("%7C", "|"), ("%7c", "|"), ("%3A", ":"), ("%3a", ":"), ("%2F", "/"), ("%2f", "/")]
        .into_iter()
        .fold(query.to_owned(), |query, (escape, sign)| query.replace(escape, sign))
}

/// System (may be empty) and value of an `Identifier`.
pub(super) fn identifier_of(identifier: &Node<'_>) -> Option<(String, String)> {
    let value = json::word(&identifier["value"])?;
    Some((json::word(&identifier["system"]).unwrap_or_default().to_owned(), value.to_owned()))
}
