//! Procedure: what was done, or was not.

use schemas::{EventCode, Fact};

use super::coding::{codes, has_code};
use super::draft::Draft;
use super::resource::Resource;
use super::{json, shape};

/// Adds one fact for each code of a Procedure, at the time when it was done or begun. One that is only prepared says nothing.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    if has_code(&body["status"], &["preparation"]) {
        return;
    }
    shape::procedure(resource, draft);
    let was_not = has_code(&body["status"], &["entered-in-error", "not-done"]) || body["notDone"] == true;
    let code = if was_not { EventCode::EncounterProcedureRetracted } else { EventCode::EncounterProcedure };
    let patient = resource.patient(draft);
    let visit = json::first_of(body, &["encounter", "context"]).and_then(|(_, reference)| resource.visit(reference));
    let times = ["performedDateTime", "performedPeriod.start", "occurrenceDateTime", "occurrencePeriod.start"];
    let time = resource.first_instant(draft, &times);
    let related = resource.id.map(|id| ["Procedure/", id].concat());
    let codings: Vec<_> = codes(&body["code"]).collect();
    if codings.is_empty() {
        resource.reject(draft, "code", "the procedure has no code");
    }
    for coding in codings {
        let fact = resource.fact(code, patient.as_ref(), visit.as_deref());
        draft.facts.push(Fact { time, text_value: Some(coding.qualified()), related: related.clone(), ..fact });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    fn procedure(status: &str) -> String {
        told(&format!(
            "{{'resourceType':'Procedure','id':'p','status':'{status}','subject':{{'reference':'Patient/1'}},'encounter':{{'reference':'Encounter/E'}},
               'performedPeriod':{{'start':'2020-01-01T08:00:00Z'}},'code':{{'coding':[{{'system':'http://snomed.info/sct','code':'80146002'}}]}}}}"
        ))
    }

    #[test]
    fn what_was_done_is_told_and_what_was_not_is_taken_back() {
        let told = |code: &str| format!("mapped Procedure p\n{code} 2020-01-01T08:00:00Z p=|1 e=E =SNOMED/80146002 r=Procedure/p");
        assert_eq!(procedure("completed"), told("encounter.procedure"));
        assert_eq!(procedure("entered-in-error"), told("encounter.procedure_retracted"));
        assert_eq!(procedure("not-done"), told("encounter.procedure_retracted"));
        assert_eq!(procedure("preparation"), "ignored Procedure p");
    }
}
