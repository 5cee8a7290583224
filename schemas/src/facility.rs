//! A facility: the sender whose clocks, zones and number spaces a record is read in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Root of every id that Wardstream derives (UUID v5 of "wardstream" in the DNS namespace would do as well; this one is fixed).
const ROOT: Uuid = Uuid::from_u128(0x6f1b_9a0e_57c4_4c1d_9b43_2d0a_6e5c_8f10);

/// How records of one facility are read. Part of the configuration, so unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facility {
    /// Name that stands in `messages.facility` and roots the facility's ids. Renaming a facility renames its ids.
    pub name: String,
    /// IANA zone of time stamps that carry no offset.
    #[serde(default = "utc")]
    pub zone: String,
    /// Charset of text whose message names none and which is not UTF-8 (WHATWG label).
    #[serde(default = "latin1")]
    pub charset: String,
    /// What makes a FHIR Encounter a hospital stay whatever else it says: codes of `class` or `type`, or the last steps of its
    /// identifier's system.
    #[serde(default)]
    pub stays: Vec<String>,
    /// What makes a FHIR Encounter none, in the same words; weighs more than `stays`. By default an identifier from a system whose name
    /// ends in `encounter-ed` or `encounter-icu`.
    #[serde(default = "visits")]
    pub visits: Vec<String>,
    /// The assigning authority of the patients' numbers to which an HL7 v2 message gives none. Empty: they have none.
    #[serde(default)]
    pub authority: String,
    /// By the system of a FHIR identifier, the assigning authority that HL7 v2 messages name for the same numbers (CX.4). The system
    /// `urn:oid:ID` is that of the authority `ID` where this says nothing else.
    #[serde(default)]
    pub authorities: BTreeMap<String, String>,
}

impl Facility {
    /// A facility in UTC that falls back to windows-1252.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            zone: utc(),
            charset: latin1(),
            stays: Vec::new(),
            visits: visits(),
            authority: String::new(),
            authorities: BTreeMap::new(),
        }
    }

    /// The namespace of this facility's ids.
    #[must_use]
    pub fn namespace(&self) -> Uuid {
        Uuid::new_v5(&ROOT, self.name.as_bytes())
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn latin1() -> String {
    "windows-1252".to_owned()
}

fn visits() -> Vec<String> {
    vec!["encounter-ed".to_owned(), "encounter-icu".to_owned()]
}
