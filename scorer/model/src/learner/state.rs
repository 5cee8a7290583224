//! A learner that survives a crash: what learns, optimiser, step, position in the data, shape and tokenizer in one file that is replaced at once.
//!
//! Nothing of a step is drawn from a sequence, so that there is no random state beside the seed and the position. Of a model that is adapted the
//! state names the version alone: it does not change.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use schemas::ModelVersion;
use tokenizers::Tokenizer;

use crate::adapters::{Adapters, Lora};
use crate::config::Config;
use crate::folder::{Numbers, SaveError, replace, tokenizer_json, unwritten};
use crate::layout::Layout;
use crate::learner::{LearnError, Learned, Learner};
use crate::load_error::LoadError;
use crate::tokens::{self, Reader};

/// What a file says.
struct State {
    config: Config,
    tokenizer: Tokenizer,
    max_note_tokens: usize,
    /// Where adapters learned.
    adapted: Option<AdaptedState>,
    learned: Learned,
    steps: u64,
    position: u64,
    beside: String,
}

struct AdaptedState {
    lora: Lora,
    base: ModelVersion,
    seed: u64,
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

impl State {
    fn read(dir: &Path) -> Result<Self, LoadError> {
        let file = Learner::state_file(dir);
        let bytes = std::fs::read(&file).map_err(|source| LoadError::Read { file: file.clone(), source })?;
        let broken = |source: Broken| LoadError::Parse { file: file.clone(), source };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|source| broken(source.into()))?;
        let about = header.metadata().clone().unwrap_or_default();
        let part = |name: &str| about.get(name).ok_or_else(|| broken(format!("{name} is missing").into()));
        let number = |name: &str| part(name)?.parse::<u64>().map_err(|source| broken(source.into()));
        let config: Config = serde_json::from_str(part("config")?).map_err(|source| broken(source.into()))?;
        config.check()?;
        let adapted = about.get("lora").map(|lora| {
            let lora: Lora = serde_json::from_str(lora).map_err(|source| broken(source.into()))?;
            Ok::<_, LoadError>(AdaptedState { lora, base: ModelVersion(part("base")?.clone()), seed: number("seed")? })
        });
        let (adapted, layout) = (adapted.transpose()?, Layout::of(&config));
        let total = match &adapted {
            None => layout.total(),
            Some(adapted) => Adapters::of(adapted.lora.clone(), &layout).map_err(|source| broken(source.into()))?.total(),
        };
        let tensors = SafeTensors::deserialize(&bytes).map_err(|source| broken(source.into()))?;
        let values = |name: &str| -> Result<Vec<f32>, LoadError> {
            let tensor = tensors.tensor(name).map_err(|source| broken(source.into()))?;
            let words = tensor.data().chunks_exact(size_of::<f32>());
            let values: Vec<f32> = words.filter_map(|word| word.try_into().ok()).map(f32::from_le_bytes).collect();
            if values.len() == total { Ok(values) } else { Err(LoadError::Tensor { name: name.to_owned(), shape: vec![total] }) }
        };
        Ok(Self {
            tokenizer: tokens::of_json(part("tokenizer")?.as_bytes()).map_err(broken)?,
            max_note_tokens: usize::try_from(number("max_note_tokens")?).unwrap_or(usize::MAX),
            learned: Learned { weights: values("weights")?, first: values("first")?, second: values("second")? },
            steps: number("steps")?,
            position: number("position")?,
            beside: about.get("beside").cloned().unwrap_or_default(),
            config,
            adapted,
        })
    }
}

impl Learner {
    /// Where a learner keeps its state in `dir`.
    #[must_use]
    pub fn state_file(dir: &Path) -> PathBuf {
        dir.join("learner.safetensors")
    }

    /// Writes `learner.safetensors` into `dir`, or leaves the one that was there.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save_state(&self, dir: &Path) -> Result<(), SaveError> {
        self.save_state_with(dir, "")
    }

    /// As [`Learner::save_state`], with what its caller wants to know again of the same moment: [`Learner::go_on`] gives it back.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save_state_with(&self, dir: &Path, beside: &str) -> Result<(), SaveError> {
        let file = Learner::state_file(dir);
        std::fs::create_dir_all(dir).map_err(|source| SaveError::Write { file: file.clone(), source })?;
        let encoded = |source: Broken| SaveError::Encode { file: file.clone(), source };
        let json = |value: serde_json::Result<String>| value.map_err(|source| encoded(source.into()));
        let mut about = HashMap::from([
            ("config".to_owned(), json(serde_json::to_string(&self.network.config))?),
            ("tokenizer".to_owned(), tokenizer_json(&self.reader.tokenizer, &file)?),
            ("steps".to_owned(), self.steps.to_string()),
            ("position".to_owned(), self.position.to_string()),
            ("beside".to_owned(), beside.to_owned()),
            ("max_note_tokens".to_owned(), self.reader.max_note_tokens.to_string()),
        ]);
        if let Some(adapted) = &self.adapted {
            about.insert("lora".to_owned(), json(serde_json::to_string(adapted.lora()))?);
            about.insert("base".to_owned(), adapted.base.0.clone());
            about.insert("seed".to_owned(), adapted.seed.to_string());
        }
        let learned = self.settled()?;
        let shape = [learned.weights.len()];
        let parts = [("weights", &learned.weights), ("first", &learned.first), ("second", &learned.second)];
        let tensors = parts.map(|(name, values)| (name, Numbers { shape: &shape, values }));
        replace(&file, |partial| safetensors::serialize_to_file(tensors, Some(about), partial).map_err(|error| unwritten(&file, error)))
    }

    /// The learner whose state lies in `dir`: its next step is the one that would have been.
    ///
    /// # Errors
    /// If there is no state, or it is broken, or it is that of adapters: load the model that they adapt and [`go on`](Self::go_on) from it.
    pub fn resume(dir: &Path) -> Result<Self, LearnError> {
        let state = State::read(dir)?;
        if state.adapted.is_some() {
            return Err(LearnError::OtherState { file: Learner::state_file(dir), what: "adapters without the model that they adapt" });
        }
        let learner = Self::with(state.config, state.tokenizer, Vec::new(), state.max_note_tokens)?;
        Ok(Self { learned: state.learned, steps: state.steps, position: state.position, ..learner })
    }

    /// Takes up the state that lies in `dir`, which an earlier learner of the same left: the next step is the one that would have been. What was kept with it is given back.
    ///
    /// # Errors
    /// If there is no state, it is broken, or it is another model's or of other adapters; the learner is as before then.
    pub fn go_on(&mut self, dir: &Path) -> Result<String, LearnError> {
        let state = State::read(dir)?;
        let other = |what| Err(LearnError::OtherState { file: Learner::state_file(dir), what });
        if state.config != self.network.config {
            return other("another model");
        }
        match (&self.adapted, &state.adapted) {
            (None, None) => {}
            (Some(own), Some(left)) if own.base != left.base => return other("adapters of another model"),
            (Some(own), Some(left)) if *own.lora() != left.lora => return other("adapters of other settings"),
            (Some(_), Some(_)) => {}
            (None, Some(_)) => return other("adapters, and this learner has none"),
            (Some(_), None) => return other("a whole model, and this learner has adapters"),
        }
        let reader = Reader::new(state.tokenizer, &state.config, state.max_note_tokens)?;
        self.settle(state.learned)?;
        self.reader = reader;
        if let (Some(own), Some(left)) = (&mut self.adapted, &state.adapted) {
            own.seed = left.seed;
        }
        (self.steps, self.position) = (state.steps, state.position);
        Ok(state.beside)
    }

    /// Takes what learns and the optimiser back to the state that lies in `dir`, after a step that spoiled them. The position in the data stays, so
    /// that what spoiled them is not read again.
    ///
    /// # Errors
    /// As [`Learner::go_on`].
    pub fn go_back(&mut self, dir: &Path) -> Result<(), LearnError> {
        let position = self.position;
        self.go_on(dir)?;
        self.position = position;
        Ok(())
    }
}
