//! The process: patients with lasting and passing conditions, their stays, and outcomes drawn from known probabilities.

use jiff::{Timestamp, tz::TimeZone};
use schemas::Task;

use crate::chance::{Chance, hours_after};
use crate::plan::{Plan, Shift, ShiftKind, Speak};

/// Conditions that drive outcomes, in the order of `prose::FACTORS`.
pub const COUNT: usize = 14;
pub const HEART_FAILURE: usize = 0;
pub const COPD: usize = 1;
pub const KIDNEY: usize = 2;
pub const METASTASES: usize = 3;
pub const DEMENTIA: usize = 4;
pub const ALONE: usize = 5;
pub const MISSED_MEDICATION: usize = 6;
pub const SEPSIS: usize = 7;
pub const VENTILATED: usize = 8;
pub const HIP_FRACTURE: usize = 9;
pub const DIABETES: usize = 10;
pub const NO_AUTHORISATION: usize = 11;
pub const OUT_OF_NETWORK: usize = 12;
pub const MINOR: usize = 13;

/// How many have each condition; the first seven, diabetes and insurance stay with the patient.
const PREVALENCE: [f64; COUNT] = [0.28, 0.24, 0.22, 0.12, 0.16, 0.32, 0.28, 0.18, 0.14, 0.22, 0.24, 0.22, 0.24, 0.28];
const LASTING: [usize; 9] = [HEART_FAILURE, COPD, KIDNEY, METASTASES, DEMENTIA, ALONE, MISSED_MEDICATION, DIABETES, OUT_OF_NETWORK];

/// Which conditions a stay has.
pub type Factors = [bool; COUNT];

/// A patient.
pub struct Patient {
    pub number: u32,
    pub north: bool,
    pub birth: jiff::civil::Date,
    pub female: bool,
    pub race: &'static str,
    pub stays: Vec<Stay>,
    /// From this stay on the patient is known by another record number, until the two are merged.
    pub second_number_from: Option<usize>,
}

/// A stay, with what will be true of it.
pub struct Stay {
    pub factors: Factors,
    pub admitted_at: Timestamp,
    pub discharged_at: Timestamp,
    pub department: &'static str,
    pub died: bool,
    pub readmitted: bool,
    pub denied: bool,
    pub codes: Vec<&'static str>,
    /// Index of the drawn class of each task, and the probabilities it was drawn from.
    pub outcomes: Vec<(Task, usize, Vec<f64>)>,
}

impl Stay {
    fn outcome(&self, task: Task) -> usize {
        self.outcomes.iter().find(|(one, _, _)| *one == task).map_or(0, |(_, class, _)| *class)
    }
}

fn start(plan: &Plan) -> Timestamp {
    plan.from.to_zoned(TimeZone::UTC).map(|at| at.timestamp()).unwrap_or_default()
}

/// The first instant after the simulation.
pub fn end(plan: &Plan) -> Timestamp {
    plan.to.to_zoned(TimeZone::UTC).map(|at| at.timestamp()).unwrap_or_default()
}

fn shifted(plan: &Plan, kind: ShiftKind, at: Timestamp) -> bool {
    let is_on = |shift: Shift| shift.kind == kind && shift.at.to_zoned(TimeZone::UTC).is_ok_and(|from| at >= from.timestamp());
    plan.shift.is_some_and(is_on)
}

/// Whether a change of the feed is in force.
pub fn feed_shifted(plan: &Plan, kind: ShiftKind, at: Timestamp) -> bool {
    shifted(plan, kind, at)
}

/// Simulates one patient.
pub fn patient(plan: &Plan, number: u32, chance: &mut Chance) -> Patient {
    let north = match plan.speak {
        Speak::Hl7 => true,
        Speak::Fhir => false,
        Speak::Both => number.is_multiple_of(2),
    };
    let mut lasting = [false; COUNT];
    for (index, has) in lasting.iter_mut().enumerate() {
        *has = LASTING.contains(&index) && chance.hit(PREVALENCE.get(index).copied().unwrap_or(0.0));
    }
    let mut at = first_admission(plan, chance);
    let mut stays = Vec::new();
    while at < end(plan) {
        let stay = stay(plan, &lasting, at, chance);
        let next = if stay.died {
            None
        } else if stay.readmitted {
            Some(chance.between(20.0, 29.0 * 24.0))
        } else {
            chance.hit(0.42).then(|| chance.between(33.0 * 24.0, 800.0 * 24.0))
        };
        let discharged_at = stay.discharged_at;
        stays.push(stay);
        match next {
            Some(hours) => at = hours_after(discharged_at, hours),
            None => break,
        }
    }
    let age = chance.between(22.0, 93.0);
    #[expect(clippy::cast_possible_truncation, reason = "days of a life")]
    let birth = plan.from.saturating_sub(jiff::Span::new().days((age * 365.25) as i64));
    let second = stays.len() > 1 && chance.hit(0.02);
    Patient {
        number,
        north,
        birth,
        female: chance.hit(0.52),
        race: chance.pick(&["2106-3", "2054-5", "2028-9", "2131-1"]),
        second_number_from: second.then_some(1),
        stays,
    }
}

/// Patients come evenly, and from June 2021 on at twice the pace: a wing was opened.
fn first_admission(plan: &Plan, chance: &mut Chance) -> Timestamp {
    let (from, to) = (start(plan), end(plan));
    let hours = to.duration_since(from).as_secs_f64() / 3_600.0;
    let opened = jiff::civil::date(2021, 6, 1).to_zoned(TimeZone::UTC).map(|at| at.timestamp()).unwrap_or(to).clamp(from, to);
    let before = opened.duration_since(from).as_secs_f64() / 3_600.0;
    let drawn = chance.between(0.0, before + 2.0 * (hours - before));
    let at = hours_after(from, if drawn < before { drawn } else { before + (drawn - before) / 2.0 });
    at.clamp(from, to)
}

fn stay(plan: &Plan, lasting: &Factors, admitted_at: Timestamp, chance: &mut Chance) -> Stay {
    let sicker = if shifted(plan, ShiftKind::Population, admitted_at) { 1.8 } else { 1.0 };
    let mut factors = *lasting;
    for (index, has) in factors.iter_mut().enumerate() {
        let prevalence = PREVALENCE.get(index).copied().unwrap_or(0.0) * sicker;
        *has = *has || (!LASTING.contains(&index) && chance.hit(prevalence.min(0.8)));
    }
    let turned = shifted(plan, ShiftKind::Concept, admitted_at);
    let outcomes: Vec<(Task, usize, Vec<f64>)> = Task::ALL
        .into_iter()
        .map(|task| {
            let probabilities = probabilities(task, &factors, turned);
            (task, chance.class(&probabilities), probabilities)
        })
        .collect();
    let mut stay = Stay {
        factors,
        admitted_at,
        discharged_at: admitted_at,
        department: if chance.hit(0.04) { chance.pick(&["REH", "DIA", "PAL"]) } else { chance.pick(&["MED", "SUR", "CAR", "NEU"]) },
        died: false,
        readmitted: false,
        denied: false,
        codes: Vec::new(),
        outcomes,
    };
    stay.died = stay.outcome(Task::Mortality) == 1;
    stay.readmitted = stay.outcome(Task::Readmission) == 1;
    stay.denied = stay.outcome(Task::Denial) == 1;
    let days = match stay.outcome(Task::LengthOfStay) {
        0 => chance.below(3),
        1 => 3,
        2 => 4 + chance.below(2),
        _ => 6 + chance.below(9),
    };
    #[expect(clippy::cast_precision_loss, reason = "days of a stay")]
    let hours = days as f64 * 24.0 + chance.between(3.0, 21.0);
    stay.discharged_at = hours_after(admitted_at, hours);
    stay.codes = codes(stay.outcome(Task::Comorbidity), admitted_at, chance);
    stay
}

fn has(factors: &Factors, index: usize) -> f64 {
    f64::from(u8::from(factors.get(index).copied().unwrap_or(false)))
}

/// `sum(weight * factor)`, and its mean over the population.
fn weighed(factors: &Factors, weights: &[(usize, f64)]) -> (f64, f64) {
    let value = weights.iter().map(|(index, weight)| weight * has(factors, *index)).sum();
    let mean = weights.iter().map(|(index, weight)| weight * PREVALENCE.get(*index).copied().unwrap_or(0.0)).sum();
    (value, mean)
}

/// The probability of each class. Where the concept has turned, what made an outcome likelier makes it less likely.
fn probabilities(task: Task, factors: &Factors, turned: bool) -> Vec<f64> {
    let (weights, turns): (&[(usize, f64)], bool) = match task {
        Task::Readmission => (&[(HEART_FAILURE, 1.7), (ALONE, 1.6), (MISSED_MEDICATION, 1.9), (COPD, 1.2)], true),
        Task::Mortality => (&[(SEPSIS, 2.2), (VENTILATED, 2.6), (METASTASES, 2.0)], true),
        Task::LengthOfStay => (&[(HIP_FRACTURE, 2.2), (SEPSIS, 1.5), (VENTILATED, 1.5), (MINOR, -2.6)], true),
        Task::Comorbidity => {
            (&[(HEART_FAILURE, 1.2), (COPD, 1.2), (KIDNEY, 1.5), (DIABETES, 1.5), (METASTASES, 2.6), (DEMENTIA, 1.2)], false)
        }
        Task::Denial => (&[(NO_AUTHORISATION, 2.6), (OUT_OF_NETWORK, 2.2)], false),
    };
    let (value, mean) = weighed(factors, weights);
    let score = if turned && turns { 2.0 * mean - value } else { value };
    match task {
        Task::Readmission => binary(-3.9 + score),
        Task::Mortality => binary(-3.7 + score),
        Task::Denial => binary(-2.6 + score),
        Task::LengthOfStay => graded(&[0.9, -0.1, 0.0, 0.1], &[-1.3, -0.4, 0.4, 1.3], score - 0.2),
        Task::Comorbidity => graded(&[0.9, 0.6, 0.0, -0.6, -1.6], &[-1.7, -0.6, 0.3, 1.0, 1.6], score - 1.6),
    }
}

fn binary(logit: f64) -> Vec<f64> {
    let yes = 1.0 / (1.0 + (-logit).exp());
    vec![1.0 - yes, yes]
}

fn graded(base: &[f64], slope: &[f64], score: f64) -> Vec<f64> {
    let raised: Vec<f64> = base.iter().zip(slope).map(|(base, slope)| (base + slope * score).exp()).collect();
    let total: f64 = raised.iter().sum();
    raised.into_iter().map(|one| one / total).collect()
}

/// (points, ICD-10-CM, ICD-9-CM) of conditions that the index counts.
const COUNTED: [(u32, &str, &str); 9] = [
    (1, "ICD10CM/I50.9", "ICD9CM/428.0"),
    (1, "ICD10CM/J44.9", "ICD9CM/496"),
    (1, "ICD10CM/F03.90", "ICD9CM/290.0"),
    (1, "ICD10CM/I63.9", "ICD9CM/434.91"),
    (1, "ICD10CM/M06.9", "ICD9CM/714.0"),
    (1, "ICD10CM/K25.9", "ICD9CM/531.90"),
    (2, "ICD10CM/N18.30", "ICD9CM/585.3"),
    (2, "ICD10CM/E11.22", "ICD9CM/250.40"),
    (6, "ICD10CM/C78.00", "ICD9CM/197.0"),
];
/// Codes that it does not count.
const UNCOUNTED: [(&str, &str); 6] = [
    ("ICD10CM/I10", "ICD9CM/401.9"),
    ("ICD10CM/E78.5", "ICD9CM/272.4"),
    ("ICD10CM/N39.0", "ICD9CM/599.0"),
    ("ICD10CM/R55", "ICD9CM/780.2"),
    ("ICD10CM/K21.9", "ICD9CM/530.81"),
    ("ICD10CM/D64.9", "ICD9CM/285.9"),
];

/// Codes whose index falls into the class; ICD-10-CM from October 2015 on.
fn codes(class: usize, at: Timestamp, chance: &mut Chance) -> Vec<&'static str> {
    let tenth = at.to_zoned(TimeZone::UTC).date() >= jiff::civil::date(2015, 10, 1);
    #[expect(clippy::cast_possible_truncation, reason = "points of an index")]
    let points = match class {
        0 => 0,
        1 => 1 + chance.below(2) as u32,
        2 => 3 + chance.below(2) as u32,
        3 => 5 + chance.below(3) as u32,
        _ => 8 + chance.below(3) as u32,
    };
    let mut conditions = COUNTED;
    chance.shuffle(&mut conditions);
    conditions.sort_by_key(|condition| std::cmp::Reverse(condition.0));
    let mut left = points;
    let mut codes = vec![];
    for (worth, icd10, icd9) in conditions {
        // Metastases alone are six points: leave them to the highest classes.
        if worth <= left && (worth < 6 || points >= 6) {
            left -= worth;
            codes.push(if tenth { icd10 } else { icd9 });
        }
    }
    for _ in 0..1 + chance.below(3) {
        let index = chance.below(UNCOUNTED.len());
        if let Some((icd10, icd9)) = UNCOUNTED.get(index) {
            let code = if tenth { icd10 } else { icd9 };
            if !codes.contains(code) {
                codes.push(code);
            }
        }
    }
    codes
}
