//! A learner that survives a crash: weights, optimiser, step, position in the data, shape and tokenizer in one file that is replaced at once.
//!
//! Nothing of a step is left to chance, so that there is no random state beside the position.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use tokenizers::Tokenizer;

use crate::folder::{Numbers, SaveError, replace, tokenizer_json};
use crate::layout::Layout;
use crate::learner::{LearnError, Learner};
use crate::load_error::LoadError;

fn file(dir: &Path) -> PathBuf {
    dir.join("learner.safetensors")
}

impl Learner {
    /// Writes `learner.safetensors` into `dir`, or leaves the one that was there.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save_state(&self, dir: &Path) -> Result<(), SaveError> {
        let file = file(dir);
        std::fs::create_dir_all(dir).map_err(|source| SaveError::Write { file: file.clone(), source })?;
        let encoded = |source: Box<dyn std::error::Error + Send + Sync>| SaveError::Encode { file: file.clone(), source };
        let about = HashMap::from([
            ("config".to_owned(), serde_json::to_string(&self.network.config).map_err(|source| encoded(source.into()))?),
            ("tokenizer".to_owned(), tokenizer_json(&self.reader.tokenizer, &file)?),
            ("steps".to_owned(), self.steps.to_string()),
            ("position".to_owned(), self.position.to_string()),
            ("max_note_tokens".to_owned(), self.reader.max_note_tokens.to_string()),
        ]);
        let shape = [self.weights.len()];
        let parts = [("weights", &self.weights), ("first", &self.first), ("second", &self.second)];
        let tensors = parts.map(|(name, values)| (name, Numbers { shape: &shape, values }));
        replace(&file, |partial| safetensors::serialize_to_file(tensors, Some(about), partial).map_err(|source| encoded(source.into())))
    }

    /// The learner whose state lies in `dir`: its next step is the one that would have been.
    ///
    /// # Errors
    /// If there is no state, or it is broken.
    pub fn resume(dir: &Path) -> Result<Self, LearnError> {
        let file = file(dir);
        let bytes = std::fs::read(&file).map_err(|source| LoadError::Read { file: file.clone(), source })?;
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| LoadError::Parse { file: file.clone(), source };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|source| broken(source.into()))?;
        let about = header.metadata().clone().unwrap_or_default();
        let part = |name: &str| about.get(name).ok_or_else(|| broken(format!("{name} is missing").into()));
        let number = |name: &str| part(name)?.parse::<u64>().map_err(|source| broken(source.into()));
        let config: crate::Config = serde_json::from_str(part("config")?).map_err(|source| broken(source.into()))?;
        config.check().map_err(LoadError::from)?;
        let tokenizer = Tokenizer::from_bytes(part("tokenizer")?).map_err(broken)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|source| broken(source.into()))?;
        let total = Layout::of(&config).total();
        let values = |name: &str| -> Result<Vec<f32>, LoadError> {
            let tensor = tensors.tensor(name).map_err(|source| broken(source.into()))?;
            let words = tensor.data().chunks_exact(size_of::<f32>());
            let values: Vec<f32> = words.filter_map(|word| word.try_into().ok()).map(f32::from_le_bytes).collect();
            if values.len() == total { Ok(values) } else { Err(LoadError::Tensor { name: name.to_owned(), shape: vec![total] }) }
        };
        let max_note_tokens = usize::try_from(number("max_note_tokens")?).unwrap_or(usize::MAX);
        let learner = Self::with(config, tokenizer, values("weights")?, max_note_tokens)?;
        let (steps, position) = (number("steps")?, number("position")?);
        Ok(Self { first: values("first")?, second: values("second")?, steps, position, ..learner })
    }

    /// Takes weights and optimiser back to the state that lies in `dir`, after a step that spoiled them. The position in the data stays, so that
    /// what spoiled them is not read again.
    ///
    /// # Errors
    /// As [`Learner::resume`], or if the state is another model's; the learner is as before then.
    pub fn go_back(&mut self, dir: &Path) -> Result<(), LearnError> {
        let good = Self::resume(dir)?;
        if good.network.config != self.network.config {
            let what = "it is the state of another model".to_owned();
            return Err(LoadError::Damaged { file: file(dir), what }.into());
        }
        let position = self.position;
        let (computing, workshop) = (self.computing, self.workshop.take());
        *self = Self { position, computing, workshop, ..good };
        Ok(())
    }
}
