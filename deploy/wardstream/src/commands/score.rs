//! `score`: notes of a file through a model folder, without any service.

use std::io::BufRead as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use model::{Asked, InstructionSet, Model, Settings};
use schemas::Task;
use serde::{Deserialize, Serialize};

use crate::cli::Answering;
use crate::output;

#[derive(Deserialize)]
struct Line {
    id: serde_json::Value,
    text: String,
    #[serde(default = "all")]
    tasks: Vec<Task>,
}

#[derive(Serialize)]
struct Scored<'a> {
    id: &'a serde_json::Value,
    task: Task,
    probabilities: &'a [f64],
    tokens_read: u32,
    truncated: bool,
}

fn all() -> Vec<Task> {
    Task::ALL.to_vec()
}

pub fn run(folder: &Path, how: &Answering, file: &Path) -> anyhow::Result<ExitCode> {
    ensure!(
        how.instructions.is_none_or(InstructionSet::is_here),
        "this processor has no such instructions: leave --instructions out for the widest that it has"
    );
    let settings = Settings { precision: how.precision, instructions: how.instructions, threads: how.threads, device: how.device };
    let model = Model::load_with(folder, &settings).with_context(|| format!("could not load the model {}", folder.display()))?;
    if let Some(too_coarse) = model.too_coarse() {
        output::progress(too_coarse);
    }
    let reader = std::io::BufReader::new(std::fs::File::open(file).with_context(|| format!("could not read {}", file.display()))?);
    for (number, line) in reader.lines().enumerate() {
        let line = line.with_context(|| format!("could not read line {} of {}: it must be UTF-8", number + 1, file.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line)
            .with_context(|| format!("line {} of {} is not {{\"id\", \"text\", \"tasks\"}}", number + 1, file.display()))?;
        let answers = model.score(&[Asked { text: &line.text, tasks: &line.tasks }]).context("could not score")?;
        for answer in answers.iter().flatten() {
            let scored = Scored {
                id: &line.id,
                task: answer.task,
                probabilities: &answer.probabilities,
                tokens_read: answer.tokens_read,
                truncated: answer.truncated,
            };
            output::line(serde_json::to_string(&scored)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}
