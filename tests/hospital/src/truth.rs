//! What is true, for whoever judges.

use std::collections::BTreeSet;

use schemas::{EncounterId, Facility, Task};
use serde::Serialize;

use crate::fhir;
use crate::process::{Patient, Stay};
use crate::prose::Kind;
use crate::sending::note_number;

/// One line of `truth.jsonl`.
#[derive(Clone, Debug, Serialize)]
pub struct TruthLine {
    /// Whose stay.
    pub facility: &'static str,
    /// As the messages write it.
    pub visit_number: String,
    /// As Wardstream derives it.
    pub encounter_id: EncounterId,
    /// The task.
    pub task: Task,
    /// What came to pass: a class.
    pub label: usize,
    /// What it was drawn from, a class each.
    pub probability: Vec<f64>,
    /// Document number of the note that the task is asked of; `None` where it was never sent.
    pub prediction_note: Option<String>,
    /// Admission.
    pub admitted_at: jiff::Timestamp,
    /// Discharge.
    pub discharged_at: jiff::Timestamp,
}

/// The stay's visit number at its facility.
pub fn visit_number(patient: &Patient, stay: usize) -> String {
    if patient.north { format!("V{:06}{stay:02}", patient.number) } else { format!("enc-{:06}-{stay:02}", patient.number) }
}

/// The facility's name.
pub fn facility(patient: &Patient) -> &'static str {
    if patient.north { "north" } else { "south" }
}

/// What is true of a stay, task by task; `documents` are the notes that were sent.
pub fn lines(patient: &Patient, index: usize, stay: &Stay, documents: &BTreeSet<String>) -> Vec<TruthLine> {
    let visit = visit_number(patient, index);
    let encounter_id = EncounterId::derive(&Facility::new(facility(patient)), &visit);
    let note = |task: Task| {
        let kind = if task == Task::Readmission { Kind::Discharge } else { Kind::Admission };
        let document = note_number(kind, &visit);
        documents.contains(&document).then(|| if patient.north { document } else { fhir::document_id(&document) })
    };
    let answered = stay.outcomes.iter().filter(|(task, _, _)| stay.answers(*task));
    answered
        .map(|(task, label, probability)| TruthLine {
            facility: facility(patient),
            visit_number: visit.clone(),
            encounter_id,
            task: *task,
            label: *label,
            probability: probability.clone(),
            prediction_note: note(*task),
            admitted_at: stay.admitted_at,
            discharged_at: stay.discharged_at,
        })
        .collect()
}

/// The AUROC that the true probabilities reach: one against the rest, macro. `None` where a class never occurs alone.
#[must_use]
pub fn ceiling(lines: &[TruthLine], task: Task) -> Option<f64> {
    let classes = if task.classes() == 2 { 1..2 } else { 0..task.classes() };
    let each: Vec<f64> = classes
        .filter_map(|class| {
            let mut scored: Vec<(f64, bool)> = lines
                .iter()
                .filter(|line| line.task == task)
                .map(|line| (line.probability.get(class).copied().unwrap_or(0.0), line.label == class))
                .collect();
            auroc(&mut scored)
        })
        .collect();
    (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
}

/// The share of (hit, miss) pairs that the score puts in order, ties counting half. `None` without a hit or without a miss.
#[must_use]
pub fn auroc(scored: &mut [(f64, bool)]) -> Option<f64> {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut won, mut hits) = (0.0, 0.0, 0.0);
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let hit = tied.iter().filter(|one| one.1).count() as f64;
        let miss = tied.len() as f64 - hit;
        won += hit * (below + miss / 2.0);
        below += miss;
        hits += hit;
    }
    (hits > 0.0 && below > 0.0).then(|| won / (hits * below))
}
