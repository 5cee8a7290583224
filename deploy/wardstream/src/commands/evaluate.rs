//! `evaluate`: how good a model's answers to the labelled notes of a file are, and how well it foretells their words, without any service.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::error::ArrowError;
use model::{Asked, NextTokens, Precision};
use schemas::Task;
use serde::Deserialize;
use trainer::evaluation::{Quality, quality};

use super::notes;
use crate::cli::Evaluate;
use crate::output;

/// Notes that are asked about together.
const TOGETHER: usize = 64;

#[derive(Deserialize)]
struct Line {
    text: String,
    /// Asked are those of them that have labels; all that have where it is absent.
    tasks: Option<Vec<Task>>,
    /// The class that came true, `0..classes`.
    #[serde(default)]
    labels: BTreeMap<Task, i32>,
}

impl Line {
    fn asked(&self) -> Vec<Task> {
        let is_asked = |task: &Task| self.tasks.as_ref().is_none_or(|tasks| tasks.contains(task));
        self.labels.keys().copied().filter(is_asked).collect()
    }
}

/// One row of the result: a task, or `next_token`.
#[derive(Debug)]
struct Row {
    model_version: String,
    precision: Precision,
    task: &'static str,
    n: usize,
    quality: Option<Quality>,
    tokens: Option<usize>,
    cross_entropy: Option<f64>,
}

pub fn run(wanted: &Evaluate) -> anyhow::Result<ExitCode> {
    let Some(format) = wanted.format.text() else {
        output::progress("these are a few figures: choose --format table, csv, json or ndjson");
        return Ok(ExitCode::from(output::WRONG_USAGE));
    };
    let lines = read(&wanted.file)?;
    let rows = measured(wanted, &lines)?;
    ensure!(
        !rows.is_empty(),
        "{} has nothing to measure: add labels to its lines, {{\"labels\": {{\"mortality\": 1}}}}, or ask for --next-token",
        wanted.file.display()
    );
    let rows = batch(&rows).context("could not show the figures")?;
    output::block(&warehouse::render(&[rows], format).context("could not show the figures")?);
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Vec<Line>> {
    let mut read = Vec::new();
    for line in notes::lines::<Line>(file, r#"{"id", "text", "tasks", "labels"}, with labels such as {"mortality": 1}"#)? {
        let (number, line) = line?;
        for (task, label) in &line.labels {
            let last = task.classes() - 1;
            let is_class = usize::try_from(*label).is_ok_and(|label| label <= last);
            ensure!(is_class, "line {number} of {} has the label {label} for {task}: its classes are 0 to {last}", file.display());
        }
        read.push(line);
    }
    Ok(read)
}

fn measured(wanted: &Evaluate, lines: &[Line]) -> anyhow::Result<Vec<Row>> {
    let mut rows = answered(wanted, lines)?;
    if wanted.next_token && !lines.is_empty() {
        rows.push(foretold(wanted, lines)?);
    }
    Ok(rows)
}

/// A row for each task that has labels.
fn answered(wanted: &Evaluate, lines: &[Line]) -> anyhow::Result<Vec<Row>> {
    let asked: Vec<(&Line, Vec<Task>)> = lines.iter().map(|line| (line, line.asked())).filter(|(_, tasks)| !tasks.is_empty()).collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let model = notes::model(&wanted.model, &wanted.how)?;
    let mut judged: BTreeMap<Task, (Vec<i32>, Vec<Vec<f64>>)> = BTreeMap::new();
    for some in asked.chunks(TOGETHER) {
        let notes: Vec<Asked<'_>> = some.iter().map(|(line, tasks)| Asked { text: &line.text, tasks }).collect();
        for ((line, _), answers) in some.iter().zip(model.score(&notes).context("could not score")?) {
            for answer in answers {
                let Some(label) = line.labels.get(&answer.task) else { continue };
                let (labels, probabilities) = judged.entry(answer.task).or_default();
                labels.push(*label);
                probabilities.push(answer.probabilities);
            }
        }
    }
    let row = |(task, (labels, probabilities)): (Task, (Vec<i32>, Vec<Vec<f64>>))| Row {
        model_version: model.version().0.clone(),
        precision: model.precision(),
        task: task.as_str(),
        n: labels.len(),
        quality: Some(quality(&labels, &probabilities)),
        tokens: None,
        cross_entropy: None,
    };
    Ok(judged.into_iter().map(row).collect())
}

/// The row of all notes' next tokens.
fn foretold(wanted: &Evaluate, lines: &[Line]) -> anyhow::Result<Row> {
    let settings = notes::settings(&wanted.how)?;
    let mut foretelling =
        NextTokens::load(&wanted.model, &settings).with_context(|| format!("could not load the model {}", wanted.model.display()))?;
    let (mut nats, mut tokens) = (0.0, 0);
    for line in lines {
        let note = foretelling.of(&line.text).context("could not read a note")?;
        nats += note.nats;
        tokens += note.tokens;
    }
    Ok(Row {
        model_version: foretelling.version().0.clone(),
        precision: Precision::F32,
        task: "next_token",
        n: lines.len(),
        quality: None,
        tokens: Some(tokens),
        cross_entropy: (tokens > 0).then(|| nats / tokens as f64),
    })
}

fn batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let text = |of: fn(&Row) -> &str| Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>()) as ArrayRef;
    let count = |of: fn(&Row) -> Option<usize>| {
        Arc::new(rows.iter().map(|row| of(row).map(|count| count as u64)).collect::<UInt64Array>()) as ArrayRef
    };
    let number = |of: fn(&Row) -> Option<f64>| Arc::new(rows.iter().map(of).collect::<Float64Array>()) as ArrayRef;
    RecordBatch::try_from_iter([
        ("model_version", text(|row| row.model_version.as_str())),
        ("precision", text(|row| row.precision.as_str())),
        ("task", text(|row| row.task)),
        ("n", count(|row| Some(row.n))),
        ("positives", count(|row| Some(row.quality?.positives))),
        ("auroc", number(|row| row.quality?.auroc)),
        ("brier", number(|row| row.quality?.brier)),
        ("ece", number(|row| row.quality?.ece)),
        ("log_loss", number(|row| row.quality?.log_loss)),
        ("tokens", count(|row| row.tokens)),
        ("cross_entropy", number(|row| row.cross_entropy)),
    ])
}

#[cfg(test)]
mod tests;
