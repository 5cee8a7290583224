//! Claim: a bill for a stay, and how the status of a claim is told.
//!
//! The claim number is `Claim.id`; the stay is that of its first item that names one (R5: `Claim.encounter`). Only `use = claim` counts
//! (STU3: `complete`); preauthorizations and estimates are no claims.
//!
//! | `Claim.status` | fact |
//! |---|---|
//! | `active` | `claim.submitted` at `created` |
//! | `cancelled`, `entered-in-error` | `claim.decided` `cancelled` |
//! | `draft` | none |
//!
//! A decision (ClaimResponse, ExplanationOfBenefit) is told by the first line that holds; `outcome` alone is never a label:
//!
//! | | what the response says | `claim.decided` |
//! |---|---|---|
//! | 1 | `status` `cancelled` or `entered-in-error` | `unknown`: the decision is void |
//! | 2 | `outcome` `queued` | `pending` |
//! | 3 | review actions of header and items (X12 306, Da Vinci PAS; R5: `decision`): any A4 `pending` | `pending` |
//! | 4 | all A3 `denied` | `denied` |
//! | 5 | all A1 `approved` | `paid` |
//! | 6 | a mixture, or A2, A6 `partial` | `partial` |
//! | 7 | benefit or payment above 0, and some, not all, items refused | `partial` |
//! | 8 | benefit or payment above 0 | `paid` |
//! | 9 | none above 0, and a refusal: adjudication category `denied`, a denial reason, the payer's denial code, a `disposition` that says so | `denied` |
//! | 10 | `outcome` `error` | `unknown`: it was never adjudicated |
//! | 11 | `disposition` speaks of pending or review | `pending` |
//! | 12 | benefit 0 without a refusal (a deductible), or a `disposition` that says paid, settled or approved | `paid` |
//! | 13 | `outcome` `partial` | `partial` |
//! | 14 | nothing of this | `unknown` |
//!
//! Where the disposition says that it answers an appeal, `denied` is `appeal_lost`, and `paid` and `partial` are `appeal_won`. Otherwise the
//! order of the decisions tells, which is the reader's to see.

use schemas::{EventCode, Fact};
use serde_json::Value;

use super::coding::{codes, has_code};
use super::draft::Draft;
use super::json;
use super::resource::Resource;

/// Adds what a Claim says, with the diagnoses it bills where it names its stay.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    if !is_claim(body) {
        return;
    }
    let Some(id) = resource.required_id(draft) else { return };
    let status = json::word(&body["status"]);
    if status == Some("draft") {
        return;
    }
    let patient = resource.patient(draft);
    let visit = visit(resource);
    let fact = |code| Fact { related: Some(id.to_owned()), ..resource.fact(code, patient.as_ref(), visit.as_deref()) };
    match status {
        Some("active") => {
            let time = resource.instant(draft, "created");
            if body["created"].is_null() {
                resource.reject(draft, "created", "it does not say when it was made");
            }
            draft.facts.push(Fact { time, ..fact(EventCode::ClaimSubmitted) });
            diagnoses(resource, &resource.fact(EventCode::EncounterDiagnosed, patient.as_ref(), visit.as_deref()), draft);
        }
        Some("cancelled" | "entered-in-error") => {
            let text_value = Some("cancelled".to_owned());
            draft.facts.push(Fact { time: resource.asserted_at, text_value, ..fact(EventCode::ClaimDecided) });
        }
        _ => resource.reject(draft, "status", "the status is missing or unknown"),
    }
}

/// Whether it is a bill, and no question about one. A sender that leaves `use` out means a bill.
pub(super) fn is_claim(body: &Value) -> bool {
    body["use"].is_null() || has_code(&body["use"], &["claim", "complete"])
}

/// The stay of the first item that names one.
pub(super) fn visit(resource: &Resource<'_>) -> Option<String> {
    let items = json::each(&resource.body["item"]).find_map(|item| resource.visit(&item["encounter"]));
    items.or_else(|| resource.visit(&resource.body["encounter"]))
}

/// The coded diagnoses of a bill, only where its stay is known. The principal one has rank 1, the others the rank of their sequence.
pub(super) fn diagnoses(resource: &Resource<'_>, fact: &Fact, draft: &mut Draft) {
    if fact.encounter.is_none() {
        return;
    }
    for diagnosis in json::each(&resource.body["diagnosis"]) {
        let is_principal = json::each(&diagnosis["type"]).any(|kind| has_code(kind, &["principal"]));
        let sequence = json::number(&diagnosis["sequence"]).filter(|sequence| *sequence >= 1.0);
        let rank = if is_principal { Some(1.0) } else { sequence };
        for coding in codes(&diagnosis["diagnosisCodeableConcept"]) {
            draft.facts.push(Fact {
                time: resource.asserted_at,
                numeric_value: rank,
                text_value: Some(coding.qualified()),
                ..fact.clone()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    fn claim(more: &str) -> String {
        told(&format!(
            "{{'resourceType':'Claim','id':'C','meta':{{'lastUpdated':'2020-02-02T00:00:00Z'}},'patient':{{'reference':'Patient/1'}},'created':'2020-02-01T00:00:00Z',
               'item':[{{'sequence':1}},{{'sequence':2,'encounter':[{{'reference':'Encounter/E'}}]}}],
               'diagnosis':[{{'sequence':2,'diagnosisCodeableConcept':{{'coding':[{{'system':'http://hl7.org/fhir/sid/icd-10-cm','code':'I509'}}]}}}},
                 {{'sequence':3,'type':[{{'coding':[{{'code':'principal'}}]}}],'diagnosisCodeableConcept':{{'coding':[{{'system':'http://hl7.org/fhir/sid/icd-10','code':'J44'}}]}}}},
                 {{'sequence':4,'diagnosisReference':{{'reference':'Condition/c'}}}}],{more}}}"
        ))
    }

    #[test]
    fn an_active_claim_is_submitted_with_its_diagnoses() {
        assert_eq!(
            claim("'status':'active','use':'claim'"),
            "mapped Claim C @2020-02-02T00:00:00Z
claim.submitted 2020-02-01T00:00:00Z p=|1 e=E r=C
encounter.diagnosed 2020-02-02T00:00:00Z p=|1 e=E =ICD10CM/I509 n=2
encounter.diagnosed 2020-02-02T00:00:00Z p=|1 e=E =ICD10CM/J44 n=1"
        );
    }

    #[test]
    fn cancelled_claims_are_decided_and_questions_are_no_claims() {
        let cancelled = "mapped Claim C @2020-02-02T00:00:00Z\nclaim.decided 2020-02-02T00:00:00Z p=|1 e=E =cancelled r=C";
        assert_eq!(claim("'status':'cancelled','use':'claim'"), cancelled);
        assert_eq!(claim("'status':'entered-in-error','use':'claim'"), cancelled);
        assert_eq!(claim("'status':'active','use':'preauthorization'"), "ignored Claim C @2020-02-02T00:00:00Z");
        assert_eq!(claim("'status':'draft','use':'claim'"), "ignored Claim C @2020-02-02T00:00:00Z");
        assert!(claim("'status':'odd'").contains("! map Claim.status: the status is missing or unknown"));
    }
}
