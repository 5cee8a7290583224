//! Which condition a diagnosis code states, from the versioned code set. Pure.

use std::collections::HashMap;
use std::sync::LazyLock;

const CODES: &str = include_str!("../../../codes/charlson-quan-2005-1.tsv");

/// Version of the code set; part of every dataset's id.
pub const VERSION: &str = "charlson-quan-2005/1";

/// Mild forms that do not count beside their severe ones.
const SUPERSEDED: [(&str, &str); 3] = [("mild_liver", "severe_liver"), ("diabetes", "diabetes_complicated"), ("cancer", "metastatic")];

/// Conditions, and one bit more that says that there was an ICD diagnosis code at all.
pub const MOST_CONDITIONS: usize = 32;
const SEEN: usize = MOST_CONDITIONS - 1;

struct Condition {
    name: &'static str,
    weight: i64,
}

struct CodeSet {
    conditions: Vec<Condition>,
    /// What the codes that begin so state.
    icd10: HashMap<&'static str, Conditions>,
    icd9: HashMap<&'static str, Conditions>,
    /// Each severe form, and the mild one that it supersedes.
    superseded: Vec<(usize, usize)>,
}

/// The file's lines: name, weight, ICD-10-CM prefixes, ICD-9-CM prefixes, tab-separated; codes without their dot.
static CODE_SET: LazyLock<CodeSet> = LazyLock::new(|| {
    let mut set = CodeSet { conditions: Vec::new(), icd10: HashMap::new(), icd9: HashMap::new(), superseded: Vec::new() };
    for line in CODES.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let (Some(name), Some(Ok(weight))) = (columns.next(), columns.next().map(str::parse)) else { continue };
        let condition = Conditions::of_bits(std::iter::once(set.conditions.len()));
        set.conditions.push(Condition { name, weight });
        for (prefixes, column) in [&mut set.icd10, &mut set.icd9].into_iter().zip(columns) {
            for prefix in column.split(' ').filter(|prefix| !prefix.is_empty()) {
                let stated = prefixes.entry(prefix).or_default();
                *stated = stated.with(condition);
            }
        }
    }
    let at = |name: &str| set.conditions.iter().position(|condition| condition.name == name);
    set.superseded = SUPERSEDED.iter().filter_map(|(mild, severe)| Some((at(severe)?, at(mild)?))).collect();
    set
});

/// A set of conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions(u32);

impl From<u32> for Conditions {
    fn from(bits: u32) -> Self {
        Self(bits)
    }
}

impl From<Conditions> for u32 {
    fn from(conditions: Conditions) -> Self {
        conditions.0
    }
}

impl Conditions {
    /// What a code written `ICD10CM/I50.9`, `ICD9CM/4280` states. The code stands behind the last slash: a system may be a URL.
    /// A code of another system, or of none, states nothing, not even that there was a code.
    pub fn of(code: &str) -> Self {
        let Some((system, code)) = code.rsplit_once('/') else { return Self::default() };
        let (system, bare) = (bare(system), bare(code));
        let ends_with = |names: [&str; 2]| names.iter().any(|name| system.ends_with(name));
        let prefixes = if ends_with(["ICD10CM", "ICD10"]) {
            &CODE_SET.icd10
        } else if ends_with(["ICD9CM", "ICD9"]) {
            &CODE_SET.icd9
        } else {
            return Self::default();
        };
        if bare.is_empty() {
            return Self::default();
        }
        let stated = (1..=bare.len()).filter_map(|length| prefixes.get(bare.get(..length)?));
        stated.fold(Self::of_bits(std::iter::once(SEEN)), |all, one| all.with(*one))
    }

    /// The set of these bits.
    pub fn of_bits(bits: impl Iterator<Item = usize>) -> Self {
        Self(bits.fold(0, |all, bit| all | 1 << bit))
    }

    /// The bits of the set.
    pub fn bits(self) -> impl Iterator<Item = usize> {
        (0..MOST_CONDITIONS).filter(move |bit| self.0 >> bit & 1 == 1)
    }

    /// Both sets.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without_mild_forms(self) -> impl Iterator<Item = &'static Condition> {
        let has = move |bit: usize| self.0 >> bit & 1 == 1;
        let superseded = move |bit: usize| CODE_SET.superseded.iter().any(|(severe, mild)| *mild == bit && has(*severe));
        self.bits().filter(move |bit| !superseded(*bit)).filter_map(|bit| CODE_SET.conditions.get(bit))
    }

    /// The names of the conditions that count.
    pub fn counted(self) -> impl Iterator<Item = &'static str> {
        self.without_mild_forms().map(|condition| condition.name)
    }

    /// The index; `None` where there was no ICD diagnosis code.
    pub fn index(self) -> Option<i64> {
        (self.0 >> SEEN & 1 == 1).then(|| self.without_mild_forms().map(|condition| condition.weight).sum())
    }
}

fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    fn index(codes: &[&str]) -> Option<i64> {
        codes.iter().fold(Conditions::default(), |all, code| all.with(Conditions::of(code))).index()
    }

    #[test]
    fn severe_forms_stand_for_mild_ones() {
        let cases: [(&[&str], i64); 9] = [
            (&["ICD10CM/I50.9"], 1),
            (&["ICD10CM/I50.9", "ICD9CM/428.0"], 1),
            (&["ICD10CM/E11.9", "ICD10CM/E11.22", "ICD10CM/N18.3"], 4),
            (&["ICD10CM/C34.90", "ICD10CM/C78.00"], 6),
            (&["ICD9CM/571.5", "ICD9CM/572.3"], 3),
            (&["ICD10CM/J44.9", "ICD10CM/F03.90", "ICD10CM/Z59.0"], 2),
            (&["ICD10CM/B20", "SNOMED/38341003"], 6),
            (&["ICD9CM/437.3"], 2),
            (&["icd-9-cm/V45.1", "http://hl7.org/fhir/sid/icd-10-cm/e119"], 3),
        ];
        for (codes, expected) in cases {
            assert_eq!(index(codes), Some(expected), "{codes:?}");
        }
    }

    #[test]
    fn only_icd_diagnosis_codes_count_and_without_one_there_is_no_index() {
        assert_eq!(index(&["ICD10CM/Z59.0"]), Some(0));
        for none in ["SNOMED/B20", "ICD10PCS/B20", "B20", "ICD10CM/", "ICD10CM/ ."] {
            assert_eq!(index(&[none]), None, "{none}");
        }
        assert_eq!(index(&[]), None);
    }

    /// A dataset's id holds the version, not the file.
    #[test]
    fn another_code_set_is_another_version() {
        let digest: String = sha2::Sha256::digest(CODES).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            (VERSION, digest.as_str()),
            ("charlson-quan-2005/1", "5fff4210f881c281900e7ab4c24808602d18670c441686c6dd5d01a5c94c6215")
        );
    }

    #[test]
    fn the_code_set_is_whole() {
        assert_eq!((CODE_SET.conditions.len(), CODE_SET.superseded.len()), (17, 3));
        assert_eq!(CODE_SET.conditions.iter().map(|condition| condition.weight).sum::<i64>(), 10 + 4 * 2 + 3 + 2 * 6);
        assert!(CODE_SET.icd10.keys().chain(CODE_SET.icd9.keys()).all(|prefix| bare(prefix) == **prefix && prefix.len() >= 3));
    }
}
