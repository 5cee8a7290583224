//! What a reference points at: by `Type/id`, by URL, by `urn:uuid` through its Bundle, by `#id` within its resource, or by identifier.

use std::borrow::Cow;
use std::collections::HashMap;

use super::coding::has_code;
use super::json;
use super::node::Node;

/// A resource holds a few others. A limit keeps a record of many references to many of them from taking quadratic time.
const MOST_CONTAINED: usize = 256;

/// What the entries of a Bundle know of one another. Empty for a resource alone.
#[derive(Default)]
pub(super) struct Index<'a> {
    /// `Type/id` of each `fullUrl`.
    by_url: HashMap<&'a str, Key<'a>>,
    resources: HashMap<Key<'a>, &'a Node<'a>>,
    by_identifier: HashMap<(&'a str, Cow<'a, str>, Cow<'a, str>), Key<'a>>,
    /// Stay and rank that an Encounter gives to a Condition, by the Condition's id.
    diagnoses: HashMap<&'a str, Diagnosis<'a>>,
}

/// Resource type and logical id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key<'a> {
    pub(super) kind: &'a str,
    pub(super) id: &'a str,
}

/// How an Encounter refers to a Condition.
#[derive(Clone, Copy)]
pub(super) struct Diagnosis<'a> {
    pub(super) visit: &'a str,
    pub(super) rank: Option<f64>,
}

/// The other end of a reference.
pub(super) enum Target<'a> {
    /// A resource by its id; the type is what the reference says, or empty.
    Named(Key<'a>),
    /// A resource within the one that refers to it.
    Contained(&'a Node<'a>),
    /// Somebody or something by an identifier alone.
    Identified { system: Cow<'a, str>, value: Cow<'a, str> },
}

impl<'a> Index<'a> {
    /// Takes up an entry: its `fullUrl`, its resource, its resource's identifiers.
    pub(super) fn add(&mut self, full_url: Option<&'a str>, key: Key<'a>, resource: &'a Node<'a>) {
        if let Some(url) = full_url {
            self.by_url.insert(url, key);
        }
        if matches!(key.kind, "Patient" | "Encounter") {
            for identifier in json::each(&resource["identifier"]) {
                if let Some((system, value)) = identifier_of(identifier) {
                    self.by_identifier.insert((key.kind, Cow::Borrowed(system), Cow::Borrowed(value)), key);
                }
            }
        }
        self.resources.insert(key, resource);
    }

    /// Takes up what an Encounter says of its diagnoses, once all entries are known.
    pub(super) fn link(&mut self, visit: &'a str, encounter: &'a Node<'a>) {
        for diagnosis in json::each(&encounter["diagnosis"]) {
            let condition = json::first_of(diagnosis, &["condition.reference.reference", "condition"]);
            let rank = rank(diagnosis);
            for reference in condition.into_iter().flat_map(|(_, reference)| json::each(reference)) {
                if let Some(Target::Named(key)) = self.resolve(reference, encounter, "Condition") {
                    self.diagnoses.insert(key.id, Diagnosis { visit, rank });
                }
            }
        }
    }

    /// What an Encounter of the same Bundle said of this Condition.
    pub(super) fn diagnosis(&self, condition: &str) -> Option<Diagnosis<'a>> {
        self.diagnoses.get(condition).copied()
    }

    /// The resource of the same Bundle at an address.
    pub(super) fn resource(&self, address: &str) -> Option<&'a Node<'a>> {
        let key = self.by_url.get(address).copied().or_else(|| by_path(address))?;
        self.resources.get(&key).copied()
    }

    /// Follows a `Reference` (or a bare text that stands for one) made in `from`, expecting a resource of type `kind`.
    pub(super) fn resolve(&self, reference: &'a Node<'a>, from: &'a Node<'a>, kind: &'a str) -> Option<Target<'a>> {
        let address = json::word(&reference["reference"]).or_else(|| json::word(reference));
        if let Some(address) = address {
            return self.follow(address, from, kind);
        }
        let (system, value) = identifier_of(&reference["identifier"])?;
        Some(self.identified(Cow::Borrowed(system), Cow::Borrowed(value), kind))
    }

    /// The resource of the same Bundle that a conditional address (`Encounter?identifier=system|value`) means.
    pub(super) fn by_query(&self, address: &'a str, kind: &'a str) -> Option<Key<'a>> {
        match self.follow(address, &Node::Null, kind)? {
            Target::Named(key) => Some(key),
            _ => None,
        }
    }

    fn follow(&self, address: &'a str, from: &'a Node<'a>, kind: &'a str) -> Option<Target<'a>> {
        if let Some(local) = address.strip_prefix('#') {
            let is_meant = |inner: &&Node<'_>| json::word(&inner["id"]).is_some_and(|id| id.trim_start_matches('#') == local);
            return json::each(&from["contained"]).take(MOST_CONTAINED).find(is_meant).map(Target::Contained);
        }
        if let Some(key) = self.by_url.get(address) {
            return Some(Target::Named(*key));
        }
        if let Some(uuid) = address.strip_prefix("urn:uuid:").or_else(|| address.strip_prefix("urn:oid:")) {
            return Some(Target::Named(Key { kind, id: uuid }));
        }
        if let Some(query) = memchr::memchr(b'?', address.as_bytes()).and_then(|mark| address.get(mark + 1..)) {
            let wanted = query.split('&').find_map(|part| part.strip_prefix("identifier="))?;
            let wanted = unescaped(wanted);
            let (system, value) = match &wanted {
                Cow::Borrowed(wanted) => {
                    let (system, value) = wanted.split_once('|').unwrap_or(("", wanted));
                    (Cow::Borrowed(system), Cow::Borrowed(value))
                }
                Cow::Owned(wanted) => {
                    let (system, value) = wanted.split_once('|').unwrap_or(("", wanted));
                    (Cow::Owned(system.to_owned()), Cow::Owned(value.to_owned()))
                }
            };
            return Some(self.identified(system, value, kind));
        }
        by_path(address).map(Target::Named)
    }

    fn identified(&self, system: Cow<'a, str>, value: Cow<'a, str>, kind: &'a str) -> Target<'a> {
        let wanted = (kind, system, value);
        match self.by_identifier.get(&wanted) {
            Some(key) => Target::Named(*key),
            None => Target::Identified { system: wanted.1, value: wanted.2 },
        }
    }
}

/// The rank that an Encounter gives to a diagnosis; the one it calls principal is the first.
pub(super) fn rank(diagnosis: &Node<'_>) -> Option<f64> {
    let principal = || has_code(&diagnosis["use"], &["principal", "PDX"]).then_some(1.0);
    json::number(&diagnosis["rank"]).filter(|rank| *rank >= 1.0).or_else(principal)
}

/// `Type/id` at the end of a relative or absolute address, without `/_history/n`, query and fragment.
pub(super) fn by_path(address: &str) -> Option<Key<'_>> {
    let end = memchr::memchr2(b'?', b'#', address.as_bytes()).unwrap_or(address.len());
    let path = address.get(..end)?.trim_end_matches('/');
    let (path, mut id) = at_last_slash(path)?;
    let (path, mut kind) = at_last_slash(path).unwrap_or(("", path));
    if kind == "_history" {
        let (path, versioned) = at_last_slash(path)?;
        (kind, id) = (path.rsplit('/').next()?, versioned);
    }
    let is_type = kind.as_bytes().first().is_some_and(u8::is_ascii_uppercase) && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_type && !id.is_empty()).then_some(Key { kind, id })
}

/// What stands before the last slash, and behind it.
fn at_last_slash(path: &str) -> Option<(&str, &str)> {
    let slash = memchr::memrchr(b'/', path.as_bytes())?;
    Some((path.get(..slash)?, path.get(slash + 1..)?))
}

/// What addresses most often escape in an identifier.
fn unescaped(query: &str) -> Cow<'_, str> {
    const ESCAPES: [(&str, &str); 6] = [("%7C", "|"), ("%7c", "|"), ("%3A", ":"), ("%3a", ":"), ("%2F", "/"), ("%2f", "/")];
    if !query.contains('%') {
        return Cow::Borrowed(query);
    }
    Cow::Owned(ESCAPES.into_iter().fold(query.to_owned(), |query, (escape, sign)| query.replace(escape, sign)))
}

/// System (may be empty) and value of an `Identifier`.
pub(super) fn identifier_of<'a>(identifier: &'a Node<'_>) -> Option<(&'a str, &'a str)> {
    Some((json::word(&identifier["system"]).unwrap_or_default(), json::word(&identifier["value"])?))
}
