//! DiagnosticReport: radiology, pathology, and notes sent as reports.

use schemas::{MappedNote, NoteKind, NoteStatus};

use super::coding::document_type;
use super::document::status_of;
use super::draft::Draft;
use super::resource::Resource;
use super::{attachment, composition, json};
use crate::markup;

/// The document number of a report: its id may also be that of a DocumentReference, so the type goes with it.
pub(super) fn document(id: &str) -> String {
    format!("DiagnosticReport/{id}")
}

/// Adds the text of a report: its presented form, else its conclusion, else its narrative. A report without any (laboratory values) is no note.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let Some(id) = resource.required_id(draft) else { return };
    let body = resource.body;
    let status = status_of(super::coding::code(&body["status"]));
    let Some(text) = text(resource, draft).or_else(|| (status == NoteStatus::Retracted).then(String::new)) else { return };
    let (kind, type_code) = document_type(&body["code"], NoteKind::Report);
    let patient = resource.patient(draft);
    let authored_at = resource.first_instant(draft, &["issued", "effectiveDateTime", "effectivePeriod.end", "effectivePeriod.start"]);
    draft.notes.push(MappedNote {
        document: document(id),
        patient,
        encounter: json::first_of(body, &["encounter", "context"]).and_then(|(_, reference)| resource.visit(reference)),
        kind,
        type_code,
        status,
        authored_at,
        signed_at: None,
        asserted_at: resource.asserted_at,
        text,
        replaces: None,
    });
}

fn text(resource: &Resource<'_>, draft: &mut Draft) -> Option<String> {
    let body = resource.body;
    let spot = |number| attachment::Spot { list: "presentedForm", number, rest: "" };
    let forms: Vec<_> = json::each(&body["presentedForm"]).enumerate().map(|(number, form)| (spot(number), form)).collect();
    match attachment::best(resource, &forms) {
        Some(Ok(text)) => return Some(text),
        Some(Err((field, reason))) => resource.reject(draft, &field, reason),
        None => {}
    }
    let conclusion = body["conclusion"].as_str().map(markup::tidy).filter(|text| !text.is_empty());
    conclusion.or_else(|| {
        let mut lines = Vec::new();
        composition::narrative(&body["text"], &mut lines);
        lines.pop()
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    fn report(more: &str) -> String {
        told(&format!(
            "{{'resourceType':'DiagnosticReport','id':'r','status':'final','code':{{'coding':[{{'system':'http://loinc.org','code':'36643-5'}}]}},
               'subject':{{'reference':'Patient/1'}},'encounter':{{'reference':'Encounter/E'}},'issued':'2020-01-01T12:00:00Z'{more}}}"
        ))
    }

    #[test]
    fn the_presented_form_comes_before_the_conclusion_and_the_narrative() {
        let form = ",'presentedForm':[{'contentType':'text/plain','data':'Q2xlYXI='}]";
        let rest = ",'conclusion':'No fracture','text':{'div':'<div>Rendered</div>'}";
        let note = |text: &str| {
            format!(
                "mapped DiagnosticReport r\nnote DiagnosticReport/r report LOINC/36643-5 final p=|1 e=E at=2020-01-01T12:00:00Z signed=- \"{text}\""
            )
        };
        assert_eq!(report(&format!("{form}{rest}")), note("Clear"));
        assert_eq!(report(rest), note("No fracture"));
        assert_eq!(report(",'text':{'div':'<div>Rendered</div>'}"), note("Rendered"));
    }

    #[test]
    fn values_alone_are_no_note_and_an_image_is_said() {
        assert_eq!(report(",'result':[{'reference':'Observation/1'}]"), "ignored DiagnosticReport r");
        let told = report(",'presentedForm':[{'contentType':'application/pdf','data':'JVBERg=='}],'conclusion':'Clear'");
        assert!(
            told.starts_with("partly")
                && told.contains("presentedForm[0].contentType: attachment is not text")
                && told.ends_with("\"Clear\""),
            "{told}"
        );
    }
}
