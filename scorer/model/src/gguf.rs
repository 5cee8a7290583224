//! One GGUF file as a model: its header, its configuration, its tensors under Hugging Face's names, its vocabulary as a tokenizer.
//!
//! The header is read by ourselves, out of the mapped file and without copying what is not asked for; blocks are widened by candle.
//! What the file says is measured against its length before it is believed.

mod header;
mod settings;
mod tensors;
mod vocabulary;

use std::path::Path;

use crate::folder::Opened;
use crate::load_error::LoadError;
use crate::tokens;
use crate::weights::{Mapping, Weights};

use header::{Header, Refusal};

/// Opens a GGUF file.
pub(crate) fn open(file: &Path) -> Result<Opened, LoadError> {
    let mapping = Mapping::open(file).map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
    let refused = |refusal| match refusal {
        Refusal::Damaged(what) => LoadError::Damaged { file: file.to_owned(), what },
        Refusal::Format(what) => LoadError::Format { file: file.to_owned(), what },
        Refusal::Config(error) => LoadError::Config(error),
    };
    let header = Header::read(mapping.bytes()).map_err(refused)?;
    let config = settings::config(&header).map_err(refused)?;
    let tokenizer_json = vocabulary::tokenizer_json(&header, config.vocab_size).map_err(refused)?;
    let tokenizer = tokens::of_json(&tokenizer_json).map_err(|source| LoadError::Parse { file: file.to_owned(), source })?;
    let tensors = tensors::stored(&header, &config);
    drop(header);
    let mut weights = Weights::default();
    weights.add_file(mapping);
    for (name, tensor) in tensors {
        weights.add(name, tensor)?;
    }
    Ok(Opened { config, tokenizer, tokenizer_json, weights, said: None })
}

#[cfg(test)]
mod tests;
