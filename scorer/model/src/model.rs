//! A model that answers: weights that do not change any more, under a version.

use std::path::Path;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use schemas::{ModelVersion, Task};

use crate::folder::{self, LoadError, Manifest};
use crate::network::{Keep, Network, Trace};
use crate::tokens::{Reader, TokenizerError};

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
    /// The weights are broken: every answer of this model is in doubt.
    #[error("the model's answer about {task} is not a number")]
    NotANumber {
        /// What was asked.
        task: Task,
    },
}

/// A loaded model. Share it behind an `Arc`; it never changes.
#[derive(Debug)]
pub struct Model {
    network: Network,
    weights: Vec<f32>,
    reader: Reader,
    manifest: Manifest,
}

impl Model {
    /// Loads a Hugging Face folder: `config.json`, `model.safetensors` (any float type), `tokenizer.json`, and `wardstream.json` where
    /// there is one.
    ///
    /// # Errors
    /// If a file is missing or broken, is not a plain Llama's, or is not what the manifest names.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        let folder = folder::load(dir)?;
        let reader = Reader::new(folder.tokenizer, &folder.config, folder.manifest.max_note_tokens)?;
        Ok(Self { network: Network::new(folder.config), weights: folder.weights, reader, manifest: folder.manifest })
    }

    /// Who answers.
    #[must_use]
    pub fn version(&self) -> &ModelVersion {
        &self.manifest.model_version
    }

    /// What is known about it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Tokens of the whole cleaned note, before any cut; 0 where the tokenizer refuses it.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        self.reader.note(text).map_or(0, |tokens| tokens.len())
    }

    /// Answers every question about every note, in the order asked. Each note is read by itself, so its probabilities are the same
    /// bit for bit whatever else is in the batch; notes are spread over rayon's threads.
    ///
    /// # Errors
    /// If a note cannot be split into tokens, or an answer is not a number.
    pub fn score(&self, notes: &[Asked<'_>]) -> Result<Vec<Vec<Answer>>, ScoreError> {
        score(&self.network, &self.weights, &self.reader, notes)
    }
}

pub(crate) fn score(network: &Network, weights: &[f32], reader: &Reader, notes: &[Asked<'_>]) -> Result<Vec<Vec<Answer>>, ScoreError> {
    notes.par_iter().map_init(Trace::default, |trace, asked| answer(network, weights, reader, (asked, trace))).collect()
}

fn answer(
    network: &Network,
    weights: &[f32],
    reader: &Reader,
    (asked, trace): (&Asked<'_>, &mut Trace),
) -> Result<Vec<Answer>, ScoreError> {
    if asked.tasks.is_empty() {
        return Ok(Vec::new());
    }
    let page = reader.page(asked.text, asked.tasks)?;
    network.forward(weights, &page, Keep::OneLayer, trace);
    let answers = page.branches.iter().map(|branch| {
        let task = branch.task;
        let letters = reader.letters.get(..task.classes()).unwrap_or_default();
        let probabilities = network.probabilities(weights, trace, branch, letters);
        if !probabilities.iter().all(|share| share.is_finite()) {
            return Err(ScoreError::NotANumber { task });
        }
        Ok(Answer { task, probabilities, tokens_read: page.tokens_read, truncated: page.truncated })
    });
    answers.collect()
}
