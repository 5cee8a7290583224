//! ClaimResponse and ExplanationOfBenefit: what became of a claim. The rule stands in `claim`, the reading of amounts and reasons in
//! `adjudication`.

use schemas::{EventCode, Fact, Identifier};

use super::adjudication::{Refusals, paid, payment_status};
use super::claim::{self, Use};
use super::coding::{code, codes, has_code};
use super::draft::Draft;
use super::node::Node;
use super::reference::Target;
use super::resource::Resource;
use super::{insurance, json, shape};

/// Adds the decision of a ClaimResponse. It does not name the stay: the claim number ties it to the Claim that does.
pub(super) fn map_response(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    let use_ = Use::of(body);
    if use_ == Use::Question || body["status"] == "draft" {
        return;
    }
    shape::claim(resource, draft);
    let Some(number) = claim_number(resource, &body["request"]) else {
        return resource.reject(draft, "request", "the response names no claim");
    };
    let patient = resource.patient(draft);
    let time = resource.first_instant(draft, &["created", "payment.date"]);
    let fact = decided(resource, use_.number(number), patient.as_ref(), draft);
    draft.facts.push(Fact { time, ..fact });
}

/// Adds the decision of an ExplanationOfBenefit, with the diagnoses and the insurance it names where it names its stay. Where it refers to
/// no Claim, it is the claim: its own id is the number.
pub(super) fn map_benefit(resource: &Resource<'_>, draft: &mut Draft) {
    let body = resource.body;
    let use_ = Use::of(body);
    if use_ == Use::Question || body["status"] == "draft" {
        return;
    }
    shape::claim(resource, draft);
    let number = claim_number(resource, &body["claim"]).or_else(|| resource.id.map(str::to_owned));
    let Some(number) = number else { return resource.reject(draft, "claim", "it names no claim and has no id") };
    let patient = resource.patient(draft);
    let time = resource.first_instant(draft, &["created", "payment.date", "billablePeriod.end"]);
    let visit = if use_ == Use::Bill { claim::visit(resource) } else { None };
    let fact = decided(resource, use_.number(number), patient.as_ref(), draft);
    draft.facts.push(Fact { time, encounter: visit.clone(), ..fact });
    if body["status"] == "active" {
        claim::diagnoses(resource, &resource.fact(EventCode::EncounterDiagnosed, patient.as_ref(), visit.as_deref()), draft);
        insurance::of_claim(resource, patient.as_ref(), visit.as_deref(), draft);
    }
}

fn decided(resource: &Resource<'_>, number: String, patient: Option<&Identifier>, draft: &mut Draft) -> Fact {
    let decision = appealed(resource.body, decision(resource, draft)).to_owned();
    Fact { text_value: Some(decision), related: Some(number), ..resource.fact(EventCode::ClaimDecided, patient, None) }
}

fn claim_number(resource: &Resource<'_>, reference: &Node<'_>) -> Option<String> {
    match resource.index.resolve(reference, resource.body, "Claim")? {
        Target::Named(key) => (key.kind == "Claim").then(|| key.id.to_owned()),
        Target::Identified { value, .. } => Some(value.into_owned()),
        Target::Contained(claim) => {
            json::each(&claim["identifier"]).find_map(|identifier| json::word(&identifier["value"])).map(str::to_owned)
        }
    }
}

/// Appeals told apart: the disposition says that there was one, never how it ended.
fn appealed(body: &Node<'_>, decision: &'static str) -> &'static str {
    let is_appeal = body["disposition"].as_str().is_some_and(|text| text.to_ascii_lowercase().contains("appeal"));
    match (is_appeal, decision) {
        (true, "denied") => "appeal_lost",
        (true, "paid" | "partial") => "appeal_won",
        (_, plain) => plain,
    }
}

/// The rule of `claim`, line by line.
fn decision(resource: &Resource<'_>, draft: &mut Draft) -> &'static str {
    let body = resource.body;
    if has_code(&body["status"], &["cancelled", "entered-in-error"]) {
        return "void";
    }
    let is = |outcome: &str| has_code(&body["outcome"], &[outcome]);
    if let Some(reviewed) = reviewed(body) {
        return reviewed;
    }
    if is("queued") {
        return "pending";
    }
    if let Some(status) = payment_status(body) {
        return status;
    }
    let (amount, refusals) = (paid(body), Refusals::of(body));
    match amount {
        Some(amount) if amount > 0.0 => return if refusals.are_some { "partial" } else { "paid" },
        _ if refusals.any() => return "denied",
        _ if is("error") => return "unknown",
        _ => {}
    }
    let disposition = Disposition::of(body);
    if disposition != Disposition::Silent {
        resource.flag(draft, "disposition", "no adjudication decides: its words do");
    }
    match disposition {
        Disposition::Denied => "denied",
        Disposition::Pending => "pending",
        Disposition::Paid => "paid",
        Disposition::Silent if amount.is_some() => "paid",
        Disposition::Silent if is("partial") => "partial",
        Disposition::Silent => "unknown",
    }
}

/// The review actions of header and items. `NA`, no action required, weighs nothing.
fn reviewed(body: &Node<'_>) -> Option<&'static str> {
    let mut actions = Vec::new();
    review_actions(body, &mut actions);
    for item in json::each(&body["item"]).chain(json::each(&body["addItem"])) {
        review_actions(item, &mut actions);
    }
    let all = |wanted: &[&str]| actions.iter().all(|action| wanted.contains(action));
    match () {
        () if actions.is_empty() => None,
        () if actions.iter().any(|action| matches!(*action, "A4" | "CT" | "pending")) => Some("pending"),
        () if all(&["C"]) => Some("cancelled"),
        () if all(&["A3", "denied"]) => Some("denied"),
        () if all(&["A1", "approved"]) => Some("paid"),
        () => Some("partial"),
    }
}

fn review_actions<'a>(part: &'a Node<'a>, actions: &mut Vec<&'a str>) {
    const KNOWN: [&str; 11] = ["A1", "A2", "A3", "A4", "A6", "C", "CT", "approved", "denied", "partial", "pending"];
    let ends_with = |extension: &Node<'_>, name: &str| json::word(&extension["url"]).is_some_and(|url| url.ends_with(name));
    let mut found: Vec<&str> =
        codes(&part["decision"]).chain(codes(&part["reviewOutcome"]["decision"])).map(|coding| coding.code).collect();
    let holders = std::iter::once(part).chain(json::each(&part["adjudication"]));
    for review in holders.flat_map(|holder| json::each(&holder["extension"])).filter(|extension| ends_with(extension, "reviewAction")) {
        let coded = json::each(&review["extension"]).filter(|inner| ends_with(inner, "reviewActionCode") || ends_with(inner, "code"));
        found.extend(coded.filter_map(|inner| code(&inner["valueCodeableConcept"]).or_else(|| code(&inner["valueCoding"]))));
    }
    actions.extend(found.into_iter().filter(|action| KNOWN.contains(action)));
}

/// What the payer's free words say, where nothing that is coded decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disposition {
    Denied,
    Pending,
    Paid,
    Silent,
}

impl Disposition {
    fn of(body: &Node<'_>) -> Self {
        let text = body["disposition"].as_str().unwrap_or_default().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["not denied", "overturned"]) {
            Self::Paid
        } else if says(&["denied", "denial", "rejected", "refused", "not covered", "not approved", "upheld", "not certified", "not paid"]) {
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
        assert_eq!(decision(",'status':'cancelled'"), "void");
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
    /// HL7 Da Vinci PAS: the outcome says `complete` whatever was decided.
    #[test]
    fn a_claim_denied_while_outcome_says_complete() {
        let answered = |use_: &str, action: &str, outcome: &str| {
            told(&format!(
                "{{'resourceType':'ClaimResponse','id':'R','status':'active','use':'{use_}','outcome':'{outcome}','patient':{{'reference':'Patient/1'}},
                   'request':{{'reference':'Claim/C'}},'item':[{}]}}",
                review(action)
            ))
        };
        let expected = |decision: &str, number: &str| format!("mapped ClaimResponse R\nclaim.decided - p=|1 ={decision} r={number}");
        assert_eq!(answered("claim", "A3", "complete"), expected("denied", "C"));
        assert_eq!(answered("preauthorization", "A3", "complete"), expected("denied", "preauthorization/C"));
        assert_eq!(answered("preauthorization", "A4", "queued"), expected("pending", "preauthorization/C"));
        assert_eq!(answered("claim", "CT", "complete"), expected("pending", "C"));
        assert_eq!(answered("claim", "C", "complete"), expected("cancelled", "C"));
        assert_eq!(answered("claim", "A6", "complete"), expected("partial", "C"));
        assert_eq!(answered("claim", "NA", "complete"), expected("unknown", "C"));
        assert_eq!(answered("predetermination", "A3", "complete"), "ignored ClaimResponse R");
    }

    #[test]
    fn payment_status_and_networks_are_told_apart() {
        let status = |code: &str| {
            format!(
                "{},'adjudication':[{{'category':{{'coding':[{{'code':'benefitpaymentstatus'}}]}},'reason':{{'coding':[{{'code':'{code}'}}]}}}}]",
                total("0")
            )
        };
        assert_eq!(decision(&status("innetwork")), "paid");
        assert_eq!(decision(&status("denied")), "denied");
        assert_eq!(decision(&status("partiallypaid")), "partial");
        let payment =
            |code: &str| format!(",'outcome':'partial','payment':{{'type':{{'coding':[{{'code':'{code}'}}]}},'amount':{{'value':0}}}}");
        assert_eq!(decision(&payment("denied")), "denied");
        assert_eq!(decision(&payment("paid")), "paid");
        assert_eq!(decision(&payment("complete")), "paid");
    }

    #[test]
    fn reasons_that_only_lower_a_payment_refuse_nothing() {
        for code in ["CO-45", "CO45", "45", "PR 1", "PR-2", "PR3", "OA-23", "CO-253"] {
            assert_eq!(decision(&format!(",'item':[{}]", item("0", code))), "paid", "{code}");
        }
        for code in ["CO-197", "PR-96", "50", "CO-16", "29", "ar001"] {
            assert_eq!(decision(&format!(",'item':[{}]", item("0", code))), "denied", "{code}");
        }
    }

    #[test]
    fn what_is_not_covered_or_not_eligible_is_denied_where_nothing_is_paid() {
        let amount =
            |category: &str, value: u8| format!("{{'category':{{'coding':[{{'code':'{category}'}}]}},'amount':{{'value':{value}}}}}");
        let totals = |parts: &[String]| decision(&format!(",'outcome':'complete','total':[{}]", parts.join(",")));
        assert_eq!(totals(&[amount("submitted", 90), amount("noncovered", 90), amount("benefit", 0)]), "denied");
        assert_eq!(totals(&[amount("submitted", 90), amount("eligible", 0), amount("benefit", 0)]), "denied");
        assert_eq!(totals(&[amount("submitted", 90), amount("noncovered", 40), amount("benefit", 50)]), "paid");
        assert_eq!(totals(&[amount("submitted", 90), amount("eligible", 90), amount("deductible", 90), amount("benefit", 0)]), "paid");
    }

    #[test]
    fn words_decide_only_where_nothing_else_does_and_are_flagged() {
        let worded = response(",'outcome':'complete','disposition':'Denied.'");
        assert!(
            worded.contains("? ClaimResponse.disposition: no adjudication decides: its words do") && worded.contains("=denied"),
            "{worded}"
        );
        assert_eq!(decision(&format!("{},'disposition':'Denied in part'", total("10"))), "paid");
    }

    #[test]
    fn the_shapes_of_stu3_are_read_under_their_names() {
        let stu3 = ",'outcome':{'coding':[{'code':'complete'}]},'totalBenefit':{'value':25.5}";
        let told = response(stu3);
        assert!(told.contains("? ClaimResponse.totalBenefit: this is STU3's shape") && told.contains("=paid r=C"), "{told}");
        assert_eq!(decision(",'outcome':{'coding':[{'code':'queued'}]}"), "pending");
    }
    #[test]
    fn medicare_says_a_denial_in_its_own_words() {
        let stated = |part: &str| decision(&format!(",'payment':{{'amount':{{'value':0}}}},{part}"));
        let extension = |name: &str, code: &str| {
            stated(&format!(
                "'extension':[{{'url':'https://bluebutton.cms.gov/resources/variables/{name}','valueCoding':{{'code':'{code}'}}}}]"
            ))
        };
        assert_eq!(extension("carr_clm_pmt_dnl_cd", "0"), "denied");
        assert_eq!(extension("carr_clm_pmt_dnl_cd", "1"), "paid");
        assert_eq!(extension("clm_mdcr_non_pmt_rsn_cd", "N"), "denied");
        assert_eq!(extension("clm_mdcr_non_pmt_rsn_cd", "P"), "paid");
        let information = "'supportingInfo':[{'code':{'coding':[{'system':'https://bluebutton.cms.gov/fhir/CodeSystem/CLM-MDCR-NPMT-RSN-CD','code':'B'}]}}]";
        assert_eq!(stated(information), "denied");
    }
}
