//! Figures of a small model of random weights over notes whose labels its own answers decide.

use model::{Arithmetic, Computing, Config, Device, Draft, Learner, Model, Recipe, Settings, train_tokenizer};

use super::*;
use crate::cli::{Answering, Rows};

const NOTES: [&str; 6] = [
    "The patient was seen and examined.",
    "Septic shock on arrival.",
    "Ankle sprain on arrival, seen in the morning.",
    "Vital signs stable.",
    "No rash. Walks with help.",
    "Fever since Monday, and cough.",
];

fn learner() -> anyhow::Result<Learner> {
    let tokenizer = train_tokenizer(NOTES.into_iter(), 400)?;
    let learner = Learner::new(Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 1)?;
    Ok(learner.computing(Computing { arithmetic: Some(Arithmetic::F32), ..Computing::default() }))
}

/// What is asked of the model in `folder` about the lines of its file.
fn wanted(folder: &Path, lines: &[serde_json::Value]) -> anyhow::Result<Evaluate> {
    let file = folder.join("notes.jsonl");
    let text: Vec<String> = lines.iter().map(|line| format!("{line}\n\n")).collect();
    std::fs::write(&file, text.concat())?;
    let how = Answering { device: Device::Cpu, precision: Some(Precision::F32), instructions: None, threads: Some(1), packed_cache: None };
    Ok(Evaluate { model: folder.join("model"), how, next_token: true, format: Rows::Csv, file })
}

/// The likelier half of the notes died: ranked as well as can be. Nobody says how long they stayed, or is asked whether the claim was denied.
#[test]
fn each_task_with_labels_has_its_figures_and_the_notes_have_theirs() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let (mut learner, folder) = (learner()?, place.path().join("model"));
    let version = learner.export(&folder, Draft::default())?;
    let model = Model::load_with(&folder, &Settings { precision: Some(Precision::F32), threads: Some(1), ..Settings::default() })?;
    let asked = NOTES.map(|text| Asked { text, tasks: &[Task::Mortality] });
    let shares: Vec<f64> = model.score(&asked)?.iter().flatten().map(|answer| answer.probabilities[1]).collect();
    let middle = {
        let mut sorted = shares.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[3]
    };
    let line = |(text, share): (&str, &f64)| {
        let died = i32::from(*share >= middle);
        serde_json::json!({"id": 1, "text": text, "tasks": ["mortality", "length_of_stay"], "labels": {"mortality": died, "denial": 1}})
    };
    let lines: Vec<serde_json::Value> = NOTES.into_iter().zip(&shares).map(line).collect();
    let wanted = wanted(place.path(), &lines)?;
    let rows = measured(&wanted, &read(&wanted.file)?)?;
    let [mortality, next_token] = rows.as_slice() else { anyhow::bail!("{rows:?}") };
    assert_eq!((mortality.task, mortality.n, &mortality.model_version), ("mortality", 6, &version.0));
    let found = mortality.quality.context("its figures")?;
    assert_eq!((found.positives, found.auroc), (3, Some(1.0)));
    let surprise = shares.iter().map(|share| -(if *share >= middle { *share } else { 1.0 - share }).ln()).sum::<f64>() / 6.0;
    assert!(found.log_loss.is_some_and(|loss| (loss - surprise).abs() < 1e-12), "{found:?}, expected {surprise}");
    // What a step that learns from the next tokens alone would minimise.
    let lessons = NOTES.map(|text| learner.encode(text, &[]));
    let recipe = Recipe { next_token_weight: 1.0, ..Recipe::default() };
    let report = learner.step(&lessons.each_ref(), &recipe, 1)?;
    assert_eq!((next_token.task, next_token.n, next_token.tokens), ("next_token", 6, Some(report.tokens - NOTES.len())));
    let mean = next_token.cross_entropy.context("a mean")?;
    assert!((mean - report.loss).abs() < 1e-5 && mean > 1.0, "{mean}, expected {}", report.loss);
    Ok(())
}

#[test]
fn figures_are_written_with_nothing_where_they_are_not_defined() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    learner()?.export(&place.path().join("model"), Draft::default())?;
    let wanted = wanted(place.path(), &[serde_json::json!({"id": 1, "text": NOTES[0], "labels": {"denial": 0}})])?;
    let shown = warehouse::render(&[batch(&measured(&wanted, &read(&wanted.file)?)?)?], warehouse::Format::Csv)?;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.first(), Some(&"model_version,precision,task,n,positives,auroc,brier,ece,log_loss,tokens,cross_entropy"));
    assert!(lines.get(1).is_some_and(|line| line.contains(",f32,denial,1,0,,0.")), "{shown}");
    assert!(lines.get(2).is_some_and(|line| line.contains(",f32,next_token,1,,,,,,")), "{shown}");
    Ok(())
}

#[test]
fn a_label_that_is_no_class_is_refused_with_its_line() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let lines = [serde_json::json!({"text": "a"}), serde_json::json!({"text": "b", "labels": {"length_of_stay": 4}})];
    let error = read(&wanted(place.path(), &lines)?.file).err().context("it has four classes")?.to_string();
    assert!(error.starts_with("line 3 of ") && error.ends_with("the label 4 for length_of_stay: its classes are 0 to 3"), "{error}");
    Ok(())
}
