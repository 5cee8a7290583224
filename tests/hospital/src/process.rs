//! The process: patients with lasting and passing conditions, their stays, and outcomes drawn from known probabilities.

mod codes;
mod outcomes;

use jiff::{Timestamp, tz::TimeZone};
use schemas::Task;

use crate::chance::{Chance, hours_after};
use crate::plan::{Plan, Shift, ShiftKind, Speak};
use outcomes::{Concept, probabilities};

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

/// What becomes of a stay's bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// Nobody is billed.
    None,
    /// The payer never decides.
    Undecided,
    /// Decided, and whether the first decision was a denial.
    Decided { denied: bool },
}

/// A stay, with what will be true of it.
pub struct Stay {
    pub factors: Factors,
    pub admitted_at: Timestamp,
    pub discharged_at: Timestamp,
    pub department: &'static str,
    pub died: bool,
    pub readmitted: bool,
    pub billing: Billing,
    /// `ICD10CM/I50.9`; empty where nobody coded the stay.
    pub codes: Vec<String>,
    /// Index of the drawn class of each task, and the probabilities it was drawn from.
    pub outcomes: Vec<(Task, usize, Vec<f64>)>,
}

impl Stay {
    fn outcome(&self, task: Task) -> usize {
        self.outcomes.iter().find(|(one, _, _)| *one == task).map_or(0, |(_, class, _)| *class)
    }

    /// Whether the task has an answer for this stay.
    pub fn answers(&self, task: Task) -> bool {
        match task {
            // No readmission after a death, nor where care was not acute.
            Task::Readmission => !self.died && !matches!(self.department, "REH" | "DIA" | "PAL"),
            Task::Comorbidity => !self.codes.is_empty(),
            Task::Denial => matches!(self.billing, Billing::Decided { .. }),
            Task::Mortality | Task::LengthOfStay => true,
        }
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
    let mut at = first_admission(plan, chance);
    let lasting = lasting(plan, at, chance);
    let youngest = if shifted(plan, ShiftKind::Population, at) { 60.0 } else { 22.0 };
    let age = chance.between(youngest, 94.0);
    #[expect(clippy::cast_possible_truncation, reason = "days of a life")]
    let birth = TimeZone::UTC.to_datetime(at).date().saturating_sub(jiff::Span::new().days((age * 365.25) as i64));
    let mut stays = Vec::new();
    while at < end(plan) {
        let stay = stay(plan, &lasting, at, chance);
        let next = if stay.died {
            None
        } else if stay.readmitted {
            Some(chance.between(30.0, 29.0 * 24.0))
        } else {
            chance.hit(0.50).then(|| chance.between(33.0 * 24.0, 500.0 * 24.0))
        };
        let discharged_at = stay.discharged_at;
        stays.push(stay);
        match next {
            Some(hours) => at = hours_after(discharged_at, hours),
            None => break,
        }
    }
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

/// (until, how many patients come first in a day, beside the other times). Patients return, so a young hospital needs more
/// newcomers for the same number of stays; in June 2021 a wing opens.
const PACE: [(jiff::civil::Date, f64); 4] = [
    (jiff::civil::date(2013, 9, 1), 1.45),
    (jiff::civil::date(2021, 6, 1), 1.0),
    (jiff::civil::date(2022, 3, 1), 2.3),
    (jiff::civil::Date::MAX, 1.75),
];

fn first_admission(plan: &Plan, chance: &mut Chance) -> Timestamp {
    let (from, to) = (start(plan), end(plan));
    let mut begun = from;
    let spans = PACE.map(|(until, pace)| {
        let until = until.to_zoned(TimeZone::UTC).map_or(to, |at| at.timestamp()).clamp(from, to);
        let hours = until.duration_since(begun).as_secs_f64().max(0.0) / 3_600.0;
        let span = (begun, hours, pace);
        begun = begun.max(until);
        span
    });
    let mut left = chance.between(0.0, spans.iter().map(|(_, hours, pace)| hours * pace).sum());
    for (begun, hours, pace) in spans {
        if left < hours * pace {
            return hours_after(begun, left / pace);
        }
        left -= hours * pace;
    }
    to
}

/// Conditions that stay with a patient who comes first at this time.
fn lasting(plan: &Plan, at: Timestamp, chance: &mut Chance) -> Factors {
    let sicker = if shifted(plan, ShiftKind::Population, at) { 1.5 } else { 1.0 };
    let mut lasting = Factors::default();
    for (index, (has, prevalence)) in lasting.iter_mut().zip(PREVALENCE).enumerate() {
        *has = LASTING.contains(&index) && chance.hit(prevalence * sicker);
    }
    lasting
}

fn stay(plan: &Plan, lasting: &Factors, admitted_at: Timestamp, chance: &mut Chance) -> Stay {
    let sicker = if shifted(plan, ShiftKind::Population, admitted_at) { 1.8 } else { 1.0 };
    let mut factors = *lasting;
    for (index, (has, prevalence)) in factors.iter_mut().zip(PREVALENCE).enumerate() {
        *has = *has || (!LASTING.contains(&index) && chance.hit((prevalence * sicker).min(0.8)));
    }
    let concept = if shifted(plan, ShiftKind::Concept, admitted_at) { Concept::New } else { Concept::Old };
    let outcomes: Vec<(Task, usize, Vec<f64>)> = Task::ALL
        .into_iter()
        .map(|task| {
            let probabilities = probabilities(task, &factors, concept);
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
        billing: Billing::None,
        codes: Vec::new(),
        outcomes,
    };
    stay.died = stay.outcome(Task::Mortality) == 1;
    stay.readmitted = stay.outcome(Task::Readmission) == 1;
    let days = match stay.outcome(Task::LengthOfStay) {
        0 => chance.below(3),
        1 => 3,
        2 => 4 + chance.below(2),
        _ => 6 + chance.below(9),
    };
    #[expect(clippy::cast_precision_loss, reason = "days of a stay")]
    let hours = days as f64 * 24.0 + chance.between(3.0, 21.0);
    stay.discharged_at = hours_after(admitted_at, hours);
    if !chance.hit(0.01) {
        stay.codes = codes::codes(stay.outcome(Task::Comorbidity), &stay.factors, stay.discharged_at, chance);
    }
    if chance.hit(0.97) {
        let denied = stay.outcome(Task::Denial) == 1;
        stay.billing = if chance.hit(0.02) { Billing::Undecided } else { Billing::Decided { denied } };
    }
    stay
}

/// What somebody would believe who knows the old concept and has heard of no other.
#[cfg(test)]
pub fn believed(task: Task, factors: &Factors) -> Vec<f64> {
    probabilities(task, factors, Concept::Old)
}
