//! Coverage and Account: who pays. Claims name the coverage of a stay.

use schemas::{EventCode, Fact, Identifier};

use super::coding::has_code;
use super::draft::Draft;
use super::json;
use super::node::Node;
use super::reference::{Target, identifier_of};
use super::resource::Resource;

/// Adds the plan or payer of a Coverage. It names no stay: a Claim does. What is cancelled is taken back.
pub(super) fn map_coverage(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    if body["status"] == "draft" {
        return;
    }
    let Some(id) = resource.required_id(draft) else { return };
    let patient = json::first_of(body, &["beneficiary", "beneficiaryReference"]).and_then(|(_, person)| resource.patient_at(person));
    if patient.is_none() {
        resource.reject(draft, "beneficiary", "the reference names no patient");
    }
    let is_over = has_code(&body["status"], &["cancelled", "entered-in-error"]);
    let payer = if is_over { None } else { payer(body) };
    if payer.is_none() && !is_over {
        return resource.reject(draft, "payor", "the coverage names neither plan nor payer");
    }
    let fact = resource.fact(EventCode::EncounterInsured, patient.as_ref(), None);
    let rank = json::number(&body["order"]).filter(|order| *order >= 1.0);
    draft.facts.push(Fact { text_value: payer, numeric_value: rank, related: Some(format!("Coverage/{id}")), ..fact });
}

/// Adds the coverages of an Account, in their priority.
pub(super) fn map_account(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    if has_code(&body["status"], &["entered-in-error", "inactive", "draft"]) || body["coverage"].is_null() {
        return;
    }
    let patient = json::each(&body["subject"]).find_map(|subject| resource.patient_at(subject));
    coverages(resource, &body["coverage"], ("priority", patient.as_ref(), None), draft);
}

/// Adds the coverages of a bill for a stay, in the order of their sequence.
pub(super) fn of_claim(resource: &Resource<'_>, patient: Option<&Identifier>, visit: Option<&str>, draft: &mut Draft) {
    if visit.is_some() {
        coverages(resource, &resource.body["insurance"], ("sequence", patient, visit), draft);
    }
}

fn coverages(
    resource: &Resource<'_>,
    list: &Node<'_>,
    (rank, patient, visit): (&str, Option<&Identifier>, Option<&str>),
    draft: &mut Draft,
) {
    for insurance in json::each(list) {
        let Some((name, id)) = named(resource, &insurance["coverage"]) else { continue };
        let fact = resource.fact(EventCode::EncounterInsured, patient, visit);
        let rank = json::number(&insurance[rank]).filter(|rank| *rank >= 1.0);
        draft.facts.push(Fact { text_value: Some(name), numeric_value: rank, related: id, ..fact });
    }
}

/// The plan or payer at the other end of a reference to a Coverage, else the reference's own words; and the Coverage's id.
fn named(resource: &Resource<'_>, reference: &Node<'_>) -> Option<(String, Option<String>)> {
    let display = || json::word(&reference["display"]).map(str::to_owned);
    match resource.index.resolve(reference, resource.body, "Coverage") {
        Some(Target::Named(key)) if key.kind == "Coverage" => {
            let id = format!("Coverage/{}", key.id);
            let known = resource.index.resource(&id).and_then(payer);
            Some((known.or_else(display).unwrap_or_else(|| key.id.to_owned()), Some(id)))
        }
        Some(Target::Contained(coverage)) => Some((payer(coverage).or_else(display)?, None)),
        Some(Target::Identified { value, .. }) => Some((display().unwrap_or_else(|| value.into_owned()), None)),
        _ => Some((display()?, None)),
    }
}

/// A Coverage's plan, else its group, else its payer: by identifier, name or reference; else its type.
fn payer(coverage: &Node<'_>) -> Option<String> {
    let class = |kind: &str| {
        let classes = json::each(&coverage["class"]).filter(|class| has_code(&class["type"], &[kind]));
        classes.filter_map(|class| json::word(&class["value"]).or_else(|| json::word(json::at(class, "value.value")))).next()
    };
    let party = || {
        let parties = json::first_of(coverage, &["payor", "insurer", "issuer"]).map(|(_, parties)| parties)?;
        json::each(parties).find_map(|party| {
            let identifier = identifier_of(&party["identifier"]).map(|(_, value)| value);
            let named = identifier.or_else(|| json::word(&party["display"])).or_else(|| json::word(&party["reference"]));
            named.map(str::to_owned)
        })
    };
    let kind = || super::coding::code(&coverage["type"]).or_else(|| json::word(json::at(coverage, "type.text"))).map(str::to_owned);
    class("plan").or_else(|| class("group")).map(str::to_owned).or_else(party).or_else(kind)
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    #[test]
    fn a_coverage_names_its_payer_until_it_is_cancelled() {
        let coverage = |status: &str, more: &str| {
            told(&format!(
                "{{'resourceType':'Coverage','id':'v','status':'{status}','beneficiary':{{'reference':'Patient/1'}},'order':1{more}}}"
            ))
        };
        let plan = ",'class':[{'type':{'coding':[{'code':'plan'}]},'value':'GOLD'}],'payor':[{'display':'North Mutual'}]";
        assert_eq!(coverage("active", plan), "mapped Coverage v\nencounter.insured - p=|1 =GOLD n=1 r=Coverage/v");
        assert_eq!(
            coverage("active", ",'payor':[{'display':'North Mutual'}]"),
            "mapped Coverage v\nencounter.insured - p=|1 =North Mutual n=1 r=Coverage/v"
        );
        let insurer = ",'insurer':{'display':'North Mutual'}";
        assert_eq!(coverage("active", insurer), coverage("active", ",'payor':[{'display':'North Mutual'}]"), "R5's name");
        assert_eq!(coverage("cancelled", plan), "mapped Coverage v\nencounter.insured - p=|1 n=1 r=Coverage/v");
        assert_eq!(coverage("draft", plan), "ignored Coverage v");
        assert!(coverage("active", "").contains("! map Coverage.payor: the coverage names neither plan nor payer"));
    }

    #[test]
    fn an_account_ranks_its_coverages() {
        let account = "{'resourceType':'Account','id':'a','status':'active','subject':[{'reference':'Patient/1'}],
            'coverage':[{'coverage':{'reference':'Coverage/v'},'priority':2},{'coverage':{'display':'Self'},'priority':1}]}";
        assert_eq!(told(account), "mapped Account a\nencounter.insured - p=|1 =v n=2 r=Coverage/v\nencounter.insured - p=|1 =Self n=1");
    }
}
