//! ClaimResponse and ExplanationOfBenefit: what became of a claim. The rule stands in `claim`.

use jiff::Timestamp;
use schemas::{EventCode, Fact, Identifier};
use serde_json::Value;

use super::coding::{Coding, code, codes, has_code};
use super::draft::Draft;
use super::reference::Target;
use super::resource::Resource;
use super::{claim, json};

/// Reason codes that adjust a payment without refusing it: none, deductible, coinsurance, copayment, fee schedule.
const NO_REFUSAL: [&str; 12] = ["0", "00", "1", "2", "3", "45", "PR-1", "PR-2", "PR-3", "CO-45", "covered", "approved"];
/// Categories whose reasons explain who else pays, not why nobody does.
const ADJUSTMENTS: [&str; 12] = [
    "deductible",
    "copay",
    "coinsurance",
    "submitted",
    "tax",
    "discount",
    "priorpayerpaid",
    "paidbypatient",
    "paidtopatient",
    "drugcost",
    "memberliability",
    "contracted",
];
/// The carrier's payment denial code among Medicare's extensions: `0` is denied.
const CARRIER_DENIAL: &str = "carr_clm_pmt_dnl_cd";
/// Medicare's reason for not paying an institutional claim; its presence is the refusal.
const NON_PAYMENT_REASON: &str = "clm_mdcr_non_pmt_rsn_cd";

/// Adds the decision of a ClaimResponse. It does not name the stay: the claim number ties it to the Claim that does.
pub(super) fn map_response(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    if !claim::is_claim(body) || body["status"] == "draft" {
        return;
    }
    let Some(number) = claim_number(resource, &body["request"]) else {
        return resource.reject(draft, "request", "the response names no claim");
    };
    let patient = resource.patient(draft);
    let time = resource.first_instant(draft, &["created", "payment.date"]);
    draft.facts.push(decided(resource, number, patient.as_ref(), time));
}

/// Adds the decision of an ExplanationOfBenefit, with the diagnoses it names where it names its stay. Where it refers to no Claim, it is
/// the claim: its own id is the number.
pub(super) fn map_benefit(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    if !claim::is_claim(body) || body["status"] == "draft" {
        return;
    }
    let number = claim_number(resource, &body["claim"]).or_else(|| resource.id.clone());
    let Some(number) = number else { return resource.reject(draft, "claim", "it names no claim and has no id") };
    let patient = resource.patient(draft);
    let time = resource.first_instant(draft, &["created", "payment.date", "billablePeriod.end"]);
    let visit = claim::visit(resource);
    draft.facts.push(Fact { encounter: visit.clone(), ..decided(resource, number, patient.as_ref(), time) });
    if body["status"] == "active" {
        claim::diagnoses(resource, &resource.fact(EventCode::EncounterDiagnosed, patient.as_ref(), visit.as_deref()), draft);
    }
}

fn decided(resource: &Resource<'_>, number: String, patient: Option<&Identifier>, time: Option<Timestamp>) -> Fact {
    let text_value = Some(decision(resource.body).to_owned());
    Fact { time, text_value, related: Some(number), ..resource.fact(EventCode::ClaimDecided, patient, None) }
}

fn claim_number(resource: &Resource<'_>, reference: &Value) -> Option<String> {
    match resource.index.resolve(reference, resource.body, "Claim")? {
        Target::Named(key) => (key.kind == "Claim").then_some(key.id),
        Target::Identified { value, .. } => Some(value),
        Target::Contained(_) => None,
    }
}

/// The decision, with appeals told apart.
fn decision(body: &Value) -> &'static str {
    let is_appeal = body["disposition"].as_str().is_some_and(|text| text.to_ascii_lowercase().contains("appeal"));
    match (is_appeal, plain_decision(body)) {
        (true, "denied") => "appeal_lost",
        (true, "paid" | "partial") => "appeal_won",
        (_, plain) => plain,
    }
}

fn plain_decision(body: &Value) -> &'static str {
    if has_code(&body["status"], &["cancelled", "entered-in-error"]) {
        return "unknown";
    }
    if body["outcome"] == "queued" {
        return "pending";
    }
    if let Some(reviewed) = reviewed(body) {
        return reviewed;
    }
    let refusals = Refusals::of(body);
    match paid_amount(body) {
        Some(amount) if amount > 0.0 => return if refusals.are_some { "partial" } else { "paid" },
        _ if refusals.any() => return "denied",
        _ if body["outcome"] == "error" => return "unknown",
        _ => {}
    }
    let disposition = Disposition::of(body);
    match disposition {
        Disposition::Pending => "pending",
        _ if disposition == Disposition::Paid || paid_amount(body).is_some() => "paid",
        _ if body["outcome"] == "partial" => "partial",
        _ => "unknown",
    }
}

/// Lines 3 to 6: the review actions of header and items.
fn reviewed(body: &Value) -> Option<&'static str> {
    let mut actions = Vec::new();
    review_actions(body, &mut actions);
    for item in json::each(&body["item"]).chain(json::each(&body["addItem"])) {
        review_actions(item, &mut actions);
    }
    let all = |wanted: &[&str]| actions.iter().all(|action| wanted.contains(action));
    match () {
        () if actions.is_empty() => None,
        () if actions.iter().any(|action| matches!(*action, "A4" | "pending")) => Some("pending"),
        () if all(&["A3", "denied"]) => Some("denied"),
        () if all(&["A1", "approved"]) => Some("paid"),
        () => Some("partial"),
    }
}

fn review_actions<'a>(part: &'a Value, actions: &mut Vec<&'a str>) {
    const KNOWN: [&str; 9] = ["A1", "A2", "A3", "A4", "A6", "approved", "denied", "partial", "pending"];
    let mut found: Vec<&str> =
        codes(&part["decision"]).iter().chain(&codes(&part["reviewOutcome"]["decision"])).map(|coding| coding.code).collect();
    let holders = std::iter::once(part).chain(json::each(&part["adjudication"]));
    for review in holders.flat_map(|holder| json::each(&holder["extension"])).filter(|extension| ends_with(extension, "reviewAction")) {
        let coded = json::each(&review["extension"]).filter(|inner| ends_with(inner, "reviewActionCode"));
        found.extend(coded.filter_map(|inner| code(&inner["valueCodeableConcept"])));
    }
    actions.extend(found.into_iter().filter(|action| KNOWN.contains(action)));
}

fn ends_with(extension: &Value, name: &str) -> bool {
    json::word(&extension["url"]).is_some_and(|url| url.ends_with(name))
}

/// What the payer pays, in the claim's currency: the payment, else the benefit of the totals, else that of header and items summed.
fn paid_amount(body: &Value) -> Option<f64> {
    let payment = json::number(json::at(body, "payment.amount.value"));
    let items = || {
        let benefits = json::each(&body["item"]).filter_map(|item| benefit(&item["adjudication"]));
        benefits.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    };
    payment.or_else(|| benefit(&body["total"])).or_else(|| benefit(&body["adjudication"])).or_else(items)
}

/// The benefit among adjudications.
fn benefit(adjudications: &Value) -> Option<f64> {
    let of = |categories: &[&str]| json::each(adjudications).find(|part| has_code(&part["category"], categories));
    json::number(json::at(of(&["benefit"]).or_else(|| of(&["paidtoprovider"]))?, "amount.value"))
}

/// An item that is refused and for which nothing is paid.
fn is_refused(item: &Value) -> bool {
    let adjudication = &item["adjudication"];
    benefit(adjudication).is_none_or(|amount| amount == 0.0) && json::each(adjudication).any(is_refusal)
}

/// Where the payer refused.
struct Refusals {
    /// The response as a whole is refused.
    is_whole: bool,
    /// Some items are, others are not.
    are_some: bool,
    /// All items are.
    are_all: bool,
}

impl Refusals {
    fn of(body: &Value) -> Self {
        let header = json::each(&body["adjudication"]).chain(json::each(&body["total"])).any(is_refusal);
        let extension = json::each(&body["extension"]).any(|extension| {
            (ends_with(extension, CARRIER_DENIAL) && code(&extension["valueCoding"]) == Some("0"))
                || (ends_with(extension, NON_PAYMENT_REASON) && code(&extension["valueCoding"]).is_some())
        });
        let items: Vec<bool> = json::each(&body["item"]).map(is_refused).collect();
        let refused = items.iter().filter(|refused| **refused).count();
        Self {
            is_whole: header || extension || Disposition::of(body) == Disposition::Denied,
            are_some: refused > 0 && refused < items.len(),
            are_all: refused > 0 && refused == items.len(),
        }
    }

    fn any(&self) -> bool {
        self.is_whole || self.are_some || self.are_all
    }
}

/// An adjudication that refuses: by its category, or by a reason that is no mere adjustment. Medicare's other
/// variables (coverage status, processing indicators) stand in the place of reasons without being any.
fn is_refusal(adjudication: &Value) -> bool {
    let category = &adjudication["category"];
    if has_code(category, &["denied", "denial", "rejected"]) {
        return json::number(json::at(adjudication, "amount.value")).is_none_or(|amount| amount != 0.0);
    }
    if has_code(category, &ADJUSTMENTS) {
        return false;
    }
    let is_denial = has_code(category, &["denialreason"]);
    let refuses = |reason: &Coding<'_>| {
        let is_variable = !is_denial && reason.system.contains("bluebutton.cms.gov/resources/variables");
        !is_variable && !NO_REFUSAL.iter().any(|code| reason.code.eq_ignore_ascii_case(code))
    };
    codes(&adjudication["reason"]).iter().any(refuses)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Disposition {
    Denied,
    Pending,
    Paid,
    Silent,
}

impl Disposition {
    fn of(body: &Value) -> Self {
        let text = body["disposition"].as_str().unwrap_or_default().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["not denied", "denial overturned", "overturned"]) {
            Self::Paid
        } else if says(&["denied", "denial", "rejected", "refused", "not covered", "not approved", "upheld", "not certified"]) {
            Self::Denied
        } else if says(&["pending", "pended", "in review", "under review"]) {
            Self::Pending
        } else if says(&["paid", "settled", "approved", "certified", "payment", "accepted"]) {
            Self::Paid
        } else {
            Self::Silent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;

    fn response(more: &str) -> String {
        told(&format!(
            "{{'resourceType':'ClaimResponse','id':'R','status':'active','use':'claim','patient':{{'reference':'Patient/1'}},'created':'2020-03-01T00:00:00Z',
               'request':{{'reference':'Claim/C'}}{more}}}"
        ))
    }

    fn decision(more: &str) -> String {
        let told = response(more);
        told.split_once("p=|1 =").and_then(|(_, rest)| rest.split_once(' ')).map_or(told.clone(), |(decision, _)| decision.to_owned())
    }

    fn total(amount: &str) -> String {
        format!(
            ",'total':[{{'category':{{'coding':[{{'code':'submitted'}}]}},'amount':{{'value':900}}}},{{'category':{{'coding':[{{'code':'benefit'}}]}},'amount':{{'value':{amount}}}}}]"
        )
    }

    fn item(benefit: &str, reason: &str) -> String {
        format!(
            "{{'adjudication':[{{'category':{{'coding':[{{'code':'benefit'}}]}},'amount':{{'value':{benefit}}},'reason':{{'coding':[{{'code':'{reason}'}}]}}}}]}}"
        )
    }

    fn review(code: &str) -> String {
        format!(
            "{{'adjudication':[{{'category':{{'coding':[{{'code':'submitted'}}]}},'extension':[{{'url':'http://hl7.org/fhir/us/davinci-pas/StructureDefinition/extension-reviewAction',
              'extension':[{{'url':'http://hl7.org/fhir/us/davinci-pas/StructureDefinition/extension-reviewActionCode','valueCodeableConcept':{{'coding':[{{'code':'{code}'}}]}}}}]}}]}}]}}"
        )
    }

    #[test]
    fn a_decision_names_its_claim() {
        assert_eq!(response(&total("800")), "mapped ClaimResponse R\nclaim.decided 2020-03-01T00:00:00Z p=|1 =paid r=C");
        let unnamed = told("{'resourceType':'ClaimResponse','id':'R','status':'active','use':'claim'}");
        assert_eq!(unnamed, "rejected ClaimResponse R\n! map ClaimResponse.request: the response names no claim");
    }

    #[test]
    fn the_rule_holds_line_by_line() {
        let with = |outcome: &str, more: &str| decision(&format!(",'outcome':'{outcome}'{more}"));
        let items = |items: &[String]| format!(",'item':[{}]", items.join(","));
        assert_eq!(decision(",'status':'cancelled'"), "unknown");
        assert_eq!(with("queued", ""), "pending");
        assert_eq!(with("complete", &items(&[review("A4"), review("A1")])), "pending");
        assert_eq!(with("complete", &items(&[review("A3")])), "denied");
        assert_eq!(with("complete", &items(&[review("A1")])), "paid");
        assert_eq!(with("complete", &items(&[review("A1"), review("A3")])), "partial");
        assert_eq!(with("complete", &items(&[item("0", "ar002"), item("50", "45")])), "partial");
        assert_eq!(with("complete", &items(&[item("50", "CO-45")])), "paid");
        assert_eq!(with("complete", &format!("{}{}", total("0"), items(&[item("0", "197")]))), "denied");
        assert_eq!(with("complete", &format!("{},'disposition':'Claim denied: no authorisation'", total("0"))), "denied");
        assert_eq!(with("error", ""), "unknown");
        assert_eq!(with("partial", ",'disposition':'Pended for review'"), "pending");
        assert_eq!(with("complete", &total("0")), "paid");
        assert_eq!(with("complete", ",'disposition':'Claim settled as per contract.'"), "paid");
        assert_eq!(with("partial", ""), "partial");
        assert_eq!(with("complete", ""), "unknown");
    }

    #[test]
    fn an_appeal_is_told_by_the_disposition() {
        assert_eq!(decision(&format!("{},'disposition':'Appeal approved'", total("800"))), "appeal_won");
        assert_eq!(decision(&format!("{},'disposition':'Denial upheld on appeal'", total("0"))), "appeal_lost");
    }

    #[test]
    fn an_explanation_of_benefit_is_a_decision_about_its_claim_and_stay() {
        let benefit = |more: &str| {
            told(&format!(
                "{{'resourceType':'ExplanationOfBenefit','id':'B','status':'active','use':'claim','patient':{{'reference':'Patient/1'}},'billablePeriod':{{'start':'2020-01-01','end':'2020-01-05'}},
                   'diagnosis':[{{'sequence':1,'diagnosisCodeableConcept':{{'coding':[{{'system':'http://hl7.org/fhir/sid/icd-9-cm','code':'4280'}}]}}}}]{more}}}"
            ))
        };
        assert_eq!(
            benefit(
                ",'claim':{'reference':'Claim/C'},'payment':{'amount':{'value':10}},'item':[{'encounter':[{'reference':'Encounter/E'}]}]"
            ),
            "mapped ExplanationOfBenefit B\nclaim.decided 2020-01-05T05:00:00Z p=|1 e=E =paid r=C\nencounter.diagnosed - p=|1 e=E =ICD9CM/4280 n=1"
        );
        let denial = ",'payment':{'amount':{'value':0}},'extension':[{'url':'https://bluebutton.cms.gov/resources/variables/carr_clm_pmt_dnl_cd','valueCoding':{'code':'0'}}]";
        assert_eq!(benefit(denial), "mapped ExplanationOfBenefit B\nclaim.decided 2020-01-05T05:00:00Z p=|1 =denied r=B");
    }
}
