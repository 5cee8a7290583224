//! Whether an Encounter is a hospital stay. Its class alone does not say: senders admit under `EMER`, `OBSENC` or `AMB`, and close their
//! emergency visits with a discharge disposition.
//!
//! The first line that holds:
//!
//! | | | it is |
//! |---|---|---|
//! | 1 | `partOf` names another Encounter | a part of that one |
//! | 2 | a class, a type or an identifier's system is among the facility's `visits` | a visit |
//! | 3 | ... or among its `stays` | a stay |
//! | 4 | class `PRENC`, or status `planned` | a planned stay |
//! | 5 | class `IMP ACUTE NONAC OBSENC SS`, `inpatient` | a stay |
//! | 6 | any other class with a `hospitalization` that says something, and it lasts a day or more, or it was at two places or more, or its service is another than emergency | a stay |
//! | 7 | anything else | a visit |

use jiff::{SignedDuration, Timestamp};

use super::coding::{code, codes};
use super::draft::Draft;
use super::json;
use super::node::Node;
use super::resource::Resource;

const INPATIENT: [&str; 6] = ["IMP", "ACUTE", "NONAC", "OBSENC", "SS", "inpatient"];
const EMERGENCY: [&str; 5] = ["emer", "er", "ed", "emr", "urg"];
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// What an Encounter is.
#[derive(PartialEq, Eq)]
pub(super) enum Setting {
    /// Of the visit with this number.
    Part(String),
    Planned,
    Stay,
    Visit,
}

/// Whether a class is one of stays.
pub(super) fn is_inpatient(class: &str) -> bool {
    INPATIENT.iter().any(|known| known.eq_ignore_ascii_case(class))
}

/// What the Encounter with this period is, by the table above.
pub(super) fn of(resource: &Resource<'_>, start: Option<Timestamp>, end: Option<Timestamp>, draft: &mut Draft) -> Setting {
    let body = resource.body;
    if !body["partOf"].is_null() {
        match resource.visit(&body["partOf"]) {
            Some(whole) if resource.id != Some(whole.as_str()) => return Setting::Part(whole),
            _ => resource.flag(draft, "partOf", "it names no other encounter: this one stands for itself"),
        }
    }
    if is_named(body, resource.reader.visits) {
        return Setting::Visit;
    }
    if is_named(body, resource.reader.stays) {
        return Setting::Stay;
    }
    let class = code(&body["class"]).unwrap_or_default();
    if class.eq_ignore_ascii_case("PRENC") || body["status"] == "planned" {
        return Setting::Planned;
    }
    if is_inpatient(class) {
        return Setting::Stay;
    }
    if !hospitalization(body).is_object() {
        return Setting::Visit;
    }
    let lasts_a_day = start.zip(end).is_some_and(|(start, end)| end.duration_since(start) >= A_DAY);
    if lasts_a_day || moves(resource) || has_ward_service(body) {
        resource.flag(draft, "class", "the class is none of stays, the rest tells of one: it is a stay");
        return Setting::Stay;
    }
    resource.flag(draft, "hospitalization", "nothing else tells of a stay: it is a visit");
    Setting::Visit
}

/// R4's `hospitalization`, R5's `admission`.
pub(super) fn hospitalization<'a>(body: &'a Node<'a>) -> &'a Node<'a> {
    json::first_of(body, &["hospitalization", "admission"]).map_or(&Node::Null, |(_, found)| found)
}

/// The code of the service: a concept, a list of them, or R5's list of references or concepts.
pub(super) fn service<'a>(body: &'a Node<'a>) -> Option<&'a str> {
    let given = &body["serviceType"];
    code(given).or_else(|| json::each(given).find_map(|service| code(&service["concept"])))
}

/// Whether the Encounter bears one of these names.
fn is_named(body: &Node<'_>, names: &[String]) -> bool {
    let is_code = |code: &str| names.iter().any(|name| name.eq_ignore_ascii_case(code));
    let is_end = |system: &str| {
        let ends_so =
            |name: &String| system.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with(['/', ':', '#']));
        names.iter().any(ends_so)
    };
    let has_code = ["class", "type"].iter().any(|field| codes(&body[*field]).any(|coding| is_code(coding.code)));
    has_code || json::each(&body["identifier"]).any(|identifier| json::word(&identifier["system"]).is_some_and(is_end))
}

/// Whether it was at two places at different times.
fn moves(resource: &Resource<'_>) -> bool {
    let starts = json::each(&resource.body["location"]).filter_map(|location| resource.reader.instant(json::at(location, "period.start")));
    let (first, last) = starts.fold((None, None), |(first, last): (Option<Timestamp>, Option<Timestamp>), start| {
        (Some(first.map_or(start, |first| first.min(start))), last.max(Some(start)))
    });
    first < last
}

fn has_ward_service(body: &Node<'_>) -> bool {
    service(body).is_some_and(|service| {
        let service = service.to_ascii_lowercase();
        !service.contains("emerg") && !EMERGENCY.contains(&service.as_str())
    })
}
