//! Codes of diagnoses and procedures: which system a code is of, by what the sender calls it, else by its shape.

use super::reader::Field;

/// Systems whose codes we compare; of the two codes of a CWE the one of such a system is taken.
const KNOWN: &[&str] = &["ICD10CM", "ICD9CM", "SNOMED", "CPT", "HCPCS", "ICD10PCS", "ICD9PCS"];

/// A code and the system that it is of.
pub(crate) struct Coded {
    /// `system/code`.
    pub(crate) text: String,
    /// No system was stated; the shape of the code told it.
    pub(crate) guessed: bool,
}

/// The code of a CWE or CE: the one of a system that we know, else the first. `beside`: the system that another field states for it.
pub(crate) fn coded(
    field: &Field<'_>,
    beside: Option<String>,
    name: impl Fn(&str) -> String,
    shape: impl Fn(&str) -> &'static str,
) -> Option<Coded> {
    let mut found: Option<Coded> = None;
    for (place, beside) in [(1, beside), (4, None)] {
        let Some(code) = field.component(place).text() else { continue };
        let stated = field.component(place + 2).text().or(beside).map(|system| name(&system)).filter(|system| !system.is_empty());
        let guessed = stated.is_none();
        let system = stated.unwrap_or_else(|| shape(&code).to_owned());
        let known = KNOWN.contains(&system.as_str());
        let guessed = guessed && known;
        if known && !guessed {
            return Some(Coded { text: format!("{system}/{code}"), guessed });
        }
        if found.is_none() {
            found = Some(Coded { text: format!("{system}/{code}"), guessed });
        }
    }
    found
}

/// HL7 table 0396, its misspellings, OIDs and URLs, of a system of diagnoses; other systems keep their name, `ICD` alone is none.
pub(crate) fn of_diagnoses(system: &str) -> String {
    match label(system).as_str() {
        "I10"
        | "I10C"
        | "I10CM"
        | "I10CDX"
        | "ICD10"
        | "ICD10CM"
        | "ICD10CMDX"
        | "ICD10DX"
        | "10"
        | "2168401113883690"
        | "HTTPHL7ORGFHIRSIDICD10CM" => "ICD10CM".to_owned(),
        "I9"
        | "I9C"
        | "I9CM"
        | "I9CDX"
        | "I9M"
        | "ICD9"
        | "ICD9CM"
        | "ICD9CMDX"
        | "ICD9DX"
        | "9"
        | "21684011138836103"
        | "HTTPHL7ORGFHIRSIDICD9CM" => "ICD9CM".to_owned(),
        "SCT" | "SNM" | "SNOMED" | "SNOMEDCT" | "SCTUS" | "2168401113883696" | "HTTPSNOMEDINFOSCT" => "SNOMED".to_owned(),
        "ICD" | "I" => String::new(),
        _ => system.replace('/', "_"),
    }
}

/// The same of a system of procedures. A sender who says `I10` there means its procedure codes.
pub(crate) fn of_procedures(system: &str) -> String {
    match label(system).as_str() {
        "C4" | "C5" | "CPT" | "CPT4" | "CPT5" | "CPTM" | "2168401113883612" => "CPT".to_owned(),
        "HCPCS" | "HPC" | "HCPT" | "HCPCSLEVELII" => "HCPCS".to_owned(),
        "I10P" | "ICD10PCS" | "I10PCS" | "PCS" => "ICD10PCS".to_owned(),
        "I9CP" | "I9P" | "ICD9PCS" | "ICD9P" | "ICD9CMP" => "ICD9PCS".to_owned(),
        _ => match of_diagnoses(system).as_str() {
            "ICD10CM" => "ICD10PCS".to_owned(),
            "ICD9CM" => "ICD9PCS".to_owned(),
            other => other.to_owned(),
        },
    }
}

fn label(system: &str) -> String {
    system.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
}

/// Which ICD a country's coders used when a message was written: the United States went over on 2015-10-01.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Ninth,
    Tenth,
}

/// The system of a diagnosis whose sender names none: ICD-10-CM, ICD-9-CM or SNOMED CT by the shape of the code; empty where it is of none.
/// Where both ICDs have codes of a shape (`V58.61`, `E8501`) the era decides.
pub(crate) fn shape_of_diagnosis(code: &str, era: Era) -> &'static str {
    let (head, tail) = code.split_once('.').unwrap_or((code, ""));
    let first = head.bytes().next().map(|byte| byte.to_ascii_uppercase());
    let rest = head.as_bytes().get(1..).unwrap_or_default();
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    let (lead, more) = if code.contains('.') { (head.len(), tail.len()) } else { (head.len().min(3), head.len().saturating_sub(3)) };
    match first {
        // ICD-10-CM has no four letters or digits before a dot.
        Some(b'E') if lead == 4 && digits(rest) && digits(tail.as_bytes()) && more <= 1 => "ICD9CM",
        Some(b'V') if era == Era::Ninth && lead == 3 && more <= 2 && digits(rest) && digits(tail.as_bytes()) => "ICD9CM",
        Some(b'E') if era == Era::Ninth && !code.contains('.') && (4..=5).contains(&head.len()) && digits(rest) => "ICD9CM",
        Some(b'A'..=b'Z') if is_icd10(head, tail) && lead == 3 && more <= 4 => "ICD10CM",
        Some(b'0'..=b'9') if !digits(head.as_bytes()) || !digits(tail.as_bytes()) => "",
        Some(b'0'..=b'9') if lead == 3 && more <= 2 => "ICD9CM",
        Some(b'0'..=b'9') if head.len() >= 6 && tail.is_empty() => "SNOMED",
        _ => "",
    }
}

/// A letter, a digit, a letter or digit, and letters and digits.
fn is_icd10(head: &str, tail: &str) -> bool {
    let second = head.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    second && head.len() >= 3 && head.bytes().chain(tail.bytes()).all(|byte| byte.is_ascii_alphanumeric())
}

/// The system of a procedure whose sender names none: CPT, HCPCS or ICD-10-PCS by the shape of the code.
pub(crate) fn shape_of_procedure(code: &str) -> &'static str {
    match code.as_bytes() {
        [digits @ .., last] if digits.len() == 4 && digits.iter().all(u8::is_ascii_digit) && last.is_ascii_alphanumeric() => "CPT",
        [b'A'..=b'V', digits @ ..] if digits.len() == 4 && digits.iter().all(u8::is_ascii_digit) => "HCPCS",
        all if all.len() == 7
            && all.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
            && !all.iter().all(u8::is_ascii_digit) =>
        {
            "ICD10PCS"
        }
        all if all.len() >= 6 && all.iter().all(u8::is_ascii_digit) => "SNOMED",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_without_a_system_is_told_by_its_shape() {
        let cases = [
            ("I50.9", "ICD10CM"),
            ("I509", "ICD10CM"),
            ("C7A.00", "ICD10CM"),
            ("S72.001A", "ICD10CM"),
            ("E11.9", "ICD10CM"),
            ("V58.61", "ICD10CM"),
            ("428.0", "ICD9CM"),
            ("4280", "ICD9CM"),
            ("42800", "ICD9CM"),
            ("250", "ICD9CM"),
            ("E850.1", "ICD9CM"),
            ("422504002", "SNOMED"),
            ("22", ""),
            ("ASTHMA", ""),
            ("I", ""),
            ("428.000", ""),
            ("", ""),
            ("\u{e9}12", ""),
        ];
        for (code, system) in cases {
            assert_eq!(shape_of_diagnosis(code, Era::Tenth), system, "{code}");
        }
        for (code, system) in [("V58.61", "ICD9CM"), ("V5861", "ICD9CM"), ("E8501", "ICD9CM"), ("E11.9", "ICD10CM")] {
            assert_eq!(shape_of_diagnosis(code, Era::Ninth), system, "{code}");
        }
        for (code, system) in
            [("99213", "CPT"), ("0001T", "CPT"), ("J1885", "HCPCS"), ("0DTJ4ZZ", "ICD10PCS"), ("76164006", "SNOMED"), ("", "")]
        {
            assert_eq!(shape_of_procedure(code), system, "{code}");
        }
    }

    #[test]
    fn systems_have_many_names() {
        let diagnoses = ["I10", "ICD-10-CM", "2.16.840.1.113883.6.90", "http://hl7.org/fhir/sid/icd-10-cm"];
        assert!(diagnoses.iter().all(|name| of_diagnoses(name) == "ICD10CM"));
        assert_eq!([of_diagnoses("I9C"), of_diagnoses("SCT"), of_diagnoses("icd"), of_diagnoses("A/B")], ["ICD9CM", "SNOMED", "", "A_B"]);
        assert_eq!(
            [of_procedures("C4"), of_procedures("I10"), of_procedures("HCPCS"), of_procedures("L")],
            ["CPT", "ICD10PCS", "HCPCS", "L"]
        );
    }
}
