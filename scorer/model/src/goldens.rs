//! Tests of what loads against others: small random Llamas whose tokens, logits and losses `transformers` and `sentencepiece` gave, and a
//! real one where it is at hand. `goldens/make.py` makes them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::folder::{self, Folder};
use crate::model::shares;
use crate::network::Network;
use crate::page::Page;
use crate::prompt::clean;
use crate::tokens::Reader;
use crate::weights::{Encoding, Mapping, RowOrder, Stored, Weights};
use crate::{Model, NextTokens, Precision, Prompt, Settings};

type Tested = Result<(), Box<dyn std::error::Error>>;

#[derive(Deserialize)]
struct Pass {
    tokens: Vec<u32>,
    logits: Vec<f32>,
    cross_entropy: f64,
}

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    passes: Vec<Pass>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

/// Logits behind every token: `[tokens, vocab]`.
fn logits(folder: &Folder, network: &Network, tokens: &[u32]) -> Vec<Vec<f32>> {
    let normed = network.read(&folder.weights, &Page::of(&[], tokens, &[]));
    let head = &folder.weights[network.layout.head.clone()];
    let hidden = network.config.hidden_size;
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>() as f32;
    normed.chunks_exact(hidden).map(|row| head.chunks_exact(hidden).map(|word| dot(row, word)).collect()).collect()
}

fn cross_entropy(logits: &[Vec<f32>], tokens: &[u32]) -> f64 {
    let of = |(row, next): (&Vec<f32>, &u32)| {
        let most = row.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = row.iter().map(|logit| f64::from(logit - most).exp()).sum();
        sum.ln() - f64::from(row[*next as usize] - most)
    };
    logits.iter().zip(&tokens[1..]).map(of).sum::<f64>() / (tokens.len() - 1) as f64
}

/// The folder's tokens are those expected, letter for letter, and its logits and losses within `tolerance`. Returns how far the farthest
/// logit is.
fn answers_as_expected(model: &Path, expected: &Path, tolerance: f32) -> Result<f32, Box<dyn std::error::Error>> {
    let expected: Expected = serde_json::from_slice(&std::fs::read(expected)?)?;
    let folder = folder::load(model, 1)?;
    for (text, ids) in expected.texts.iter().zip(&expected.ids) {
        let found = folder.tokenizer.encode_fast(text.as_str(), true).map_err(|error| error.to_string())?;
        assert_eq!(found.get_ids(), ids, "{text:?}");
    }
    let network = Network::new(folder.config.clone());
    assert!(!expected.passes.is_empty());
    let mut farthest = 0.0;
    for pass in &expected.passes {
        let found = logits(&folder, &network, &pass.tokens);
        let last = found.last().ok_or("no tokens")?;
        let apart = last.iter().zip(&pass.logits).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(last.len() == pass.logits.len() && apart < tolerance, "logits are {apart} apart");
        farthest = apart.max(farthest);
        let loss = cross_entropy(&found, &pass.tokens);
        assert!((loss - pass.cross_entropy).abs() < f64::from(tolerance), "{loss}, expected {}", pass.cross_entropy);
    }
    drop(folder);
    assert!(foretells_as_expected(model, &expected, f64::from(tolerance))? > 0);
    Ok(farthest)
}

/// The mean cross-entropy of the notes' next tokens is that expected. Returns the passes over a text as it is read for an answer; others are of more tokens, or of
/// texts that are cleaned first.
fn foretells_as_expected(model: &Path, expected: &Expected, tolerance: f64) -> Result<usize, Box<dyn std::error::Error>> {
    let mut foretelling = NextTokens::load(model, &Settings::default())?;
    let mut compared = 0;
    for (text, ids) in expected.texts.iter().zip(&expected.ids) {
        let Some(pass) = expected.passes.iter().find(|pass| pass.tokens == *ids) else { continue };
        let found = foretelling.of(text)?;
        if clean(text) != *text || found.tokens + 1 != ids.len() {
            continue;
        }
        let mean = found.nats / found.tokens as f64;
        assert!((mean - pass.cross_entropy).abs() < tolerance, "{mean}, expected {}", pass.cross_entropy);
        compared += 1;
    }
    Ok(compared)
}

/// bf16 in shards, untied, heads wider than their share, fewer keys than queries, `rope_parameters` of Llama 3.
#[test]
fn a_sharded_folder_answers_as_in_transformers() -> Tested {
    answers_as_expected(&golden("sharded"), &golden("sharded/expected.json"), 1e-4).map(|_| ())
}

/// f16 in one file, tied, `rope_scaling` by the name of transformers 4.
#[test]
fn a_tied_folder_with_linear_scaling_answers_as_in_transformers() -> Tested {
    answers_as_expected(&golden("linear"), &golden("linear/expected.json"), 1e-4).map(|_| ())
}

/// The sharded model in F16, Q8_0, Q4_0 and Q4_1: rows turned back, `rope_freqs` heard, the vocabulary taken from the file.
#[test]
fn a_gguf_answers_as_its_numbers_do_in_transformers() -> Tested {
    answers_as_expected(&golden("byte-level.gguf"), &golden("byte-level.json"), 1e-4).map(|_| ())
}

/// BF16, tied, with a vocabulary of SentencePiece's: byte fallback, digits by themselves, line breaks as bytes.
#[test]
fn a_gguf_with_sentencepiece_reads_the_tokens_of_sentencepiece() -> Tested {
    answers_as_expected(&golden("sentencepiece.gguf"), &golden("sentencepiece.json"), 1e-4).map(|_| ())
}

/// A folder with nothing in it but a GGUF is that GGUF.
#[test]
fn a_folder_with_one_gguf_is_that_gguf() -> Tested {
    let dir = tempfile::tempdir()?;
    std::fs::copy(golden("byte-level.gguf"), dir.path().join("any.gguf"))?;
    let (file, folder) = (folder::load(&golden("byte-level.gguf"), 1)?, folder::load(dir.path(), 1)?);
    assert_eq!((file.manifest.model_version, file.config), (folder.manifest.model_version, folder.config));
    Ok(())
}

/// Bytes at random in every kind of block; the numbers are those of the `gguf` package.
#[test]
fn blocks_are_widened_as_the_gguf_package_widens_them() -> Tested {
    let bytes = std::fs::read(golden("blocks.safetensors"))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("blocks");
    for (name, code) in [
        ("Q4_0", 2),
        ("Q4_1", 3),
        ("Q5_0", 6),
        ("Q5_1", 7),
        ("Q8_0", 8),
        ("Q2_K", 10),
        ("Q3_K", 11),
        ("Q4_K", 12),
        ("Q5_K", 13),
        ("Q6_K", 14),
    ] {
        let encoding = Encoding::of_ggml(code).ok_or(name)?;
        let (blocks, numbers) = (tensors.tensor(&format!("{name}.bytes"))?, tensors.tensor(&format!("{name}.numbers"))?);
        std::fs::write(&file, blocks.data())?;
        let mut weights = Weights::default();
        let file = weights.add_file(Mapping::open(&file)?);
        let stored = Stored { file, bytes: 0..blocks.data().len(), shape: vec![1, 512], encoding, order: RowOrder::Straight };
        weights.add(name.to_owned(), stored)?;
        let view = weights.tensor(name).ok_or(name)?;
        assert_eq!((view.encoding(), view.bytes()), (encoding, Some(blocks.data())));
        let mut found = [0.0; 512];
        view.widen(0..1, &mut found);
        let expected: Vec<f32> = numbers.data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
        for (index, (x, y)) in found.iter().zip(&expected).enumerate() {
            assert!((x - y).abs() <= 1e-6 * y.abs().max(1.0), "{name}[{index}]: {x}, expected {y}");
        }
        assert!(expected.len() == 512 && expected.iter().any(|number| *number != 0.0));
    }
    Ok(())
}

/// How far the shares of the five letters behind each pass lie from those expected, at most, as the path that answers finds them.
fn letters_apart(model: &Path, expected: &Path, precision: Precision) -> Result<f64, Box<dyn std::error::Error>> {
    let expected: Expected = serde_json::from_slice(&std::fs::read(expected)?)?;
    let opened = folder::open(model)?;
    let letters = Reader::new(opened.tokenizer, &opened.config, folder::MAX_NOTE_TOKENS)?.letters;
    let loaded = Model::load_with(model, &Settings { precision: Some(precision), ..Settings::default() })?;
    assert_eq!(loaded.precision(), precision);
    let (engine, _) = loaded.into_engine();
    let mut farthest = 0.0;
    for pass in &expected.passes {
        let (note, last) = pass.tokens.split_at(pass.tokens.len() - 1);
        let found = engine.logits(&[Prompt { note, questions: &[last] }])?.concat().concat();
        let expected = letters.map(|letter| pass.logits[letter as usize]);
        assert_eq!(found.len(), expected.len());
        let apart = shares(&found).iter().zip(shares(&expected)).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        farthest = apart.max(farthest);
    }
    Ok(farthest)
}

/// Packed, every small model says of the letters what `transformers` says.
#[test]
fn what_is_packed_answers_as_in_transformers() -> Tested {
    for (model, expected) in [
        ("sharded", "sharded/expected.json"),
        ("linear", "linear/expected.json"),
        ("byte-level.gguf", "byte-level.json"),
        ("sentencepiece.gguf", "sentencepiece.json"),
    ] {
        let apart = letters_apart(&golden(model), &golden(expected), Precision::F32)?;
        assert!(apart < 1e-4, "{model}: {apart} apart");
    }
    Ok(())
}

/// SmolLM2-135M or other real models: name folders with `model.gguf` and the `expected.json` of `make.py real`, a colon between them, in
/// `WARDSTREAM_REAL_MODELS` when building. The README has the commands.
#[test]
fn real_models_answer_as_in_transformers() -> Tested {
    // Straight to stderr: what `eprintln!` says in a test that passes, nobody sees.
    let mut told = std::io::stderr();
    let Some(named) = option_env!("WARDSTREAM_REAL_MODELS") else {
        writeln!(told, "not run: no real model is named in WARDSTREAM_REAL_MODELS when building, so none was held against transformers")?;
        let small = folder::load(&golden("byte-level.gguf"), 1)?;
        assert_eq!(small.weights.len(), small.config.parameters());
        return Ok(());
    };
    for dir in named.split(':').map(Path::new) {
        let (model, expected) = (dir.join("model.gguf"), dir.join("expected.json"));
        let farthest = answers_as_expected(&model, &expected, 1e-3)?;
        writeln!(told, "the farthest logit of {} is {farthest} from that of transformers", dir.display())?;
        for (precision, tolerance) in [(Precision::F32, 1e-3), (Precision::Bf16, 1e-2), (Precision::Int16, 1e-2)] {
            let apart = letters_apart(&model, &expected, precision)?;
            writeln!(told, "packed in {}, the farthest probability of its letters is {apart} from theirs", precision.as_str())?;
            assert!(apart < tolerance, "{} in {}: {apart} apart", dir.display(), precision.as_str());
        }
    }
    Ok(())
}
