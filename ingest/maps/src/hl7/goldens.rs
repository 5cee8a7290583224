//! One small message for each trigger, and what it must say.

use schemas::{EventCode, Facility, NoteKind, NoteStatus, Outcome};

use crate::{Mapped, map_record};

/// The only part of a record, read as of a facility in New York.
fn one(message: &str) -> Mapped {
    of_bytes(message.as_bytes())
}

fn of_bytes(message: &[u8]) -> Mapped {
    let facility = Facility { zone: "America/New_York".to_owned(), ..Facility::new("north") };
    let mut parts = map_record(message, &facility);
    assert_eq!(parts.len(), 1);
    parts.pop().expect("one part")
}

/// A fact a line: `code time patient stay number text related`, what is absent as `-`, zero seconds left out.
fn told(mapped: &Mapped) -> Vec<String> {
    let fact = |fact: &schemas::Fact| {
        let time = fact.time.map(|time| time.to_string().replace(":00Z", "Z"));
        let patient = fact.patient.as_ref().map(|patient| format!("{}:{}", patient.system, patient.value));
        let number = fact.numeric_value.map(|number| number.to_string());
        let rest = [time, patient, fact.encounter.clone(), number, fact.text_value.clone(), fact.related.clone()];
        [Some(fact.code.as_str().to_owned())].into_iter().chain(rest).map(|part| part.unwrap_or("-".into())).collect::<Vec<_>>().join(" ")
    };
    mapped.facts.iter().map(fact).collect()
}

fn refusals(mapped: &Mapped) -> Vec<String> {
    mapped.rejects.iter().map(|reject| format!("{}: {}", reject.position, reject.reason)).collect()
}

const PERSON: &str = "PID|1||4711^^^N^MR||DOE^JANE||19610615|F||2106-3^White";

fn adt(trigger: &str, pv1: &str) -> Mapped {
    let event = format!("EVN|{trigger}|202003010930|||||");
    one(&["MSH|^~\\&|A|B|C|D|20200301093100||ADT^", trigger, "|1|P|2.5\r", &event, "\r", PERSON, "\r", pv1].concat())
}

/// What an ADT says after the four facts about the person.
fn of_stay(mapped: &Mapped) -> Vec<String> {
    let told = told(mapped);
    let person = [
        "patient.identified - N:4711 - - - -",
        "patient.birth_date - N:4711 - - 1961-06-15 -",
        "patient.sex - N:4711 - - female -",
        "patient.race - N:4711 - - 2106-3 -",
    ];
    assert_eq!(told.get(..4).expect("four facts"), person);
    told.get(4..).expect("the rest").to_vec()
}

/// A segment with these fields.
fn segment(name: &str, fields: &[(usize, &str)]) -> String {
    let mut all = vec![name];
    for (place, field) in fields {
        all.resize(all.len().max(place + 1), "");
        all[*place] = field;
    }
    all.join("|")
}

/// PV1 of visit V1 with these fields.
fn pv1(class: &str, admitted: &str, discharged: &str, disposition: &str) -> String {
    let stay = [(36, disposition), (44, admitted), (45, discharged)];
    segment("PV1", &[[(2, class), (3, "WARD^1^2"), (10, "MED"), (19, "V1^^^N")].as_slice(), &stay].concat())
}

#[test]
fn a_stay_is_told_from_admission_to_discharge() {
    let class = ["encounter.class - N:4711 V1 - I -", "encounter.department - N:4711 V1 - MED -"];
    let stay = |trigger: &str, pv1: &str, expected: &[&str]| {
        let mapped = adt(trigger, pv1);
        assert_eq!(mapped.outcome, Outcome::Mapped, "{trigger}: {:?}", refusals(&mapped));
        assert_eq!(mapped.trigger.as_deref(), Some(format!("ADT^{trigger}").as_str()));
        assert_eq!(mapped.sent_at.map(|at| at.to_string()).as_deref(), Some("2020-03-01T14:31:00Z"));
        let asserted_at = mapped.facts.iter().map(|fact| fact.asserted_at.map(|at| at.to_string()));
        assert!(asserted_at.into_iter().all(|at| at.as_deref() == Some("2020-03-01T14:30:00Z")));
        assert_eq!(of_stay(&mapped), [expected, class.as_slice()].concat(), "{trigger}");
    };
    let open = pv1("I", "202003010915", "", "");
    let closed = pv1("I", "202003010915", "202003051200", "01");
    stay("A01", &open, &["encounter.admitted 2020-03-01T14:15Z N:4711 V1 - - -"]);
    stay("A01", &pv1("I", "", "", ""), &["encounter.admitted 2020-03-01T14:30Z N:4711 V1 - - -"]);
    stay("A02", &open, &["encounter.transferred 2020-03-01T14:30Z N:4711 V1 - MED -"]);
    stay("A03", &closed, &["encounter.discharged 2020-03-05T17:00Z N:4711 V1 - 01 -"]);
    stay("A04", &open, &["encounter.registered 2020-03-01T14:15Z N:4711 V1 - - -"]);
    stay("A05", &open, &["encounter.preadmitted 2020-03-01T14:15Z N:4711 V1 - - -"]);
    stay("A06", &open, &["encounter.admitted 2020-03-01T14:15Z N:4711 V1 - - -"]);
    stay("A07", &open, &[]);
    let both = ["encounter.admitted 2020-03-01T14:15Z N:4711 V1 - - -", "encounter.discharged 2020-03-05T17:00Z N:4711 V1 - 01 -"];
    stay("A08", &closed, &both);
    stay("A08", &pv1("I", "", "\"\"", ""), &["encounter.discharge_cancelled 2020-03-01T14:30Z N:4711 V1 - - -"]);
    stay("A11", &open, &["encounter.admission_cancelled 2020-03-01T14:30Z N:4711 V1 - - -"]);
    stay("A12", &open, &["encounter.transfer_cancelled 2020-03-01T14:30Z N:4711 V1 - - -"]);
    stay("A13", &open, &["encounter.discharge_cancelled 2020-03-01T14:30Z N:4711 V1 - - -"]);
    stay("A28", &open, &[]);
    stay("A31", &open, &[]);
}

#[test]
fn a_planned_admission_carries_its_time_but_states_none() {
    let pv2 = segment("PV2", &[(8, "20200401")]);
    let mapped = adt("A05", &[&pv1("I", "", "", ""), "\r", &pv2].concat());
    assert_eq!(of_stay(&mapped).first().map(String::as_str), Some("encounter.preadmitted 2020-04-01T04:00Z N:4711 V1 - - -"));
    assert_eq!(mapped.stated_at.map(|at| at.to_string()).as_deref(), Some("2020-03-01T14:31:00Z"));
}

#[test]
fn an_outpatient_is_not_admitted_by_an_update() {
    assert_eq!(
        of_stay(&adt("A08", &pv1("O", "202003010915", "", ""))),
        ["encounter.class - N:4711 V1 - O -", "encounter.department - N:4711 V1 - MED -"]
    );
}

#[test]
fn other_triggers_are_ignored_whatever_is_wrong_in_them() {
    for kind in ["ADT^A09", "ADT^A60", "SIU^S12", "ORM^O01"] {
        let mapped = one(&format!("MSH|^~\\&|A|B|C|D|never||{kind}|1|P|2.5\rPID|1"));
        assert_eq!((mapped.outcome, mapped.rejects.len(), mapped.trigger.as_deref()), (Outcome::Ignored, 0, Some(kind)));
    }
}

#[test]
fn the_header_wins_over_the_event_and_the_event_stands_in_for_it() {
    let mapped = |kind: &str| one(&format!("MSH|^~\\&|||||20200301||{kind}|1\rEVN|A13|20200301\r{PERSON}\rPV1|1|I|||||||||||||||||V1"));
    let code = |mapped: Mapped| mapped.facts.get(4).map(|fact| fact.code);
    assert_eq!(code(mapped("ADT^A11")), Some(EventCode::EncounterAdmissionCancelled));
    assert_eq!(code(mapped("ADT")), Some(EventCode::EncounterDischargeCancelled));
}

#[test]
fn a_stay_without_number_is_named_by_patient_and_minute() {
    assert_eq!(
        of_stay(&adt("A01", "PV1|1|I")),
        ["encounter.admitted 2020-03-01T14:30Z N:4711 4711@202003011430 - - -", "encounter.class - N:4711 4711@202003011430 - I -",]
    );
    let late = adt("A03", "PV1|1|I");
    assert_eq!((late.outcome, refusals(&late)), (Outcome::Partly, vec!["PV1[1]-19: the stay has no number".to_owned()]));
}

#[test]
fn numbers_names_and_deaths_of_a_person() {
    let numbers = "9^^^&1.2.3&ISO^PI~4711^^^N&1.2&ISO^MR~\"\"^^^X";
    let pid = segment("PID", &[(3, numbers), (7, "196106"), (8, "X"), (18, "ACC"), (29, "202003010100"), (30, "Y")]);
    let mapped = one(&["MSH|^~\\&|||||20200301||ADT^A31|1|P|2.5\r", &pid].concat());
    assert_eq!(
        told(&mapped),
        [
            "patient.identified - N:4711 - - - -",
            "patient.identified - N:4711 - - - 1.2.3|9",
            "patient.birth_date - N:4711 - - 1961-06 -",
            "patient.sex - N:4711 - - other -",
            "patient.died 2020-03-01T06:00Z N:4711 - - - -",
        ]
    );
}

#[test]
fn each_group_of_a_merge_merges_its_own_and_none_into_itself() {
    let message = "MSH|^~\\&|||||20200301||ADT^A40|1|P|2.5\nEVN|A40|20200301\n\
        PID|1||1^^^N^MR\nMRG|2^^^N^MR\nPID|1||3^^^N^MR\nMRG|4^^^N^MR~5^^^N\nPID|1||6^^^N^MR\nMRG|6^^^N^MR\n";
    let mapped = one(message);
    let merges: Vec<String> = told(&mapped).into_iter().filter(|fact| fact.starts_with("patient.merged")).collect();
    assert_eq!(
        merges,
        [
            "patient.merged 2020-03-01T05:00Z N:1 - - - N|2",
            "patient.merged 2020-03-01T05:00Z N:3 - - - N|4",
            "patient.merged 2020-03-01T05:00Z N:3 - - - N|5",
        ]
    );
    assert_eq!(refusals(&mapped), ["MRG[3]-1: a patient cannot be merged into itself"]);
}

#[test]
fn diagnoses_are_named_by_system_and_ranked() {
    let dg1 = "DG1|1||I50.9^Failure^I10C|||F|||||||||2\rDG1|2|I9|428.0\rDG1|3||42^x^SCT||||||||||||||||||D\rDG1|4||^words";
    let expected = [
        "encounter.diagnosed - N:4711 V1 2 ICD10CM/I50.9 -",
        "encounter.diagnosed - N:4711 V1 2 ICD9CM/428.0 -",
        "encounter.diagnosis_retracted - N:4711 V1 3 SNOMED/42 -",
    ];
    for kind in ["ADT^A08", "DFT^P03", "BAR^P01"] {
        let mapped = one(&format!("MSH|^~\\&|||||20200301||{kind}|1|P|2.5\r{PERSON}\rPV1|1||||||||||||||||||V1\r{dg1}"));
        let told: Vec<String> = told(&mapped).into_iter().filter(|fact| fact.contains("diagnos")).collect();
        assert_eq!(told, expected, "{kind}");
        assert_eq!(refusals(&mapped), ["DG1[4]-3: the diagnosis has no code"], "{kind}");
    }
}

/// MDM with these TXA-12, -13, -17 and -19.
fn mdm(trigger: &str, txa: [&str; 4], obx: &str) -> Mapped {
    let [number, parent, completion, availability] = txa;
    let kind = [(2, "DS^Discharge Summary"), (4, "20200301"), (6, "202003010800"), (12, number), (13, parent)];
    let state = [(17, completion), (19, availability), (22, "1^A^B^^^^^^^^^^^^202003010900")];
    let txa = segment("TXA", &[kind.as_slice(), &state].concat());
    let header = format!("MSH|^~\\&|||||20200301093100||MDM^{trigger}|C9|P|2.5\rEVN|{trigger}|20200301");
    one(&[header.as_str(), PERSON, &segment("PV1", &[(19, "V1")]), &txa, obx].join("\r"))
}

fn note_of(mapped: &Mapped) -> (String, NoteKind, NoteStatus, String, Option<String>) {
    assert_eq!(mapped.notes.len(), 1, "{:?}", refusals(mapped));
    let note = mapped.notes.first().expect("one note");
    assert_eq!(note.encounter.as_deref(), Some("V1"));
    assert_eq!(note.type_code.as_deref(), Some("DS"));
    (note.document.clone(), note.kind, note.status, note.text.clone(), note.replaces.clone())
}

#[test]
fn a_document_is_told_from_draft_to_cancellation() {
    const TEXT: &str = "OBX|1|TX|||Line one~two\rOBX|2|TX\rOBX|3|FT|||a\\.br\\b";
    let text = || "Line one\ntwo\n\na\nb".to_owned();
    let none = String::new;
    let doc = |document: &str| document.to_owned();
    use NoteKind::{Discharge, Other};
    use NoteStatus::{Amended, Final, Preliminary, Retracted};
    assert_eq!(note_of(&mdm("T02", ["D1", "", "AU", "AV"], TEXT)), (doc("D1"), Discharge, Final, text(), None));
    assert_eq!(note_of(&mdm("T02", ["^^D1", "", "IP", ""], TEXT)), (doc("D1"), Discharge, Preliminary, text(), None));
    assert_eq!(note_of(&mdm("T02", ["", "", "LA", ""], TEXT)), (doc("C9"), Discharge, Final, text(), None));
    assert_eq!(note_of(&mdm("T03", ["D1", "", "LA", "CA"], "")), (doc("D1"), Discharge, Retracted, none(), None));
    assert_eq!(note_of(&mdm("T06", ["D2", "D1", "AU", ""], TEXT)), (doc("D2"), Other, Amended, text(), None));
    assert_eq!(note_of(&mdm("T06", ["D1", "D1", "AU", ""], TEXT)), (doc("D1/addendum/C9"), Other, Amended, text(), None));
    assert_eq!(note_of(&mdm("T08", ["D1", "", "AU", ""], TEXT)), (doc("D1"), Discharge, Amended, text(), None));
    assert_eq!(note_of(&mdm("T10", ["D3", "D1", "AU", ""], TEXT)), (doc("D3"), Discharge, Final, text(), Some(doc("D1"))));
    assert_eq!(note_of(&mdm("T10", ["D1", "D1", "AU", ""], TEXT)), (doc("D1"), Discharge, Amended, text(), None));
    assert_eq!(note_of(&mdm("T09", ["D3", "D1", "AU", ""], "")), (doc("D1"), Discharge, Retracted, none(), None));
    assert_eq!(note_of(&mdm("T11", ["D1", "", "", ""], TEXT)), (doc("D1"), Discharge, Retracted, none(), None));
    for trigger in ["T01", "T03", "T04", "T05", "T07"] {
        let mapped = mdm(trigger, ["D1", "", "AU", "AV"], "");
        assert_eq!((mapped.notes.len(), mapped.rejects.len()), (0, 0), "{trigger}");
    }
    assert_eq!(refusals(&mdm("T02", ["D1", "", "AU", ""], "OBX|1|TX")), ["OBX[1]-5: the document has no text"]);
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
fn reports_are_prose_and_results_are_not() {
    let message = "MSH|^~\\&|||||20200301||ORU^R01|C1|P|2.5\rPID|1||4711^^^N^MR\rPV1|1|I|||||||||||||||||V1\r\
        OBR|1|P1|F1|GLU^Glucose\rOBX|1|NM|GLU||182|mg/dl\r\
        OBR|2|P2|F2|36643-5^Chest X-ray^LN|||20200301||||||||||||||||||F\r\
        OBX|1|TX|X||Heart normal.||||||F\rOBX|2|TX|\rOBX|3|TX|||wrong||||||D\rOBX|4|NM|||7\rOBX|5|TX|||No effusion.\r\
        OBR|3||F2|X|||20200301||||||||||||||||||P\rOBX|1|FT|||more\r\
        OBR|4|P4||X|||20200301||||||||||||||||||X\rOBX|1|FT|||never mind";
    let mapped = one(message);
    let notes: Vec<_> = mapped.notes.iter().map(|note| (note.document.as_str(), note.status, note.text.as_str())).collect();
    assert_eq!(
        notes,
        [
            ("F2", NoteStatus::Amended, "Heart normal.\n\nNo effusion."),
            ("F2#2", NoteStatus::Preliminary, "more"),
            ("P4", NoteStatus::Retracted, ""),
        ]
    );
    assert_eq!(mapped.notes.first().and_then(|note| note.type_code.as_deref()), Some("LOINC/36643-5"));
    assert!(mapped.notes.iter().all(|note| note.kind == NoteKind::Report && note.encounter.as_deref() == Some("V1")));
    let vitals = "OBX|1|TX|A||Alert\rOBX|2|TX|B||Yes\rOBX|3||C||28|%\rOBX|4|NM|D||7";
    let panel = one(&format!("MSH|^~\\&|||||20200301||ORU^R01|C1|P|2.5\rPID|1||4711^^^N^MR\rOBR|1\r{vitals}"));
    assert_eq!((panel.outcome, panel.notes.len()), (Outcome::Ignored, 0), "a panel of results is no report");
    let results = one("MSH|^~\\&|||||20200301||ORU^R01|C1|P|2.5\rPID|1||4711^^^N^MR\rOBR|1\rOBX|1|NM|||7");
    assert_eq!((results.outcome, results.facts.len()), (Outcome::Ignored, 0));
}

#[test]
fn a_line_break_inside_a_text_is_a_line_of_the_text() {
    let mapped = mdm("T02", ["D1", "", "AU", ""], "OBX|1|TX|||Plan\nHPI\nrest and fluids\r\nOBX|2|TX|||end");
    assert_eq!(note_of(&mapped).3, "Plan\nHPI\nrest and fluids\nend");
}

#[test]
fn other_separators_and_charsets_are_the_messages_own() {
    let message = b"MSH@~&#\\!@A@B@C@D@20200301@@ADT~A31@1@P@2.7@@@@@@8859/1\rPID@1@@47\xe9#F#11~~~N~MR@@x@@1961@M";
    assert_eq!(
        told(&of_bytes(message)),
        ["patient.identified - N:47é@11 - - - -", "patient.birth_date - N:47é@11 - - 1961 -", "patient.sex - N:47é@11 - - male -",]
    );
}

#[test]
fn latin_bytes_without_a_charset_are_the_facilitys_and_unicode_is_its_own() {
    let system = |charset: &str, number: &[u8]| {
        let header = format!("MSH|^~\\&|||||20200301||ADT^A31|1|P|2.5||||||{charset}\rPID|1||");
        let mapped = of_bytes(&[header.as_bytes(), number, b"^^^N^MR"].concat());
        mapped.facts.first().and_then(|fact| fact.patient.clone()).map(|patient| patient.value)
    };
    for (charset, number) in
        [("", b"\xe9".as_slice()), ("", "é".as_bytes()), ("UNICODE UTF-8", "é".as_bytes()), ("8859/1", b"\xe9"), ("8859/1", b"\\X00E9\\")]
    {
        assert_eq!(system(charset, number).as_deref(), Some("é"), "{charset}");
    }
}

#[test]
fn a_charset_that_is_none_is_said() {
    let mapped = one("MSH|^~\\&|||||20200301||ADT^A31|1|P|2.5||||||KLINGON\rPID|1||1");
    assert_eq!((mapped.outcome, refusals(&mapped).len()), (Outcome::Partly, 1));
    assert!(refusals(&mapped).iter().all(|reject| reject.starts_with("MSH-18")));
}

#[test]
fn an_impossible_date_costs_its_field_alone() {
    let mapped = one("MSH|^~\\&|||||20200301||ADT^A01|1|P|2.5\rEVN||20200231\rPID|1||1^^^N^MR||||19001301\rPV1|1|I|||||||||||||||||V1");
    assert_eq!(mapped.outcome, Outcome::Partly);
    assert_eq!(refusals(&mapped), ["EVN-2: not a time stamp", "PID[1]-7: not a date"]);
    assert!(told(&mapped).contains(&"encounter.admitted 2020-03-01T05:00Z N:1 V1 - - -".to_owned()));
}
