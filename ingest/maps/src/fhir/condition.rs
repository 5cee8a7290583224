//! Condition: a diagnosis, made or taken back.

use schemas::{EventCode, Fact};

use super::coding::{codes, has_code};
use super::draft::Draft;
use super::resource::Resource;
use super::{json, shape};

const TAKEN_BACK: [&str; 2] = ["entered-in-error", "refuted"];

/// Adds one fact for each code of a Condition. Its rank, and its stay where it names none, are those that an Encounter of the same Bundle
/// gives it. The time is when it was recorded (STU3: asserted), else when it began.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    shape::condition(resource, draft);
    let patient = resource.patient(draft);
    let linked = resource.id.and_then(|id| resource.index.diagnosis(id));
    let named = json::first_of(body, &["encounter", "context"]).and_then(|(field, reference)| {
        let visit = resource.visit(reference);
        if visit.is_none() {
            resource.reject(draft, field, "the reference names no encounter");
        }
        visit
    });
    let visit = named.or_else(|| linked.map(|diagnosis| diagnosis.visit.to_owned()));
    let is_retracted = [&body["verificationStatus"], &body["clinicalStatus"]].iter().any(|status| has_code(status, &TAKEN_BACK));
    let code = if is_retracted { EventCode::EncounterDiagnosisRetracted } else { EventCode::EncounterDiagnosed };
    let time = resource.first_instant(draft, &["recordedDate", "assertedDate", "onsetDateTime", "onsetPeriod.start"]);
    let rank = linked.filter(|diagnosis| visit.as_deref() == Some(diagnosis.visit)).and_then(|diagnosis| diagnosis.rank);
    let before = draft.facts.len();
    for coding in codes(&body["code"]) {
        draft.facts.push(Fact {
            time,
            numeric_value: rank,
            text_value: Some(coding.qualified()),
            related: resource.id.map(|id| ["Condition/", id].concat()),
            ..resource.fact(code, patient.as_ref(), visit.as_deref())
        });
    }
    if draft.facts.len() == before {
        resource.reject(draft, "code", "the condition has no code");
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    fn condition(more: &str) -> String {
        told(&format!(
            "{{'resourceType':'Condition','id':'c','subject':{{'reference':'Patient/1'}},'recordedDate':'2020-05-01T00:00:00Z','code':{{'coding':[
               {{'system':'http://hl7.org/fhir/sid/icd-9-cm','code':'428.0'}},{{'system':'http://snomed.info/sct','code':'84114007'}},{{'system':'urn:l','code':'z'}}]}}{more}}}"
        ))
    }

    #[test]
    fn each_code_is_a_diagnosis() {
        assert_eq!(
            condition(",'encounter':{'reference':'Encounter/E'},'verificationStatus':{'coding':[{'code':'confirmed'}]}"),
            "mapped Condition c
encounter.diagnosed 2020-05-01T00:00:00Z p=|1 e=E =ICD9CM/428.0 r=Condition/c
encounter.diagnosed 2020-05-01T00:00:00Z p=|1 e=E =SNOMED/84114007 r=Condition/c
encounter.diagnosed 2020-05-01T00:00:00Z p=|1 e=E =urn:l/z r=Condition/c"
        );
    }

    #[test]
    fn errors_and_refutations_take_back() {
        for status in [
            "'verificationStatus':{'coding':[{'code':'entered-in-error'}]}",
            "'verificationStatus':{'coding':[{'code':'refuted'}]}",
            "'verificationStatus':'entered-in-error'",
        ] {
            let told = condition(&format!(",{status}"));
            assert_eq!(told.matches("encounter.diagnosis_retracted 2020-05-01T00:00:00Z p=|1 =").count(), 3, "{told}");
        }
        assert!(condition(",'clinicalStatus':{'coding':[{'code':'resolved'}]}").contains("encounter.diagnosed"));
    }

    #[test]
    fn the_encounter_of_the_same_bundle_gives_rank_and_stay() {
        let bundle = "{'resourceType':'Bundle','type':'collection','entry':[
            {'resource':{'resourceType':'Condition','id':'c','subject':{'reference':'Patient/1'},'code':{'coding':[{'system':'http://hl7.org/fhir/sid/icd-10-cm','code':'I50.9'}]}}},
            {'resource':{'resourceType':'Encounter','id':'E','status':'planned','class':{'code':'IMP'},'subject':{'reference':'Patient/1'},'diagnosis':[{'condition':{'reference':'Condition/c'},'rank':1}]}}]}";
        assert!(told(bundle).contains("encounter.diagnosed - p=|1 e=E =ICD10CM/I50.9 n=1 r=Condition/c"));
    }

    #[test]
    fn a_condition_without_a_code_is_said() {
        let told = told("{'resourceType':'Condition','id':'c','subject':{'reference':'Patient/1'},'code':{'text':'x'}}");
        assert_eq!(told, "rejected Condition c\n! map Condition.code: the condition has no code");
    }
}
