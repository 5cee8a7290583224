//! A model on disk: the folder that `transformers` loads, with our manifest beside it, and the version that names all of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use safetensors::tensor::{Dtype, View};
use schemas::{DatasetId, ModelVersion, Task};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use tokenizers::Tokenizer;

use crate::config::{Config, ConfigError};
use crate::layout::{Layout, Place};
use crate::prompt;
use crate::tokens::TokenizerError;

/// Tokens of a note that are read where nothing says otherwise (L1 section 3).
pub const MAX_NOTE_TOKENS: usize = 512;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";
const MANIFEST: &str = "wardstream.json";

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
}

/// Why a folder is no model that may answer.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing or unreadable.
    #[error("could not read {}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("could not parse {}", file.display())]
    Parse {
        /// Which.
        file: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another architecture.
    #[error("could not use the configuration")]
    Config(#[from] ConfigError),
    /// A tokenizer that does not fit.
    #[error("could not use the tokenizer")]
    Tokenizer(#[from] TokenizerError),
    /// A tensor is missing or has another shape.
    #[error("tensor {name} is missing or not of shape {shape:?}")]
    Tensor {
        /// Hugging Face name.
        name: String,
        /// What the configuration asks for.
        shape: Vec<usize>,
    },
    /// The files are not those that the manifest names.
    #[error("the folder is of version {found}, and its manifest says {expected}")]
    Version {
        /// In the manifest.
        expected: ModelVersion,
        /// Of the files.
        found: ModelVersion,
    },
    /// It learned other questions than those asked now.
    #[error("the model learned prompts {expected}, and this program asks prompts {found}")]
    Prompt {
        /// In the manifest.
        expected: String,
        /// [`prompt::digest`].
        found: String,
    },
}

/// Why a model is not on disk. Nothing that was there before is a model less.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The disk refused.
    #[error("could not write {}", file.display())]
    Write {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It could not be put into bytes.
    #[error("could not encode {}", file.display())]
    Encode {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Everything a folder holds.
pub(crate) struct Folder {
    pub config: Config,
    pub tokenizer: Tokenizer,
    pub weights: Vec<f32>,
    pub manifest: Manifest,
}

fn read(file: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(file).map_err(|source| LoadError::Read { file: file.to_owned(), source })
}

fn parse<T: for<'a> Deserialize<'a>>(file: &Path, bytes: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|source| LoadError::Parse { file: file.to_owned(), source: source.into() })
}

/// Reads a folder and holds it against its manifest. Without one, its version is what its files give.
pub(crate) fn load(dir: &Path) -> Result<Folder, LoadError> {
    let config: Config = parse(&dir.join(CONFIG), &read(&dir.join(CONFIG))?)?;
    config.check()?;
    let file = dir.join(TOKENIZER);
    let tokenizer_bytes = read(&file)?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_bytes).map_err(|source| LoadError::Parse { file, source })?;
    let said: Option<Manifest> = match read(&dir.join(MANIFEST)) {
        Ok(bytes) => Some(parse(&dir.join(MANIFEST), &bytes)?),
        Err(LoadError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let max_note_tokens = said.as_ref().map_or(MAX_NOTE_TOKENS, |manifest| manifest.max_note_tokens);
    let file = dir.join(WEIGHTS);
    let weights_digest = digest_of(&file).map_err(|source| LoadError::Read { file: file.clone(), source })?;
    let found = version(&weights_digest, &tokenizer_bytes, &config, max_note_tokens);
    let manifest = match said {
        Some(said) if said.prompt_digest != prompt::digest() => {
            return Err(LoadError::Prompt { expected: said.prompt_digest, found: prompt::digest() });
        }
        Some(said) if said.model_version != found => return Err(LoadError::Version { expected: said.model_version, found }),
        Some(said) => said,
        None => Draft::default().about(found, max_note_tokens),
    };
    let weights = weights(&file, &Layout::of(&config))?;
    Ok(Folder { config, tokenizer, weights, manifest })
}

impl Draft {
    fn about(self, model_version: ModelVersion, max_note_tokens: usize) -> Manifest {
        let Self { dataset_id, parent, thresholds, training } = self;
        Manifest { model_version, prompt_digest: prompt::digest(), dataset_id, parent, thresholds, training, max_note_tokens }
    }
}

/// All tensors of a file in the order of `layout`, widened to `f32`.
fn weights(file: &Path, layout: &Layout) -> Result<Vec<f32>, LoadError> {
    let parsed = |source: candle_core::Error| LoadError::Parse { file: file.to_owned(), source: source.into() };
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).map_err(parsed)?;
    let mut weights = Vec::with_capacity(layout.total());
    for Place { name, shape, .. } in &layout.places {
        let tensor = tensors.get(name).filter(|tensor| tensor.dims() == shape.as_slice());
        let tensor = tensor.ok_or_else(|| LoadError::Tensor { name: name.clone(), shape: shape.clone() })?;
        let flat = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all()).and_then(|tensor| tensor.to_vec1::<f32>());
        weights.extend(flat.map_err(parsed)?);
    }
    Ok(weights)
}

fn digest_of(file: &Path) -> std::io::Result<[u8; 32]> {
    let mut hasher = sha2::Sha256::new();
    let mut source = File::open(file)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
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

/// A named run of numbers on its way into a file.
pub(crate) struct Numbers<'a> {
    pub shape: &'a [usize],
    pub values: &'a [f32],
}

impl View for Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        self.shape
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into()
    }
    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// Lets `fill` write a file beside `file`, makes it durable, and puts it in place at once.
pub(crate) fn replace(file: &Path, fill: impl FnOnce(&Path) -> Result<(), SaveError>) -> Result<(), SaveError> {
    let failed = |source| SaveError::Write { file: file.to_owned(), source };
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    fill(&partial)?;
    File::open(&partial).and_then(|written| written.sync_all()).map_err(failed)?;
    std::fs::rename(&partial, file).map_err(failed)?;
    let parent = file.parent().unwrap_or_else(|| Path::new("."));
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn replace_bytes(file: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    replace(file, |partial| {
        let written = File::create(partial).and_then(|mut to| to.write_all(bytes));
        written.map_err(|source| SaveError::Write { file: file.to_owned(), source })
    })
}

fn replace_json(file: &Path, value: &impl Serialize) -> Result<(), SaveError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|source| SaveError::Encode { file: file.to_owned(), source: source.into() })?;
    replace_bytes(file, &bytes)
}

/// The tokenizer as its own library writes it.
pub(crate) fn tokenizer_json(tokenizer: &Tokenizer, file: &Path) -> Result<String, SaveError> {
    tokenizer.to_string(true).map_err(|source| SaveError::Encode { file: file.to_owned(), source })
}

/// What goes into a folder.
pub(crate) struct Exported<'a> {
    pub config: &'a Config,
    pub tokenizer: &'a Tokenizer,
    pub layout: &'a Layout,
    pub weights: &'a [f32],
    pub max_note_tokens: usize,
}

/// Writes the folder, the manifest last: a folder that a crash left half-written is refused by [`load`] or has no manifest.
pub(crate) fn export(dir: &Path, model: &Exported<'_>, draft: Draft) -> Result<ModelVersion, SaveError> {
    std::fs::create_dir_all(dir).map_err(|source| SaveError::Write { file: dir.to_owned(), source })?;
    let file = dir.join(WEIGHTS);
    replace(&file, |partial| {
        let tensors = model.layout.places.iter().map(|place| {
            (place.name.as_str(), Numbers { shape: &place.shape, values: model.weights.get(place.range.clone()).unwrap_or_default() })
        });
        let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize_to_file(tensors, Some(about), partial)
            .map_err(|source| SaveError::Encode { file: file.clone(), source: source.into() })
    })?;
    let tokenizer = tokenizer_json(model.tokenizer, &dir.join(TOKENIZER))?;
    replace_bytes(&dir.join(TOKENIZER), tokenizer.as_bytes())?;
    let class = serde_json::json!({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "clean_up_tokenization_spaces": false, "model_max_length": model.config.max_position_embeddings});
    if model.tokenizer.token_to_id("<s>").is_some() {
        replace_json(&dir.join("tokenizer_config.json"), &class)?;
    }
    replace_json(&dir.join(CONFIG), model.config)?;
    let weights_digest = digest_of(&file).map_err(|source| SaveError::Write { file, source })?;
    let version = version(&weights_digest, tokenizer.as_bytes(), model.config, model.max_note_tokens);
    replace_json(&dir.join(MANIFEST), &draft.about(version.clone(), model.max_note_tokens))?;
    Ok(version)
}
