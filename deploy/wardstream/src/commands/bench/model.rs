//! The model's path with random weights, beside the peers' `score.py` and `shared_prefix.py`: prompts, questions behind one note, loading.

use std::process::ExitCode;

use ::model::bench::{BATCHES, BenchError, Figure, Wanted};
use ::model::{InstructionSet, Precision, Settings};
use anyhow::{Context as _, ensure};

use super::process;
use crate::cli::BenchModel;
use crate::output;

/// What can be measured. A figure's `what` is one of these.
const WHATS: [&str; 4] = ["prefill", "questions", "tasks", "load"];

/// Measures what is named, or all; `--batch` chooses among what the model reads.
///
/// # Errors
/// Where a name is none of those known, there are no threads to be had, or the model cannot be written and loaded.
pub fn run(asked: &BenchModel) -> anyhow::Result<ExitCode> {
    for name in &asked.what {
        ensure!(WHATS.contains(&name.as_str()), "there is no bench `{name}` of the model; there are {}", WHATS.join(", "));
    }
    let wanted = wanted(asked)?;
    if is_asked(asked, "load") {
        process::forget_peak_rss();
        tell(&wanted.loading().context("could not measure loading")?)?;
    }
    if !wanted.batches.is_empty() {
        process::forget_peak_rss();
        wanted.answering(tell)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_asked(asked: &BenchModel, what: &str) -> bool {
    asked.what.is_empty() || asked.what.iter().any(|name| name == what)
}

fn wanted(asked: &BenchModel) -> anyhow::Result<Wanted> {
    let settings = Settings {
        precision: asked.precision.as_deref().map(str::parse::<Precision>).transpose()?,
        instructions: asked.instructions.as_deref().map(str::parse::<InstructionSet>).transpose()?,
        threads: Some(asked.threads),
    };
    if let Some(instructions) = settings.instructions {
        ensure!(instructions.is_here(), "this processor has no {}", instructions.as_str());
    }
    let names: Vec<&str> = if asked.batch.is_empty() { BATCHES.to_vec() } else { asked.batch.iter().map(String::as_str).collect() };
    let mut batches = names.into_iter().map(str::parse).collect::<Result<Vec<::model::bench::Batch>, BenchError>>()?;
    batches.retain(|batch| is_asked(asked, batch.what()));
    Ok(Wanted { shape: asked.shape.parse()?, settings, batches, rounds: asked.reps })
}

fn tell(figure: &Figure) -> anyhow::Result<()> {
    output::line(serde_json::to_string(figure)?);
    Ok(())
}
