//! What `score` and `evaluate` share: notes of a file, a line each, and the model that reads them.

use std::io::BufRead as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use model::{InstructionSet, Model, Settings};
use serde::de::DeserializeOwned;

use crate::cli::Answering;
use crate::output;

/// The lines of a file, which look like `form`, each with its number; empty ones are passed over.
pub fn lines<T: DeserializeOwned>(file: &Path, form: &str) -> anyhow::Result<impl Iterator<Item = anyhow::Result<(usize, T)>>> {
    let reader = std::io::BufReader::new(std::fs::File::open(file).with_context(|| format!("could not read {}", file.display()))?);
    let numbered = (1..).zip(reader.lines());
    let whole = numbered.filter(|(_, line)| line.as_ref().map_or(true, |line| !line.trim().is_empty()));
    Ok(whole.map(move |(number, line)| -> anyhow::Result<(usize, T)> {
        let line = line.with_context(|| format!("could not read line {number} of {}: it must be UTF-8", file.display()))?;
        let line = serde_json::from_str(&line).with_context(|| format!("line {number} of {} is not {form}", file.display()))?;
        Ok((number, line))
    }))
}

/// How the command line wants it answered.
pub fn settings(how: &Answering) -> anyhow::Result<Settings> {
    ensure!(
        how.instructions.is_none_or(InstructionSet::is_here),
        "this processor has no such instructions: leave --instructions out for the widest that it has"
    );
    Ok(Settings { precision: how.precision, instructions: how.instructions, threads: how.threads, device: how.device })
}

/// The model of a folder or file, loaded so; what it does not bear is said.
pub fn model(path: &Path, how: &Answering) -> anyhow::Result<Model> {
    let settings = settings(how)?;
    let loaded = match &how.packed_cache {
        Some(cache) => Model::load_cached(path, &settings, cache),
        None => Model::load_with(path, &settings),
    };
    let model = loaded.with_context(|| format!("could not load the model {}", path.display()))?;
    if let Some(too_coarse) = model.too_coarse() {
        output::progress(too_coarse);
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use model::{Asked, Config, Device, Draft, Learner, Precision, train_tokenizer};
    use schemas::Task;

    use super::*;

    #[test]
    fn what_was_packed_is_kept_where_that_is_asked_for() -> anyhow::Result<()> {
        let (place, cache) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let tokenizer = train_tokenizer(std::iter::once("The patient was seen and examined."), 400)?;
        Learner::new(Config::demo(tokenizer.get_vocab_size(true)), tokenizer, 1)?.export(place.path(), Draft::default())?;
        let mut how =
            Answering { device: Device::Cpu, precision: Some(Precision::F32), instructions: None, threads: Some(1), packed_cache: None };
        let asked = [Asked { text: "The patient was seen.", tasks: &[Task::Mortality] }];
        let expected = model(place.path(), &how)?.score(&asked)?;
        assert_eq!(std::fs::read_dir(cache.path())?.count(), 0);
        how.packed_cache = Some(cache.path().to_owned());
        for _ in 0..2 {
            assert_eq!(model(place.path(), &how)?.score(&asked)?, expected);
            assert_eq!(std::fs::read_dir(cache.path())?.count(), 1);
        }
        Ok(())
    }
}
