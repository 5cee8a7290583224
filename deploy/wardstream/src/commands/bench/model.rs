//! The model's path, with random weights unless a model is named, which `scorer/model/bench/peers.py` puts beside the peers: prompts, questions behind one note, loading,
//! steps of learning.

use std::process::ExitCode;

use ::model::bench::{BATCHES, Batch, BenchError, Figure, Lessons, Measured, Training, Wanted};
use ::model::{Computing, Device, InstructionSet, Lora, Settings, Target};
use anyhow::{Context as _, ensure};

use super::process;
use crate::cli::BenchModel;
use crate::output;

/// What can be measured. A figure's `what` is one of these.
const WHATS: [&str; 6] = ["prefill", "questions", "tasks", "words", "load", "train"];
/// Those of them that the model answers.
const ANSWERED: [&str; 4] = ["prefill", "questions", "tasks", "words"];
/// What a step reads where nothing is named.
const LESSONS: &str = "8x512";
/// Share of their inputs that measured adapters drop, so that the draw is measured with them.
const DROPOUT: f64 = 0.05;

/// Measures what is named, or all that is quick; `--batch` chooses among what the model reads.
///
/// # Errors
/// Where the processor has no such instructions, there are no threads to be had, or the model cannot be written, loaded or adapted.
pub fn run(asked: &BenchModel) -> anyhow::Result<ExitCode> {
    let (wanted, training) = match named(asked) {
        Ok(named) => named,
        Err(error) => return Ok(output::failure(&error, output::WRONG_USAGE)),
    };
    if let Some(instructions) = wanted.settings.instructions {
        ensure!(instructions.is_here(), "this processor has no {}", instructions.as_str());
    }
    if is_asked(asked, "load") {
        process::forget_peak_rss();
        tell(&wanted.loading().context("could not measure loading")?)?;
    }
    if !wanted.batches.is_empty() {
        process::forget_peak_rss();
        wanted.answering(tell)?;
    }
    if let Some(training) = training {
        process::forget_peak_rss();
        training.steps(tell)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether it is to be measured: where nothing is named, all but steps of learning, which take minutes.
fn is_asked(asked: &BenchModel, what: &str) -> bool {
    if asked.what.is_empty() { what != "train" } else { asked.what.iter().any(|name| name == what) }
}

/// What the names of the command line mean; where one is none of those known, it was called wrongly.
fn named(asked: &BenchModel) -> anyhow::Result<(Wanted, Option<Training>)> {
    for name in &asked.what {
        ensure!(WHATS.contains(&name.as_str()), "there is no bench `{name}` of the model; there are {}", WHATS.join(", "));
    }
    Ok((wanted(asked)?, training(asked)?))
}

fn instructions(asked: &BenchModel) -> anyhow::Result<Option<InstructionSet>> {
    Ok(asked.instructions.as_deref().map(str::parse).transpose()?)
}

fn wanted(asked: &BenchModel) -> anyhow::Result<Wanted> {
    let mut batches = Vec::new();
    if ANSWERED.iter().any(|what| is_asked(asked, what)) {
        let names: Vec<&str> = if asked.batch.is_empty() { BATCHES.to_vec() } else { asked.batch.iter().map(String::as_str).collect() };
        batches = names.into_iter().map(str::parse).collect::<Result<Vec<Batch>, BenchError>>()?;
        batches.retain(|batch| is_asked(asked, batch.what()));
    }
    let answers = !batches.is_empty() || is_asked(asked, "load");
    let settings = Settings {
        precision: asked.precision.as_deref().filter(|_| answers).map(str::parse).transpose()?,
        instructions: instructions(asked)?,
        threads: Some(asked.threads),
        device: if answers { asked.device.one()? } else { Device::Cpu },
    };
    let (model, settings) = match &asked.model {
        // A model of one's own says itself how it answers.
        Some(path) => (Measured::Stored(path.clone()), settings),
        None => (Measured::Random(asked.shape.parse()?), settings.for_shift(Some(0.0))),
    };
    Ok(Wanted { model, settings, batches, rounds: asked.reps })
}

fn training(asked: &BenchModel) -> anyhow::Result<Option<Training>> {
    if !is_asked(asked, "train") {
        return Ok(None);
    }
    ensure!(asked.model.is_none(), "a step of learning is measured on random weights: name a --shape instead of a --model");
    let named: Vec<&str> = if asked.batch.is_empty() { vec![LESSONS] } else { asked.batch.iter().map(String::as_str).collect() };
    let activations = asked.activation_mb.map_or(Computing::default().activation_bytes, |megabytes| megabytes * 1_000_000);
    // Adapters count twice as much as they are wide, which is what most have.
    let lora = asked.lora.map(|rank| Lora::new(rank, 2.0 * rank as f64, DROPOUT, Target::ALL)).transpose()?;
    Ok(Some(Training {
        shape: asked.shape.parse()?,
        lora,
        computing: Computing {
            arithmetic: asked.precision.as_deref().map(str::parse).transpose()?,
            instructions: instructions(asked)?,
            activation_bytes: activations,
        },
        devices: asked.device.clone(),
        threads: asked.threads,
        loss: asked.loss.parse()?,
        lessons: named.into_iter().map(str::parse).collect::<Result<Vec<Lessons>, BenchError>>()?,
        rounds: asked.reps,
    }))
}

fn tell(figure: &Figure) -> anyhow::Result<()> {
    output::line(serde_json::to_string(figure)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Bench, Cli, Command};

    fn asked(words: &[&str]) -> anyhow::Result<BenchModel> {
        match Cli::try_parse_from([&["wardstream", "bench", "model"][..], words].concat())?.command {
            Command::Bench { what: Bench::Model(asked) } => Ok(asked),
            _ => bail!("another command"),
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_wrong_usage() -> anyhow::Result<()> {
        for words in [
            &["zzz"][..],
            &["--shape", "huge"],
            &["prefill", "--batch", "0x5"],
            &["prefill", "--precision", "int3"],
            &["load", "--instructions", "sse"],
            &["train", "--batch", "8x512mixed"],
            &["train", "--loss", "half"],
            &["train", "--lora", "0"],
            &["train", "--model", "folder"],
        ] {
            assert_eq!(run(&asked(words)?)?, ExitCode::from(output::WRONG_USAGE), "{words:?}");
        }
        let (wanted, training) = named(&asked(&["prefill", "train", "--batch", "2x8"])?)?;
        assert_eq!((wanted.batches.len(), training.map(|training| training.lessons.len())), (1, Some(1)));
        Ok(())
    }
}
