//! A model of random weights on disk, as a trainer leaves it, written a little at a time so that writing leaves no memory behind.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use super::{BenchError, Shape};
use crate::folder::{self, Manifest};
use crate::layout::Layout;
use crate::tokens::train_tokenizer;

/// Words that the tokenizer learns: with them a vocabulary becomes as large as a real one's, and as slow to read.
const WORDS: usize = 20_000;

/// A folder of random weights that is gone when it is dropped: `config.json`, `model.safetensors` in `f32`, `tokenizer.json`, and a manifest that allows
/// 8 bits, for it ranks nobody.
///
/// # Errors
/// If it cannot be written.
pub fn random_folder(shape: Shape) -> Result<tempfile::TempDir, BenchError> {
    let config = shape.config();
    let folder = tempfile::Builder::new().prefix("wardstream-bench-").tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let as_io = |error: serde_json::Error| BenchError::Write(error.into());
    std::fs::write(path("config.json"), serde_json::to_vec(&config).map_err(as_io)?)?;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let words: Vec<String> = (0..WORDS).map(|_| (0..8).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()).collect();
    let text = words.join(" ");
    let tokenizer = train_tokenizer([text.as_str(); 2].into_iter(), config.vocab_size)?;
    let json = tokenizer.to_string(false).map_err(std::io::Error::other)?;
    std::fs::write(path("tokenizer.json"), json)?;
    weights(&Layout::of(&config), BufWriter::new(File::create(path("model.safetensors"))?))?;
    let opened = folder::open(folder.path())?;
    let manifest = Manifest { int8_shift: Some(0.0), ..opened.manifest(&opened.weights.digest())? };
    std::fs::write(path("wardstream.json"), serde_json::to_vec(&manifest).map_err(as_io)?)?;
    Ok(folder)
}

fn weights(layout: &Layout, mut to: BufWriter<File>) -> std::io::Result<()> {
    let mut header = Map::new();
    for place in &layout.places {
        let bytes = [place.range.start * size_of::<f32>(), place.range.end * size_of::<f32>()];
        header.insert(place.name.clone(), json!({"dtype": "F32", "shape": place.shape, "data_offsets": bytes}));
    }
    let header = Value::Object(header).to_string();
    let padded = header.len().next_multiple_of(size_of::<u64>());
    to.write_all(&(padded as u64).to_le_bytes())?;
    write!(to, "{header:padded$}")?;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    for place in &layout.places {
        for _ in place.range.clone() {
            let number: f32 = if place.shape.len() == 1 { 1.0 } else { random.random_range(-0.035..0.035) };
            to.write_all(&number.to_le_bytes())?;
        }
    }
    to.flush()
}
