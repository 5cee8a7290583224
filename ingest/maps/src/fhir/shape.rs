//! Shapes of other releases than R4: what is read under its own name says so here, and what would be misread is refused by name.

use super::draft::Draft;
use super::node::Node;
use super::resource::Resource;

const R5: &str = "this is R5's shape; it is read as R4's";
const STU3: &str = "this is STU3's shape; it is read as R4's";

/// `class` as a list of concepts, `actualPeriod` and `admission` are R5's.
pub(super) fn encounter(resource: &Resource<'_>, draft: &mut Draft) {
    if matches!(resource.body["class"], Node::List(_)) {
        resource.flag(draft, "class", R5);
    }
    given(resource, &["actualPeriod", "admission", "plannedStartDate"], R5, draft);
    if matches!(resource.body["class"], Node::Text(_)) {
        resource.flag(draft, "class", "this is DSTU2's shape; it is read as R4's");
    }
}

/// Statuses as bare codes, `context` and `assertedDate` are STU3's.
pub(super) fn condition(resource: &Resource<'_>, draft: &mut Draft) {
    for field in ["clinicalStatus", "verificationStatus"] {
        if matches!(resource.body[field], Node::Text(_)) {
            resource.flag(draft, field, STU3);
        }
    }
    given(resource, &["context", "assertedDate"], STU3, draft);
}

/// `context` as a list of references is R5's, `indexed` and `created` are STU3's.
pub(super) fn document(resource: &Resource<'_>, draft: &mut Draft) {
    if matches!(resource.body["context"], Node::List(_)) {
        resource.flag(draft, "context", R5);
    }
    given(resource, &["indexed", "created"], STU3, draft);
}

/// `totalBenefit`, `totalCost` and a concept as `outcome` are STU3's, `decision` and `encounter` R5's.
pub(super) fn claim(resource: &Resource<'_>, draft: &mut Draft) {
    given(resource, &["totalBenefit", "totalCost"], STU3, draft);
    if resource.body["outcome"].is_object() {
        resource.flag(draft, "outcome", STU3);
    }
    given(resource, &["decision", "encounter"], R5, draft);
}

/// `occurrenceDateTime` and `occurrencePeriod` are R5's, `context` and `notDone` STU3's.
pub(super) fn procedure(resource: &Resource<'_>, draft: &mut Draft) {
    given(resource, &["occurrenceDateTime", "occurrencePeriod"], R5, draft);
    given(resource, &["context", "notDone"], STU3, draft);
}

fn given(resource: &Resource<'_>, fields: &[&str], decision: &'static str, draft: &mut Draft) {
    for field in fields.iter().filter(|field| !resource.body[**field].is_null()) {
        resource.flag(draft, field, decision);
    }
}
