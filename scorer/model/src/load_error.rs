//! Why a folder or a file is no model that may answer: one kind for each thing that the reader can do about it.

use std::path::PathBuf;

use schemas::ModelVersion;

use crate::config::{ConfigError, ReadConfigError};
use crate::memory::NoRoom;
use crate::tokens::TokenizerError;

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
    /// A file contradicts itself: fetch it again.
    #[error("could not use {}, which is cut, damaged or not what its name says ({what}): fetch it again", file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// What gave it away.
        what: String,
    },
    /// A whole file of a kind that is not read: convert it.
    #[error("could not use {}, which holds {what}: convert it to safetensors or to GGUF in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K or Q6_K", file.display())]
    Format {
        /// Which.
        file: PathBuf,
        /// What it holds.
        what: String,
    },
    /// Another architecture: choose another model.
    #[error("could not use the configuration")]
    Config(#[from] ConfigError),
    /// A tokenizer that does not fit.
    #[error("could not use the tokenizer")]
    Tokenizer(#[from] TokenizerError),
    /// There are no threads to be had.
    #[error("could not make the model ready to answer")]
    Threads(#[from] crate::scoring::PoolError),
    /// The device has no room.
    #[error("could not put the model onto the device")]
    Device(#[from] candle_core::Error),
    /// There is no such device.
    #[error(transparent)]
    NoDevice(#[from] crate::device::DeviceError),
    /// A tensor is missing, so weights and configuration are not of one model.
    #[error("tensor {name} is missing or not of shape {shape:?}: weights and configuration are not of one model")]
    Tensor {
        /// Hugging Face name.
        name: String,
        /// What the configuration asks for.
        shape: Vec<usize>,
    },
    /// A tensor has another shape, so weights and configuration are not of one model.
    #[error("tensor {name} is of shape {found:?} and not {expected:?}: weights and configuration are not of one model")]
    Shape {
        /// Hugging Face name.
        name: String,
        /// What the configuration asks for.
        expected: Vec<usize>,
        /// What the file holds.
        found: Vec<usize>,
    },
    /// A layer that the configuration does not count, so weights and configuration are not of one model.
    #[error(
        "tensor {name} is of none of the {layers} layers that the configuration counts: weights and configuration are not of one model"
    )]
    Layer {
        /// Hugging Face name.
        name: String,
        /// What the configuration asks for.
        layers: usize,
    },
    /// More than the memory that is free. Nothing was allocated.
    #[error("the model needs {} MB of memory and {} MB are free: choose a smaller model or a machine with more memory", needs / 1_000_000, available / 1_000_000)]
    TooBig {
        /// Bytes.
        needs: u64,
        /// Bytes.
        available: u64,
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
        /// [`prompt::digest`](crate::prompt::digest).
        found: String,
    },
}

impl From<NoRoom> for LoadError {
    fn from(no_room: NoRoom) -> Self {
        Self::TooBig { needs: no_room.needs, available: no_room.available }
    }
}

impl LoadError {
    /// What reading a `config.json` can end in.
    pub(crate) fn of_config(file: PathBuf, error: ReadConfigError) -> Self {
        match error {
            ReadConfigError::Json(source) => Self::Parse { file, source: source.into() },
            ReadConfigError::Config(source) => Self::Config(source),
        }
    }
}

/// A name from a file that may hold anything, fit to stand in a sentence.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(80).flat_map(char::escape_default).collect();
    if name.chars().nth(80).is_some() {
        shown.push_str("..");
    }
    shown
}
