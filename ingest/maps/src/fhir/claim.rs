//! Claim: a bill for a stay, and how the status of a claim is told.
//!
//! The claim number is `Claim.id`; the stay is that of its first item that names one (R5: `Claim.encounter`). What is billed is a claim
//! (`use` `claim`, STU3 `complete`). A preauthorization is none: it submits nothing and is tied to no stay, and what is decided of it is told
//! under a number of its own, `preauthorization/ID`. Predeterminations are questions, and say nothing. A resubmission or an appeal that comes
//! under a new number is a claim of its own: `related` is not followed.
//!
//! | `Claim.status` | fact |
//! |---|---|
//! | `active` | `claim.submitted` at `created` |
//! | `cancelled`, `entered-in-error` | `claim.decided` `cancelled` |
//! | `draft` | none |
//!
//! A decision (ClaimResponse, ExplanationOfBenefit) is told by the first line that holds; `outcome` alone is never a denial:
//!
//! | | what the response says | `claim.decided` |
//! |---|---|---|
//! | 1 | `status` `cancelled` or `entered-in-error` | `void`: what it had decided is none |
//! | 2 | review actions of header and items (X12 306, Da Vinci PAS; R5: `decision`): any A4 or CT, `pending` | `pending` |
//! | 3 | all C | `cancelled` |
//! | 4 | all A3, `denied` | `denied` |
//! | 5 | all A1, `approved` | `paid` |
//! | 6 | a mixture, or A2, A6, `partial` | `partial` |
//! | 7 | `outcome` `queued` | `pending` |
//! | 8 | the payer's payment status (`payment.type`, adjudication `benefitpaymentstatus`): `paid`, `denied`, `partiallypaid` or `partial` | `paid`, `denied`, `partial` |
//! | 9 | payment or benefit above 0, and some, not all, items refused | `partial` |
//! | 10 | payment or benefit above 0 | `paid` |
//! | 11 | none above 0, and a refusal: category `denied`, `noncovered` above 0, `eligible` 0 of something submitted, a reason that refuses, Medicare's denial codes | `denied` |
//! | 12 | `outcome` `error` | `unknown`: it was never adjudicated |
//! | 13 | nothing of this, and a `disposition` whose words are plain (flagged) | `denied`, `pending` or `paid` |
//! | 14 | payment or benefit 0 without a refusal (a deductible) | `paid` |
//! | 15 | `outcome` `partial` | `partial` |
//! | 16 | nothing of this | `unknown` |
//!
//! A reason refuses unless it is one that only lowers what is paid (deductible, coinsurance, copayment, contract, prior payer) or tells of
//! networks. Where the disposition says that it answers an appeal, `denied` is `appeal_lost`, and `paid` and `partial` are `appeal_won`.
//! Otherwise the order of the decisions tells, which is the reader's to see.

use schemas::{EventCode, Fact};

use super::coding::{codes, has_code};
use super::draft::Draft;
use super::node::Node;
use super::resource::Resource;
use super::{insurance, json, shape};

/// Adds what a Claim says, with the diagnoses it bills where it names its stay.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    if Use::of(body) != Use::Bill {
        return;
    }
    shape::claim(resource, draft);
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
            insurance::of_claim(resource, patient.as_ref(), visit.as_deref(), draft);
        }
        Some("cancelled" | "entered-in-error") => {
            let text_value = Some("cancelled".to_owned());
            draft.facts.push(Fact { time: resource.updated_at, text_value, ..fact(EventCode::ClaimDecided) });
        }
        _ => resource.reject(draft, "status", "the status is missing or unknown"),
    }
}

/// What a Claim or its response is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Bill,
    Preauthorization,
    /// What a payer would pay.
    Question,
}

impl Use {
    /// A sender that leaves `use` out means a bill.
    pub(super) fn of(body: &Node<'_>) -> Self {
        match &body["use"] {
            given if given.is_null() || has_code(given, &["claim", "complete"]) => Self::Bill,
            given if has_code(given, &["preauthorization"]) => Self::Preauthorization,
            _ => Self::Question,
        }
    }

    /// The number that what is decided of it goes under.
    pub(super) fn number(self, id: String) -> String {
        if self == Self::Preauthorization { format!("preauthorization/{id}") } else { id }
    }
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
            draft.facts.push(Fact { time: resource.updated_at, numeric_value: rank, text_value: Some(coding.qualified()), ..fact.clone() });
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
