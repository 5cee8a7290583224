//! What the maps say, told in lines that a test can hold against, and the promises of the frame: layouts, Bundles, references.

use jiff::Timestamp;
use schemas::{Facility, Fact, Identifier, Outcome};

use crate::Mapped;

pub(super) fn south() -> Facility {
    Facility { zone: "America/New_York".to_owned(), ..Facility::new("south") }
}

/// Outcome, rejects, flags, facts and notes, a line each. Single quotes stand for double ones in `json`.
pub(super) fn told(json: &str) -> String {
    told_at(&south(), json)
}

/// The same at another facility.
pub(super) fn told_at(facility: &Facility, json: &str) -> String {
    super::map(json.replace('\'', "\"").as_bytes(), facility).iter().map(part).collect::<Vec<_>>().join("\n")
}

fn part(part: &Mapped) -> String {
    let sent = part.sent_at.map_or_else(String::new, |at| format!(" @{at}"));
    let name = part.trigger.as_deref().unwrap_or("-");
    let mut lines = vec![format!("{} {name} {}{sent}", part.outcome.as_str(), part.control_id.as_deref().unwrap_or("-"))];
    lines.extend(part.rejects.iter().map(|reject| format!("! {} {}: {}", reject.stage.as_str(), reject.position, reject.reason)));
    lines.extend(part.flags.iter().map(|flag| format!("? {}: {}", flag.position, flag.decision)));
    lines.extend(part.facts.iter().map(fact));
    for note in &part.notes {
        let replaces = note.replaces.as_deref().map_or_else(String::new, |document| format!(" replaces {document}"));
        lines.push(format!(
            "note {} {} {} {} p={} e={} at={} signed={} {:?}{replaces}",
            note.document,
            note.kind.as_str(),
            note.type_code.as_deref().unwrap_or("-"),
            note.status.as_str(),
            patient(note.patient.as_ref()),
            note.encounter.as_deref().unwrap_or("-"),
            instant(note.authored_at),
            instant(note.signed_at),
            note.text,
        ));
    }
    lines.join("\n")
}

fn fact(fact: &Fact) -> String {
    let mut line = format!("{} {} p={}", fact.code.as_str(), instant(fact.time), patient(fact.patient.as_ref()));
    let optional = [
        ("e", fact.encounter.clone()),
        ("", fact.text_value.clone()),
        ("n", fact.numeric_value.map(|n| n.to_string())),
        ("r", fact.related.clone()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            line += &format!(" {name}={value}");
        }
    }
    line
}

fn instant(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

fn patient(patient: Option<&Identifier>) -> String {
    patient.map_or_else(|| "-".to_owned(), |patient| format!("{}|{}", patient.system, patient.value))
}

#[test]
fn every_layout_gives_its_parts() {
    let one = "{'resourceType':'Patient','id':'1'}";
    let expected = "mapped Patient 1\npatient.identified - p=|1";
    assert_eq!(told(one), expected);
    assert_eq!(told(&format!("\u{feff}\n  {one}\r\n")), expected);
    let twice = format!("{expected}\n{expected}");
    assert_eq!(told(&format!("{one}\n\n{one}\r\n")), twice);
    assert_eq!(told(&format!("\u{feff}{one}\n\u{feff}{one}\n")), twice);
    assert_eq!(told(&format!("[{one},\n{one}]")), twice);
    assert_eq!(told("{\n'resourceType':'Patient',\n'id':'1'}"), expected);
    assert_eq!(told("{'resourceType':'Patient', 'meta':{}\n,'id':'1'}"), expected);
}

#[test]
fn utf_16_and_latin_1_are_read() {
    let json = "{\"resourceType\":\"Patient\",\"id\":\"é\"}";
    let utf_16: Vec<u8> = [0xff, 0xfe].into_iter().chain(json.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let latin_1: Vec<u8> = json.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    for bytes in [json.as_bytes(), &utf_16, &latin_1] {
        let parts = super::map(bytes, &south());
        assert_eq!(parts.first().and_then(|part| part.control_id.as_deref()), Some("é"));
    }
    let charset = |bytes: &[u8]| super::map(bytes, &south()).first().and_then(|part| part.charset);
    assert_eq!([charset(json.as_bytes()), charset(&utf_16), charset(&latin_1)], [None, Some("UTF-16LE"), Some("windows-1252")]);
}

#[test]
fn one_damaged_character_spoils_no_other() {
    let bytes = ["{\"resourceType\":\"Patient\",\"id\":\"é".as_bytes(), b"\xff", b"\"}"].concat();
    assert_eq!(super::map(&bytes, &south()).first().and_then(|part| part.control_id.as_deref()), Some("é\u{fffd}"));
}

#[test]
fn what_is_no_fhir_json_is_refused_with_its_place() {
    assert_eq!(told(" <Patient/>"), "rejected - -\n! parse byte 1: FHIR in XML is not read, only JSON");
    assert_eq!(told("\u{feff}{"), "rejected - -\n! parse byte 4: the JSON text ends too early");
    assert_eq!(told("  "), "rejected - -\n! wire byte 0: there is nothing in it");
    assert_eq!(told("{'a':1,\n'b' 2}"), "rejected - -\n! parse byte 13: this is not JSON");
    assert_eq!(told("{'a':"), "rejected - -\n! parse byte 5: the JSON text ends too early");
    assert_eq!(told("{'a':1}"), "rejected - -\n! map resourceType: this is no FHIR resource");
    assert_eq!(told("7"), "rejected - -\n! map resourceType: this is no FHIR resource");
    assert_eq!(told("[]"), "rejected - -\n! map [0]: there is nothing in it");
    assert_eq!(told("{'resourceType':'Observation','id':'o'}"), "ignored Observation o");
}

#[test]
fn one_bad_line_or_element_costs_itself() {
    let one = "{'resourceType':'Patient','id':'1'}";
    let good = "mapped Patient 1\npatient.identified - p=|1";
    assert_eq!(
        told(&format!("{one}\n{{'resourceType'\n{one}")),
        format!("{good}\nrejected - -\n! parse line[2] byte 15: the JSON text ends too early\n{good}")
    );
    assert_eq!(
        told(&format!("{{'resourceType'\n{one}")),
        format!("rejected - -\n! parse line[1] byte 15: the JSON text ends too early\n{good}")
    );
    assert_eq!(told(&format!("[{{'id':tru}},{one}]")), format!("rejected - -\n! parse [0] byte 11: this is not JSON\n{good}"));
}

#[test]
fn one_bad_entry_costs_itself() {
    let bundle = "{'resourceType':'Bundle','id':'b','type':'batch','timestamp':'2020-01-01T00:00:00Z','entry':[
        {'resource':{'resourceType':'Patient','id':'1'}}, {'resource':{'resourceType':'Patient','id':'2','x':1x}},
        {'resource':{'resourceType':'Encounter','id':'E','status':'finished','class':{'code':'AMB'},'subject':{'reference':'Patient/1'},'period':{'start':'soon'}}},
        {'request':{'method':'PUT','url':'Patient/4'}}, {'resource':{'id':'5'}}, {'response':{'status':'204'}}]}";
    let number_ends = bundle.find("1x").map_or(0, |start| start + 2);
    let expected = "partly Bundle/batch b @2020-01-01T00:00:00Z
! parse Bundle.entry[1] byte NUMBER: this is not JSON
! map Bundle.entry[2].resource.period.start: this is no date or time
! map Bundle.entry[3].resource: the resource is missing
! map Bundle.entry[4].resource: this is no FHIR resource
patient.identified - p=|1
encounter.class - p=|1 e=E =AMB
encounter.registered - p=|1 e=E
encounter.made_outpatient - p=|1 e=E";
    assert_eq!(told(bundle), expected.replace("NUMBER", &number_ends.to_string()));
    assert_eq!(told(&format!(" \n{bundle}")), expected.replace("NUMBER", &(number_ends + 2).to_string()));
}

#[test]
fn references_are_followed_in_every_form() {
    let condition = |reference: &str| {
        let told = told(&format!(
            "{{'resourceType':'Bundle','type':'transaction','entry':[
              {{'fullUrl':'urn:uuid:aa','resource':{{'resourceType':'Patient','identifier':[{{'system':'MRN','value':'7'}}]}},'request':{{'method':'PUT','url':'Patient/P'}}}},
              {{'fullUrl':'http://h/fhir/Encounter/E','resource':{{'resourceType':'Encounter','id':'E','status':'planned','class':{{'code':'IMP'}},'subject':{{'reference':'urn:uuid:aa'}}}}}},
              {{'resource':{{'resourceType':'Condition','contained':[{{'resourceType':'Patient','id':'c','identifier':[{{'system':'S','value':'8'}}]}}],
                'code':{{'coding':[{{'code':'x'}}]}},'encounter':{{'reference':'http://h/fhir/Encounter/E/_history/3'}},'subject':{reference}}}}}]}}"
        ));
        told.lines().last().unwrap_or_default().to_owned()
    };
    let expected = |patient: &str| format!("encounter.diagnosed - p={patient} e=E =x");
    for reference in [
        "{'reference':'urn:uuid:aa'}",
        "{'reference':'Patient/P'}",
        "{'reference':'https://other/r4/Patient/P/_history/1'}",
        "{'identifier':{'system':'MRN','value':'7'}}",
        "{'reference':'Patient?identifier=MRN|7'}",
    ] {
        assert_eq!(condition(reference), expected("|P"), "{reference}");
    }
    assert_eq!(condition("{'identifier':{'system':'MRN','value':'9'}}"), expected("MRN|9"));
    assert_eq!(condition("{'reference':'#c'}"), expected("S|8"));
    assert_eq!(condition("{'reference':'urn:uuid:bb'}"), expected("|bb"));
    assert_eq!(condition("{'reference':'Group/P'}"), expected("-"));
}

#[test]
fn deletions_take_back() {
    let entry = |url: &str| {
        format!("{{'request':{{'method':'DELETE','url':'{url}'}},'response':{{'status':'204','lastModified':'2020-02-02T00:00:00Z'}}}}")
    };
    let urls = [
        "Encounter/E",
        "https://h/fhir/DocumentReference/D",
        "Claim/C",
        "DiagnosticReport/R",
        "Condition/X",
        "Encounter?status=planned",
        "Goal/G",
    ];
    let entries: Vec<String> = urls.iter().map(|url| entry(url)).collect();
    assert_eq!(
        told(&format!("{{'resourceType':'Bundle','type':'history','entry':[{}]}}", entries.join(","))),
        "partly Bundle/history - @2020-02-02T00:00:00Z
! map Bundle.entry[5].request.url: it does not say which resource was deleted
encounter.deleted 2020-02-02T00:00:00Z p=- e=E
claim.decided 2020-02-02T00:00:00Z p=- =cancelled r=C
encounter.diagnosis_retracted 2020-02-02T00:00:00Z p=- r=Condition/X
note D other - retracted p=- e=- at=- signed=- \"\"
note DiagnosticReport/R other - retracted p=- e=- at=- signed=- \"\""
    );
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    assert_eq!(
        told("{'resourceType':'Patient','id':'1','id':'2'}"),
        "mapped Patient 2\n? Patient: a name stands twice in an object: the last one counts\npatient.identified - p=|2"
    );
}

#[test]
fn the_future_does_not_carry_the_clock_along() {
    let stated = |json: &str| {
        super::map(json.replace('\'', "\"").as_bytes(), &south()).first().and_then(|part| part.stated_at).map(|at| at.to_string())
    };
    let benefit = "{'resourceType':'ExplanationOfBenefit','id':'1','created':'2020-01-01T00:00:00Z','billablePeriod':{'start':'2019-12-01','end':'2035-01-01'}}";
    assert_eq!(stated(benefit).as_deref(), Some("2020-01-01T00:00:00Z"));
    assert_eq!(stated("{'resourceType':'Goal','target':[{'dueDate':'2040-01-01'}]}"), None);
    assert_eq!(stated("{'resourceType':'Patient','id':'1','birthDate':'1950-01-01'}"), None);
}

#[test]
fn an_empty_bundle_is_understood() {
    let parts = super::map(br#"{"resourceType":"Bundle","type":"searchset"}"#, &south());
    assert!(parts.iter().all(|part| part.outcome == Outcome::Ignored) && parts.len() == 1);
}

/// Whatever the order of the entries, a history's newest version is asserted last; of equal times the higher version counts.
#[test]
fn a_late_older_version_never_wins() {
    let asserted = |json: &str| -> Vec<String> {
        let parts = super::map(json.replace('\'', "\"").as_bytes(), &south());
        parts.iter().flat_map(|part| &part.facts).filter_map(|fact| fact.asserted_at).map(|at| at.to_string()).collect()
    };
    let patient = |meta: &str| format!("{{'resourceType':'Patient','id':'1','meta':{{{meta}}}}}");
    assert_eq!(asserted(&patient("'lastUpdated':'2020-01-01T00:00:00.5Z','versionId':'3'")), ["2020-01-01T00:00:00.500003Z"]);
    assert_eq!(asserted(&patient("'lastUpdated':'2020-01-01T00:00:00.123456Z','versionId':'3'")), ["2020-01-01T00:00:00.123456Z"]);
    assert_eq!(asserted(&patient("'versionId':'3'")), Vec::<String>::new());
    let history = "{'resourceType':'Bundle','type':'history','timestamp':'2021-01-01T00:00:00Z','entry':[
        {'resource':{'resourceType':'Patient','id':'1','gender':'male'}}, {'resource':{'resourceType':'Patient','id':'1','gender':'female'}},
        {'resource':{'resourceType':'Patient','id':'1','meta':{'versionId':'2'},'gender':'other'}},
        {'resource':{'resourceType':'Patient','id':'2'},'response':{'lastModified':'2020-05-05T00:00:00Z','etag':'W/\\'4\\''}}]}";
    let told = told(history);
    assert!(told.contains("? Bundle.entry[1]: a newer version of the resource stands beside it: it is passed over"), "{told}");
    assert!(told.contains("=male") && told.contains("=other") && !told.contains("=female"), "{told}");
    assert_eq!(asserted(history).last().map(String::as_str), Some("2020-05-05T00:00:00.000004Z"));
}

#[test]
fn tombstones_take_back() {
    let tombstone = |kind: &str| {
        told(&format!(
            "{{'resourceType':'{kind}','id':'X','meta':{{'lastUpdated':'2020-02-02T00:00:00Z','versionId':'2','tag':[{{'code':'deleted'}}]}}}}"
        ))
    };
    assert!(tombstone("Encounter").ends_with("encounter.deleted 2020-02-02T00:00:00Z p=- e=X"));
    assert!(tombstone("Patient").ends_with("patient.deleted 2020-02-02T00:00:00Z p=|X"));
    assert!(tombstone("Condition").ends_with("encounter.diagnosis_retracted 2020-02-02T00:00:00Z p=- r=Condition/X"));
    assert!(tombstone("Procedure").ends_with("encounter.procedure_retracted 2020-02-02T00:00:00Z p=- r=Procedure/X"));
    assert!(tombstone("Composition").contains("note Composition/X other - retracted"));
    assert!(tombstone("ClaimResponse").contains("! map ClaimResponse: what a deletion of this type takes back is not known"));
    assert!(tombstone("Goal").starts_with("ignored Goal X"));
}

#[test]
fn a_conditional_deletion_finds_its_record_in_the_bundle() {
    let bundle = "{'resourceType':'Bundle','type':'transaction','timestamp':'2020-01-01T00:00:00Z','entry':[
        {'request':{'method':'DELETE','url':'Encounter?identifier=urn:v%7C7'}}, {'request':{'method':'DELETE','url':'Encounter?identifier=urn:v|8'}},
        {'resource':{'resourceType':'Encounter','id':'E','status':'planned','class':{'code':'IMP'},'subject':{'reference':'Patient/1'},
          'identifier':[{'system':'urn:v','value':'7'}]}}]}";
    let told = told(bundle);
    assert!(told.contains("encounter.deleted 2020-01-01T00:00:00Z p=- e=E"), "{told}");
    assert!(told.contains("! map Bundle.entry[1].request.url: it does not say which resource was deleted"), "{told}");
}

#[test]
fn what_is_entered_in_error_takes_back_what_it_said() {
    let error = |kind: &str, more: &str| {
        told(&format!(
            "{{'resourceType':'{kind}','id':'X','status':'entered-in-error','subject':{{'reference':'Patient/1'}},'patient':{{'reference':'Patient/1'}}{more}}}"
        ))
    };
    assert!(error("Encounter", ",'class':{'code':'IMP'}").contains("encounter.admission_cancelled"));
    assert!(error("Procedure", ",'code':{'coding':[{'code':'c'}]}").contains("encounter.procedure_retracted"));
    assert!(error("DocumentReference", "").contains(" retracted "));
    assert!(error("Composition", "").contains(" retracted "));
    assert!(error("DiagnosticReport", "").contains(" retracted "));
    assert!(error("Claim", "").contains("claim.decided - p=|1 =cancelled r=X"));
    assert!(error("ClaimResponse", ",'request':{'reference':'Claim/C'}").contains("claim.decided - p=|1 =void r=C"));
    assert!(error("ExplanationOfBenefit", ",'claim':{'reference':'Claim/C'}").contains("claim.decided - p=|1 =void r=C"));
    assert!(error("Coverage", ",'beneficiary':{'reference':'Patient/1'}").contains("encounter.insured - p=|1 r=Coverage/X"));
}

#[test]
fn a_type_that_is_none_is_refused_and_not_repeated() {
    assert_eq!(told("{'resourceType':'Smith','id':'1'}"), "rejected - -\n! map resourceType: this is no FHIR resource");
    assert!(told("{'resourceType':'EpisodeOfCare','id':'1'}").starts_with("ignored EpisodeOfCare 1"));
}
