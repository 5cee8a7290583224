//! What engines really send, as others reported it: one test for each case.

use schemas::Outcome;

use super::{PERSON, adt, adt_of, of_stay, one, pv1, refusals, segment, told_of, txa_of};

/// dcm4che/dcm4chee-arc-light #1086: MRG-1 equal to PID-3.
#[test]
fn mrg_1_equal_to_pid_3() {
    let mapped = adt_of("A40", "PID|1||1^^^N^MR\rMRG|1^^^N^MR");
    assert_eq!(refusals(&mapped), ["MRG[1]-1: a patient cannot be merged into itself"]);
    assert_eq!((mapped.outcome, told_of(&mapped, "patient.merged").len()), (Outcome::Partly, 0));
}

/// dcm4che/dcm4chee-arc-light #4589, #4697: A into B, then B into A, repeatedly. Each says what it says; the newest decides, whoever comes first.
#[test]
fn a_into_b_and_b_into_a() {
    let merged = |into: &str, from: &str| told_of(&adt_of("A40", &format!("PID|1||{into}^^^N^MR\rMRG|{from}^^^N^MR")), "patient.merged");
    assert_eq!(merged("B", "A"), ["patient.merged 2020-03-01T14:30Z N:B - - - N|A"]);
    assert_eq!(merged("A", "B"), ["patient.merged 2020-03-01T14:30Z N:A - - - N|B"]);
    let chain = [merged("B", "A"), merged("C", "B")].concat();
    assert_eq!(chain.last().map(String::as_str), Some("patient.merged 2020-03-01T14:30Z N:C - - - N|B"), "no message knows of another");
    let both = adt_of("A40", "PID|1||B^^^N^MR\rMRG|A^^^N^MR\rPID|1||A^^^N^MR\rMRG|B^^^N^MR");
    assert_eq!((both.outcome, told_of(&both, "patient.merged").len()), (Outcome::Mapped, 2));
}

/// drajer-health/eCRNow #541: the encounter now under the surviving id, and A34, A35 in daily use.
#[test]
fn the_encounter_now_under_the_surviving_id() {
    let before = adt_of("A01", "PID|1||2^^^N^MR\rPV1|1|I|||||||||||||||||V1");
    let merge = adt_of("A34", "PID|1||1^^^N^MR\rMRG|2^^^N^MR\rPV1|1|I|||||||||||||||||V1");
    let after = adt_of("A03", "PID|1||1^^^N^MR\rPV1|1|I|||||||||||||||||V1");
    assert_eq!(told_of(&before, "encounter.admitted"), ["encounter.admitted 2020-03-01T14:30Z N:2 V1 - - -"]);
    assert_eq!(told_of(&merge, "patient.merged"), ["patient.merged 2020-03-01T14:30Z N:1 - - - N|2"]);
    assert_eq!(told_of(&after, "encounter.discharged"), ["encounter.discharged 2020-03-01T14:30Z N:1 V1 - - -"]);
    let account = adt_of("A35", "PID|1||1^^^N^MR|||||||||||||||A2\rMRG|1^^^N^MR||A1");
    assert_eq!(told_of(&account, "encounter.merged"), ["encounter.merged 2020-03-01T14:30Z N:1 A2 - account A1"]);
}

/// drajer-health/eCRNow #541: A11 and A13 in daily use; an A13 never carries the discharge that it cancels over.
#[test]
fn a_cancelled_discharge_is_no_discharge_even_with_pv1_45() {
    let mapped = adt("A13", &pv1("I", "202003010915", "202003011000", "01"));
    assert_eq!(told_of(&mapped, "encounter.discharge"), ["encounter.discharge_cancelled 2020-03-01T14:30Z N:4711 V1 - - -"]);
    let mapped = adt("A11", &pv1("I", "202003010915", "", ""));
    assert_eq!(told_of(&mapped, "encounter.admi"), ["encounter.admission_cancelled 2020-03-01T14:30Z N:4711 V1 - - -"]);
}

/// metriport/metriport PR #4592: A04 without A01 starts the visit of a patient who never gets a bed.
#[test]
fn a04_without_a01_is_a_registered_visit() {
    assert_eq!(
        of_stay(&adt("A04", &pv1("E", "202003010915", "", ""))),
        [
            "encounter.registered 2020-03-01T14:15Z N:4711 V1 - - -",
            "encounter.class - N:4711 V1 - E -",
            "encounter.department - N:4711 V1 - MED -",
        ]
    );
}

/// LinuxForHealth/hl7v2-fhir-converter PR #86: blank OBX lines are line breaks of one report.
#[test]
fn blank_obx_lines_are_line_breaks_of_one_report() {
    let obx = "OBX|1|TX|R||IMPRESSION\rOBX|2|TX|R||\rOBX|3|TX|R||Normal.\rOBX|4|TX\rOBX|5|TX|R||Signed.";
    let mapped = one(&format!("MSH|^~\\&|||||20200301||ORU^R01^ORU_R01|C1|P|2.5\r{PERSON}\rOBR|1||F1|R\r{obx}"));
    assert_eq!(mapped.notes.first().map(|note| note.text.as_str()), Some("IMPRESSION\n\nNormal.\n\nSigned."));
}

/// LinuxForHealth/hl7v2-fhir-converter PR #294, #302: a TX with an empty OBX-3 belongs to the report before it.
#[test]
fn a_tx_with_an_empty_obx_3_belongs_to_the_report_before_it() {
    let reports = "OBR|1||F1|R\rOBX|1|TX|R^Report||Findings:\rOBX|2|TX|||clear lungs\rOBR|2||F2|Q\rOBX|1|TX|Q||Other:\rOBX|2|TX|||none";
    let mapped = one(&format!("MSH|^~\\&|||||20200301||ORU^R01^ORU_R01|C1|P|2.5\r{PERSON}\r{reports}"));
    let texts: Vec<&str> = mapped.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(texts, ["Findings:\nclear lungs", "Other:\nnone"]);
}

/// Simulated feeds: MDM after discharge with an empty PV1-19. The note names no stay, not even by its account: a view places it.
#[test]
fn a_note_after_discharge_with_an_empty_visit_number_names_no_stay() {
    let pid = segment("PID", &[(3, "4711^^^N^MR"), (18, "ACC1")]);
    for pv1 in ["PV1|1|I", "PV1|1|I|||||||||||||||||\"\"", ""] {
        let txa = txa_of(["D1", "", "AU", ""]);
        let mapped =
            one(&[&format!("MSH|^~\\&|||||20200301||MDM^T02^MDM_T02|C9|P|2.5\r{pid}"), pv1, &txa, "OBX|1|TX|||Went home."].join("\r"));
        let note = mapped.notes.first().expect("one note");
        assert_eq!((note.encounter.as_deref(), note.patient.as_ref().map(|patient| patient.value.as_str())), (None, Some("4711")));
    }
}

/// Versions before 2.3 name the trigger in EVN-1 alone.
#[test]
fn version_2_1_has_its_trigger_in_evn_1_alone() {
    let mapped =
        one(&format!("MSH|^~\\&|A|B|C|D|20200301||ADT|1|P|2.1\rEVN|A01|20200301\r{PERSON}\rZPV|1|x\rPV1|1|I|||||||||||||||||V1\rZZ1"));
    assert_eq!((mapped.trigger.as_deref(), mapped.outcome), (Some("ADT^A01"), Outcome::Mapped));
    assert_eq!(told_of(&mapped, "encounter.admitted"), ["encounter.admitted 2020-03-01T05:00Z N:4711 V1 - - -"]);
}
