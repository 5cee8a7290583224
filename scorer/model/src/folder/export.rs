//! Writing a model's folder: each file beside the old one and then in its place, the manifest last.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, View};
use schemas::ModelVersion;
use serde::Serialize;
use tokenizers::Tokenizer;

use crate::adapters::Adapters;
use crate::config::Config;
use crate::folder::{CONFIG, Draft, MANIFEST, TOKENIZER, WEIGHTS, version};
use crate::layout::{Layout, Place};
use crate::weights::{Mapping, Weights};

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
    /// What should be written could not be read back from where it learns.
    #[error("could not read the weights back from the device")]
    Device(#[from] candle_core::Error),
}

/// Numbers of a range of a layout.
pub(crate) type Read<'a> = dyn Fn(Range<usize>) -> Cow<'a, [f32]> + 'a;

/// A tensor on its way into a file, read when it is written: what has to be made for it exists one tensor at a time.
struct Tensor<'a> {
    place: &'a Place,
    numbers: &'a Read<'a>,
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.place.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        bytes(&(self.numbers)(self.place.range.clone())).into()
    }
    fn data_len(&self) -> usize {
        self.place.range.len() * size_of::<f32>()
    }
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
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
    fn data(&self) -> Cow<'_, [u8]> {
        bytes(self.values).into()
    }
    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// Why the library of safetensors did not write `file`: the disk, or what it was given.
pub(crate) fn unwritten(file: &Path, error: SafeTensorError) -> SaveError {
    match error {
        SafeTensorError::IoError(source) => SaveError::Write { file: file.to_owned(), source },
        other => SaveError::Encode { file: file.to_owned(), source: other.into() },
    }
}

/// Lets `fill` write a file beside `file`, makes it durable, and puts it in place at once. What could not be written whole is removed, for a full disk would
/// stay full of it.
pub(crate) fn replace(file: &Path, fill: impl FnOnce(&Path) -> Result<(), SaveError>) -> Result<(), SaveError> {
    let failed = |source| SaveError::Write { file: file.to_owned(), source };
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let in_place = || {
        fill(&partial)?;
        File::open(&partial).and_then(|written| written.sync_all()).map_err(failed)?;
        std::fs::rename(&partial, file).map_err(failed)
    };
    if let Err(error) = in_place() {
        let _there_or_not: std::io::Result<()> = std::fs::remove_file(&partial);
        return Err(error);
    }
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
    pub numbers: &'a Read<'a>,
    pub max_note_tokens: usize,
}

fn write<'a>(places: &'a [Place], numbers: &'a Read<'a>, file: &Path) -> Result<(), SaveError> {
    let tensors = places.iter().map(|place| (place.name.as_str(), Tensor { place, numbers }));
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(about), file).map_err(|error| unwritten(file, error))
}

/// Writes the folder, the manifest last: a folder that a crash left half-written is refused by
/// [`load`](crate::folder::load) or has no manifest.
pub(crate) fn export(dir: &Path, model: &Exported<'_>, draft: Draft) -> Result<ModelVersion, SaveError> {
    std::fs::create_dir_all(dir).map_err(|source| SaveError::Write { file: dir.to_owned(), source })?;
    let file = dir.join(WEIGHTS);
    replace(&file, |partial| write(&model.layout.places, model.numbers, partial))?;
    let tokenizer = tokenizer_json(model.tokenizer, &dir.join(TOKENIZER))?;
    replace_bytes(&dir.join(TOKENIZER), tokenizer.as_bytes())?;
    let class = serde_json::json!({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "clean_up_tokenization_spaces": false, "model_max_length": model.config.max_position_embeddings});
    if model.tokenizer.token_to_id("<s>").is_some() {
        replace_json(&dir.join("tokenizer_config.json"), &class)?;
    }
    replace_json(&dir.join(CONFIG), model.config)?;
    let mut written = Weights::default();
    written.add_file(Mapping::open(&file).map_err(|source| SaveError::Write { file, source })?);
    let version = version(&written.digest(), tokenizer.as_bytes(), model.config, model.max_note_tokens);
    replace_json(&dir.join(MANIFEST), &draft.about(version.clone(), model.max_note_tokens))?;
    Ok(version)
}

/// Writes adapters as `peft` reads them.
pub(crate) fn export_adapters(dir: &Path, adapters: &Adapters, weights: &[f32]) -> Result<(), SaveError> {
    std::fs::create_dir_all(dir).map_err(|source| SaveError::Write { file: dir.to_owned(), source })?;
    let file = dir.join("adapter_model.safetensors");
    let numbers = |range: Range<usize>| Cow::Borrowed(&weights[range]);
    replace(&file, |partial| write(&adapters.places, &numbers, partial))?;
    replace_json(&dir.join("adapter_config.json"), &adapters.lora.peft())
}
