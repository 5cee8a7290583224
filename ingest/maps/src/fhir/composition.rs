//! Composition: a note in sections.

use schemas::{MappedNote, NoteKind, NoteStatus};

use super::coding::{document_type, has_code};
use super::document::{adds_to, named, signed_at, status_of};
use super::draft::Draft;
use super::json;
use super::node::Node;
use super::resource::Resource;
use crate::markup;

/// The document number of a Composition: its id may also be that of a DocumentReference, so the type goes with it.
pub(super) fn document(id: &str) -> String {
    format!("Composition/{id}")
}

/// Adds the note of a Composition: its sections in order, each under its title, else its own narrative.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let Some(id) = resource.required_id(draft) else { return };
    let body = resource.body;
    let status = status_of(super::coding::code(&body["status"]));
    let mut lines = Vec::new();
    sections(&body["section"], &mut lines);
    if lines.is_empty() {
        narrative(&body["text"], &mut lines);
    }
    if lines.is_empty() && status != NoteStatus::Retracted {
        return resource.reject(draft, "section", "the composition holds no text");
    }
    let (kind, type_code) = document_type(&body["type"], NoteKind::Other);
    let patient = resource.patient(draft);
    let authored_at = resource.instant(draft, "date");
    let other = |code: &str| related(resource, code).filter(|other| other != id).map(|other| document(&other));
    let note = MappedNote {
        document: document(id),
        patient,
        encounter: resource.visit(&body["encounter"]),
        kind,
        type_code,
        status,
        authored_at,
        signed_at: signed_at(resource),
        asserted_at: resource.asserted_at,
        text: lines.join("\n"),
        replaces: other("replaces"),
    };
    adds_to(resource, &note, other("appends"), draft);
    draft.notes.push(note);
}

/// Titles and texts, depth first. The depth is bounded by that of the JSON parser.
fn sections(section: &Node<'_>, lines: &mut Vec<String>) {
    for section in json::each(section) {
        let before = lines.len();
        narrative(&section["text"], lines);
        sections(&section["section"], lines);
        if lines.len() > before
            && let Some(title) = section["title"].as_str().map(markup::tidy).filter(|title| !title.is_empty())
        {
            lines.insert(before, title);
        }
    }
}

/// The plain text of a `Narrative`.
pub(super) fn narrative(text: &Node<'_>, lines: &mut Vec<String>) {
    let plain = text["div"].as_str().map(markup::html).unwrap_or_default();
    if !plain.is_empty() && !has_code(&text["status"], &["empty"]) {
        lines.push(plain);
    }
}

/// The composition to which this one stands as `code` says.
fn related(resource: &Resource<'_>, code: &str) -> Option<String> {
    let mut related = json::each(&resource.body["relatesTo"])
        .filter(|related| has_code(&related["code"], &[code]) || has_code(&related["type"], &[code]));
    related.find_map(|related| named(resource, json::first_of(related, &["targetReference", "resourceReference"])?.1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    #[test]
    fn sections_become_titled_lines() {
        let composition = "{'resourceType':'Composition','id':'d','status':'final','type':{'coding':[{'system':'http://loinc.org','code':'34117-2'}]},
            'subject':{'reference':'Patient/1'},'encounter':{'reference':'Encounter/E'},'date':'2020-01-01T12:00:00Z','attester':[{'mode':'legal','time':'2020-01-01T13:00:00Z'}],
            'relatesTo':[{'code':'replaces','targetReference':{'reference':'Composition/c'}}],
            'section':[{'title':'Plan','text':{'status':'generated','div':'<div><p>Rest</p><p>Fluids &amp; sleep</p></div>'},'section':[{'title':'Inner','text':{'div':'<div>x</div>'}}]},{'title':'Empty'}]}";
        assert_eq!(
            told(composition),
            "mapped Composition d\nnote Composition/d admission LOINC/34117-2 final p=|1 e=E at=2020-01-01T12:00:00Z signed=2020-01-01T13:00:00Z \
             \"Plan\\nRest\\nFluids & sleep\\nInner\\nx\" replaces Composition/c"
        );
    }

    #[test]
    fn the_narrative_stands_in_for_missing_sections() {
        let composition = |more: &str| {
            told(&format!("{{'resourceType':'Composition','id':'d','status':'preliminary','subject':{{'reference':'Patient/1'}}{more}}}"))
        };
        assert!(composition(",'text':{'div':'<div>All well</div>'}").contains("preliminary p=|1 e=- at=- signed=- \"All well\""));
        let added = composition(
            ",'text':{'div':'<div>All well</div>'},'relatesTo':[{'code':'appends','targetReference':{'reference':'Composition/c'}}]",
        );
        assert!(added.contains("note.added_to - p=|1 =Composition/d r=Composition/c") && !added.contains("replaces"), "{added}");
        assert_eq!(composition(""), "rejected Composition d\n! map Composition.section: the composition holds no text");
    }
}
