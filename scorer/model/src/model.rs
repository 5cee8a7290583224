//! A model that answers: weights that do not change any more, under a version.

mod probe;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use schemas::{ModelVersion, Task};

use crate::config::Config;
use crate::device::{Device, DeviceError, DeviceScorer};
use crate::folder::{self, Manifest, Opened};
use crate::layout::Layout;
use crate::load_error::LoadError;
use crate::memory;
use crate::packed::Precision;
use crate::page::Page;
use crate::scoring::{PoolError, Prompt, Scorer, Settings, Unkept};
use crate::tokens::{Reader, TokenizerError};
use crate::weights::Weights;
pub use probe::TooCoarse;

/// What a loaded model may take beside its numbers, in hundredths of them: scales, and what a panel is filled up with.
const BESIDE_PERCENT: u64 = 15;

/// A note and what is asked about it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The note; it is cleaned here once more, which changes nothing in a cleaned one.
    pub text: &'a str,
    /// The questions.
    pub tasks: &'a [Task],
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

/// The answer to one question about one note.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What was asked.
    pub task: Task,
    /// One probability a class; they add up to 1.
    pub probabilities: Vec<f64>,
    /// What they are the softmax of: the logit of each class's letter, in the letters' order.
    pub logits: Vec<f32>,
    /// Tokens of the note that were read.
    pub tokens_read: u32,
    /// Whether the note went on.
    pub truncated: bool,
}

/// Why notes were not answered.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The tokenizer refused a note.
    #[error("could not split a note into tokens")]
    Tokenize(#[from] TokenizerError),
    /// There are no threads to be had.
    #[error("could not answer")]
    Threads(#[from] PoolError),
    /// The device refused.
    #[error("could not answer on the device")]
    Device(#[from] candle_core::Error),
    /// The weights are broken: every answer of this model is in doubt.
    #[error("the model's answer about {task} is not a number")]
    NotANumber {
        /// What was asked.
        task: Task,
    },
    /// The weights are broken: no token is foretold.
    #[error("the model's loss over a note is not a number")]
    NoLoss,
}

/// A loaded model. Share it behind an `Arc`; it never changes.
#[derive(Debug)]
pub struct Model {
    engine: Engine,
    precision: Precision,
    reader: Reader,
    manifest: Manifest,
    limits: Limits,
    too_coarse: Option<TooCoarse>,
}

/// What a model can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tokens are below it.
    pub vocabulary: usize,
    /// Positions are below it.
    pub positions: usize,
}

impl Limits {
    pub fn of(config: &Config) -> Self {
        Self { vocabulary: config.vocab_size, positions: config.max_position_embeddings }
    }
}

/// What answers.
#[derive(Debug)]
pub(crate) enum Engine {
    Packed(Scorer),
    Device(DeviceScorer),
}

impl Engine {
    /// The logits of the option letters behind each question of each prompt. Of a device they have come back to the processor, so that its work is done.
    pub fn logits(&self, prompts: &[Prompt<'_>]) -> Result<Vec<Vec<Vec<f32>>>, ScoreError> {
        match self {
            Self::Packed(scorer) => Ok(scorer.logits(prompts)),
            Self::Device(scorer) => Ok(scorer.logits(prompts)?),
        }
    }

    /// Bytes of the weights as they are held.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Packed(scorer) => scorer.bytes(),
            Self::Device(scorer) => scorer.bytes(),
        }
    }
}

/// A model whose weights are known, and not packed yet.
struct Ready {
    config: Config,
    layout: Layout,
    weights: Weights,
    digest: [u8; 32],
    reader: Reader,
    manifest: Manifest,
    /// As asked, with a precision that does for this model.
    settings: Settings,
    /// What is to be taken instead if 8 bits harm it, where they are asked for and nobody measured what they do.
    wider: Option<Settings>,
    /// What was found out about that.
    too_coarse: Option<TooCoarse>,
}

impl Ready {
    fn open(dir: &Path, settings: &Settings) -> Result<Self, LoadError> {
        let opened = folder::open(dir)?;
        let int8_shift = opened.said.as_ref().and_then(|said| said.int8_shift);
        let wider = Settings { precision: None, ..*settings };
        let settings = settings.for_shift(int8_shift);
        let is_unmeasured = settings.device == Device::Cpu && settings.precision() == Precision::Int8 && int8_shift.is_none();
        let wider = is_unmeasured.then_some(wider);
        // One form after the other stands in memory, never both.
        let widest = wider.map_or(settings.precision(), |wider| wider.precision());
        let numbers = opened.config.parameters() as u64 * widest.bytes();
        // A card's memory is the card's to refuse; here nothing stands longer than one matrix.
        if settings.device == Device::Cpu {
            memory::room_for(numbers + numbers / 100 * BESIDE_PERCENT + opened.rotary_bytes())?;
        }
        let digest = opened.weights.digest();
        let manifest = opened.manifest(&digest)?;
        let Opened { config, weights, tokenizer, .. } = opened;
        let reader = Reader::new(tokenizer, &config, manifest.max_note_tokens)?;
        Ok(Self { layout: Layout::of(&config), config, weights, digest, reader, manifest, settings, wider, too_coarse: None })
    }

    fn packed(&self, settings: &Settings) -> Result<Scorer, LoadError> {
        let read = |range: Range<usize>| self.weights.run(&self.layout, range).map(Cow::Owned);
        Scorer::packed(&self.config, &read, &self.reader.letters, settings)
    }

    /// With a precision that the model bears: 8 bits of which nobody knows what they do are tried on one page first, by the kernels that are to answer.
    fn probed(mut self) -> Result<Self, LoadError> {
        let Some(wider) = self.wider else { return Ok(self) };
        // What is no number here is said to whoever asks.
        let answers = |settings: &Settings| {
            let pages = score(&self.packed(settings)?, &self.reader, &[probe::PAGE]);
            Ok::<_, LoadError>(pages.ok().map(|pages| pages.concat()))
        };
        let (eighth, other) = (answers(&self.settings)?, answers(&wider)?);
        self.too_coarse = probe::judged(eighth.as_deref(), (other.as_deref(), wider.precision()));
        if self.too_coarse.is_some() {
            self.settings = wider;
        }
        Ok(self)
    }

    fn answering(self, engine: Engine) -> Model {
        let Self { config, reader, manifest, settings, too_coarse, .. } = self;
        Model { engine, precision: settings.precision(), reader, manifest, limits: Limits::of(&config), too_coarse }
    }
}

impl Model {
    /// Loads a Hugging Face folder: `config.json`, `model.safetensors` or its shards (`f32`, `f16`, `bf16`), `tokenizer.json` or
    /// `tokenizer.model`, and `wardstream.json` where there is one; or a GGUF file, or a folder with nothing but one. It answers
    /// as [`Settings::default`] says, in 8 bits where its manifest says that they do no harm.
    ///
    /// # Errors
    /// If a file is missing or broken, is not a plain Llama's, is larger than the free memory, or is not what the manifest names. Nothing
    /// of the weights was allocated then.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        Self::load_with(dir, &Settings::default())
    }

    /// As [`Model::load`], with a precision, instructions, threads and a device of one's own choice. Where 8 bits are asked for and no manifest says what
    /// they do, one page is read first, and they are not taken if they move an answer: [`Model::too_coarse`].
    ///
    /// # Errors
    /// As there, or if there are no threads to be had, or no such device.
    pub fn load_with(dir: &Path, settings: &Settings) -> Result<Self, LoadError> {
        Self::prepared(Ready::open(dir, settings)?.probed()?)
    }

    /// As [`Model::load_with`], and packs nothing that `cache`, a folder, holds packed of an earlier time; what it does not hold is put
    /// there; nothing of what lies on a card. What does not fit these weights, is damaged, or might be another user's work is not used and replaced; where the folder
    /// cannot be written, the model answers all the same.
    ///
    /// # Errors
    /// As there.
    pub fn load_cached(dir: &Path, settings: &Settings, cache: &Path) -> Result<Self, LoadError> {
        let ready = Ready::open(dir, settings)?.probed()?;
        let settings = ready.settings;
        if settings.device != Device::Cpu {
            return Self::prepared(ready);
        }
        let key = Scorer::key(&ready.config, &ready.digest, &ready.reader.letters, &settings);
        let file = cache.join(key.file_name());
        if let Ok(scorer) = Scorer::kept(&ready.config, &settings, (&file, &key)) {
            return Ok(ready.answering(Engine::Packed(scorer)));
        }
        let mut model = Self::prepared(ready)?;
        if let Engine::Packed(scorer) = &mut model.engine {
            let _not_kept: Result<(), Unkept> = scorer.keep(&file, &key);
        }
        Ok(model)
    }

    fn prepared(ready: Ready) -> Result<Self, LoadError> {
        let settings = &ready.settings;
        match settings.device.open()? {
            Some(_) if settings.precision().is_whole() => {
                Err(DeviceError::WholeNumbers { device: settings.device, precision: settings.precision() }.into())
            }
            Some(device) => {
                let precision = settings.precision();
                Self::through_candle(ready, (&device, precision))
            }
            None => {
                let engine = Engine::Packed(ready.packed(settings)?);
                Ok(ready.answering(engine))
            }
        }
    }

    fn through_candle(ready: Ready, device: (&candle_core::Device, Precision)) -> Result<Self, LoadError> {
        let read = |range: Range<usize>| ready.weights.run(&ready.layout, range).map(Cow::Owned);
        let engine = Engine::Device(DeviceScorer::new(&ready.config, &read, &ready.reader.letters, device)?);
        Ok(Self { precision: device.1, ..ready.answering(engine) })
    }

    /// Who answers.
    #[must_use]
    pub fn version(&self) -> &ModelVersion {
        &self.manifest.model_version
    }

    /// How its weights are held.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Why it does not answer in 8 bits, where these were asked for and would have moved its answers.
    #[must_use]
    pub fn too_coarse(&self) -> Option<TooCoarse> {
        self.too_coarse
    }

    /// Bytes of the weights as they are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.engine.bytes()
    }

    /// What is known about it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What answers, and what it can read.
    pub(crate) fn into_engine(self) -> (Engine, Limits) {
        (self.engine, self.limits)
    }

    /// The tokens of all questions, in the tasks' order.
    pub(crate) fn questions(&self) -> &[Vec<u32>] {
        self.reader.questions()
    }

    /// Tokens of the whole cleaned note, before any cut; 0 where the tokenizer refuses it.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        self.reader.whole(text).map_or(0, |tokens| tokens.len())
    }

    /// Answers every question about every note, in the order asked. On a processor a note's probabilities are the same bit for bit whatever else is
    /// in the batch and however many threads read it; a card adds up in an order of its own.
    ///
    /// # Errors
    /// If a note cannot be split into tokens, an answer is not a number, or the card refuses.
    pub fn score(&self, notes: &[Asked<'_>]) -> Result<Vec<Vec<Answer>>, ScoreError> {
        match &self.engine {
            Engine::Packed(scorer) => score(scorer, &self.reader, notes),
            Engine::Device(_) => answered(&pages(&self.reader, notes)?, |prompts| self.engine.logits(prompts)),
        }
    }
}

pub(crate) fn score(scorer: &Scorer, reader: &Reader, notes: &[Asked<'_>]) -> Result<Vec<Vec<Answer>>, ScoreError> {
    let pages = scorer.pool().install(|| pages(reader, notes))?;
    answered(&pages, |prompts| Ok(scorer.logits(prompts)))
}

pub(crate) fn pages(reader: &Reader, notes: &[Asked<'_>]) -> Result<Vec<Page>, ScoreError> {
    let page = |asked: &Asked<'_>| if asked.tasks.is_empty() { Ok(Page::default()) } else { reader.page(asked.text, asked.tasks) };
    Ok(notes.par_iter().map(page).collect::<Result<_, TokenizerError>>()?)
}

/// What the logits that `read` finds say about each page.
pub(crate) fn answered(
    pages: &[Page],
    read: impl FnOnce(&[Prompt<'_>]) -> Result<Vec<Vec<Vec<f32>>>, ScoreError>,
) -> Result<Vec<Vec<Answer>>, ScoreError> {
    let questions: Vec<Vec<&[u32]>> =
        pages.iter().map(|page| page.branches.iter().map(|branch| &page.tokens[branch.rows.clone()]).collect()).collect();
    let prompts: Vec<Prompt<'_>> =
        pages.iter().zip(&questions).map(|(page, questions)| Prompt { note: &page.tokens[..page.note], questions }).collect();
    pages.iter().zip(read(&prompts)?).map(|(page, logits)| answers(page, &logits)).collect()
}

fn answers(page: &Page, logits: &[Vec<f32>]) -> Result<Vec<Answer>, ScoreError> {
    let answers = page.branches.iter().zip(logits).map(|(branch, logits)| {
        let task = branch.task;
        let logits = logits.get(..task.classes()).unwrap_or_default().to_vec();
        let probabilities = shares(&logits);
        if !probabilities.iter().all(|share| share.is_finite()) {
            return Err(ScoreError::NotANumber { task });
        }
        Ok(Answer { task, probabilities, logits, tokens_read: page.tokens_read, truncated: page.truncated })
    });
    answers.collect()
}

/// Softmax.
pub(crate) fn shares(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - most).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|share| share / sum).collect()
}

#[cfg(test)]
mod ranking_tests;
#[cfg(test)]
mod tests;
