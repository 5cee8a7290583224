//! Encounter: what kind of visit it is, when it began and ended, where the patient went.
//!
//! What it is stands in `setting`; the visit number is the logical id.
//!
//! | it is | facts besides `encounter.class` and `encounter.department` |
//! |---|---|
//! | cancelled, entered in error | `encounter.admission_cancelled`; of a part `encounter.transfer_cancelled` of the whole |
//! | a part of another visit | `encounter.merged` into it, so that its notes and diagnoses are the whole's; `encounter.transferred` of the whole to where it was, unless its class is `EMER` |
//! | planned | `encounter.preadmitted` |
//! | a stay | `encounter.identified` for the number under which HL7 v2 tells of it (`visit_number`); `encounter.admitted`; `encounter.transferred`, leaves; `encounter.discharged` once it has ended, with `patient.died` where the disposition says so and `encounter.disposition` of nothing where there is none; `encounter.discharge_cancelled` while the patient is there |
//! | a visit | `encounter.registered`, `encounter.made_outpatient` |
//!
//! A version says all that stands: what an earlier one said of the end, of where the patient went and of a stay is taken back by one that does not.
//!
//! It has ended where `period.end` stands and the status is not one of a patient who is still there (`arrived`, `triaged`, `in-progress`,
//! `onleave`): for whom it is an expectation, unless a discharge disposition stands beside it. R5 and STU3 are read under their names.

use jiff::Timestamp;
use schemas::event::DEATHS;
use schemas::{EventCode, Fact, Identifier};

use super::coding::{code, codes};
use super::draft::Draft;
use super::node::Node;
use super::reference::{Target, rank};
use super::resource::Resource;
use super::setting::{self, Setting, hospitalization};
use super::{json, shape, visit_number};

const PRESENT: [&str; 4] = ["arrived", "triaged", "in-progress", "onleave"];

/// Adds what an Encounter says.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let Some(visit) = resource.required_id(draft) else { return };
    let patient = resource.patient(draft);
    let visit = Visit { resource, visit, patient };
    let body = resource.body;
    shape::encounter(resource, draft);
    let status = json::word(&body["status"]);
    if status.is_none() {
        resource.reject(draft, "status", "the status is missing");
    }
    let start = resource.first_instant(draft, &["period.start", "actualPeriod.start", "plannedStartDate"]);
    let end = resource.first_instant(draft, &["period.end", "actualPeriod.end"]);
    let setting = setting::of(resource, start, end, draft);
    if matches!(status, Some("cancelled" | "entered-in-error")) {
        return visit.cancelled(&setting, draft);
    }
    if let Setting::Part(whole) = &setting {
        return visit.part(whole, start, draft);
    }
    match code(&body["class"]) {
        Some(class) => draft.facts.push(visit.text(EventCode::EncounterClass, class)),
        None => resource.reject(draft, "class", "the class is missing"),
    }
    if let Some(department) = setting::service(body) {
        draft.facts.push(visit.text(EventCode::EncounterDepartment, department));
    }
    if setting == Setting::Planned {
        draft.facts.push(Fact { time: start, ..visit.fact(EventCode::EncounterPreadmitted) });
    } else {
        if json::first_of(body, &["period.start", "actualPeriod.start"]).is_none() {
            resource.reject(draft, "period.start", "it does not say when it began");
        }
        visit.begun(&setting, start, draft);
        visit.transfers(1, draft);
        if setting == Setting::Stay {
            visit.leaves(status.unwrap_or_default(), draft);
            visit.discharge((start, end), status.unwrap_or_default(), draft);
        }
    }
    visit.diagnoses(draft);
    if setting == Setting::Stay {
        visit.identified(draft);
    }
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

    fn cancelled(&self, setting: &Setting, draft: &mut Draft) {
        let time = self.resource.updated_at;
        draft.facts.push(match setting {
            Setting::Part(whole) => self.resource.fact(EventCode::EncounterTransferCancelled, self.patient.as_ref(), Some(whole)),
            _ => Fact { time, ..self.fact(EventCode::EncounterAdmissionCancelled) },
        });
    }

    /// What a part says of the whole: notes and diagnoses of the part are the whole's, and the patient went where the part was.
    fn part(&self, whole: &str, start: Option<Timestamp>, draft: &mut Draft) {
        let related = Some(self.visit.to_owned());
        let fact = |code| self.resource.fact(code, self.patient.as_ref(), Some(whole));
        draft.facts.push(Fact { time: self.resource.updated_at, related, ..fact(EventCode::EncounterMerged) });
        let body = self.resource.body;
        let class = code(&body["class"]).unwrap_or_default();
        if !class.eq_ignore_ascii_case("EMER") {
            let whole = Visit { resource: self.resource, visit: whole, patient: self.patient.clone() };
            if whole.transfers(0, draft) == 0 && start.is_some() {
                let place = json::each(&body["location"]).find_map(|location| self.place_of(&location["location"]));
                let place = place.or_else(|| setting::service(body).map(str::to_owned));
                draft.facts.push(Fact { time: start, text_value: place, ..whole.fact(EventCode::EncounterTransferred) });
            }
            whole.diagnoses(draft);
        }
    }

    /// The beginning: of a stay that was a visit first, both.
    fn begun(&self, setting: &Setting, start: Option<Timestamp>, draft: &mut Draft) {
        if *setting != Setting::Stay {
            draft.facts.push(Fact { time: start, ..self.fact(EventCode::EncounterRegistered) });
            draft.facts.push(Fact { time: start, ..self.fact(EventCode::EncounterMadeOutpatient) });
            return;
        }
        let admitted = self.became_inpatient();
        if admitted.is_some() && admitted != start {
            draft.facts.push(Fact { time: start, ..self.fact(EventCode::EncounterRegistered) });
        }
        draft.facts.push(Fact { time: admitted.or(start), ..self.fact(EventCode::EncounterAdmitted) });
    }

    /// The number under which HL7 v2 tells of the stay, where that is another than its id.
    fn identified(&self, draft: &mut Draft) {
        for number in visit_number::listed(self.resource).into_iter().filter(|number| *number != self.visit) {
            draft.facts.push(Fact { related: Some(number.to_owned()), ..self.fact(EventCode::EncounterIdentified) });
        }
    }

    /// When the class changed from one of visits to one of stays, by its history (R4 and STU3).
    fn became_inpatient(&self) -> Option<Timestamp> {
        let reader = self.resource.reader;
        let history = || json::each(&self.resource.body["classHistory"]);
        let inpatient = |past: &&Node<'_>| code(&past["class"]).is_some_and(setting::is_inpatient);
        let visit_ended = history().filter(|past| !inpatient(past)).filter_map(|past| reader.instant(json::at(past, "period.end"))).max();
        let stay_began = history().filter(inpatient).filter_map(|past| reader.instant(json::at(past, "period.start"))).min();
        let has_visit = history().any(|past| !inpatient(&past));
        stay_began.filter(|_| has_visit).or(visit_ended)
    }

    /// Leaves of absence, by the history of the status, else by the status alone.
    fn leaves(&self, status: &str, draft: &mut Draft) {
        let before = draft.facts.len();
        for past in json::each(&self.resource.body["statusHistory"]).filter(|past| past["status"] == "onleave") {
            let instant = |field: &str| self.resource.reader.instant(json::at(past, field));
            if let Some(time) = instant("period.start") {
                draft.facts.push(Fact { time: Some(time), ..self.fact(EventCode::EncounterLeaveBegan) });
            }
            if let Some(time) = instant("period.end") {
                draft.facts.push(Fact { time: Some(time), ..self.fact(EventCode::EncounterLeaveEnded) });
            }
        }
        if status == "onleave" && draft.facts.len() == before {
            draft.facts.push(Fact { time: self.resource.updated_at, ..self.fact(EventCode::EncounterLeaveBegan) });
        }
    }

    fn discharge(&self, (start, end): (Option<Timestamp>, Option<Timestamp>), status: &str, draft: &mut Draft) {
        let resource = self.resource;
        let disposition = &hospitalization(resource.body)["dischargeDisposition"];
        let is_present = PRESENT.contains(&status) && disposition.is_null();
        if is_present {
            draft.facts.push(Fact { time: resource.updated_at, ..self.fact(EventCode::EncounterDischargeCancelled) });
        }
        let states_end = json::first_of(resource.body, &["period.end", "actualPeriod.end"]).is_some();
        match end {
            None if matches!(status, "finished" | "completed" | "discharged") && !states_end => {
                resource.reject(draft, "period.end", "it is finished and does not say when it ended");
            }
            Some(end) if start.is_some_and(|start| end < start) => resource.reject(draft, "period.end", "it ends before it begins"),
            Some(end) if is_present => draft.facts.push(Fact { time: Some(end), ..self.fact(EventCode::EncounterDischargeExpected) }),
            Some(end) => {
                let text_value = code(disposition).or_else(|| json::word(&disposition["text"])).map(str::to_owned);
                let died = text_value.as_deref().is_some_and(|text| DEATHS.iter().any(|death| death.eq_ignore_ascii_case(text)));
                if text_value.is_none() {
                    draft.facts.push(self.fact(EventCode::EncounterDisposition));
                }
                draft.facts.push(Fact { time: Some(end), text_value, ..self.fact(EventCode::EncounterDischarged) });
                if died {
                    draft.facts.push(Fact { time: Some(end), ..self.fact(EventCode::PatientDied) });
                }
            }
            None => {}
        }
    }

    /// A transfer for each place after the first `skipped` ones, where the sender says since when. Of several that begin at once (a bed,
    /// its room, its ward) the ward counts, else the first; the same place twice in a row is no transfer. Tells how many there were.
    fn transfers(&self, skipped: usize, draft: &mut Draft) -> usize {
        let reader = self.resource.reader;
        let since = |location: &Node<'_>| reader.instant(json::at(location, "period.start"));
        let is_ward = |location: &Node<'_>| code(&location["physicalType"]) == Some("wa") || code(&location["form"]) == Some("wa");
        let mut moves: Vec<_> = json::each(&self.resource.body["location"])
            .filter(|location| location["status"] != "planned" && location["status"] != "reserved")
            .filter_map(|location| Some((since(location)?, !is_ward(location), self.place_of(&location["location"])?)))
            .collect();
        moves.sort_by_key(|(time, is_no_ward, _)| (*time, *is_no_ward));
        moves.dedup_by_key(|(time, ..)| *time);
        moves.dedup_by(|later, earlier| later.2 == earlier.2);
        let told = moves.len().saturating_sub(skipped);
        for (time, _, place) in moves.into_iter().skip(skipped) {
            draft.facts.push(Fact { time: Some(time), ..self.text(EventCode::EncounterTransferred, &place) });
        }
        told
    }

    fn place_of(&self, location: &Node<'_>) -> Option<String> {
        if let Some(display) = json::word(&location["display"]) {
            return Some(display.to_owned());
        }
        match self.resource.index.resolve(location, self.resource.body, "Location")? {
            Target::Named(key) => Some(key.id.to_owned()),
            Target::Contained(inner) => json::word(&inner["name"]).map(str::to_owned),
            Target::Identified { value, .. } => Some(value.into_owned()),
        }
    }

    /// Only diagnoses that are told within the Encounter itself: a contained Condition, or R5's concept. The others are Conditions of their own.
    fn diagnoses(&self, draft: &mut Draft) {
        for diagnosis in json::each(&self.resource.body["diagnosis"]) {
            let rank = rank(diagnosis);
            for condition in json::each(&diagnosis["condition"]) {
                let contained = match self.resource.index.resolve(condition, self.resource.body, "Condition") {
                    Some(Target::Contained(inner)) => &inner["code"],
                    _ => &condition["concept"],
                };
                for coding in codes(contained) {
                    let fact = self.text(EventCode::EncounterDiagnosed, &coding.qualified());
                    draft.facts.push(Fact { time: self.resource.updated_at, numeric_value: rank, ..fact });
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
encounter.discharged 2020-01-05T17:00:00Z p=|1 e=E =exp
patient.died 2020-01-05T17:00:00Z p=|1 e=E"
        );
    }

    #[test]
    fn status_and_class_decide_what_a_visit_is() {
        let last = |status: &str, class: &str, more: &str| {
            let told = encounter(status, class, more);
            told.lines()
                .skip(1)
                .filter(|line| !line.starts_with('?'))
                .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let emergency = "{'code':'EMER'}";
        assert_eq!(last("planned", INPATIENT, PERIOD), "encounter.class encounter.preadmitted");
        assert_eq!(last("cancelled", INPATIENT, PERIOD), "encounter.admission_cancelled");
        assert_eq!(last("entered-in-error", emergency, PERIOD), "encounter.admission_cancelled");
        assert_eq!(
            last("in-progress", INPATIENT, ",'period':{'start':'2020'}"),
            "encounter.class encounter.admitted encounter.discharge_cancelled"
        );
        assert_eq!(
            last("in-progress", INPATIENT, PERIOD),
            "encounter.class encounter.admitted encounter.discharge_cancelled encounter.discharge_expected"
        );
        let gone = ",'hospitalization':{'dischargeDisposition':{'coding':[{'code':'home'}]}}";
        assert_eq!(last("in-progress", INPATIENT, &format!("{PERIOD}{gone}")), "encounter.class encounter.admitted encounter.discharged");
        assert_eq!(last("finished", emergency, PERIOD), "encounter.class encounter.registered encounter.made_outpatient");
        assert_eq!(
            last("finished", emergency, &format!("{PERIOD},'hospitalization':{{}}")),
            "encounter.class encounter.registered encounter.made_outpatient",
            "a hospitalization that says nothing is none"
        );
        for class in ["ACUTE", "NONAC", "OBSENC", "SS"] {
            assert_eq!(
                last("finished", &format!("{{'code':'{class}'}}"), PERIOD),
                "encounter.class encounter.admitted encounter.disposition encounter.discharged"
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
? Encounter.class: this is R5's shape; it is read as R4's
? Encounter.actualPeriod: this is R5's shape; it is read as R4's
? Encounter.admission: this is R5's shape; it is read as R4's
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
    /// The codes of what an Encounter says, without class, department and flags.
    fn events(status: &str, class: &str, more: &str) -> String {
        let told = encounter(status, &format!("{{'code':'{class}'}}"), more);
        let codes = told.lines().skip(1).filter(|line| !line.starts_with('?')).map(|line| line.split(' ').next().unwrap_or_default());
        codes.filter(|code| !matches!(*code, "encounter.class" | "encounter.department")).collect::<Vec<_>>().join(" ")
    }

    const SHORT: &str = ",'period':{'start':'2180-05-06T22:23:00-04:00','end':'2180-05-07T05:15:00-04:00'}";
    const STAYED: &str = "encounter.admitted encounter.discharged";
    const VISITED: &str = "encounter.registered encounter.made_outpatient";

    /// The MIMIC-IV demo on FHIR: hospital stays as EMER, OBSENC, AMB, SS, with emergency and intensive care as encounters of their own.
    #[test]
    fn class_that_is_never_imp_hospital_stays_as_emer_obsenc_amb_ss() {
        let hospital = ",'identifier':[{'system':'http://mimic.mit.edu/fhir/mimic/identifier/encounter-hosp','value':'1'}],
            'hospitalization':{'admitSource':{'coding':[{'code':'EMERGENCY ROOM'}]},'dischargeDisposition':{'coding':[{'code':'HOME'}]}}";
        let service = ",'serviceType':{'coding':[{'code':'MED'}]}";
        let moves = ",'location':[{'location':{'reference':'Location/ed'},'period':{'start':'2180-05-06T22:23:00-04:00'}},
            {'location':{'reference':'Location/ward'},'period':{'start':'2180-05-06T23:30:00-04:00'}}]";
        for class in ["EMER", "AMB", "OBSENC", "SS", "ACUTE"] {
            assert_eq!(events("finished", class, &format!("{SHORT}{hospital}{service}")), STAYED, "{class}");
            assert_eq!(events("finished", class, &format!("{PERIOD}{hospital}")), STAYED, "{class}");
        }
        let moved = "encounter.admitted encounter.transferred encounter.discharged";
        assert_eq!(events("finished", "EMER", &format!("{SHORT}{hospital}{moves}")), moved);
        assert_eq!(events("finished", "EMER", &format!("{SHORT}{hospital}")), VISITED);
    }

    #[test]
    fn an_emergency_visit_is_no_stay_whatever_its_disposition() {
        let gone =
            ",'hospitalization':{'admitSource':{'coding':[{'code':'AMBULANCE'}]},'dischargeDisposition':{'coding':[{'code':'HOME'}]}}";
        let service = ",'serviceType':{'coding':[{'code':'ED'}]}";
        assert_eq!(events("finished", "EMER", &format!("{SHORT}{gone}{service}")), VISITED);
        let known = ",'identifier':[{'system':'http://mimic.mit.edu/fhir/mimic/identifier/encounter-ed','value':'1'}]";
        assert_eq!(events("finished", "EMER", &format!("{PERIOD}{gone}{known}")), VISITED);
    }

    #[test]
    fn a_part_belongs_to_its_whole_and_is_no_stay() {
        let part = |class: &str, more: &str| {
            let more = format!("{SHORT},'partOf':{{'reference':'Encounter/H'}}{more}");
            let told = encounter("finished", &format!("{{'code':'{class}'}}"), &more);
            told.lines().skip(1).collect::<Vec<_>>().join("\n")
        };
        let merged = "encounter.merged 2020-01-09T00:00:00Z p=|1 e=H r=E";
        let gone = ",'hospitalization':{'dischargeDisposition':{'coding':[{'code':'ADMITTED'}]}}";
        assert_eq!(part("EMER", gone), merged);
        let unit = ",'location':[{'location':{'reference':'Location/MICU'},'period':{'start':'2180-05-06T22:30:00-04:00'}}]";
        assert_eq!(part("ACUTE", unit), format!("{merged}\nencounter.transferred 2180-05-07T02:30:00Z p=|1 e=H =MICU"));
        assert_eq!(part("IMP", ""), format!("{merged}\nencounter.transferred 2180-05-07T02:23:00Z p=|1 e=H"));
        let cancelled = encounter("cancelled", INPATIENT, ",'partOf':{'reference':'Encounter/H'}");
        assert!(cancelled.ends_with("encounter.transfer_cancelled - p=|1 e=H"), "{cancelled}");
    }

    #[test]
    fn configuration_weighs_more_than_the_class() {
        let facility = schemas::Facility { stays: vec!["DAYCARE".into()], visits: vec!["dialysis".into()], ..super::super::tests::south() };
        let admitted = |class: &str, system: &str| {
            let json = format!(
                r#"{{"resourceType":"Encounter","id":"E","status":"finished","class":{{"code":"{class}"}},"subject":{{"reference":"Patient/1"}},
                "identifier":[{{"system":"{system}","value":"1"}}],"period":{{"start":"2020-01-01","end":"2020-01-02"}}}}"#
            );
            super::super::map(json.as_bytes(), &facility)
                .iter()
                .flat_map(|part| &part.facts)
                .any(|fact| fact.code == schemas::EventCode::EncounterAdmitted)
        };
        assert!(admitted("daycare", "urn:x") && admitted("IMP", "urn:x:not-dialysis"));
        assert!(!admitted("AMB", "urn:x") && !admitted("IMP", "urn:x:dialysis") && !admitted("daycare", "dialysis"));
    }

    #[test]
    fn histories_tell_of_class_changes_and_leaves() {
        let more = format!(
            "{PERIOD},'classHistory':[{{'class':{{'code':'EMER'}},'period':{{'start':'2020-01-01T15:00:00Z','end':'2020-01-01T20:00:00Z'}}}}],
            'statusHistory':[{{'status':'onleave','period':{{'start':'2020-01-03T08:00:00Z','end':'2020-01-03T18:00:00Z'}}}}]"
        );
        let told = encounter("finished", INPATIENT, &more);
        assert_eq!(
            told.lines().skip(2).collect::<Vec<_>>().join("\n"),
            "encounter.registered 2020-01-01T15:00:00Z p=|1 e=E
encounter.admitted 2020-01-01T20:00:00Z p=|1 e=E
encounter.leave_began 2020-01-03T08:00:00Z p=|1 e=E
encounter.leave_ended 2020-01-03T18:00:00Z p=|1 e=E
encounter.disposition - p=|1 e=E
encounter.discharged 2020-01-05T17:00:00Z p=|1 e=E"
        );
        assert!(
            encounter("onleave", INPATIENT, ",'period':{'start':'2020'}").ends_with(
                "encounter.leave_began 2020-01-09T00:00:00Z p=|1 e=E\nencounter.discharge_cancelled 2020-01-09T00:00:00Z p=|1 e=E"
            )
        );
    }

    #[test]
    fn bed_room_and_ward_are_one_place() {
        let at = |place: &str, kind: &str, day: u8| {
            format!(
                "{{'location':{{'display':'{place}'}},'physicalType':{{'coding':[{{'code':'{kind}'}}]}},'period':{{'start':'2020-01-0{day}'}}}}"
            )
        };
        let places = [at("A-1", "bd", 1), at("A", "wa", 1), at("B-1", "bd", 2), at("B", "wa", 2), at("B", "wa", 3)].join(",");
        let told = encounter("finished", INPATIENT, &format!("{PERIOD},'location':[{places}]"));
        assert_eq!(told.matches("encounter.transferred").count(), 1, "{told}");
        assert!(told.contains("encounter.transferred 2020-01-02T05:00:00Z p=|1 e=E =B"), "{told}");
    }
}
