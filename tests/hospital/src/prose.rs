//! Notes in prose. What drives an outcome is said two or three times in varied words, among denials, family histories
//! and everything else a clinician writes down.

mod words;

use crate::chance::Chance;
use crate::process::{ALONE, COPD, Factors, HEART_FAILURE, KIDNEY, MISSED_MEDICATION};
use words::{FACTORS, FAMILY, FILLER, NEGATED, OPENINGS, SLOTS};

/// Which note is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Admission,
    Discharge,
    Progress,
    Report,
}

/// How the facility's notes look at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    Classic,
    Renewed,
}

/// What drives readmission, and therefore must stand in a discharge summary.
const AT_DISCHARGE: [usize; 5] = [HEART_FAILURE, COPD, KIDNEY, ALONE, MISSED_MEDICATION];

/// Writes a note.
pub fn write(kind: Kind, template: Template, factors: &Factors, age: i32, chance: &mut Chance) -> String {
    let mut told = signal(kind, factors, chance);
    let fillers = match kind {
        Kind::Admission | Kind::Discharge => 15 + chance.below(8),
        Kind::Progress | Kind::Report => 6 + chance.below(10),
    };
    told.extend((0..fillers).map(|_| filler(chance)));
    chance.shuffle(&mut told);
    if matches!(kind, Kind::Admission | Kind::Discharge) && chance.hit(0.12) {
        // A long note goes on with what nobody reads.
        let more = 40 + chance.below(110);
        told.extend((0..more).map(|_| filler(chance)));
    }
    laid_out(kind, template, told, age, chance)
}

fn signal(kind: Kind, factors: &Factors, chance: &mut Chance) -> Vec<String> {
    let mut told = Vec::new();
    for (index, (present, words)) in factors.iter().zip(FACTORS).enumerate() {
        let driving = match kind {
            Kind::Admission => true,
            Kind::Discharge => AT_DISCHARGE.contains(&index),
            Kind::Progress | Kind::Report => false,
        };
        if *present {
            let times = if driving { 2 + chance.below(2) } else { chance.below(2) };
            let mut wordings: Vec<&str> = words.to_vec();
            chance.shuffle(&mut wordings);
            told.extend(wordings.into_iter().take(times).map(str::to_owned));
        } else if chance.hit(0.10) {
            told.push(NEGATED.get(index).copied().unwrap_or("Review of systems is otherwise negative.").to_owned());
        } else if chance.hit(0.04) {
            told.push(FAMILY.get(index).copied().unwrap_or("Family history is not contributory.").to_owned());
        }
    }
    told
}

fn filler(chance: &mut Chance) -> String {
    let mut sentence = chance.pick(&FILLER).to_owned();
    for (slot, words) in SLOTS {
        while sentence.contains(slot) {
            sentence = sentence.replacen(slot, chance.pick(words), 1);
        }
    }
    while sentence.contains("{n}") {
        sentence = sentence.replacen("{n}", &(2 + chance.below(97)).to_string(), 1);
    }
    sentence
}

fn laid_out(kind: Kind, template: Template, told: Vec<String>, age: i32, chance: &mut Chance) -> String {
    let headings: &[&str] = match (kind, template) {
        (Kind::Admission, Template::Classic) => {
            &["History of Present Illness:", "Past Medical History:", "Examination:", "Assessment and Plan:"]
        }
        (Kind::Admission, Template::Renewed) => &["## Reason for visit", "## Background", "## Findings", "## Impression", "## Next steps"],
        (Kind::Discharge, Template::Classic) => &["Hospital Course:", "Condition at Discharge:", "Instructions:"],
        (Kind::Discharge, Template::Renewed) => &["## Course", "## Status", "## Going home"],
        (Kind::Progress, _) => &["Subjective:", "Plan:"],
        (Kind::Report, _) => &["Findings:", "Impression:"],
    };
    let title = match kind {
        Kind::Admission => "HISTORY AND PHYSICAL",
        Kind::Discharge => "DISCHARGE SUMMARY",
        Kind::Progress => "PROGRESS NOTE",
        Kind::Report => "RADIOLOGY REPORT",
    };
    let mut text = format!("{title}\n{}\n", chance.pick(&OPENINGS).replace("{age}", &age.to_string()));
    let share = told.len().div_ceil(headings.len());
    for (heading, sentences) in headings.iter().zip(told.chunks(share.max(1))) {
        text.push_str(heading);
        text.push('\n');
        text.push_str(&sentences.join(" "));
        text.push('\n');
    }
    text
}
