//! Documents: one golden for each trigger of MDM.

use schemas::{NoteKind, NoteStatus, Outcome};

use super::{PERSON, flags, mdm, note_of, one, refusals, segment, told_of, txa_of};

const TEXT: &str = "OBX|1|TX|||Line one~two\rOBX|2|TX\rOBX|3|FT|||a\\.br\\b";

#[test]
fn a_document_is_told_from_draft_to_cancellation() {
    let text = || "Line one\ntwo\n\na\nb".to_owned();
    let none = String::new;
    let doc = |document: &str| document.to_owned();
    use NoteKind::{Discharge, Other};
    use NoteStatus::{Amended, Final, Preliminary, Retracted};
    assert_eq!(note_of(&mdm("T01", ["D1", "", "AU", "CA"], "")), (doc("D1"), Discharge, Retracted, none(), None));
    assert_eq!(note_of(&mdm("T02", ["D1", "", "AU", "AV"], TEXT)), (doc("D1"), Discharge, Final, text(), None));
    assert_eq!(note_of(&mdm("T02", ["^^D1", "", "IP", ""], TEXT)), (doc("D1"), Discharge, Preliminary, text(), None));
    assert_eq!(note_of(&mdm("T03", ["D1", "", "LA", "CA"], "")), (doc("D1"), Discharge, Retracted, none(), None));
    assert_eq!(note_of(&mdm("T04", ["D1", "", "AU", ""], TEXT)), (doc("D1"), Discharge, Final, text(), None));
    assert_eq!(note_of(&mdm("T06", ["D2", "D1", "AU", ""], TEXT)), (doc("D2"), Other, Amended, text(), None));
    assert_eq!(note_of(&mdm("T06", ["D1", "D1", "AU", ""], TEXT)), (doc("D1/addendum/C9"), Other, Amended, text(), None));
    assert_eq!(note_of(&mdm("T08", ["D1", "", "AU", ""], TEXT)), (doc("D1"), Discharge, Amended, text(), None));
    assert_eq!(note_of(&mdm("T08", ["D1", "", "IP", ""], TEXT)), (doc("D1"), Discharge, Preliminary, text(), None));
    assert_eq!(note_of(&mdm("T08", ["D2", "D1", "AU", ""], TEXT)), (doc("D2"), Discharge, Amended, text(), Some(doc("D1"))));
    assert_eq!(note_of(&mdm("T09", ["D3", "D1", "AU", ""], "")), (doc("D1"), Discharge, Retracted, none(), None));
    assert_eq!(note_of(&mdm("T10", ["D3", "D1", "AU", ""], TEXT)), (doc("D3"), Discharge, Final, text(), Some(doc("D1"))));
    assert_eq!(note_of(&mdm("T10", ["D1", "D1", "AU", ""], TEXT)), (doc("D1"), Discharge, Amended, text(), None));
    assert_eq!(note_of(&mdm("T11", ["D1", "", "", ""], TEXT)), (doc("D1"), Discharge, Retracted, none(), None));
    assert_eq!(refusals(&mdm("T02", ["D1", "", "AU", ""], "OBX|1|TX")), ["OBX[1]-5: the document has no text"]);
}

#[test]
fn a_chain_of_replacements_names_each_link() {
    let replaced = |number: &str, parent: &str| note_of(&mdm("T10", [number, parent, "AU", ""], TEXT)).4;
    assert_eq!([replaced("D2", "D1"), replaced("D3", "D2")], [Some("D1".to_owned()), Some("D2".to_owned())]);
}

#[test]
fn a_status_without_a_text_is_said_and_erases_nothing() {
    let status = |trigger: &str, completion: &str| {
        let mapped = mdm(trigger, ["D1", "", completion, "AV"], "");
        assert_eq!((mapped.notes.len(), mapped.rejects.len()), (0, 0), "{trigger}");
        told_of(&mapped, "note.")
    };
    assert_eq!(status("T03", "AU"), ["note.status_stated 2020-03-01T14:00Z N:4711 V1 - final D1"]);
    assert_eq!(status("T03", "IP"), ["note.status_stated 2020-03-01T14:00Z N:4711 V1 - preliminary D1"]);
    assert_eq!(status("T04", "LA"), ["note.status_stated 2020-03-01T14:00Z N:4711 V1 - final D1"]);
    assert_eq!(status("T07", "AU"), ["note.status_stated 2020-03-01T14:00Z N:4711 V1 - amended D1"]);
    assert_eq!(status("T09", "AU"), ["note.status_stated 2020-03-01T14:00Z N:4711 V1 - amended D1"]);
    for trigger in ["T01", "T05"] {
        assert!(status(trigger, "AU").is_empty(), "{trigger}: nothing is known of it yet");
    }
}

#[test]
fn an_addendum_belongs_to_its_parent() {
    let added = |number: &str, parent: &str| told_of(&mdm("T06", [number, parent, "AU", ""], TEXT), "note.added_to");
    assert_eq!(added("D2", "D1"), ["note.added_to - N:4711 V1 - D2 D1"]);
    assert_eq!(added("D1", "D1"), ["note.added_to - N:4711 V1 - D1/addendum/C9 D1"]);
    assert_eq!(added("D1", ""), ["note.added_to - N:4711 V1 - D1/addendum/C9 D1"]);
}

#[test]
fn what_is_not_available_is_retracted() {
    for availability in ["CA", "OB", "UN"] {
        let mapped = mdm("T02", ["D1", "", "AU", availability], TEXT);
        assert_eq!((note_of(&mapped).2, note_of(&mapped).3.len()), (NoteStatus::Retracted, 0), "{availability}");
    }
    assert_eq!(note_of(&mdm("T02", ["D1", "", "AU", "RE"], TEXT)).2, NoteStatus::Final, "restricted is there");
}

#[test]
fn completion_tells_a_draft_from_what_is_signed() {
    let status = |completion: &str| note_of(&mdm("T02", ["D1", "", completion, ""], TEXT)).2;
    for draft in ["DI", "DO", "IN", "IP", "PA", "Preliminary"] {
        assert_eq!(status(draft), NoteStatus::Preliminary, "{draft}");
    }
    for signed in ["AU", "LA", ""] {
        assert_eq!(status(signed), NoteStatus::Final, "{signed}");
    }
}

#[test]
fn several_documents_in_one_message_each_have_their_own_text() {
    let header = format!("MSH|^~\\&|||||20200301093100||MDM^T02^MDM_T02|C9|P|2.5\r{PERSON}\rPV1|1||||||||||||||||||V1");
    let (first, second) = (txa_of(["D1", "", "AU", ""]), txa_of(["D2", "", "IP", ""]));
    let mapped =
        one(&[&header, &first, "OBX|1|TX|||one", "NTE|1||seen", &second, "OBX|1|TX|||two", &txa_of(["", "", "", ""]), "OBX|1|TX|||three"]
            .join("\r"));
    let notes: Vec<_> = mapped.notes.iter().map(|note| (note.document.as_str(), note.status, note.text.as_str())).collect();
    let unnumbered = ("C9@20200301143100#3", NoteStatus::Final, "three");
    assert_eq!(notes, [("D1", NoteStatus::Final, "one\nseen"), ("D2", NoteStatus::Preliminary, "two"), unnumbered]);
}

#[test]
fn a_document_without_a_number_is_named_by_its_file_or_its_message() {
    let named = |file: &str| {
        let txa = segment("TXA", &[(2, "DS"), (16, file), (17, "AU")]);
        let mapped = one(&format!("MSH|^~\\&|||||20200301093100||MDM^T02^MDM_T02|C9|P|2.5\r{PERSON}\r{txa}\rOBX|1|TX|||x"));
        assert_eq!(flags(&mapped), ["TXA[1]-12: the document has no number; named by its file or by its message"]);
        mapped.notes.first().map(|note| note.document.clone()).unwrap_or_default()
    };
    assert_eq!(named("F7"), "F7");
    assert_eq!(named(""), "C9@20200301143100", "MSH-10 is used again another day");
}

#[test]
fn a_text_before_its_txa_is_the_documents() {
    let message = format!("MSH|^~\\&|||||20200301||MDM^T02^MDM_T02|C9|P|2.5\r{PERSON}\rOBX|1|TX|||early\r{}", txa_of(["D1", "", "AU", ""]));
    let mapped = one(&message);
    assert_eq!(mapped.notes.first().map(|note| note.text.as_str()), Some("early"));
    assert_eq!(flags(&mapped), ["OBX[1]: the text stands before its TXA"]);
}

#[test]
fn times_of_a_document() {
    let mapped = mdm("T02", ["D1", "", "AU", ""], "OBX|1|TX|||x");
    let note = mapped.notes.first().expect("one note");
    let times = [note.authored_at, note.signed_at, note.asserted_at].map(|at| at.map(|at| at.to_string()));
    let expected = ["2020-03-01T13:00:00Z", "2020-03-01T14:00:00Z", "2020-03-01T05:00:00Z"];
    assert_eq!(times, expected.map(|at| Some(at.to_owned())));
}

#[test]
fn embedded_documents_are_read_if_they_are_text() {
    let text = |obx: &str| mdm("T02", ["D1", "", "AU", ""], obx).notes.first().map(|note| note.text.clone());
    assert_eq!(text("OBX|1|ED|||^TEXT^^Base64^SGVsbG8=").as_deref(), Some("Hello"));
    assert_eq!(text("OBX|1|ED|||^TEXT^^Base64^SGVsbG8").as_deref(), Some("Hello"), "padding left out");
    assert_eq!(text("OBX|1|ED|||^TEXT^HTML^Base64^PGh0bWw+PHA+SGk8L3A+PC9odG1sPg==").as_deref().map(str::trim), Some("Hi"));
    assert_eq!(text("OBX|1|FT|||{\\E\\rtf1 Hi\\E\\par there}").as_deref(), Some("Hi\nthere"));
    let refused = |obx: &str| refusals(&mdm("T02", ["D1", "", "AU", ""], obx));
    assert!(refused("OBX|1|ED|||^AP^PDF^Base64^JVBERi0xLjQ=").contains(&"OBX[1]-5: a PDF holds no text to read".to_owned()));
    assert!(refused("OBX|1|ED|||^AP^PDF^Base64^!").contains(&"OBX[1]-5: attachment is not valid base64".to_owned()));
}

#[test]
fn a_document_of_nobody_or_without_txa_is_said() {
    let no_txa = one(&format!("MSH|^~\\&|||||20200301||MDM^T02^MDM_T02|C9|P|2.5\r{PERSON}\rOBX|1|TX|||x"));
    assert_eq!((no_txa.outcome, refusals(&no_txa)), (Outcome::Rejected, vec!["TXA: the message has no TXA".to_owned()]));
    let unknown = one(&format!("MSH|^~\\&|||||20200301||MDM^T44^MDM_T44|C9|P|2.5\r{PERSON}"));
    assert_eq!((unknown.outcome, flags(&unknown).len()), (Outcome::Ignored, 1));
}

#[test]
fn the_kind_is_told_by_type_or_by_what_the_observations_call_themselves() {
    let kind = |txa_2: &str, obx_3: &str| {
        let txa = segment("TXA", &[(2, txa_2), (12, "D1"), (17, "AU")]);
        let mapped = one(&format!("MSH|^~\\&|||||20200301||MDM^T02^MDM_T02|C9|P|2.5\r{PERSON}\r{txa}\rOBX|1|TX|{obx_3}||x"));
        mapped.notes.first().map(|note| note.kind)
    };
    assert_eq!(kind("DS", ""), Some(NoteKind::Discharge));
    assert_eq!(kind("34117-2^x^LN", ""), Some(NoteKind::Admission));
    assert_eq!(kind("D7^Hospital Discharge Summary", ""), Some(NoteKind::Discharge));
    assert_eq!(kind("CN", "18842-5^x^LN"), Some(NoteKind::Discharge));
    assert_eq!(kind("CN", "HP"), Some(NoteKind::Other), "a code of observations is no code of documents");
}
