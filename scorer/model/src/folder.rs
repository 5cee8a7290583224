//! A model on disk: the folder that `transformers` loads, with our manifest beside it, or one GGUF file; and the version that names it.

mod export;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use schemas::{DatasetId, ModelVersion, Task};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use tokenizers::Tokenizer;

use crate::config::Config;
use crate::layout::Layout;
use crate::load_error::LoadError;
use crate::prompt;
use crate::small_file::read;
use crate::tokens;
use crate::weights::{Weights, folder_weights};
use crate::{gguf, memory};

pub use export::SaveError;
pub(crate) use export::{Exported, Numbers, export, export_adapters, replace, tokenizer_json, unwritten};

/// Tokens of a note that are read where nothing says otherwise (L1 section 3).
pub const MAX_NOTE_TOKENS: usize = 512;

/// What an AUROC may be moved by weights of 8 bits for a model to answer with them.
pub const INT8_SHIFT: f64 = 2e-3;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const SENTENCEPIECE: &str = "tokenizer.model";
const WEIGHTS: &str = "model.safetensors";
const MANIFEST: &str = "wardstream.json";

/// Longest `config.json` and `wardstream.json` that are read.
const MAX_SAID: u64 = 1 << 20;
/// Longest tokenizer that is read; Llama 3's takes 17 MB.
const MAX_TOKENIZER: u64 = 1 << 26;

/// `wardstream.json`: what a model is, beside its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Digest of weights, tokenizer, prompt, configuration and note length: 16 hexadecimal digits.
    pub model_version: ModelVersion,
    /// [`prompt::digest`] under which it learned.
    pub prompt_digest: String,
    /// What it learned from.
    pub dataset_id: Option<DatasetId>,
    /// What it was before.
    pub parent: Option<ModelVersion>,
    /// Decision thresholds of the two-class tasks.
    pub thresholds: BTreeMap<Task, f64>,
    /// Recipe and figures of the training.
    pub training: serde_json::Value,
    /// Tokens of a note that are read.
    pub max_note_tokens: usize,
    /// By how much weights of 8 bits move the AUROC of any task, where that was measured. Up to [`INT8_SHIFT`] they are what a processor answers
    /// with unless it is told otherwise.
    #[serde(default)]
    pub int8_shift: Option<f64>,
}

/// What the trainer says about a model; the rest of the [`Manifest`] follows from the model itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// What it learned from.
    pub dataset_id: Option<DatasetId>,
    /// What it was before.
    pub parent: Option<ModelVersion>,
    /// Decision thresholds of the two-class tasks.
    pub thresholds: BTreeMap<Task, f64>,
    /// Recipe and figures of the training.
    pub training: serde_json::Value,
    /// By how much weights of 8 bits move the AUROC of any task, where that was measured.
    pub int8_shift: Option<f64>,
}

/// Everything a folder holds, its weights widened to `f32`.
pub(crate) struct Folder {
    pub config: Config,
    pub tokenizer: Tokenizer,
    pub weights: Vec<f32>,
    pub manifest: Manifest,
}

/// A folder or file that was opened and checked: its weights are still where they lie.
#[derive(Debug)]
pub(crate) struct Opened {
    pub config: Config,
    pub tokenizer: Tokenizer,
    /// The tokenizer in bytes, for the version.
    pub tokenizer_json: Vec<u8>,
    /// The tensors of the configuration's layout, and none beside them.
    pub weights: Weights,
    /// `wardstream.json`, where there is one.
    pub said: Option<Manifest>,
}

/// Opens a folder of Hugging Face's, a GGUF file, or a folder with one GGUF file in it, and checks all that can be checked without
/// reading weights.
pub(crate) fn open(path: &Path) -> Result<Opened, LoadError> {
    let opened = if path.is_dir() {
        match lone_gguf(path) {
            Some(file) => gguf::open(&file)?,
            None => open_folder(path)?,
        }
    } else {
        gguf::open(path)?
    };
    opened.weights.check(&Layout::of(&opened.config))?;
    Ok(opened)
}

/// The GGUF file of a folder that has no configuration and no second one.
fn lone_gguf(dir: &Path) -> Option<PathBuf> {
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
    let mut found = std::fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_gguf);
    let first = found.next();
    if dir.join(CONFIG).exists() || found.next().is_some() { None } else { first }
}

fn open_folder(dir: &Path) -> Result<Opened, LoadError> {
    let file = dir.join(CONFIG);
    let config = Config::read(&read(&file, MAX_SAID)?).map_err(|error| LoadError::of_config(file, error))?;
    let (file, tokenizer_json) = tokenizer_json_of(dir)?;
    let tokenizer = tokens::of_json(&tokenizer_json).map_err(|source| LoadError::Parse { file, source })?;
    let file = dir.join(MANIFEST);
    let said = match read(&file, MAX_SAID) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|source| LoadError::Parse { file, source: source.into() })?),
        Err(LoadError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Opened { config, tokenizer, tokenizer_json, weights: folder_weights(dir)?, said })
}

/// `tokenizer.json`, or what `tokenizer.model` says where there is only that; and the file it came from.
fn tokenizer_json_of(dir: &Path) -> Result<(PathBuf, Vec<u8>), LoadError> {
    let (file, other) = (dir.join(TOKENIZER), dir.join(SENTENCEPIECE));
    if file.exists() || !other.exists() {
        return Ok((file.clone(), read(&file, MAX_TOKENIZER)?));
    }
    match tokens::of_sentencepiece(&read(&other, MAX_TOKENIZER)?) {
        Ok(json) => Ok((other, json)),
        Err(what) => Err(LoadError::Damaged { file: other, what }),
    }
}

impl Opened {
    /// The manifest of a folder whose weights have this digest: its own if it names these files, or a bare one.
    pub fn manifest(&self, weights_digest: &[u8]) -> Result<Manifest, LoadError> {
        let max_note_tokens = self.note_tokens();
        let found = version(weights_digest, &self.tokenizer_json, &self.config, max_note_tokens);
        match &self.said {
            Some(said) if said.prompt_digest != prompt::digest() => {
                Err(LoadError::Prompt { expected: said.prompt_digest.clone(), found: prompt::digest() })
            }
            Some(said) if said.model_version != found => Err(LoadError::Version { expected: said.model_version.clone(), found }),
            Some(said) => Ok(said.clone()),
            None => Ok(Draft::default().about(found, max_note_tokens)),
        }
    }

    fn note_tokens(&self) -> usize {
        self.said.as_ref().map_or(MAX_NOTE_TOKENS, |manifest| manifest.max_note_tokens)
    }

    /// Bytes of the rotary positions that its notes take.
    pub fn rotary_bytes(&self) -> u64 {
        self.config.rotary_bytes(self.note_tokens())
    }
}

/// Reads a folder and holds it against its manifest, if the memory has room for as many `copies` of its weights, the one given here
/// included. Without a manifest, its version is what its files give.
pub(crate) fn load(path: &Path, copies: u64) -> Result<Folder, LoadError> {
    let opened = open(path)?;
    let layout = Layout::of(&opened.config);
    memory::room_for(copies * layout.total() as u64 * size_of::<f32>() as u64 + opened.rotary_bytes())?;
    let (digest, weights) = rayon::join(|| opened.weights.digest(), || opened.weights.run(&layout, 0..layout.total()));
    let manifest = opened.manifest(&digest)?;
    Ok(Folder { weights: weights?, config: opened.config, tokenizer: opened.tokenizer, manifest })
}

impl Draft {
    fn about(self, model_version: ModelVersion, max_note_tokens: usize) -> Manifest {
        let Self { dataset_id, parent, thresholds, training, int8_shift } = self;
        Manifest { model_version, prompt_digest: prompt::digest(), dataset_id, parent, thresholds, training, max_note_tokens, int8_shift }
    }
}

fn version(weights_digest: &[u8], tokenizer: &[u8], config: &Config, max_note_tokens: usize) -> ModelVersion {
    let shape = serde_json::to_vec(config).unwrap_or_default();
    let mut hasher = sha2::Sha256::new();
    for part in [weights_digest, tokenizer, prompt::digest().as_bytes(), &shape, max_note_tokens.to_string().as_bytes()] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    ModelVersion(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
