//! A Bundle of any type: its entries, each read with knowledge of the others, and the deletions among them.

use jiff::Timestamp;
use schemas::{EventCode, MappedNote, NoteKind, NoteStatus, Stage};
use serde_json::Value;

use super::draft::Draft;
use super::reference::{Index, Key, by_path};
use super::resource::{Reader, Resource};
use super::{composition, json, report};

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
pub(super) fn map(bundle: &Value, place: &str, reader: &Reader, draft: &mut Draft) -> Header {
    let own_time = [&bundle["timestamp"], json::at(bundle, "meta.lastUpdated")].into_iter().find_map(|time| reader.instant(time));
    let entries: Vec<Entry<'_>> = json::each(&bundle["entry"]).enumerate().map(|(i, entry)| Entry::new(entry, i)).collect();
    let mut index = Index::default();
    for entry in &entries {
        if let Some(key) = &entry.key {
            index.add(entry.full_url, key, entry.resource);
        }
    }
    for entry in &entries {
        if let Some(key) = entry.key.as_ref().filter(|key| key.kind == "Encounter") {
            index.link(&key.id, entry.resource);
        }
    }
    draft.stated(own_time);
    let mut latest = None;
    for entry in &entries {
        latest = latest.max(entry.map(place, own_time, &index, reader, draft));
    }
    let control_id = json::word(&bundle["id"]).or_else(|| json::word(json::at(bundle, "identifier.value")));
    let trigger = json::word(&bundle["type"]).filter(|kind| TYPES.contains(kind));
    let trigger = trigger.map_or_else(|| "Bundle".to_owned(), |kind| format!("Bundle/{kind}"));
    Header { trigger, control_id: control_id.map(str::to_owned), sent_at: own_time.or(latest) }
}

struct Entry<'a> {
    number: usize,
    body: &'a Value,
    resource: &'a Value,
    full_url: Option<&'a str>,
    /// Type and id of the resource; `None` where it has none.
    key: Option<Key>,
}

impl<'a> Entry<'a> {
    fn new(body: &'a Value, number: usize) -> Self {
        let (resource, full_url) = (&body["resource"], json::word(&body["fullUrl"]));
        let kind = json::kind(resource);
        let key = kind.and_then(|kind| Some(Key { kind: kind.to_owned(), id: id_of(resource, body, full_url)? }));
        Self { number, body, resource, full_url, key }
    }

    /// Adds what the entry says, and tells when it was sent.
    fn map(&self, bundle: &str, sent_at: Option<Timestamp>, index: &Index<'_>, reader: &Reader, draft: &mut Draft) -> Option<Timestamp> {
        let place = format!("{bundle}.entry[{}]", self.number);
        let method = json::word(json::at(self.body, "request.method")).unwrap_or_default();
        if method == "DELETE" {
            let deleted_at = reader.instant(json::at(self.body, "response.lastModified")).or(sent_at);
            draft.stated(deleted_at);
            delete(self.body, &place, deleted_at, draft);
            return deleted_at;
        }
        let Some(kind) = json::kind(self.resource) else {
            // A null entry is one that `parse` has spoken about already; requests and responses may have no resource.
            if !self.resource.is_null() {
                draft.reject(Stage::Map, format!("{place}.resource"), "this is no FHIR resource");
            } else if matches!(method, "PUT" | "POST") {
                draft.reject(Stage::Map, format!("{place}.resource"), "the resource is missing");
            }
            return None;
        };
        let place = format!("{place}.resource");
        if kind == "Bundle" {
            return map(self.resource, &place, reader, draft).sent_at;
        }
        let own_times = [json::at(self.resource, "meta.lastUpdated"), json::at(self.body, "response.lastModified")];
        let asserted_at = own_times.into_iter().find_map(|time| reader.instant(time));
        let id = self.key.as_ref().map(|key| key.id.clone());
        Resource { body: self.resource, kind, id, place, asserted_at: asserted_at.or(sent_at), reader, index }.map(draft);
        asserted_at
    }
}

/// The resource's id, else what a PUT's address, a `urn:uuid` or a server's `fullUrl` says it is.
fn id_of(resource: &Value, entry: &Value, full_url: Option<&str>) -> Option<String> {
    if let Some(id) = json::word(&resource["id"]) {
        return Some(id.to_owned());
    }
    if entry["request"]["method"] == "PUT"
        && let Some(key) = json::word(json::at(entry, "request.url")).and_then(by_path)
    {
        return Some(key.id);
    }
    let url = full_url?;
    url.strip_prefix("urn:uuid:").map(str::to_owned).or_else(|| by_path(url).map(|key| key.id))
}

/// A deleted stay was never admitted, a deleted document never meant, a deleted claim never made.
fn delete(entry: &Value, place: &str, deleted_at: Option<Timestamp>, draft: &mut Draft) {
    let position = || format!("{place}.request.url");
    let url = json::word(json::at(entry, "request.url")).filter(|url| !url.contains('?'));
    let Some(key) = url.and_then(by_path) else {
        draft.reject(Stage::Map, position(), "it does not say which resource was deleted");
        return;
    };
    let fact = |code, visit, claim, text: Option<&str>| schemas::Fact {
        code,
        time: deleted_at,
        asserted_at: deleted_at,
        patient: None,
        encounter: visit,
        numeric_value: None,
        text_value: text.map(str::to_owned),
        related: claim,
    };
    match key.kind.as_str() {
        "Encounter" => draft.facts.push(fact(EventCode::EncounterAdmissionCancelled, Some(key.id), None, None)),
        "Claim" => draft.facts.push(fact(EventCode::ClaimDecided, None, Some(key.id), Some("cancelled"))),
        "DocumentReference" => draft.notes.push(retraction(key.id, deleted_at)),
        "Composition" => draft.notes.push(retraction(composition::document(&key.id), deleted_at)),
        "DiagnosticReport" => draft.notes.push(retraction(report::document(&key.id), deleted_at)),
        "Condition" => draft.reject(Stage::Map, position(), "a deleted condition does not say which diagnosis it takes back"),
        "Patient" | "ClaimResponse" | "ExplanationOfBenefit" => {
            draft.reject(Stage::Map, position(), "what a deletion of this type takes back is not known");
        }
        _ => {}
    }
}

fn retraction(document: String, deleted_at: Option<Timestamp>) -> MappedNote {
    MappedNote {
        document,
        patient: None,
        encounter: None,
        kind: NoteKind::Other,
        type_code: None,
        status: NoteStatus::Retracted,
        authored_at: None,
        signed_at: None,
        asserted_at: deleted_at,
        text: String::new(),
        replaces: None,
    }
}
