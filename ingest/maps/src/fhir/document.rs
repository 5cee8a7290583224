//! DocumentReference: a note in an attachment.
//!
//! `superseded` is not a retraction: it says that a newer document stands beside this one, which was true and stays so. The encounter is
//! `context.encounter`, in R5 `context` itself, in STU3 a single reference.

use schemas::{EventCode, Fact, MappedNote, NoteKind, NoteStatus};

use super::coding::{document_type, has_code};
use super::draft::Draft;
use super::node::Node;
use super::reference::Target;
use super::resource::Resource;
use super::{attachment, json, shape};

/// Adds the note of a DocumentReference. Its `content` holds the same note in several forms; the plainest readable one is taken.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let Some(id) = resource.required_id(draft) else { return };
    let body = resource.body;
    shape::document(resource, draft);
    let status = status(body);
    let spot = |number| attachment::Spot { list: "content", number, rest: ".attachment" };
    let attachments: Vec<_> =
        json::each(&body["content"]).enumerate().map(|(number, content)| (spot(number), &content["attachment"])).collect();
    let text = match attachment::best(resource, &attachments) {
        Some(Ok(text)) => text,
        _ if status == NoteStatus::Retracted => String::new(),
        Some(Err((field, reason))) => return resource.reject(draft, &field, reason),
        None => return resource.reject(draft, "content", "the document has no content"),
    };
    let patient = resource.patient(draft);
    let context = json::first_of(body, &["context.encounter", "context"]).map(|(_, value)| value);
    let (kind, type_code) = document_type(&body["type"], NoteKind::Other);
    let authored_at = resource.first_instant(draft, &["date", "indexed", "created"]);
    let note = MappedNote {
        document: id.to_owned(),
        patient,
        encounter: context.and_then(|context| resource.visit(context)),
        kind,
        type_code,
        status,
        authored_at,
        signed_at: signed_at(resource),
        asserted_at: resource.asserted_at,
        text,
        replaces: related(resource, id, "replaces").or_else(|| related(resource, id, "transforms")),
    };
    adds_to(resource, &note, related(resource, id, "appends"), draft);
    draft.notes.push(note);
}

/// Says of an addendum what it adds to: that one stands as it stood, and so do predictions about it.
pub(super) fn adds_to(resource: &Resource<'_>, note: &MappedNote, parent: Option<String>, draft: &mut Draft) {
    let Some(parent) = parent.filter(|_| note.status != NoteStatus::Retracted) else { return };
    let fact = resource.fact(EventCode::NoteAddedTo, note.patient.as_ref(), note.encounter.as_deref());
    draft.facts.push(Fact { related: Some(parent), text_value: Some(note.document.clone()), ..fact });
}

/// When the first attester signed (R5, and Composition in every release).
pub(super) fn signed_at(resource: &Resource<'_>) -> Option<jiff::Timestamp> {
    json::each(&resource.body["attester"]).filter_map(|attester| resource.reader.instant(&attester["time"])).min()
}

/// The status of the document itself (`docStatus`, `Composition.status`, `DiagnosticReport.status`).
pub(super) fn status_of(code: Option<&str>) -> NoteStatus {
    match code {
        Some("entered-in-error" | "cancelled") => NoteStatus::Retracted,
        Some("amended" | "corrected" | "appended") => NoteStatus::Amended,
        Some("preliminary" | "registered" | "partial") => NoteStatus::Preliminary,
        _ => NoteStatus::Final,
    }
}

fn status(body: &Node<'_>) -> NoteStatus {
    if has_code(&body["status"], &["entered-in-error"]) {
        return NoteStatus::Retracted;
    }
    status_of(super::coding::code(&body["docStatus"]))
}

/// The document to which this one stands as `code` says; never itself.
fn related(resource: &Resource<'_>, id: &str, code: &str) -> Option<String> {
    let related = json::each(&resource.body["relatesTo"]).filter(|related| has_code(&related["code"], &[code]));
    related.filter_map(|related| named(resource, &related["target"])).find(|document| document != id)
}

/// The id at the other end of a reference to another document of the same type.
pub(super) fn named(resource: &Resource<'_>, reference: &Node<'_>) -> Option<String> {
    match resource.index.resolve(reference, resource.body, resource.kind)? {
        Target::Named(key) => (key.kind == resource.kind).then(|| key.id.to_owned()),
        Target::Identified { value, .. } => Some(value.into_owned()),
        Target::Contained(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    fn document(more: &str) -> String {
        told(&format!("{{'resourceType':'DocumentReference','id':'d','subject':{{'reference':'Patient/1'}},{more}}}"))
    }

    fn content(attachment: &str) -> String {
        document(&format!("'content':[{{'attachment':{attachment}}}]"))
    }

    #[test]
    fn a_discharge_summary_is_told_in_full() {
        let more = "'status':'current','docStatus':'amended','date':'2020-01-05T12:00:00-05:00','meta':{'lastUpdated':'2020-01-06T00:00:00Z'},
            'type':{'coding':[{'system':'urn:local','code':'9'},{'system':'http://loinc.org','code':'18842-5'}]},'context':{'encounter':[{'reference':'Encounter/E'}]},
            'relatesTo':[{'code':'appends','target':{'reference':'DocumentReference/a'}},{'code':'replaces','target':{'reference':'DocumentReference/b'}}],
            'content':[{'attachment':{'contentType':'application/pdf','data':'JVBERg=='}},{'attachment':{'contentType':'text/plain','data':'V2VudCBob21l\\nLg=='}}]";
        assert_eq!(
            document(more),
            "mapped DocumentReference d @2020-01-06T00:00:00Z\n\
             note.added_to - p=|1 e=E =d r=a\n\
             note d discharge LOINC/18842-5 amended p=|1 e=E at=2020-01-05T17:00:00Z signed=- \"Went home.\" replaces b"
        );
    }

    #[test]
    fn the_form_of_an_attachment_decides_how_it_is_read() {
        let text = |attachment: &str| content(attachment).split_once("signed=- ").map_or_else(String::new, |(_, text)| text.to_owned());
        assert_eq!(text("{'contentType':'text/html; charset=iso-8859-1','data':'PHA+RuhjZTwvcD5i'}"), "\"Fèce\\nb\"");
        assert_eq!(text("{'contentType':'application/xhtml+xml','data':'PGRpdj5hPGJyLz5iPC9kaXY+'}"), "\"a\\nb\"");
        assert_eq!(text("{'contentType':'text/rtf','data':'e1xydGYxIGFccGFyIGJ9'}"), "\"a\\nb\"");
        assert_eq!(text("{'contentType':'TXT','data':'YWI'}"), "\"ab\"");
        assert_eq!(text("{'contentType':'Progress Note','data':'YWI='}"), "\"ab\"");
        assert_eq!(text("{'data':'YWI='}"), "\"ab\"");
        assert_eq!(text("{'contentType':'text/plain','data':'6A=='}"), "\"è\"");
        assert_eq!(text("{'contentType':'text/plain; charset=UTF-8','data':'6A=='}"), "\"è\"");
        assert_eq!(text("{'contentType':'text/plain','data':'PGh0bWw+YTxicj5i'}"), "\"a\\nb\"");
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        let reject = |attachment: &str| content(attachment).lines().nth(1).unwrap_or_default().to_owned();
        let place = "! map DocumentReference.content[0].attachment";
        assert_eq!(reject("{'contentType':'application/pdf','data':'JVBERg=='}"), format!("{place}.contentType: attachment is not text"));
        assert_eq!(reject("{'contentType':'text/plain','data':'no base64!'}"), format!("{place}.data: attachment is not base64"));
        assert_eq!(reject("{'contentType':'text/plain','data':'IA=='}"), format!("{place}.data: attachment holds no text"));
        assert_eq!(
            reject("{'contentType':'text/plain','url':'http://x/Binary/1'}"),
            format!("{place}.url: attachment lies outside this record")
        );
        assert_eq!(reject("{'contentType':'text/plain'}"), format!("{place}.data: attachment has neither data nor address"));
        assert_eq!(document("'status':'current'").lines().nth(1), Some("! map DocumentReference.content: the document has no content"));
    }

    #[test]
    fn attachment_content_type_that_is_no_mime_type_and_data_that_is_not_valid_base64() {
        for kind in ["text", "txt", "plain", "Clinical Note", "C-CDA"] {
            assert!(content(&format!("{{'contentType':'{kind}','data':'YWI='}}")).ends_with("\"ab\""), "{kind}");
        }
        for data in ["YWI", "Y W\\nI=", "YWI====="] {
            assert!(content(&format!("{{'contentType':'text/plain','data':'{data}'}}")).ends_with("\"ab\""), "{data}");
        }
        assert!(content("{'contentType':'PDF','data':'JVBERg=='}").contains("contentType: attachment is not text"));
        assert!(content("{'contentType':'text/plain','data':'%%%'}").contains("data: attachment is not base64"));
    }

    #[test]
    fn a_zipped_attachment_is_unfolded() {
        let zipped = "H4sIAAAAAAACA0tMAgBtSIOeAgAAAA==";
        assert!(content(&format!("{{'contentType':'application/gzip','data':'{zipped}'}}")).ends_with("\"ab\""));
        assert!(content(&format!("{{'contentType':'text/plain','data':'{zipped}'}}")).ends_with("\"ab\""));
        assert!(content("{'contentType':'text/plain','data':'H4sIAAAAAAAC'}").contains("gzip stream is damaged"));
    }

    #[test]
    fn a_status_is_read_and_superseded_is_no_retraction() {
        let status = |statuses: &str| {
            let told = document(&format!("{statuses},'content':[{{'attachment':{{'contentType':'text/plain','data':'YWI='}}}}]"));
            told.split(' ').nth(6).unwrap_or_default().to_owned()
        };
        assert_eq!(status("'status':'entered-in-error'"), "retracted");
        assert_eq!(status("'status':'current','docStatus':'entered-in-error'"), "retracted");
        assert_eq!(status("'status':'superseded'"), "final");
        assert_eq!(status("'status':'current','docStatus':'preliminary'"), "preliminary");
        assert_eq!(status("'status':'current','docStatus':'corrected'"), "amended");
        assert!(document("'status':'entered-in-error'").contains("note d other - retracted p=|1 e=- at=- signed=- \"\""));
    }

    #[test]
    fn a_binary_of_the_same_bundle_is_read() {
        for (url, full_url) in [("Binary/b", "http://h/Binary/b"), ("urn:uuid:1", "urn:uuid:1"), ("http://h/Binary/b", "http://h/Binary/b")]
        {
            let told = told(&format!(
                "{{'resourceType':'Bundle','type':'document','entry':[
                   {{'resource':{{'resourceType':'DocumentReference','id':'d','status':'current','subject':{{'reference':'Patient/1'}},'content':[{{'attachment':{{'contentType':'text/plain','url':'{url}'}}}}]}}}},
                   {{'fullUrl':'{full_url}','resource':{{'resourceType':'Binary','id':'b','contentType':'text/plain','data':'YWI='}}}}]}}"
            ));
            assert!(told.ends_with("\"ab\""), "{told}");
        }
    }

    #[test]
    fn the_shapes_of_r5_and_stu3_are_read_under_their_names() {
        let attachment = "'content':[{'attachment':{'contentType':'text/plain','data':'YWI='}}]";
        let r5 = document(&format!(
            "{attachment},'status':'current','context':[{{'reference':'Encounter/E'}}],'attester':[{{'time':'2020-01-01T00:00:00Z'}}],
            'relatesTo':[{{'code':{{'coding':[{{'code':'replaces'}}]}},'target':{{'reference':'DocumentReference/b'}}}}]"
        ));
        assert!(r5.contains("e=E at=- signed=2020-01-01T00:00:00Z \"ab\" replaces b"), "{r5}");
        let stu3 = document(&format!(
            "{attachment},'status':'current','indexed':'2020-01-02','context':{{'encounter':{{'reference':'Encounter/E'}}}}"
        ));
        assert!(stu3.contains("e=E at=2020-01-02T05:00:00Z"), "{stu3}");
    }
}
