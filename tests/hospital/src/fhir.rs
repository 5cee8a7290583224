//! FHIR R4 as south's server writes it: one resource a line.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A coding of a code written `ICD10CM/I50.9`.
fn coding(code: &str) -> Value {
    let (system, code) = code.split_once('/').unwrap_or(("", code));
    let url = if system == "ICD9CM" { "http://hl7.org/fhir/sid/icd-9-cm" } else { "http://hl7.org/fhir/sid/icd-10-cm" };
    json!({"coding": [{"system": url, "code": code}]})
}

fn meta(sent_at: Timestamp, version: u32) -> Value {
    json!({"versionId": version.to_string(), "lastUpdated": sent_at})
}

pub fn patient(id: &str, birth: &str, female: bool, race: &str, sent_at: Timestamp, replaces: Option<&str>) -> Value {
    let mut patient = json!({
        "resourceType": "Patient", "id": id, "meta": meta(sent_at, 1), "birthDate": birth, "gender": if female { "female" } else { "male" },
        "identifier": [{"system": "urn:south:mrn", "value": format!("S{}", id.trim_start_matches("pat-"))}],
        "name": [{"family": "Testpatient", "given": [id]}],
        "extension": [{"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
                       "extension": [{"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": race}}]}],
    });
    if let (Some(replaced), Some(object)) = (replaces, patient.as_object_mut()) {
        object.insert("link".to_owned(), json!([{"other": {"reference": format!("Patient/{replaced}")}, "type": "replaces"}]));
    }
    patient
}

/// What an Encounter says.
pub struct Visit<'a> {
    pub id: &'a str,
    pub patient: &'a str,
    pub department: &'a str,
    pub status: &'a str,
    pub admitted_at: Timestamp,
    pub ended: Option<(Timestamp, &'a str)>,
}

pub fn encounter(visit: &Visit<'_>, sent_at: Timestamp, version: u32) -> Value {
    let mut encounter = json!({
        "resourceType": "Encounter", "id": visit.id, "meta": meta(sent_at, version), "status": visit.status,
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": {"reference": format!("Patient/{}", visit.patient)},
        "period": {"start": visit.admitted_at},
    });
    if let Some(object) = encounter.as_object_mut() {
        if !visit.department.is_empty() {
            object.insert("serviceType".to_owned(), json!({"coding": [{"system": "urn:south:service", "code": visit.department}]}));
        }
        if let Some((at, disposition)) = visit.ended {
            object.insert("period".to_owned(), json!({"start": visit.admitted_at, "end": at}));
            object.insert(
                "hospitalization".to_owned(),
                json!({"dischargeDisposition": {"coding": [
                {"system": "http://terminology.hl7.org/CodeSystem/discharge-disposition", "code": disposition}]}}),
            );
        }
    }
    encounter
}

/// What a DocumentReference says.
pub struct Document<'a> {
    pub id: &'a str,
    pub patient: &'a str,
    pub encounter: Option<&'a str>,
    pub loinc: &'a str,
    pub written_at: Timestamp,
    pub text: &'a str,
    pub status: &'a str,
    pub doc_status: &'a str,
}

pub fn document(document: &Document<'_>, sent_at: Timestamp, version: u32) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(document.text);
    let mut value = json!({
        "resourceType": "DocumentReference", "id": document.id, "meta": meta(sent_at, version), "status": document.status,
        "docStatus": document.doc_status, "type": {"coding": [{"system": "http://loinc.org", "code": document.loinc}]},
        "subject": {"reference": format!("Patient/{}", document.patient)}, "date": document.written_at,
        "content": [{"attachment": {"contentType": "text/plain; charset=utf-8", "data": data}}],
    });
    if let (Some(encounter), Some(object)) = (document.encounter, value.as_object_mut()) {
        object.insert("context".to_owned(), json!({"encounter": [{"reference": format!("Encounter/{encounter}")}]}));
    }
    value
}

pub fn report(id: &str, patient: &str, encounter: &str, at: Timestamp, text: &str) -> Value {
    json!({
        "resourceType": "DiagnosticReport", "id": id, "meta": meta(at, 1), "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "18748-4"}]}, "subject": {"reference": format!("Patient/{patient}")},
        "encounter": {"reference": format!("Encounter/{encounter}")}, "effectiveDateTime": at, "conclusion": text,
    })
}

/// Diagnoses in one message Bundle.
pub fn conditions(patient: &str, encounter: &str, codes: &[&str], sent_at: Timestamp) -> Value {
    let entries: Vec<Value> = codes
        .iter()
        .enumerate()
        .map(|(index, code)| {
            let id = format!("cond-{encounter}-{index}");
            json!({"fullUrl": format!("urn:south:{id}"), "request": {"method": "PUT", "url": format!("Condition/{id}")}, "resource": {
                "resourceType": "Condition", "id": id, "meta": meta(sent_at, 1), "code": coding(code),
                "verificationStatus": {"coding": [{"code": "confirmed"}]},
                "subject": {"reference": format!("Patient/{patient}")}, "encounter": {"reference": format!("Encounter/{encounter}")}}})
        })
        .collect();
    json!({"resourceType": "Bundle", "type": "transaction", "timestamp": sent_at, "entry": entries})
}

pub fn claim(id: &str, patient: &str, encounter: &str, sent_at: Timestamp) -> Value {
    json!({
        "resourceType": "Claim", "id": id, "meta": meta(sent_at, 1), "status": "active", "use": "claim", "created": sent_at,
        "type": {"coding": [{"code": "institutional"}]}, "patient": {"reference": format!("Patient/{patient}")},
        "item": [{"sequence": 1, "encounter": [{"reference": format!("Encounter/{encounter}")}]}],
    })
}

/// What a payer decided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Paid,
    Denied,
    AppealWon,
    AppealLost,
}

pub fn response(id: &str, claim: &str, patient: &str, decision: Decision, sent_at: Timestamp) -> Value {
    let benefit = if matches!(decision, Decision::Paid | Decision::AppealWon) { 1_250.0 } else { 0.0 };
    let words = match decision {
        Decision::Paid => "Claim settled as per contract.",
        Decision::Denied => "Claim denied.",
        Decision::AppealWon => "Appeal upheld, claim paid.",
        Decision::AppealLost => "Appeal denied.",
    };
    let mut adjudication = vec![json!({"category": {"coding": [{"code": "benefit"}]}, "amount": {"value": benefit, "currency": "USD"}})];
    if benefit == 0.0 {
        adjudication.push(json!({"category": {"coding": [{"code": "denialreason"}]}, "reason": {"coding": [{"system": "https://x12.org/codes/claim-adjustment-reason-codes", "code": "197"}]}}));
    }
    json!({
        "resourceType": "ClaimResponse", "id": id, "meta": meta(sent_at, 1), "status": "active", "use": "claim", "outcome": "complete",
        "type": {"coding": [{"code": "institutional"}]}, "created": sent_at, "disposition": words,
        "patient": {"reference": format!("Patient/{patient}")}, "request": {"reference": format!("Claim/{claim}")},
        "item": [{"itemSequence": 1, "adjudication": adjudication}],
        "total": [{"category": {"coding": [{"code": "benefit"}]}, "amount": {"value": benefit, "currency": "USD"}}],
    })
}
