//! Diagnosis codes that realise a Charlson index exactly: conditions after Quan 2005, weights of Charlson 1987, severe
//! forms over mild ones, no points for age.

use jiff::{Timestamp, tz::TimeZone};

use super::{COPD, DEMENTIA, DIABETES, Factors, HEART_FAILURE, KIDNEY, METASTASES};
use crate::chance::Chance;

/// A condition that the index counts.
struct Condition {
    points: u32,
    /// What the notes call it, where they do.
    factor: Option<usize>,
    icd10: &'static [&'static str],
    icd9: &'static [&'static str],
    /// Milder form, without points beside this one.
    mild: Option<(&'static str, &'static str)>,
}

const fn plain(points: u32, icd10: &'static [&'static str], icd9: &'static [&'static str]) -> Condition {
    Condition { points, factor: None, icd10, icd9, mild: None }
}

const fn told(points: u32, factor: usize, icd10: &'static [&'static str], icd9: &'static [&'static str]) -> Condition {
    Condition { points, factor: Some(factor), icd10, icd9, mild: None }
}

const MILD_LIVER: (&str, &str) = ("K70.30", "571.2");
const DIABETES_ALONE: (&str, &str) = ("E11.9", "250.00");
const TUMOUR: (&str, &str) = ("C34.90", "162.9");

/// Eight conditions of one point and two of two can stand together with any other, so every index up to eleven is reached.
const COUNTED: [Condition; 17] = [
    plain(1, &["I21.4", "I25.2"], &["410.71", "412"]),
    told(1, HEART_FAILURE, &["I50.9", "I50.22", "I11.0"], &["428.0", "428.22", "402.91"]),
    plain(1, &["I70.209", "I73.9"], &["440.20", "443.9"]),
    plain(1, &["I63.9", "I67.9", "G45.9"], &["434.91", "437.9", "435.9"]),
    told(1, DEMENTIA, &["F03.90", "G30.9"], &["290.0", "294.10"]),
    told(1, COPD, &["J44.9", "J44.1", "J45.909"], &["496", "491.21", "493.90"]),
    plain(1, &["M06.9", "M32.10"], &["714.0", "710.0"]),
    plain(1, &["K25.9", "K26.9"], &["531.90", "532.90"]),
    plain(1, &["K70.30", "K74.60", "B18.2"], &["571.2", "571.5", "070.54"]),
    plain(1, &["E11.9"], &["250.00"]),
    Condition { mild: Some(DIABETES_ALONE), ..told(2, DIABETES, &["E11.22", "E11.40", "E11.319"], &["250.40", "250.60", "250.50"]) },
    plain(2, &["G81.94", "G82.20"], &["342.90", "344.1"]),
    told(2, KIDNEY, &["N18.30", "N18.4", "N18.6"], &["585.3", "585.4", "585.6"]),
    plain(2, &["C34.90", "C50.919", "C83.30"], &["162.9", "174.9", "202.80"]),
    Condition { mild: Some(MILD_LIVER), ..plain(3, &["K76.6", "I85.00", "K72.90"], &["572.3", "456.1", "572.2"]) },
    Condition { mild: Some(TUMOUR), ..told(6, METASTASES, &["C78.00", "C79.51", "C77.9"], &["197.0", "198.5", "196.9"]) },
    plain(6, &["B20"], &["042"]),
];

/// Codes that it does not count.
const UNCOUNTED: [(&str, &str); 12] = [
    ("I10", "401.9"),
    ("E78.5", "272.4"),
    ("N39.0", "599.0"),
    ("R55", "780.2"),
    ("K21.9", "530.81"),
    ("D64.9", "285.9"),
    ("E03.9", "244.9"),
    ("I48.91", "427.31"),
    ("E87.6", "276.8"),
    ("R07.9", "786.50"),
    ("Z91.14", "V15.81"),
    ("M54.50", "724.2"),
];

/// The mild forms stand in the table as conditions of their own; a severe form shuts its mild one out.
fn shut_out(chosen: &[&Condition], candidate: &Condition) -> bool {
    let of = |one: &Condition, other: &Condition| one.mild.is_some_and(|(icd10, _)| other.icd10.contains(&icd10));
    chosen.iter().any(|one| of(one, candidate) || of(candidate, one))
}

/// Points of a class of the comorbidity task.
fn points(class: usize, chance: &mut Chance) -> u32 {
    let (least, count) = match class {
        0 => (0, 1),
        1 => (1, 2),
        2 => (3, 2),
        3 => (5, 3),
        _ => (8, 4),
    };
    u32::try_from(least + chance.below(count)).unwrap_or(0)
}

/// Codes whose index falls into the class, written `ICD10CM/I50.9`; ICD-9-CM for discharges before October 2015.
pub fn codes(class: usize, factors: &Factors, discharged_at: Timestamp, chance: &mut Chance) -> Vec<String> {
    let tenth = TimeZone::UTC.to_datetime(discharged_at).date() >= jiff::civil::date(2015, 10, 1);
    let mut left = points(class, chance);
    let mut pool: Vec<&Condition> = COUNTED.iter().collect();
    chance.shuffle(&mut pool);
    // What the notes speak of is coded first.
    pool.sort_by_key(|one| !one.factor.is_some_and(|index| factors.get(index).copied().unwrap_or(false)));
    let mut chosen: Vec<&Condition> = Vec::new();
    let mut codes: Vec<&str> = Vec::new();
    for condition in pool {
        if condition.points > left || shut_out(&chosen, condition) {
            continue;
        }
        left -= condition.points;
        chosen.push(condition);
        codes.push(chance.pick(if tenth { condition.icd10 } else { condition.icd9 }));
        if let Some((icd10, icd9)) = condition.mild.filter(|_| chance.hit(0.3)) {
            codes.push(if tenth { icd10 } else { icd9 });
        }
    }
    for _ in 0..1 + chance.below(3) {
        if let Some((icd10, icd9)) = UNCOUNTED.get(chance.below(UNCOUNTED.len())) {
            codes.push(if tenth { icd10 } else { icd9 });
        }
    }
    codes.sort_unstable();
    codes.dedup();
    let system = if tenth { "ICD10CM" } else { "ICD9CM" };
    let mut written: Vec<String> = codes.into_iter().map(|code| format!("{system}/{code}")).collect();
    chance.shuffle(&mut written);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Draw;
    use std::collections::BTreeSet;

    /// Charlson's sum over the table, told from the codes alone.
    fn index(codes: &[String]) -> u32 {
        let bare: BTreeSet<&str> = codes.iter().filter_map(|code| code.split_once('/').map(|(_, code)| code)).collect();
        let has = |condition: &Condition| condition.icd10.iter().chain(condition.icd9).any(|code| bare.contains(code));
        let severe: Vec<(&str, &str)> = COUNTED.iter().filter(|one| has(one)).filter_map(|one| one.mild).collect();
        let stands = |one: &&Condition| has(one) && !severe.iter().any(|(icd10, _)| one.icd10.contains(icd10));
        COUNTED.iter().filter(stands).map(|one| one.points).sum()
    }

    #[test]
    fn codes_realise_the_drawn_class() {
        let mut chance = Chance::of(1, 1, Draw::Process);
        for (day, system) in [("2014-05-01T00:00:00Z", "ICD9CM/"), ("2019-05-01T00:00:00Z", "ICD10CM/")] {
            for round in 0..2_000 {
                let class = round % 5;
                let mut factors = Factors::default();
                factors.iter_mut().for_each(|has| *has = chance.hit(0.3));
                let codes = codes(class, &factors, day.parse().expect("an instant"), &mut chance);
                let expected = [0..=0, 1..=2, 3..=4, 5..=7, 8..=11];
                assert!(expected.get(class).is_some_and(|range| range.contains(&index(&codes))), "class {class}: {codes:?}");
                assert!(!codes.is_empty() && codes.iter().all(|code| code.starts_with(system)));
            }
        }
    }
}
