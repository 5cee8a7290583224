//! What a payer pays and refuses, read from the adjudications of a response: amounts by category, reasons by code.

use super::coding::{Coding, code, codes, has_code};
use super::json;
use super::node::Node;

/// Categories whose amount the payer pays: FHIR's own, and CARIN's.
const PAID: [&str; 3] = ["benefit", "paidtoprovider", "paidtopatient"];
/// Categories that say by themselves that it refuses. `denialreason` needs a reason.
const REFUSED: [&str; 3] = ["denied", "denial", "rejected"];
/// Categories whose reasons explain who else pays or which network was used, not why nobody pays.
const NO_REASON: [&str; 22] = [
    "submitted",
    "tax",
    "copay",
    "coinsurance",
    "deductible",
    "discount",
    "priorpayerpaid",
    "priorpayerbenefit",
    "paidbypatient",
    "paidbypatientcash",
    "paidbypatientother",
    "paidbypatienthealthaccount",
    "drugcost",
    "memberliability",
    "contracted",
    "allowedunits",
    "benefitpaymentstatus",
    "billingnetworkstatus",
    "renderingnetworkstatus",
    "innetwork",
    "outofnetwork",
    "inoutnetwork",
];
/// Claim adjustment reason codes that lower a payment without refusing it: deductible, coinsurance, copayment, prior payer, discounts, fee
/// schedules, contracts, sequestration.
const LOWERS: [&str; 19] =
    ["0", "00", "1", "2", "3", "23", "44", "45", "59", "66", "94", "100", "104", "131", "142", "144", "187", "237", "253"];
/// Words in the place of a reason that refuse nothing.
const NO_REFUSAL: [&str; 6] = ["covered", "approved", "paid", "innetwork", "outofnetwork", "other"];

/// The carrier's payment denial code, under its names: denied, denied by demonstration or ownership, or avoided because another payer
/// comes first.
const CARRIER_DENIAL: [&str; 3] = ["carr_clm_pmt_dnl_cd", "clm_carr_pmt_dnl_cd", "payment_denial_code"];
const CARRIER_DENIALS: [&str; 15] = ["0", "D", "P", "E", "F", "G", "H", "J", "K", "Q", "T", "U", "V", "X", "Y"];
/// Medicare's reason for not paying an institutional claim; its presence is the refusal, unless it is `P`, payment requested.
const NON_PAYMENT_REASON: [&str; 2] = ["clm_mdcr_non_pmt_rsn_cd", "clm_mdcr_npmt_rsn_cd"];

/// What the payer pays, in the claim's currency: the first that is above 0 of the payment, the benefit of the totals, that of the header
/// and that of the items summed; 0 where one is stated and none is above it.
pub(super) fn paid(body: &Node<'_>) -> Option<f64> {
    let items = || {
        let benefits = json::each(&body["item"]).chain(json::each(&body["addItem"])).filter_map(|item| benefit(&item["adjudication"]));
        benefits.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    };
    let stated = [
        json::number(json::at(body, "payment.amount.value")),
        benefit(&body["total"]),
        benefit(&body["adjudication"]),
        json::number(json::at(body, "totalBenefit.value")),
        items(),
    ];
    let mut amounts = stated.into_iter().flatten();
    let first = amounts.next()?;
    Some(if first > 0.0 { first } else { amounts.find(|amount| *amount > 0.0).unwrap_or(first) })
}

/// The amount that is paid among adjudications.
fn benefit(adjudications: &Node<'_>) -> Option<f64> {
    PAID.iter().find_map(|category| amount(adjudications, category))
}

fn amount(adjudications: &Node<'_>, category: &str) -> Option<f64> {
    let part = json::each(adjudications).find(|part| has_code(&part["category"], &[category]))?;
    json::number(json::at(part, "amount.value"))
}

/// Where the payer refused.
pub(super) struct Refusals {
    /// The response as a whole is refused.
    pub(super) is_whole: bool,
    /// Some items are, others are not.
    pub(super) are_some: bool,
    /// All items are.
    pub(super) are_all: bool,
}

impl Refusals {
    pub(super) fn of(body: &Node<'_>) -> Self {
        let items: Vec<bool> = json::each(&body["item"]).chain(json::each(&body["addItem"])).map(is_refused).collect();
        let refused = items.iter().filter(|refused| **refused).count();
        let header = [&body["adjudication"], &body["total"]]
            .into_iter()
            .any(|part| refuses(part) || amount(part, "noncovered").is_some_and(|amount| amount > 0.0));
        Self {
            is_whole: header || medicare_refuses(body),
            are_some: refused > 0 && refused < items.len(),
            are_all: refused > 0 && refused == items.len(),
        }
    }

    pub(super) fn any(&self) -> bool {
        self.is_whole || self.are_some || self.are_all
    }
}

/// An item that is refused and for which nothing is paid.
fn is_refused(item: &Node<'_>) -> bool {
    let adjudication = &item["adjudication"];
    benefit(adjudication).is_none_or(|amount| amount <= 0.0) && refuses(adjudication)
}

/// Whether adjudications refuse: one of them does, or of what was submitted nothing is eligible.
fn refuses(adjudications: &Node<'_>) -> bool {
    let nothing_eligible = amount(adjudications, "eligible").is_some_and(|eligible| eligible <= 0.0)
        && amount(adjudications, "submitted").is_some_and(|submitted| submitted > 0.0);
    nothing_eligible || json::each(adjudications).any(is_refusal)
}

/// An adjudication that refuses: by its category, or by a reason that is no mere adjustment. Medicare's other variables (coverage status,
/// processing indicators) stand in the place of reasons without being any.
fn is_refusal(adjudication: &Node<'_>) -> bool {
    let category = &adjudication["category"];
    let value = json::number(json::at(adjudication, "amount.value"));
    if has_code(category, &REFUSED) {
        return value.is_none_or(|amount| amount != 0.0);
    }
    if has_code(category, &NO_REASON) {
        return false;
    }
    let is_denial = has_code(category, &["denialreason"]);
    let refuses = |reason: &Coding<'_>| {
        let is_variable = !is_denial && reason.system.contains("bluebutton.cms.gov/resources/variables");
        let is_no_refusal = NO_REFUSAL.iter().any(|code| reason.code.eq_ignore_ascii_case(code));
        !is_variable && !is_no_refusal && !LOWERS.contains(&adjustment(reason.code))
    };
    codes(&adjudication["reason"]).any(|reason| refuses(&reason))
}

/// `45` of `CO-45`, `CO45`, `PR 45`: the reason without its group.
fn adjustment(code: &str) -> &str {
    ["CO", "PR", "OA", "PI", "CR"]
        .iter()
        .find_map(|group| code.strip_prefix(group))
        .map_or(code, |rest| rest.trim_start_matches(['-', ' ', ':']))
}

/// Medicare's own words, as extensions or among the supporting information.
fn medicare_refuses(body: &Node<'_>) -> bool {
    let refuses = |name: &str, code: Option<&str>| {
        (ends_like(name, &CARRIER_DENIAL) && code.is_some_and(|code| CARRIER_DENIALS.contains(&code)))
            || (ends_like(name, &NON_PAYMENT_REASON) && code.is_some_and(|code| code != "P"))
    };
    let extension = json::each(&body["extension"])
        .any(|extension| json::word(&extension["url"]).is_some_and(|url| refuses(url, code(&extension["valueCoding"]))));
    let information = || json::each(&body["supportingInfo"]).chain(json::each(&body["information"]));
    extension || information().any(|information| codes(&information["code"]).any(|coding| refuses(coding.system, Some(coding.code))))
}

/// Whether a name ends in one of these, in whatever case, with dashes for underscores.
fn ends_like(name: &str, ends: &[&str]) -> bool {
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    ends.iter()
        .any(|end| name.len() >= end.len() && name.bytes().rev().map(plain).zip(end.bytes().rev()).all(|(byte, wanted)| byte == wanted))
}

/// What the payer's own payment status says (CARIN: `payment.type`, an adjudication `benefitpaymentstatus`); networks are no status.
pub(super) fn payment_status(body: &Node<'_>) -> Option<&'static str> {
    let statuses = json::each(&body["adjudication"]).chain(json::each(&body["supportingInfo"]));
    let named =
        statuses.filter(|part| has_code(&part["category"], &["benefitpaymentstatus"])).flat_map(|part| [&part["reason"], &part["code"]]);
    let mut given = named.chain([&body["payment"]["type"]]).flat_map(codes);
    given.find_map(|coding| match coding.code.to_ascii_lowercase().as_str() {
        "denied" => Some("denied"),
        "partiallypaid" | "partial" => Some("partial"),
        "paid" => Some("paid"),
        _ => None,
    })
}
