//! A Bundle of any type: its entries, each read with knowledge of the others, and the deletions among them.

use jiff::Timestamp;
use schemas::Stage;

use super::deletion::Deleted;
use super::draft::Draft;
use super::node::{Node, is_read};
use super::place::Place;
use super::reference::{Index, Key, by_path};
use super::resource::{Reader, Resource};
use super::version::{Newest, Version};
use super::{deletion, json};

const TYPES: [&str; 10] = [
    "document",
    "message",
    "transaction",
    "transaction-response",
    "batch",
    "batch-response",
    "history",
    "searchset",
    "collection",
    "subscription-notification",
];

/// What the Bundle says of itself.
pub(super) struct Header {
    pub(super) trigger: String,
    pub(super) control_id: Option<String>,
    pub(super) sent_at: Option<Timestamp>,
}

/// Adds what all entries of the Bundle say. One bad entry costs that entry.
pub(super) fn map<'a>(bundle: &'a Node<'a>, place: &Place<'_>, reader: &Reader<'_>, draft: &mut Draft) -> Header {
    let own_time = [&bundle["timestamp"], json::at(bundle, "meta.lastUpdated")].into_iter().find_map(|time| reader.instant(time));
    // An entry that holds nothing is ten times as large as it is written.
    let entries = json::each(&bundle["entry"]).enumerate();
    let entries = entries.filter(|(_, entry)| !entry["resource"].is_null() || !entry["request"].is_null());
    let entries: Vec<Entry<'_>> = entries.map(|(i, entry)| Entry::new(entry, i, own_time, reader)).collect();
    let (mut index, mut newest) = (Index::default(), Newest::default());
    for entry in &entries {
        if let Some(key) = entry.key {
            newest.add(key, entry.version, entry.number, bundle["type"] == "history");
            if !entry.is_deletion() {
                index.add(entry.full_url, key, entry.resource);
            }
        }
    }
    for entry in &entries {
        if let Some(key) = entry.key.filter(|key| key.kind == "Encounter") {
            index.link(key.id, entry.resource);
        }
    }
    draft.stated(own_time);
    let mut latest = None;
    for entry in &entries {
        if entry.key.is_some_and(|key| newest.has_newer(key, entry.version, entry.number)) {
            draft
                .flag(Place::Entry(place, entry.number).to_string(), "a newer version of the resource stands beside it: it is passed over");
            continue;
        }
        latest = latest.max(entry.map(place, &index, reader, draft));
    }
    let control_id = json::word(&bundle["id"]).or_else(|| json::word(json::at(bundle, "identifier.value")));
    let trigger = json::word(&bundle["type"]).filter(|kind| TYPES.contains(kind));
    let trigger = trigger.map_or_else(|| "Bundle".to_owned(), |kind| format!("Bundle/{kind}"));
    Header { trigger, control_id: control_id.map(str::to_owned), sent_at: own_time.or(latest) }
}

struct Entry<'a> {
    number: usize,
    body: &'a Node<'a>,
    resource: &'a Node<'a>,
    full_url: Option<&'a str>,
    /// Type and id of a resource that a map reads, or of what is deleted; `None` where it has none.
    key: Option<Key<'a>>,
    /// Its own time, else the Bundle's.
    version: Version,
    /// When the entry itself says that it was last updated.
    own_time: Option<Timestamp>,
}

impl<'a> Entry<'a> {
    fn new(body: &'a Node<'a>, number: usize, sent_at: Option<Timestamp>, reader: &Reader<'_>) -> Self {
        let (resource, full_url) = (&body["resource"], json::word(&body["fullUrl"]));
        let key = if is_deletion(body) {
            json::word(json::at(body, "request.url")).filter(|url| !url.contains('?')).or(full_url).and_then(by_path)
        } else {
            // Of what no map reads nothing is looked up.
            json::kind(resource).filter(|kind| is_read(kind)).and_then(|kind| Some(Key { kind, id: id_of(resource, body, full_url)? }))
        };
        let version = Version::of(resource, body, reader);
        Self { number, body, resource, full_url, key, version: version.or(sent_at), own_time: version.updated_at }
    }

    fn is_deletion(&self) -> bool {
        is_deletion(self.body)
    }

    /// Adds what the entry says, and tells when it was sent.
    fn map(&self, bundle: &Place<'_>, index: &'a Index<'a>, reader: &'a Reader<'a>, draft: &mut Draft) -> Option<Timestamp> {
        let entry = Place::Entry(bundle, self.number);
        let method = json::word(json::at(self.body, "request.method")).unwrap_or_default();
        if self.is_deletion() {
            let deleted = Deleted { at: self.version.updated_at, asserted_at: self.version.asserted_at() };
            draft.stated(deleted.at);
            self.delete(&entry, deleted, index, draft);
            return deleted.at;
        }
        let place = Place::Resource(&entry);
        let Some(kind) = json::kind(self.resource) else {
            // A null entry is one that `parse` has spoken about already; requests and responses may have no resource.
            if !self.resource.is_null() {
                draft.reject(Stage::Map, place.to_string(), "this is no FHIR resource");
            } else if matches!(method, "PUT" | "POST") {
                draft.reject(Stage::Map, place.to_string(), "the resource is missing");
            }
            return None;
        };
        if kind == "Bundle" {
            return map(self.resource, &place, reader, draft).sent_at;
        }
        let id = self.key.map(|key| key.id);
        Resource::new((self.resource, kind, id, place), self.version, reader, index).map(draft);
        self.own_time
    }

    /// What is deleted is named by its address, or by an identifier that only this record has.
    fn delete(&self, place: &Place<'_>, deleted: Deleted, index: &Index<'_>, draft: &mut Draft) {
        let conditional = || {
            let url = json::word(json::at(self.body, "request.url"))?;
            let (kind, _) = url.split_once('?')?;
            index.by_query(url, kind.rsplit('/').next().unwrap_or_default())
        };
        match self.key.or_else(conditional) {
            Some(key) => deletion::map(key.kind, key.id, &place.field("request.url"), deleted, draft),
            None => draft.reject(Stage::Map, place.field("request.url"), "it does not say which resource was deleted"),
        }
    }
}

fn is_deletion(entry: &Node<'_>) -> bool {
    *json::at(entry, "request.method") == "DELETE"
}

/// The resource's id, else what a PUT's address, a `urn:uuid` or a server's `fullUrl` says it is.
fn id_of<'a>(resource: &'a Node<'a>, entry: &'a Node<'a>, full_url: Option<&'a str>) -> Option<&'a str> {
    if let Some(id) = json::word(&resource["id"]) {
        return Some(id);
    }
    if entry["request"]["method"] == "PUT"
        && let Some(key) = json::word(json::at(entry, "request.url")).and_then(by_path)
    {
        return Some(key.id);
    }
    let url = full_url?;
    url.strip_prefix("urn:uuid:").or_else(|| by_path(url).map(|key| key.id))
}
