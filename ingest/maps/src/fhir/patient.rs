//! Patient: identifiers, birth date, sex, race, death, merges and links.
//!
//! `deceasedBoolean` false takes a death back that this record stated; a death that a stay's disposition tells names its stay, and is not
//! the record's to take back.

use schemas::{EventCode, Fact, Identifier};

use super::coding::has_code;
use super::draft::Draft;
use super::node::Node;
use super::number::Numbers;
use super::reference::identifier_of;
use super::resource::Resource;
use super::{instant, json};
use crate::BY_DAY;

/// Adds what a Patient says. A death known to the day stands at that day's local midnight, one known only as such, or to the month or the year, has no time.
pub(super) fn map(resource: &Resource<'_>, draft: &mut Draft) {
    let Some(id) = resource.required_id(draft) else { return };
    let patient = Identifier { system: String::new(), value: id.to_owned() };
    let fact = |code| resource.fact(code, Some(&patient), None);
    let text_fact = |code, text: &str| Fact { text_value: Some(text.to_owned()), ..fact(code) };
    identifiers(resource, &fact(EventCode::PatientIdentified), draft);
    let body = resource.body;
    match json::word(&body["birthDate"]) {
        Some(date) if instant::date(date).is_some() => draft.facts.push(text_fact(EventCode::PatientBirthDate, date)),
        Some(_) => resource.reject(draft, "birthDate", "this is no date"),
        None => {}
    }
    match json::word(&body["gender"]) {
        Some(sex @ ("male" | "female" | "other" | "unknown")) => draft.facts.push(text_fact(EventCode::PatientSex, sex)),
        Some(_) => resource.reject(draft, "gender", "this is no administrative gender"),
        None => {}
    }
    if let Some(race) = race(body) {
        draft.facts.push(text_fact(EventCode::PatientRace, &race));
    }
    if !body["deceasedDateTime"].is_null() || body["deceasedBoolean"] == true {
        let stated_at = resource.instant(draft, "deceasedDateTime");
        let stated = json::word(&body["deceasedDateTime"]);
        let time = stated_at.filter(|_| stated.is_some_and(|stated| stated.len() > "2021-03".len()));
        if stated_at.is_some() && time.is_none() {
            resource.flag(draft, "deceasedDateTime", "a month or a year is no time of death: when the patient died is not known");
        }
        let by_day = time.is_some() && stated.is_some_and(|stated| !stated.contains('T'));
        draft.facts.push(Fact { time, text_value: by_day.then(|| BY_DAY.to_owned()), ..fact(EventCode::PatientDied) });
    } else if body["deceasedBoolean"] == false {
        draft.facts.push(Fact { time: resource.updated_at, ..fact(EventCode::PatientDeathRetracted) });
    }
    if body["active"] == false {
        resource.flag(draft, "active", "the record is out of use: what it says still stands");
    }
    links(resource, &patient, draft);
}

/// One fact for each identifier, record numbers (`MR`) first, and one for the number that HL7 v2 knows the person by, where it is one; one bare fact
/// where there is none, so that the patient is known to exist.
fn identifiers(resource: &Resource<'_>, fact: &Fact, draft: &mut Draft) {
    let before = draft.facts.len();
    let numbers = Numbers::of(resource);
    let mut stated: Vec<_> = json::each(&resource.body["identifier"]).enumerate().collect();
    stated.sort_by_key(|(_, identifier)| !has_code(&identifier["type"], &["MR"]));
    for (i, identifier) in stated {
        match identifier_of(identifier) {
            Some((system, value)) => {
                let (sent, tied) = ([system, "|", value].concat(), numbers.tie(identifier));
                if tied.as_ref().is_none_or(|(number, _)| *number != sent) {
                    draft.facts.push(Fact { related: Some(sent), ..fact.clone() });
                }
                if let Some((number, tie)) = tied {
                    draft.facts.push(Fact { related: Some(number), text_value: Some(tie.to_owned()), ..fact.clone() });
                }
            }
            None if identifier["value"].is_null() => {}
            None => resource.reject(draft, &format!("identifier[{i}].value"), "this is no identifier"),
        }
    }
    if draft.facts.len() == before {
        draft.facts.push(fact.clone());
    }
}

/// US Core's race: the OMB categories, joined by `;` where there are several, else its text.
fn race(body: &Node<'_>) -> Option<String> {
    let is_race = |extension: &&Node<'_>| json::word(&extension["url"]).is_some_and(|url| url.ends_with("us-core-race"));
    let extension = json::each(&body["extension"]).find(is_race)?;
    let parts = |url: &'static str| json::each(&extension["extension"]).filter(move |part| part["url"] == url);
    let categories: Vec<&str> = parts("ombCategory").filter_map(|part| json::word(json::at(part, "valueCoding.code"))).collect();
    if !categories.is_empty() {
        return Some(categories.join(";"));
    }
    let text = parts("text").find_map(|part| json::word(&part["valueString"]));
    text.or_else(|| super::coding::code(&extension["valueCodeableConcept"])).map(str::to_owned)
}

/// `replaced-by`: the other one survives. `replaces`: this one does. `seealso` and `refer`: both stand.
fn links(resource: &Resource<'_>, patient: &Identifier, draft: &mut Draft) {
    for (i, link) in json::each(&resource.body["link"]).enumerate() {
        let is_replaced = has_code(&link["type"], &["replaced-by", "replace"]);
        let is_linked = has_code(&link["type"], &["seealso", "refer"]);
        if !is_replaced && !is_linked && !has_code(&link["type"], &["replaces"]) {
            continue;
        }
        let field = format!("link[{i}].other");
        let Some(other) = resource.patient_at(&link["other"]) else {
            if is_linked {
                // A related person, or the same one in another role.
                continue;
            }
            resource.reject(draft, &field, "the reference names no patient");
            continue;
        };
        if other == *patient {
            resource.reject(draft, &field, "a patient cannot be merged into itself");
            continue;
        }
        if is_linked {
            let related = Some(format!("{}|{}", other.system, other.value));
            let fact = resource.fact(EventCode::PatientLinked, Some(patient), None);
            draft.facts.push(Fact { time: resource.updated_at, related, ..fact });
            continue;
        }
        let (survivor, gone) = if is_replaced { (&other, patient) } else { (patient, &other) };
        let fact = resource.fact(EventCode::PatientMerged, Some(survivor), None);
        draft.facts.push(Fact { time: resource.updated_at, related: Some(format!("{}|{}", gone.system, gone.value)), ..fact });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    #[test]
    fn a_patient_is_told_in_full() {
        let patient = "{'resourceType':'Patient','id':'p1','meta':{'lastUpdated':'2021-03-04T05:06:07Z'},
            'identifier':[{'system':'urn:mrn','value':'A1'},{'value':'B2'},{'system':'x'},{'value':7}],'birthDate':'1950-02','gender':'female','deceasedDateTime':'2021-03-01',
            'extension':[{'url':'http://hl7.org/fhir/us/core/StructureDefinition/us-core-race','extension':[
              {'url':'ombCategory','valueCoding':{'code':'2106-3'}},{'url':'ombCategory','valueCoding':{'code':'1002-5'}},{'url':'text','valueString':'Mixed'}]}],
            'link':[{'other':{'reference':'Patient/p0'},'type':'replaces'},{'other':{'reference':'Patient/p2'},'type':'replaced-by'},
              {'other':{'reference':'Patient/p1'},'type':'replaces'},{'other':{'reference':'Patient/p3'},'type':'seealso'}]}";
        assert_eq!(
            told(patient),
            "partly Patient p1 @2021-03-04T05:06:07Z
! map Patient.identifier[3].value: this is no identifier
! map Patient.link[2].other: a patient cannot be merged into itself
patient.identified - p=|p1 r=urn:mrn|A1
patient.identified - p=|p1 r=|B2
patient.birth_date - p=|p1 =1950-02
patient.sex - p=|p1 =female
patient.race - p=|p1 =2106-3;1002-5
patient.died 2021-03-01T05:00:00Z p=|p1 =day
patient.merged 2021-03-04T05:06:07Z p=|p1 r=|p0
patient.merged 2021-03-04T05:06:07Z p=|p2 r=|p1
patient.linked 2021-03-04T05:06:07Z p=|p1 r=|p3"
        );
    }

    #[test]
    fn a_death_without_a_date_has_no_time_and_a_living_patient_no_death() {
        let told_of = |deceased: &str| told(&format!("{{'resourceType':'Patient','id':'p',{deceased}}}"));
        assert_eq!(told_of("'deceasedBoolean':true"), "mapped Patient p\npatient.identified - p=|p\npatient.died - p=|p");
        assert_eq!(told_of("'deceasedBoolean':false"), "mapped Patient p\npatient.identified - p=|p\npatient.death_retracted - p=|p");
        assert!(told_of("'deceasedDateTime':'2021-03-01T00:00:00-05:00'").ends_with("patient.died 2021-03-01T05:00:00Z p=|p"), "an hour");
        assert!(told_of("'deceasedDateTime':'?'").contains("! map Patient.deceasedDateTime: this is no date or time"));
    }

    #[test]
    fn a_month_or_a_year_is_no_time_of_death() {
        for stated in ["2021-03", "2021"] {
            let told = told(&format!("{{'resourceType':'Patient','id':'p','deceasedDateTime':'{stated}'}}"));
            assert!(told.lines().any(|line| line == "patient.died - p=|p"), "{told}");
            assert!(told.contains("Patient.deceasedDateTime: a month or a year is no time of death"), "{told}");
        }
    }

    /// The MIMIC-IV demo on FHIR.
    #[test]
    fn death_only_in_deceased_date_time_as_a_date() {
        let told = told("{'resourceType':'Patient','id':'p','deceasedDateTime':'2180-07-03'}");
        assert!(told.ends_with("patient.died 2180-07-03T04:00:00Z p=|p =day"), "{told}");
    }

    #[test]
    fn a_link_to_a_related_person_is_no_fault() {
        let told = told("{'resourceType':'Patient','id':'p','link':[{'other':{'reference':'RelatedPerson/r'},'type':'seealso'}]}");
        assert_eq!(told, "mapped Patient p\npatient.identified - p=|p");
    }

    /// HL7 v2 names the same person by PID-3 `123^^^HOSP^MR`: both stand among `identifiers` with the value 123.
    #[test]
    fn record_numbers_come_first_and_all_are_stated() {
        let told = told(
            "{'resourceType':'Patient','id':'abc','active':false,'identifier':[{'system':'urn:ssn','value':'9'},
               {'type':{'coding':[{'code':'MR'}]},'system':'urn:hosp','value':'123'}]}",
        );
        assert_eq!(
            told,
            "mapped Patient abc\n? Patient.active: the record is out of use: what it says still stands
patient.identified - p=|abc r=urn:hosp|123\npatient.identified - p=|abc r=urn:ssn|9"
        );
    }

    #[test]
    fn without_an_id_nobody_is_named() {
        assert_eq!(told("{'resourceType':'Patient','gender':'male'}"), "rejected Patient -\n! map Patient.id: the id is missing");
        assert_eq!(told("{'resourceType':'Patient','id':'a\\u001fb'}"), "rejected Patient -\n! map Patient.id: the id is missing");
    }
}
