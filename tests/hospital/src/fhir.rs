//! FHIR R4 as south's server writes it: one resource a line.

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::process::{Billing, Patient, Stay};
use crate::prose::Kind;
use crate::sending::{Act, Writing};

/// A coding of a code written `ICD10CM/I50.9`.
fn coding(code: &str) -> Value {
    let (system, code) = code.split_once('/').unwrap_or(("", code));
    let url = if system == "ICD9CM" { "http://hl7.org/fhir/sid/icd-9-cm" } else { "http://hl7.org/fhir/sid/icd-10-cm" };
    json!({"coding": [{"system": url, "code": code}]})
}

fn meta(sent_at: Timestamp, version: u32) -> Value {
    json!({"versionId": version.to_string(), "lastUpdated": sent_at})
}

pub fn patient(id: &str, who: &Patient, sent_at: Timestamp, replaces: Option<&str>) -> Value {
    let gender = if who.female { "female" } else { "male" };
    let mut patient = json!({
        "resourceType": "Patient", "id": id, "meta": meta(sent_at, 1), "birthDate": who.birth.to_string(), "gender": gender,
        "identifier": [{"system": "urn:south:mrn", "value": format!("S{}", id.trim_start_matches("pat-"))}],
        "name": [{"family": "Testpatient", "given": [id]}],
        "extension": [{"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
                       "extension": [{"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": who.race}}]}],
    });
    if let (Some(replaced), Some(object)) = (replaces, patient.as_object_mut()) {
        object.insert("link".to_owned(), json!([{"other": {"reference": format!("Patient/{replaced}")}, "type": "replaces"}]));
    }
    patient
}

/// What an Encounter says.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    pub id: &'a str,
    pub patient: &'a str,
    pub class: &'a str,
    pub department: &'a str,
    pub status: &'a str,
    /// `None` where the patient is only expected.
    pub admitted_at: Option<Timestamp>,
    /// When it ended, and where the patient went; empty for a clinic visit.
    pub ended: Option<(Timestamp, &'a str)>,
}

pub fn encounter(visit: &Visit<'_>, sent_at: Timestamp, version: u32) -> Value {
    let mut encounter = json!({
        "resourceType": "Encounter", "id": visit.id, "meta": meta(sent_at, version), "status": visit.status,
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": visit.class},
        "subject": {"reference": format!("Patient/{}", visit.patient)},
    });
    let Some(object) = encounter.as_object_mut() else { return encounter };
    if !visit.department.is_empty() {
        object.insert("serviceType".to_owned(), json!({"coding": [{"system": "urn:south:service", "code": visit.department}]}));
    }
    match (visit.admitted_at, visit.ended) {
        (Some(start), Some((end, _))) => object.insert("period".to_owned(), json!({"start": start, "end": end})),
        (Some(start), None) => object.insert("period".to_owned(), json!({"start": start})),
        (None, _) => None,
    };
    if let Some((_, disposition)) = visit.ended.filter(|(_, disposition)| !disposition.is_empty()) {
        let coding = json!({"system": "http://terminology.hl7.org/CodeSystem/discharge-disposition", "code": disposition});
        object.insert("hospitalization".to_owned(), json!({"dischargeDisposition": {"coding": [coding]}}));
    }
    encounter
}

fn loinc(writing: &Writing<'_>) -> &'static str {
    match (writing.act, writing.kind) {
        // An addendum is a note of its own, about neither coming nor going.
        (Act::Append, _) => "34109-9",
        (_, Kind::Admission) => "34117-2",
        (_, Kind::Discharge) => "18842-5",
        (_, Kind::Progress) => "11506-3",
        (_, Kind::Report) => "18748-4",
    }
}

pub fn document(patient: &str, writing: &Writing<'_>) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(&writing.text);
    let id = document_id(&writing.document);
    let (status, doc_status, version) = match writing.act {
        Act::Write | Act::Replace | Act::Append => ("current", "final", 1),
        Act::Correct => ("current", "amended", 2),
        Act::Retract => ("entered-in-error", "final", 2),
    };
    let mut value = json!({
        "resourceType": "DocumentReference", "id": id, "meta": meta(writing.sent_at, version), "status": status,
        "docStatus": doc_status, "type": {"coding": [{"system": "http://loinc.org", "code": loinc(writing)}]},
        "subject": {"reference": format!("Patient/{patient}")}, "date": writing.written_at,
        "content": [{"attachment": {"contentType": "text/plain; charset=utf-8", "data": data}}],
    });
    let Some(object) = value.as_object_mut() else { return value };
    if let Some(visit) = writing.visit {
        object.insert("context".to_owned(), json!({"encounter": [{"reference": format!("Encounter/{visit}")}]}));
    }
    if let Some(parent) = &writing.parent {
        let code = if writing.act == Act::Replace { "replaces" } else { "appends" };
        let target = json!({"reference": format!("DocumentReference/{}", document_id(parent))});
        object.insert("relatesTo".to_owned(), json!([{"code": code, "target": target}]));
    }
    value
}

/// Logical id of a note, which is also its document number.
pub fn document_id(document: &str) -> String {
    format!("doc-{document}")
}

/// A note in sections, in XHTML.
pub fn composition(patient: &str, writing: &Writing<'_>) -> Value {
    let text = writing.text.replace('&', "&amp;").replace('<', "&lt;").replace('\n', "<br/>");
    json!({
        "resourceType": "Composition", "id": format!("cmp-{}", writing.document), "meta": meta(writing.sent_at, 1), "status": "final",
        "type": {"coding": [{"system": "http://loinc.org", "code": loinc(writing)}]},
        "subject": {"reference": format!("Patient/{patient}")}, "date": writing.written_at, "title": "Progress note",
        "encounter": {"reference": format!("Encounter/{}", writing.visit.unwrap_or_default())},
        "section": [{"title": "Note", "text": {"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{text}</div>")}}],
    })
}

pub fn report(patient: &str, encounter: &str, writing: &Writing<'_>) -> Value {
    let at = writing.sent_at;
    json!({
        "resourceType": "DiagnosticReport", "id": format!("rep-{}", writing.document), "meta": meta(at, 1), "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc(writing)}]},
        "subject": {"reference": format!("Patient/{patient}")}, "encounter": {"reference": format!("Encounter/{encounter}")},
        "effectiveDateTime": at, "conclusion": writing.text,
    })
}

/// Resources in one message Bundle, behind a header.
pub fn message(resources: Vec<Value>, sent_at: Timestamp) -> Value {
    let header = json!({
        "resourceType": "MessageHeader", "eventCoding": {"system": "urn:south:event", "code": "admission"},
        "source": {"endpoint": "urn:south:adt"},
    });
    let entries: Vec<Value> = std::iter::once(header).chain(resources).map(|resource| json!({"resource": resource})).collect();
    json!({"resourceType": "Bundle", "type": "message", "timestamp": sent_at, "entry": entries})
}

/// Diagnoses in one transaction Bundle.
pub fn conditions(patient: &str, encounter: &str, codes: &[String], sent_at: Timestamp) -> Value {
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

/// Whether money flows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paid {
    Yes,
    No,
}

/// Whose bill it is.
pub struct Bill<'a> {
    pub patient: &'a str,
    pub visit: &'a str,
}

/// What a payer says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Queued,
    Paid,
    Denied,
    AppealWon,
    AppealLost,
}

/// The claim of a stay, the decision, in half of the denials an appeal, and now and then an explanation of what was paid.
pub fn billing(bill: &Bill<'_>, stay: &Stay, chance: &mut Chance, put: &mut dyn FnMut(Timestamp, &Value)) {
    if stay.billing == Billing::None {
        return;
    }
    let submitted_at = chance.after(stay.discharged_at, 72.0, 360.0);
    let decided_at = chance.after(submitted_at, 240.0, 1_440.0);
    put(submitted_at, &bill.claim(submitted_at));
    let Billing::Decided { denied } = stay.billing else {
        put(decided_at, &bill.response(1, Decision::Queued, decided_at));
        return;
    };
    if chance.hit(0.1) {
        let at = chance.after(submitted_at, 2.0, 200.0);
        put(at, &bill.response(0, Decision::Queued, at));
    }
    put(decided_at, &bill.response(1, if denied { Decision::Denied } else { Decision::Paid }, decided_at));
    if denied && chance.hit(0.5) {
        let at = chance.after(decided_at, 480.0, 960.0);
        put(at, &bill.response(2, if chance.hit(0.5) { Decision::AppealWon } else { Decision::AppealLost }, at));
    } else if !denied && chance.hit(0.08) {
        let at = chance.after(decided_at, 1.0, 72.0);
        put(at, &bill.explanation(at));
    }
}

impl Bill<'_> {
    fn number(&self) -> String {
        format!("clm-{}", self.visit)
    }

    fn claim(&self, sent_at: Timestamp) -> Value {
        json!({
            "resourceType": "Claim", "id": self.number(), "meta": meta(sent_at, 1), "status": "active", "use": "claim", "created": sent_at,
            "type": {"coding": [{"code": "institutional"}]}, "patient": {"reference": format!("Patient/{}", self.patient)},
            "item": [{"sequence": 1, "encounter": [{"reference": format!("Encounter/{}", self.visit)}]}],
        })
    }

    fn response(&self, number: u32, decision: Decision, sent_at: Timestamp) -> Value {
        let (outcome, words) = match decision {
            Decision::Queued => ("queued", "Received and pending."),
            Decision::Paid => ("complete", "Claim settled as per contract."),
            Decision::Denied => ("complete", "Claim denied."),
            Decision::AppealWon => ("complete", "Appeal upheld, claim paid."),
            Decision::AppealLost => ("complete", "Appeal denied."),
        };
        let mut response = json!({
            "resourceType": "ClaimResponse", "id": format!("rsp-{}-{number}", self.visit), "meta": meta(sent_at, 1), "status": "active",
            "use": "claim", "outcome": outcome, "type": {"coding": [{"code": "institutional"}]}, "created": sent_at, "disposition": words,
            "patient": {"reference": format!("Patient/{}", self.patient)}, "request": {"reference": format!("Claim/{}", self.number())},
        });
        if let Some(object) = response.as_object_mut().filter(|_| decision != Decision::Queued) {
            let paid = if matches!(decision, Decision::Paid | Decision::AppealWon) { Paid::Yes } else { Paid::No };
            object.insert("item".to_owned(), json!([{"itemSequence": 1, "adjudication": adjudication(paid)}]));
            object.insert("total".to_owned(), json!([benefit(paid)]));
        }
        response
    }

    fn explanation(&self, sent_at: Timestamp) -> Value {
        let encounter = json!([{"reference": format!("Encounter/{}", self.visit)}]);
        json!({
            "resourceType": "ExplanationOfBenefit", "id": format!("eob-{}", self.visit), "meta": meta(sent_at, 1), "status": "active",
            "use": "claim", "outcome": "complete", "type": {"coding": [{"code": "institutional"}]}, "created": sent_at,
            "disposition": "Claim settled as per contract.", "patient": {"reference": format!("Patient/{}", self.patient)},
            "claim": {"reference": format!("Claim/{}", self.number())},
            "item": [{"sequence": 1, "encounter": encounter, "adjudication": adjudication(Paid::Yes)}], "total": [benefit(Paid::Yes)],
        })
    }
}

fn benefit(paid: Paid) -> Value {
    let value = match paid {
        Paid::Yes => 1_250.0,
        Paid::No => 0.0,
    };
    json!({"category": {"coding": [{"code": "benefit"}]}, "amount": {"value": value, "currency": "USD"}})
}

/// The benefit, and why there is none.
fn adjudication(paid: Paid) -> Vec<Value> {
    let mut adjudication = vec![benefit(paid)];
    if paid == Paid::No {
        let reason = json!({"system": "https://x12.org/codes/claim-adjustment-reason-codes", "code": "197"});
        adjudication.push(json!({"category": {"coding": [{"code": "denialreason"}]}, "reason": {"coding": [reason]}}));
    }
    adjudication
}
