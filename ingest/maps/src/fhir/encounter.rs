//! Encounter: what kind of visit it is, when it began and ended, where the patient went.
//!
//! | status | class | facts besides `encounter.class` and `encounter.department` |
//! |---|---|---|
//! | `planned` | any | `encounter.preadmitted` |
//! | `cancelled`, `entered-in-error` | any | `encounter.admission_cancelled` |
//! | any other | `IMP ACUTE NONAC OBSENC SS`, or any class with a `hospitalization` | `encounter.admitted`, and `encounter.discharged` once it has ended |
//! | any other | any other | `encounter.registered` |
//!
//! It has ended where `period.end` stands and the status is not one of a patient who is still there (`arrived`, `triaged`, `in-progress`,
//! `onleave`), for whom it is an expectation unless a discharge disposition stands beside it. The visit number is the logical id. R5 is read under its names: `class` as a list of concepts,
//! `actualPeriod`, `plannedStartDate`, `admission`; and STU3 where it has the same ones.

use jiff::Timestamp;
use schemas::{EventCode, Fact, Identifier};
use serde_json::Value;

use super::coding::{code, codes};
use super::draft::Draft;
use super::json;
use super::reference::Target;
use super::resource::Resource;

const STAYS: [&str; 5] = ["IMP", "ACUTE", "NONAC", "OBSENC", "SS"];
const PRESENT: [&str; 4] = ["arrived", "triaged", "in-progress", "onleave"];

/// Adds what an Encounter says.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let Some(visit) = resource.required_id(draft) else { return };
    let patient = resource.patient(draft);
    let visit = Visit { resource, visit, patient };
    let body = resource.body;
    let status = json::word(&body["status"]);
    if status.is_none() {
        resource.reject(draft, "status", "the status is missing");
    }
    if matches!(status, Some("cancelled" | "entered-in-error")) {
        draft.facts.push(Fact { time: resource.asserted_at, ..visit.fact(EventCode::EncounterAdmissionCancelled) });
        return;
    }
    let class = code(&body["class"]);
    match class {
        Some(class) => draft.facts.push(visit.text(EventCode::EncounterClass, class)),
        None => resource.reject(draft, "class", "the class is missing"),
    }
    if let Some(department) = code(&body["serviceType"]).or_else(|| code(&body["serviceType"][0]["concept"])) {
        draft.facts.push(visit.text(EventCode::EncounterDepartment, department));
    }
    let is_stay = class.is_some_and(|class| STAYS.contains(&class)) || visit.hospitalization().is_some();
    if status == Some("planned") {
        let time = resource.first_instant(draft, &["period.start", "plannedStartDate"]);
        draft.facts.push(Fact { time, ..visit.fact(EventCode::EncounterPreadmitted) });
    } else {
        let start = resource.first_instant(draft, &["period.start", "actualPeriod.start"]);
        if json::first_of(body, &["period.start", "actualPeriod.start"]).is_none() {
            resource.reject(draft, "period.start", "it does not say when it began");
        }
        let begun = if is_stay { EventCode::EncounterAdmitted } else { EventCode::EncounterRegistered };
        draft.facts.push(Fact { time: start, ..visit.fact(begun) });
        visit.transfers(draft);
        if is_stay {
            visit.discharge(start, status.unwrap_or_default(), draft);
        }
    }
    visit.diagnoses(draft);
}

struct Visit<'a> {
    resource: &'a Resource<'a>,
    visit: &'a str,
    patient: Option<Identifier>,
}

impl Visit<'_> {
    fn fact(&self, code: EventCode) -> Fact {
        self.resource.fact(code, self.patient.as_ref(), Some(self.visit))
    }

    fn text(&self, code: EventCode, text: &str) -> Fact {
        Fact { text_value: Some(text.to_owned()), ..self.fact(code) }
    }

    fn hospitalization(&self) -> Option<&Value> {
        json::first_of(self.resource.body, &["hospitalization", "admission"]).map(|(_, value)| value)
    }

    fn discharge(&self, start: Option<Timestamp>, status: &str, draft: &mut Draft) {
        let resource = self.resource;
        let disposition = self.hospitalization().map_or(&Value::Null, |hospitalization| &hospitalization["dischargeDisposition"]);
        let is_present = PRESENT.contains(&status) && disposition.is_null();
        let end = resource.first_instant(draft, &["period.end", "actualPeriod.end"]);
        match end {
            None if matches!(status, "finished" | "completed" | "discharged") => {
                resource.reject(draft, "period.end", "it is finished and does not say when it ended");
            }
            Some(end) if start.is_some_and(|start| end < start) => resource.reject(draft, "period.end", "it ends before it begins"),
            Some(end) if !is_present => {
                let text_value = code(disposition).or_else(|| json::word(&disposition["text"])).map(str::to_owned);
                draft.facts.push(Fact { time: Some(end), text_value, ..self.fact(EventCode::EncounterDischarged) });
            }
            _ => {}
        }
    }

    /// A transfer for each location after the earliest one, where the sender says since when.
    fn transfers(&self, draft: &mut Draft) {
        let reader = self.resource.reader;
        let since = |location: &Value| reader.instant(json::at(location, "period.start"));
        let mut moves: Vec<_> = json::each(&self.resource.body["location"])
            .filter(|location| location["status"] != "planned" && location["status"] != "reserved")
            .filter_map(|location| Some((since(location)?, self.place_of(&location["location"])?)))
            .collect();
        moves.sort_by_key(|(time, _)| *time);
        for (time, place) in moves.into_iter().skip(1) {
            draft.facts.push(Fact { time: Some(time), ..self.text(EventCode::EncounterTransferred, &place) });
        }
    }

    fn place_of(&self, location: &Value) -> Option<String> {
        if let Some(display) = json::word(&location["display"]) {
            return Some(display.to_owned());
        }
        match self.resource.index.resolve(location, self.resource.body, "Location")? {
            Target::Named(key) => Some(key.id),
            Target::Contained(inner) => json::word(&inner["name"]).map(str::to_owned),
            Target::Identified { value, .. } => Some(value),
        }
    }

    /// Only diagnoses that are told within the Encounter itself: a contained Condition, or R5's concept. The others are Conditions of their own.
    fn diagnoses(&self, draft: &mut Draft) {
        for diagnosis in json::each(&self.resource.body["diagnosis"]) {
            let rank = json::number(&diagnosis["rank"]).filter(|rank| *rank >= 1.0);
            for condition in json::each(&diagnosis["condition"]) {
                let contained = match self.resource.index.resolve(condition, self.resource.body, "Condition") {
                    Some(Target::Contained(inner)) => &inner["code"],
                    _ => &condition["concept"],
                };
                for coding in codes(contained) {
                    let fact = self.text(EventCode::EncounterDiagnosed, &coding.qualified());
                    draft.facts.push(Fact { time: self.resource.asserted_at, numeric_value: rank, ..fact });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    fn encounter(status: &str, class: &str, more: &str) -> String {
        told(&format!(
            "{{'resourceType':'Encounter','id':'E','meta':{{'lastUpdated':'2020-01-09T00:00:00Z'}},'status':'{status}','class':{class},'subject':{{'reference':'Patient/1'}}{more}}}"
        ))
    }

    const INPATIENT: &str = "{'code':'IMP'}";
    const PERIOD: &str = ",'period':{'start':'2020-01-01T10:00:00-05:00','end':'2020-01-05T12:00:00-05:00'}";

    #[test]
    fn a_finished_stay_is_told_in_full() {
        let more = ",'serviceType':{'coding':[{'code':'MED'}]},'hospitalization':{'dischargeDisposition':{'coding':[{'code':'exp'}]}},
            'location':[{'location':{'display':'4 West'},'period':{'start':'2020-01-02'}},{'location':{'reference':'Location/ed'},'period':{'start':'2020-01-01'}},{'location':{'display':'?'}}]";
        assert_eq!(
            encounter("finished", INPATIENT, &format!("{PERIOD}{more}")),
            "mapped Encounter E @2020-01-09T00:00:00Z
encounter.class - p=|1 e=E =IMP
encounter.department - p=|1 e=E =MED
encounter.admitted 2020-01-01T15:00:00Z p=|1 e=E
encounter.transferred 2020-01-02T05:00:00Z p=|1 e=E =4 West
encounter.discharged 2020-01-05T17:00:00Z p=|1 e=E =exp"
        );
    }

    #[test]
    fn status_and_class_decide_what_a_visit_is() {
        let last = |status: &str, class: &str, more: &str| {
            let told = encounter(status, class, more);
            told.lines().skip(1).map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let emergency = "{'code':'EMER'}";
        assert_eq!(last("planned", INPATIENT, PERIOD), "encounter.class encounter.preadmitted");
        assert_eq!(last("cancelled", INPATIENT, PERIOD), "encounter.admission_cancelled");
        assert_eq!(last("entered-in-error", emergency, PERIOD), "encounter.admission_cancelled");
        assert_eq!(last("in-progress", INPATIENT, ",'period':{'start':'2020'}"), "encounter.class encounter.admitted");
        assert_eq!(last("in-progress", INPATIENT, PERIOD), "encounter.class encounter.admitted");
        let gone = ",'hospitalization':{'dischargeDisposition':{'coding':[{'code':'home'}]}}";
        assert_eq!(last("in-progress", INPATIENT, &format!("{PERIOD}{gone}")), "encounter.class encounter.admitted encounter.discharged");
        assert_eq!(last("finished", emergency, PERIOD), "encounter.class encounter.registered");
        assert_eq!(
            last("finished", emergency, &format!("{PERIOD},'hospitalization':{{}}")),
            "encounter.class encounter.admitted encounter.discharged"
        );
        for class in ["ACUTE", "NONAC", "OBSENC", "SS"] {
            assert_eq!(
                last("finished", &format!("{{'code':'{class}'}}"), PERIOD),
                "encounter.class encounter.admitted encounter.discharged"
            );
        }
    }

    #[test]
    fn the_shapes_of_r5_are_read_under_their_names() {
        let more = ",'actualPeriod':{'start':'2020-01-01','end':'2020-01-02'},'admission':{'dischargeDisposition':{'text':'home'}},
            'diagnosis':[{'condition':[{'concept':{'coding':[{'system':'http://hl7.org/fhir/sid/icd-10-cm','code':'I50.9'}]}}]}]";
        assert_eq!(
            encounter("completed", "[{'coding':[{'code':'IMP'}]}]", more),
            "mapped Encounter E @2020-01-09T00:00:00Z
encounter.class - p=|1 e=E =IMP
encounter.admitted 2020-01-01T05:00:00Z p=|1 e=E
encounter.discharged 2020-01-02T05:00:00Z p=|1 e=E =home
encounter.diagnosed 2020-01-09T00:00:00Z p=|1 e=E =ICD10CM/I50.9"
        );
    }

    #[test]
    fn what_is_missing_or_impossible_is_said() {
        let rejects = |status: &str, more: &str| {
            encounter(status, INPATIENT, more).lines().filter(|line| line.starts_with('!')).collect::<Vec<_>>().join("\n")
        };
        let backwards = ",'period':{'start':'2020-01-05','end':'2020-01-01'}";
        assert_eq!(rejects("finished", backwards), "! map Encounter.period.end: it ends before it begins");
        assert_eq!(
            rejects("finished", ",'period':{'start':'2020-01-05'}"),
            "! map Encounter.period.end: it is finished and does not say when it ended"
        );
        assert_eq!(rejects("in-progress", ""), "! map Encounter.period.start: it does not say when it began");
    }
}
