//! Notes in prose. What drives an outcome is said four or five times in varied words, among denials, family histories
//! and everything else a clinician writes down.

mod words;

use crate::chance::Chance;
use crate::process::{ALONE, COPD, DEMENTIA, DIABETES, Factors, HEART_FAILURE, KIDNEY, METASTASES, MISSED_MEDICATION};
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

/// What drives readmission, before a planted shift or after it, and therefore stands in a discharge summary.
const AT_DISCHARGE: [usize; 8] = [HEART_FAILURE, COPD, KIDNEY, ALONE, MISSED_MEDICATION, DIABETES, DEMENTIA, METASTASES];

/// Writes a note. What matters stands in the first 350 words or so; what follows is what nobody acts on.
pub fn write(kind: Kind, template: Template, factors: &Factors, age: i32, chance: &mut Chance) -> String {
    let mut told = signal(kind, factors, chance);
    let (fillers, more) = match kind {
        Kind::Admission | Kind::Discharge => (8 + chance.below(5), 10 + chance.below(25)),
        Kind::Progress | Kind::Report => (6 + chance.below(10), 0),
    };
    told.extend((0..fillers).map(|_| filler(chance)));
    chance.shuffle(&mut told);
    let mut text = laid_out(kind, template, &told, age, chance);
    // A few clinicians copy everything forward.
    let more = if more > 0 && chance.hit(0.05) { 150 + chance.below(200) } else { more };
    let rest: Vec<String> = (0..more).map(|_| filler(chance)).collect();
    let headings: &[&str] = match template {
        Template::Classic => &["Review of Systems:", "Laboratory Data:", "Nursing and Therapy:"],
        Template::Renewed => &["## Systems review", "## Results", "## Care team notes"],
    };
    sections(&mut text, headings, &rest);
    text
}

/// Spreads sentences over headings.
fn sections(text: &mut String, headings: &[&str], sentences: &[String]) {
    let share = sentences.len().div_ceil(headings.len()).max(1);
    for (heading, sentences) in headings.iter().zip(sentences.chunks(share)) {
        text.push_str(heading);
        text.push('\n');
        text.push_str(&sentences.join(" "));
        text.push('\n');
    }
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
            let times = if driving { 5 - usize::from(chance.hit(0.3)) } else { chance.below(2) };
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

fn laid_out(kind: Kind, template: Template, told: &[String], age: i32, chance: &mut Chance) -> String {
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
    sections(&mut text, headings, told);
    text
}
