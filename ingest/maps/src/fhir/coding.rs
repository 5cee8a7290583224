//! Codes, and what the code systems are called here.

use schemas::NoteKind;

use super::json;
use super::node::Node;

/// A code and the system it is from (empty where the sender gave none).
#[derive(Clone, Copy)]
pub(super) struct Coding<'a> {
    pub(super) system: &'a str,
    pub(super) code: &'a str,
}

/// Every code of a value: a `code`, a `Coding`, a `CodeableConcept`, or a list of these, since FHIR's releases differ in which of them
/// stands where (`Encounter.class`, `Condition.verificationStatus`, `relatesTo.code`).
pub(super) fn codes<'a>(value: &'a Node<'a>) -> impl Iterator<Item = Coding<'a>> {
    json::each(value).flat_map(|value| {
        let bare = json::word(value).map(|code| Coding { system: "", code });
        let coded = std::iter::once(value).chain(json::each(&value["coding"])).filter_map(|coding| {
            let code = json::word(&coding["code"])?;
            Some(Coding { system: json::word(&coding["system"]).unwrap_or_default(), code })
        });
        bare.into_iter().chain(coded)
    })
}

/// The first code of a value.
pub(super) fn code<'a>(value: &'a Node<'a>) -> Option<&'a str> {
    codes(value).next().map(|coding| coding.code)
}

/// Whether a value carries one of these codes, in any system.
pub(super) fn has_code(value: &Node<'_>, wanted: &[&str]) -> bool {
    let is_wanted = |code: &Node<'_>| {
        let code = code.as_str().map(json::trimmed);
        code.is_some_and(|code| wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(code)))
    };
    json::each(value)
        .any(|value| is_wanted(value) || is_wanted(&value["code"]) || json::each(&value["coding"]).any(|coding| is_wanted(&coding["code"])))
}

impl Coding<'_> {
    /// `ICD10CM/I50.9`, `ICD9CM/428.0`, `SNOMED/84114007`, `system/code`, or the bare code where there is no system.
    ///
    /// `sid/icd-10` counts as ICD-10-CM: American payers send their codes under it.
    pub(super) fn qualified(&self) -> String {
        match self.short_system() {
            "" => self.code.to_owned(),
            system => [system, "/", self.code].concat(),
        }
    }

    /// Systems are told by their ends, because senders put their own addresses before `icd10`, and procedures (`icd-10-pcs`) end otherwise.
    fn short_system(&self) -> &str {
        let system = self.system.strip_suffix('/').unwrap_or(self.system);
        match system.strip_suffix("/diagnosis").unwrap_or(system) {
            "urn:oid:2.16.840.1.113883.6.90" | "urn:oid:2.16.840.1.113883.6.3" => "ICD10CM",
            "urn:oid:2.16.840.1.113883.6.103" | "urn:oid:2.16.840.1.113883.6.42" => "ICD9CM",
            "http://snomed.info/sct" | "urn:oid:2.16.840.1.113883.6.96" => "SNOMED",
            "http://loinc.org" | "urn:oid:2.16.840.1.113883.6.1" => "LOINC",
            "http://terminology.hl7.org/CodeSystem/v2-0270" | "http://hl7.org/fhir/v2/0270" => "",
            system if ends_with_any(system, &["icd-10-cm", "icd-10", "icd10cm", "icd10"]) => "ICD10CM",
            system if ends_with_any(system, &["icd-9-cm", "icd-9", "icd9cm", "icd9"]) => "ICD9CM",
            _ => self.system,
        }
    }

    /// What a document with this type is for; `None` where the code does not say.
    fn note_kind(&self) -> Option<NoteKind> {
        match (self.short_system(), self.code) {
            ("LOINC", "34117-2" | "47039-3" | "11492-6" | "28626-0" | "34774-0") | ("", "HP") => Some(NoteKind::Admission),
            ("LOINC", "18842-5" | "11490-0" | "28655-9" | "34105-7" | "34106-5") | ("", "DS") => Some(NoteKind::Discharge),
            ("LOINC", "11506-3") | ("", "PN") => Some(NoteKind::Progress),
            ("LOINC", "18748-4" | "11502-2" | "11526-1" | "18726-0" | "68604-8") | ("", "DI" | "SP") => Some(NoteKind::Report),
            _ => None,
        }
    }
}

/// Whether a system ends so and does not speak of procedures.
fn ends_with_any(system: &str, ends: &[&str]) -> bool {
    let lower = system.to_ascii_lowercase();
    ends.iter().any(|end| lower.ends_with(end)) && !lower.contains("procedure")
}

/// Kind and type code of a document: of the first coding that tells the kind, else the first LOINC, else the first.
pub(super) fn document_type(value: &Node<'_>, otherwise: NoteKind) -> (NoteKind, Option<String>) {
    let codings: Vec<_> = codes(value).collect();
    if let Some((coding, kind)) = codings.iter().find_map(|coding| Some((coding, coding.note_kind()?))) {
        return (kind, Some(coding.qualified()));
    }
    let loinc = codings.iter().find(|coding| coding.short_system() == "LOINC");
    (otherwise, loinc.or(codings.first()).map(Coding::qualified))
}

#[cfg(test)]
mod tests {
    use super::Coding;

    #[test]
    fn code_systems_are_known_under_all_their_names() {
        let named = |system: &str| Coding { system, code: "c" }.qualified();
        for system in [
            "http://hl7.org/fhir/sid/icd-10-cm",
            "http://hl7.org/fhir/sid/icd-10",
            "urn:oid:2.16.840.1.113883.6.90",
            "http://x/CodeSystem/mimic-diagnosis-icd10",
        ] {
            assert_eq!(named(system), "ICD10CM/c", "{system}");
        }
        for system in
            ["http://hl7.org/fhir/sid/icd-9-cm", "http://hl7.org/fhir/sid/icd-9-cm/diagnosis", "http://x/CodeSystem/mimic-diagnosis-icd9"]
        {
            assert_eq!(named(system), "ICD9CM/c", "{system}");
        }
        assert_eq!(named("http://snomed.info/sct"), "SNOMED/c");
        assert_eq!(named("http://hl7.org/fhir/sid/icd-10-pcs"), "http://hl7.org/fhir/sid/icd-10-pcs/c");
        assert_eq!(named("http://x/mimic-procedure-icd10"), "http://x/mimic-procedure-icd10/c");
        assert_eq!(named(""), "c");
    }
}
