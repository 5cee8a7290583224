//! Reports in results.

use schemas::{NoteKind, NoteStatus, Outcome};

use super::{flags, one, refusals};
use crate::Mapped;

fn oru(rest: &str) -> Mapped {
    one(&format!("MSH|^~\\&|||||20200301||ORU^R01^ORU_R01|C1|P|2.5\rPID|1||4711^^^N^MR\rPV1|1|I|||||||||||||||||V1\r{rest}"))
}

/// Number, status and text of each report.
fn reports(mapped: &Mapped) -> Vec<(&str, NoteStatus, &str)> {
    mapped.notes.iter().map(|note| (note.document.as_str(), note.status, note.text.as_str())).collect()
}

#[test]
fn reports_are_prose_and_results_are_not() {
    let mapped = oru("OBR|1|P1|F1|GLU^Glucose\rOBX|1|NM|GLU||182|mg/dl\r\
        OBR|2|P2|F2|36643-5^Chest X-ray^LN|||20200301||||||||||||||||||F\r\
        OBX|1|TX|X||Heart normal.||||||F\rOBX|2|TX|\rOBX|3|TX|||wrong||||||D\rOBX|4|NM|||7\rOBX|5|TX|||No effusion.\r\
        OBR|3||F2|X|||20200301||||||||||||||||||P\rOBX|1|FT|||more\r\
        OBR|4|P4||X|||20200301||||||||||||||||||X\rOBX|1|FT|||never mind");
    assert_eq!(
        reports(&mapped),
        [
            ("F2", NoteStatus::Amended, "Heart normal.\n\nNo effusion."),
            ("F2#2", NoteStatus::Preliminary, "more"),
            ("P4", NoteStatus::Retracted, ""),
        ]
    );
    assert_eq!(mapped.notes.first().and_then(|note| note.type_code.as_deref()), Some("LOINC/36643-5"));
    assert!(mapped.notes.iter().all(|note| note.kind == NoteKind::Report && note.encounter.as_deref() == Some("V1")));
    let vitals = oru("OBR|1\rOBX|1|TX|A||Alert\rOBX|2|TX|B||Yes\rOBX|3||C||28|%\rOBX|4|NM|D||7");
    assert_eq!((vitals.outcome, vitals.notes.len()), (Outcome::Ignored, 0), "a panel of results is no report");
    let results = oru("OBR|1\rOBX|1|NM|||7");
    assert_eq!((results.outcome, results.facts.len()), (Outcome::Ignored, 0));
}

#[test]
fn every_observation_belongs_to_its_own_order() {
    let mapped = oru(
        "ORC|RE|P1|F1\rOBR|1|P1|F1|X\rOBX|1|FT|||one\rORC|RE|P2|F2\rOBR|2|P2|F2|X\rNTE|1||of the order\rOBX|1|FT|||two\rSPM|1\rOBX|1|FT|||the specimen",
    );
    assert_eq!(reports(&mapped), [("F1", NoteStatus::Final, "one"), ("F2", NoteStatus::Final, "of the order\ntwo")]);
    let specimen_first = oru("OBR|1||F1|X\rSPM|1\rOBX|1|FT|||one");
    assert_eq!(reports(&specimen_first), [("F1", NoteStatus::Final, "one")]);
}

#[test]
fn several_patients_in_one_message_keep_their_reports_apart() {
    let mapped = oru("OBR|1||F1|X\rOBX|1|FT|||one\rPID|2||8^^^N^MR\rOBR|1||F2|X\rOBX|1|FT|||two");
    let whose: Vec<_> =
        mapped.notes.iter().map(|note| (note.patient.as_ref().map(|patient| patient.value.as_str()), note.encounter.as_deref())).collect();
    assert_eq!(whose, [(Some("4711"), Some("V1")), (Some("8"), None)]);
}

#[test]
fn comments_on_a_text_are_part_of_it_and_comments_on_a_number_are_not() {
    let mapped = oru("OBR|1||F1|X\rOBX|1|FT|||one\rNTE|1||said of it~twice\rOBX|2|NM|A||7\rNTE|1||a number\rOBX|3|FT|||two");
    assert_eq!(reports(&mapped), [("F1", NoteStatus::Final, "one\nsaid of it\ntwice\ntwo")]);
    let prose = "The whole report stands in a comment, as some radiology systems send it, and it is long enough to be one.";
    assert_eq!(reports(&oru(&format!("OBR|1||F1|X\rNTE|1||{prose}"))), [("F1", NoteStatus::Final, prose)]);
    assert!(oru("OBR|1||F1|X\rNTE|1||hemolyzed").notes.is_empty());
}

#[test]
fn corrections_and_deletions_are_versions() {
    let status =
        |obr: &str, obx: &str| oru(&format!("OBR|1||F1|X||||||||||||||||||||||{obr}\r{obx}")).notes.first().map(|note| note.status);
    let line = |state: &str| format!("OBX|1|FT|||one||||||{state}");
    assert_eq!(status("25", &line("F")), Some(NoteStatus::Final));
    let status = |code: &str, obx: &str| {
        let obr = super::segment("OBR", &[(3, "F1"), (4, "X"), (25, code)]);
        oru(&[&obr, "\r", obx].concat()).notes.first().map(|note| (note.status, note.text.clone()))
    };
    let said = |status: NoteStatus| Some((status, "one".to_owned()));
    let gone = Some((NoteStatus::Retracted, String::new()));
    assert_eq!(status("F", &line("F")), said(NoteStatus::Final));
    assert_eq!(status("C", &line("C")), said(NoteStatus::Amended));
    assert_eq!(status("F", &line("C")), said(NoteStatus::Amended));
    for preliminary in ["P", "R", "I", "S", "O", "A"] {
        assert_eq!(status(preliminary, &line("P")), said(NoteStatus::Preliminary), "{preliminary}");
    }
    assert_eq!(status("X", &line("X")), gone);
    for state in ["D", "W"] {
        assert_eq!(status("F", &line(state)), gone, "{state}: every line was taken back");
        assert_eq!(status("F", &format!("OBX|1|FT|||\"\"||||||{state}")), gone, "{state}: without its text");
    }
}

#[test]
fn a_cancelled_image_is_retracted_and_a_cancelled_laboratory_is_nothing() {
    let cancelled = |section: &str| oru(&super::segment("OBR", &[(3, "F1"), (4, "X"), (24, section), (25, "X")]));
    assert_eq!(reports(&cancelled("RAD")), [("F1", NoteStatus::Retracted, "")]);
    assert!(cancelled("CH").notes.is_empty());
}

#[test]
fn a_report_without_a_number_is_named_by_its_message_and_one_without_an_order_is_said() {
    let mapped = oru("OBR|1|||X\rOBX|1|FT|||one");
    assert_eq!(reports(&mapped), [("C1@20200301050000", NoteStatus::Final, "one")]);
    assert_eq!(flags(&mapped), ["OBR[1]-3: the report has no number; named by its message"]);
    let lost = oru("OBX|1|FT|||one");
    assert_eq!((lost.outcome, refusals(&lost)), (Outcome::Rejected, vec!["OBX[1]-5: a text that belongs to no OBR".to_owned()]));
}

#[test]
fn a_pointer_is_said_to_be_elsewhere() {
    let mapped = oru("OBR|1||F1|X\rOBX|1|FT|||one\rOBX|2|RP|||http://x^^TEXT");
    assert_eq!((mapped.outcome, mapped.notes.len(), mapped.rejects.len()), (Outcome::Partly, 1, 1));
}

#[test]
fn a_report_that_calls_itself_a_document_is_one() {
    let kind = |code: &str| oru(&format!("OBR|1||F1|{code}\rOBX|1|FT|||one")).notes.first().map(|note| note.kind);
    assert_eq!(kind("18842-5^Discharge summary^LN"), Some(NoteKind::Discharge));
    assert_eq!(kind("X1^History and physical"), Some(NoteKind::Admission));
    assert_eq!(kind("HP^Helicobacter pylori"), Some(NoteKind::Report));
}

#[test]
fn short_lines_of_several_headings_are_a_report_where_prose_was_asked_for() {
    let lines = "\rOBX|1|TX|FIND||Lungs clear.||||||F\rOBX|2|TX|IMPR||Normal.||||||F";
    let told = |fields: &[(usize, &str)]| {
        oru(&[super::segment("OBR", fields), lines.to_owned()].concat()).notes.first().map(|note| note.text.clone())
    };
    let text = Some("Lungs clear.\nNormal.".to_owned());
    assert_eq!(told(&[(3, "F1"), (4, "71020^Chest"), (24, "RAD")]), text);
    assert_eq!(told(&[(3, "F1"), (4, "18842-5^Discharge summary^LN")]), text);
    assert_eq!(told(&[(3, "F1"), (4, "UA^Urinalysis"), (24, "CH")]), None);
}
