//! Which identifiers of a Patient are numbers that the sender gave to this person alone, and how HL7 v2 names them: under the logical id the
//! patient is nobody whom HL7 v2 knows, and by such a number both may be one person.

use std::collections::{HashMap, HashSet};

use super::coding::{codes, has_code};
use super::json;
use super::node::Node;
use super::reference::identifier_of;
use super::resource::{Reader, Resource};
use crate::number::{Rank, is_placeholder};

/// The numbers of one version of a Patient.
pub(super) struct Numbers<'a> {
    resource: &'a Resource<'a>,
    /// Values of accounts' numbers: no person is known by one, wherever else it stands.
    accounts: HashSet<&'a str>,
    /// The first value of each authority and rank, and whether there are others.
    first: HashMap<(&'a str, Rank), (&'a str, bool)>,
}

/// One that is this person's alone.
struct Own<'a> {
    authority: &'a str,
    value: &'a str,
    rank: Rank,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(resource: &'a Resource<'a>) -> Self {
        let identifiers = || json::each(&resource.body["identifier"]);
        let is_account = |identifier: &&Node<'_>| has_code(&identifier["type"], &["AN"]);
        let accounts = identifiers().filter(is_account).filter_map(identifier_of).map(|(_, value)| value).collect();
        let mut numbers = Self { resource, accounts, first: HashMap::new() };
        let owned: Vec<Own<'a>> = identifiers().filter_map(|identifier| numbers.own(identifier)).collect();
        for own in owned {
            let (first, are_more) = numbers.first.entry((own.authority, own.rank)).or_insert((own.value, false));
            *are_more |= *first != own.value;
        }
        numbers
    }

    /// An identifier as HL7 v2 names it, `authority|value`, and how it stands to the patient (`patient.identified`). `None` where it may be
    /// another's too, is no longer theirs, or nothing says whose numbers those of its system are.
    pub(super) fn tie(&self, identifier: &'a Node<'a>) -> Option<(String, &'static str)> {
        let Own { authority, value, rank } = self.own(identifier)?;
        let number = [authority, "|", value].concat();
        let is_only = self.first.get(&(authority, rank)).is_none_or(|(_, are_more)| !are_more);
        Some((number, if rank != Rank::Untyped && is_only { "own_now" } else { "alike_now" }))
    }

    fn own(&self, identifier: &'a Node<'a>) -> Option<Own<'a>> {
        let (system, value) = identifier_of(identifier)?;
        let authority = authority(self.resource.reader, system)?;
        let rank = rank(&identifier["type"], authority);
        let is_theirs = rank != Rank::Foreign && !is_placeholder(value) && !self.accounts.contains(value);
        (is_theirs && self.holds(identifier)).then_some(Own { authority, value, rank })
    }

    /// Whether it is in use, as far as the version says: one with an end only where that lies behind the time of the version.
    fn holds(&self, identifier: &Node<'_>) -> bool {
        let (start, end) = (&identifier["period"]["start"], &identifier["period"]["end"]);
        let said_at = self.resource.updated_at;
        let instant = |value: &Node<'_>| self.resource.reader.instant(value);
        let is_to_come = instant(start).zip(said_at).is_some_and(|(start, said_at)| start > said_at);
        let is_open = end.is_null() || instant(end).zip(said_at).is_some_and(|(end, said_at)| said_at < end);
        is_open && !is_to_come && !has_code(&identifier["use"], &["old"])
    }
}

/// Of several types the best counts, unless one of them says that somebody else gave the number; of none what the authority says.
fn rank(kind: &Node<'_>, authority: &str) -> Rank {
    let ranks = || codes(kind).map(move |coding| Rank::of(coding.code.as_bytes(), authority));
    if ranks().any(|rank| rank == Rank::Foreign) { Rank::Foreign } else { ranks().min().unwrap_or_else(|| Rank::of(b"", authority)) }
}

/// The assigning authority, as HL7 v2 writes it, of the numbers of a system.
fn authority<'a>(reader: &Reader<'a>, system: &'a str) -> Option<&'a str> {
    let configured = reader.authorities.get(system).map(String::as_str);
    configured.or_else(|| system.strip_prefix("urn:oid:").filter(|id| is_oid(id)))
}

/// `2.16.840.1.113883`: numbers with points between them, the first 0, 1 or 2.
fn is_oid(id: &str) -> bool {
    let has_digits = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit());
    matches!(id.split_once('.'), Some(("0" | "1" | "2", rest)) if rest.split('.').all(has_digits))
}

#[cfg(test)]
mod tests {
    use schemas::Facility;

    use super::super::tests::{south, told_at};

    /// What is said of these identifiers of a version of March 2021, or of one without a time.
    fn said(updated: &str, identifiers: &str) -> String {
        let facility = Facility { authorities: [("http://h/mrn".to_owned(), "HOSP".to_owned())].into(), ..south() };
        told_at(&facility, &format!("{{'resourceType':'Patient','id':'p',{updated}'identifier':[{identifiers}]}}"))
    }

    fn ties(identifiers: &str) -> Vec<String> {
        let said = said("'meta':{'lastUpdated':'2021-03-04T00:00:00Z'},", identifiers);
        said.lines().filter_map(|line| line.split_once(" =")).map(|(_, tie)| tie.to_owned()).collect()
    }

    /// The number 4711 of a system, with its type and what else is said of it.
    fn number(system: &str, kind: &str, rest: &str) -> String {
        format!("{{'system':'{system}','value':'4711','type':{{'coding':[{{'code':'{kind}'}}]}}{rest}}}")
    }

    #[test]
    fn a_number_of_the_person_is_stated_as_sent_and_as_hl7_names_it() {
        let mrn = number("http://h/mrn", "MR", "");
        assert_eq!(
            said("", &mrn),
            "mapped Patient p\npatient.identified - p=|p r=http://h/mrn|4711\npatient.identified - p=|p =own_now r=HOSP|4711"
        );
        for kind in ["PI", "PN"] {
            assert_eq!(ties(&number("http://h/mrn", kind, "")), ["own_now r=HOSP|4711"], "{kind}");
        }
        assert_eq!(ties(&number("urn:oid:1.2.3", "MR", "")), ["own_now r=1.2.3|4711"], "an OID is its own name");
        assert_eq!(ties("{'system':'http://h/mrn','value':'4711'}"), ["alike_now r=HOSP|4711"], "no type says what it is");
        let two = [mrn.as_str(), &mrn.replace("4711", "4712")].join(",");
        assert_eq!(ties(&two), ["alike_now r=HOSP|4711", "alike_now r=HOSP|4712"], "two of one kind");
        let itself = Facility { authorities: [("HOSP".to_owned(), "HOSP".to_owned())].into(), ..south() };
        let once = told_at(&itself, &format!("{{'resourceType':'Patient','id':'p','identifier':[{}]}}", number("HOSP", "MR", "")));
        assert_eq!(once, "mapped Patient p\npatient.identified - p=|p =own_now r=HOSP|4711");
    }

    #[test]
    fn what_others_may_share_or_is_no_longer_in_use_ties_nobody() {
        for system in ["http://other/mrn", "urn:oid:", "urn:oid:1", "urn:oid:1..2", "urn:oid:HOSP", "1.2.3"] {
            assert!(ties(&number(system, "MR", "")).is_empty(), "{system}");
        }
        for kind in ["SS", "DL", "MC", "AN"] {
            assert!(ties(&number("http://h/mrn", kind, "")).is_empty(), "{kind}");
        }
        let shared = Facility { authorities: [("http://hl7.org/fhir/sid/us-ssn".to_owned(), "SSA".to_owned())].into(), ..south() };
        let untyped = "{'resourceType':'Patient','id':'p','identifier':[{'system':'http://hl7.org/fhir/sid/us-ssn','value':'4711'}]}";
        assert!(!told_at(&shared, untyped).contains("_now"), "the authority says whose it is where no type does");
        assert!(ties("{'system':'urn:oid:2.16.840.1.113883.4.1','value':'4711'}").is_empty(), "so does the OID of social security");
        let mrn = |rest: &str| number("http://h/mrn", "MR", rest);
        for rest in [",'use':'old'", ",'period':{'end':'2021-03-03'}", ",'period':{'end':'soon'}", ",'period':{'start':'2021-04'}"] {
            assert!(ties(&mrn(rest)).is_empty(), "{rest}");
        }
        for rest in [",'use':'usual'", ",'period':{'start':'2020','end':'2021-03-06'}"] {
            assert_eq!(ties(&mrn(rest)), ["own_now r=HOSP|4711"], "{rest}");
        }
        assert!(!said("", &mrn(",'period':{'end':'2999'}")).contains("own_now"), "nothing says when that was said");
        assert!(ties(&mrn("").replace("4711", "999999999")).is_empty(), "a placeholder");
        assert!(ties(&[mrn(""), number("http://h/accounts", "AN", "")].join(",")).is_empty(), "an account's as well");
    }
}
