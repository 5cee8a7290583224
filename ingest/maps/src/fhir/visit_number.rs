//! Which identifiers of an Encounter are the visit number under which HL7 v2 tells of the same stay (PV1-19): under the logical id the stay is none that HL7 v2 knows.

use super::coding::{codes, has_code};
use super::json;
use super::node::Node;
use super::reference::identifier_of;
use super::resource::Resource;
use crate::number::is_placeholder;

/// The numbers that the Encounter lists, each once: those of the type `VN` or, where there is none, those without a type whose system is among the facility's
/// `authorities`. A number is the visit's for good, so that its `period` says nothing.
pub(super) fn listed<'a>(resource: &Resource<'a>) -> Vec<&'a str> {
    let (mut typed, mut untyped) = (Vec::new(), Vec::new());
    for identifier in json::each(&resource.body["identifier"]).filter(is_in_use) {
        let Some((system, value)) = identifier_of(identifier).filter(|(_, value)| !is_placeholder(value)) else { continue };
        if has_code(&identifier["type"], &["VN"]) {
            typed.push(value);
        } else if codes(&identifier["type"]).next().is_none() && resource.reader.authorities.contains_key(system) {
            untyped.push(value);
        }
    }
    let mut numbers = if typed.is_empty() { untyped } else { typed };
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Neither `old` nor one of the uses that tell nobody else anything (`temp`, `secondary`).
fn is_in_use(identifier: &&Node<'_>) -> bool {
    let stated = &identifier["use"];
    stated.is_null() || has_code(stated, &["usual", "official"])
}

#[cfg(test)]
mod tests {
    use schemas::Facility;

    use super::super::tests::{south, told_at};

    /// The numbers that are stated of an Encounter of this class with these identifiers.
    fn numbers(class: &str, identifiers: &str) -> Vec<String> {
        let facility = Facility { authorities: [("http://h/visits".to_owned(), "HOSP".to_owned())].into(), ..south() };
        let told = told_at(
            &facility,
            &format!(
                "{{'resourceType':'Encounter','id':'E1','status':'in-progress','class':{{'code':'{class}'}},'subject':{{'reference':'Patient/1'}},
                'period':{{'start':'2020'}},'identifier':[{identifiers}]}}"
            ),
        );
        let facts = told.lines().filter_map(|line| line.strip_prefix("encounter.identified - p=|1 e=E1 r="));
        facts.map(str::to_owned).collect()
    }

    /// A number of a system, with its type and what else is said of it.
    fn number(value: &str, system: &str, kind: &str, rest: &str) -> String {
        format!("{{'value':'{value}','system':'{system}','type':{{'coding':[{{'code':'{kind}'}}]}}{rest}}}")
    }

    #[test]
    fn a_visit_number_is_stated_as_hl7_names_the_stay() {
        let visit = number("V77", "http://anybody", "VN", "");
        assert_eq!(numbers("IMP", &visit), ["V77"]);
        assert_eq!(
            numbers("IMP", &number("V77", "", "VN", ",'use':'official','period':{'end':'2020-01-02'}")),
            ["V77"],
            "its period says nothing"
        );
        assert_eq!(numbers("IMP", "{'system':'http://h/visits','value':'V77'}"), ["V77"], "its system says what it is");
        assert_eq!(
            numbers("IMP", &[visit.as_str(), "{'system':'http://h/visits','value':'V78'}"].join(",")),
            ["V77"],
            "the type says more"
        );
        assert_eq!(numbers("IMP", &[visit.as_str(), &number("V76", "", "VN", ""), &visit].join(",")), ["V76", "V77"], "both, each once");
    }

    #[test]
    fn what_is_no_number_of_this_stay_is_not_stated() {
        for kind in ["AN", "MR", "FILL"] {
            assert!(numbers("IMP", &number("V77", "http://h/visits", kind, "")).is_empty(), "{kind}");
        }
        for used in ["old", "temp", "secondary"] {
            assert!(numbers("IMP", &number("V77", "", "VN", &format!(",'use':'{used}'"))).is_empty(), "{used}");
        }
        assert!(numbers("IMP", "{'system':'http://anybody','value':'V77'}").is_empty(), "nothing says what it is");
        assert!(numbers("IMP", &number("0000", "", "VN", "")).is_empty(), "a placeholder");
        assert!(numbers("IMP", &number("E1", "", "VN", "")).is_empty(), "its own id");
        assert!(numbers("AMB", &number("V77", "", "VN", "")).is_empty(), "a visit is no stay");
    }
}
