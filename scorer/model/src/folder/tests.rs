//! Hostile folders: missing, cut, mislabelled and flipped files, and one that no memory holds.

use std::fs::OpenOptions;
use std::path::PathBuf;

use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, json};

use super::*;
use crate::{LearnError, Learner, Model};

type Tested = Result<(), Box<dyn std::error::Error>>;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name)
}

fn copied(name: &str) -> std::io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    for entry in std::fs::read_dir(golden(name))? {
        let entry = entry?;
        std::fs::copy(entry.path(), dir.path().join(entry.file_name()))?;
    }
    Ok(dir)
}

fn refusal(dir: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let Err(refused) = load(dir, 1) else { return Err("it was loaded".into()) };
    let causes = std::iter::successors(Some(&refused as &dyn std::error::Error), |error| error.source());
    Ok(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

#[test]
fn what_is_missing_is_named() -> Tested {
    for (gone, said) in [("config.json", "config.json"), ("tokenizer.json", "tokenizer.json"), ("model.safetensors", "model.safetensors")] {
        let dir = copied("linear")?;
        std::fs::remove_file(dir.path().join(gone))?;
        let refused = refusal(dir.path())?;
        assert!(refused.contains(said) && refused.contains("could not read"), "{refused}");
    }
    let dir = copied("linear")?;
    std::fs::rename(dir.path().join("model.safetensors"), dir.path().join("pytorch_model.bin"))?;
    assert!(refusal(dir.path())?.contains("pickled weights: convert it"));
    assert!(refusal(&dir.path().join("nowhere"))?.contains("nowhere"));
    assert!(refusal(&golden("linear/model.safetensors"))?.contains("named by its folder"));
    Ok(())
}

#[test]
fn an_index_names_files_beside_it_that_hold_what_it_says() -> Tested {
    let file = "model.safetensors.index.json";
    let written = std::fs::read_to_string(golden("sharded").join(file))?;
    for (from, to, said) in [
        ("model-00002-of-00002.safetensors", "../model-00002-of-00002.safetensors", "no file beside it"),
        ("model-00002-of-00002.safetensors", "/etc/hostname", "no file beside it"),
        ("model-00002-of-00002.safetensors", "model-00003-of-00002.safetensors", "model-00003-of-00002.safetensors"),
        ("\"model.norm.weight\"", "\"model.other.weight\"", "does not hold it"),
        ("weight_map", "weights", "could not parse"),
    ] {
        let dir = copied("sharded")?;
        std::fs::write(dir.path().join(file), written.replace(from, to))?;
        let refused = refusal(dir.path())?;
        assert!(refused.contains(said), "{refused:?} does not say {said:?}");
    }
    let dir = copied("sharded")?;
    std::fs::copy(dir.path().join("model-00001-of-00002.safetensors"), dir.path().join("model-00002-of-00002.safetensors"))?;
    assert!(refusal(dir.path())?.contains("there are two tensors"));
    Ok(())
}

/// A device never ends, whichever file it stands for.
#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused() -> Tested {
    for name in [CONFIG, TOKENIZER, MANIFEST, "model-00002-of-00002.safetensors", "model.safetensors.index.json"] {
        let dir = copied("sharded")?;
        let file = dir.path().join(name);
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        std::os::unix::fs::symlink("/dev/zero", &file)?;
        let refused = refusal(dir.path())?;
        assert!(refused.contains(name) && refused.contains("not a regular file"), "{refused}");
    }
    Ok(())
}

/// Every cut of the weights and the configuration, and many of the tokenizer.
#[test]
fn every_cut_is_refused() -> Tested {
    let dir = copied("linear")?;
    let opens = |name: &str| if name == WEIGHTS { folder_weights(dir.path()).is_ok() } else { open(dir.path()).is_ok() };
    for (name, step) in [(WEIGHTS, 1), (CONFIG, 1), (TOKENIZER, 37)] {
        let path = dir.path().join(name);
        let whole = std::fs::read(&path)?;
        let file = OpenOptions::new().write(true).open(&path)?;
        // White space may be missing where the file is text.
        let end = if name == WEIGHTS { whole.len() } else { whole.trim_ascii_end().len() };
        for length in (0..end as u64).rev().step_by(step) {
            file.set_len(length)?;
            assert!(!opens(name), "{length} bytes of {name} were opened");
        }
        std::fs::write(&path, &whole)?;
        assert!(opens(name));
    }
    Ok(())
}

/// A model or an error; loaded to the last number where it opens.
#[test]
fn no_flipped_byte_makes_a_panic() -> Tested {
    let dir = copied("linear")?;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(12);
    for (name, upto, rounds) in [("model.safetensors", 1_500, 300), ("config.json", usize::MAX, 200), ("tokenizer.json", usize::MAX, 300)] {
        let path = dir.path().join(name);
        let whole = std::fs::read(&path)?;
        let mut refused = 0;
        for _ in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..upto.min(bytes.len()));
                bytes[at] = if random.random() { bytes[at] ^ (1 << random.random_range(0..8)) } else { random.random() };
            }
            std::fs::write(&path, &bytes)?;
            refused += u32::from(Model::load(dir.path()).is_err());
        }
        assert!(refused > rounds / 10, "{refused} of {rounds} flips of {name} were refused");
        std::fs::write(&path, &whole)?;
    }
    Model::load(dir.path())?;
    Ok(())
}

/// A sparse file of two terabytes whose header fits its configuration: nothing but the memory is in its way.
#[test]
fn a_model_larger_than_memory_is_refused_before_anything_is_allocated() -> Tested {
    let dir = copied("linear")?;
    let large = Config {
        vocab_size: 1 << 22,
        hidden_size: 1 << 18,
        intermediate_size: 2,
        head_dim: Some(2),
        num_hidden_layers: 1,
        ..Config::demo(2)
    };
    large.check()?;
    std::fs::write(dir.path().join(CONFIG), serde_json::to_vec(&large)?)?;
    let layout = Layout::of(&large);
    let places = layout.places.iter().map(|place| {
        let offsets = [place.range.start * 2, place.range.end * 2];
        (place.name.clone(), json!({"dtype": "F16", "shape": place.shape, "data_offsets": offsets}))
    });
    let header = serde_json::to_vec(&places.collect::<Map<_, _>>())?;
    let weights = dir.path().join(WEIGHTS);
    std::fs::write(&weights, [&(header.len() as u64).to_le_bytes(), header.as_slice()].concat())?;
    OpenOptions::new().write(true).open(&weights)?.set_len((8 + header.len() + layout.total() * 2) as u64)?;
    open(dir.path())?;
    let needed = |copies: u64| copies * layout.total() as u64 * 4 + large.rotary_bytes(MAX_NOTE_TOKENS);
    assert!(matches!(load(dir.path(), 1), Err(LoadError::TooBig { needs, available }) if needs == needed(1) && available < needs));
    let learned = Learner::from(dir.path());
    assert!(matches!(learned, Err(LearnError::Load(LoadError::TooBig { needs, .. })) if needs == needed(4)));
    Ok(())
}

/// Numbers of 64 bits behind all others: what is no weight by its name changes answers, too, and only what follows from the configuration does not.
#[test]
fn a_tensor_of_another_kind_is_refused_unless_nobody_reads_it() -> Tested {
    let dir = copied("linear")?;
    let weights = dir.path().join(WEIGHTS);
    let whole = std::fs::read(&weights)?;
    let length = usize::try_from(u64::from_le_bytes(*whole.first_chunk().ok_or("cut")?))?;
    let (header, numbers) = whole[8..].split_at(length);
    let beside = |name: &str| -> Tested {
        let mut said: Map<String, serde_json::Value> = serde_json::from_slice(header)?;
        let offsets = [numbers.len(), numbers.len() + 16];
        said.insert(name.to_owned(), json!({"dtype": "F64", "shape": [2], "data_offsets": offsets}));
        let said = serde_json::to_vec(&said)?;
        let all = [&(said.len() as u64).to_le_bytes(), said.as_slice(), numbers, &[0x3f; 16]].concat();
        std::fs::write(&weights, all)?;
        Ok(())
    };
    beside("model.layers.0.self_attn.q_proj.bias")?;
    assert!(refusal(dir.path())?.contains("tensor model.layers.0.self_attn.q_proj.bias in F64"));
    beside("model.layers.0.self_attn.rotary_emb.inv_freq")?;
    open(dir.path())?;
    Ok(())
}

#[test]
fn a_header_longer_than_any_is_not_read() -> Tested {
    let dir = copied("linear")?;
    let weights = dir.path().join(WEIGHTS);
    let mut bytes = std::fs::read(&weights)?;
    for length in [u64::MAX, 1 << 30, bytes.len() as u64] {
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        std::fs::write(&weights, &bytes)?;
        assert!(refusal(dir.path())?.contains("cut, damaged or not what its name says"));
    }
    OpenOptions::new().write(true).open(dir.path().join(CONFIG))?.set_len(MAX_SAID + 1)?;
    assert!(refusal(dir.path())?.contains("bytes long"));
    Ok(())
}

/// A disk that is full stays no fuller for it, and what was there before is there still.
#[test]
fn what_could_not_be_written_leaves_nothing_behind() -> Tested {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("numbers");
    std::fs::write(&file, b"before")?;
    let full = |partial: &Path| {
        let written = std::fs::write(partial, b"half").and(Err(std::io::Error::from(ErrorKind::StorageFull)));
        written.map_err(|source| SaveError::Write { file: partial.to_owned(), source })
    };
    assert!(matches!(replace(&file, full), Err(SaveError::Write { .. })));
    assert_eq!(std::fs::read(&file)?, b"before");
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 1);
    Ok(())
}

/// SentencePiece's own file does where there is no `tokenizer.json`.
#[test]
fn a_folder_with_tokenizer_model_reads_what_the_gguf_reads() -> Tested {
    let dir = tempfile::tempdir()?;
    let gguf = load(&golden("sentencepiece.gguf"), 1)?;
    let learner = Learner::from(&golden("sentencepiece.gguf"))?;
    learner.export(dir.path(), Draft::default())?;
    let exported = load(dir.path(), 1)?;
    assert_eq!((&exported.weights, &exported.config), (&gguf.weights, &gguf.config));
    std::fs::remove_file(dir.path().join(TOKENIZER))?;
    std::fs::remove_file(dir.path().join(MANIFEST))?;
    std::fs::copy(golden("tokenizer.model"), dir.path().join(SENTENCEPIECE))?;
    let found = load(dir.path(), 1)?;
    for text in ["Seen with the team.\n\nNo rash, 12 kg.", "", " ~ "] {
        let ids = |folder: &Folder| folder.tokenizer.encode_fast(text, true).map(|found| found.get_ids().to_vec());
        assert_eq!(ids(&found).map_err(|error| error.to_string())?, ids(&gguf).map_err(|error| error.to_string())?);
        assert_eq!(ids(&exported).map_err(|error| error.to_string())?, ids(&gguf).map_err(|error| error.to_string())?);
    }
    std::fs::write(dir.path().join(SENTENCEPIECE), b"\x0a\xff")?;
    assert!(refusal(dir.path())?.contains("ends within a field"));
    Ok(())
}
