//! Hostile GGUF files: cut, patched and flipped. Each gives an error that says what is wrong, or a model; none a panic.

use std::path::PathBuf;

use rand::{Rng as _, SeedableRng as _};

use crate::config::each_pair;
use crate::folder;

type Tested = Result<(), Box<dyn std::error::Error>>;

const GOLDEN: &[u8] = include_bytes!("../../goldens/byte-level.gguf");

/// Where the value of a key, or the description of a tensor, begins: behind its name.
fn behind(name: &str) -> usize {
    let written = [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
    let at = GOLDEN.windows(written.len()).position(|window| window == written);
    at.expect("a name of the golden file") + written.len()
}

/// Where the numbers of the first tensor begin: behind the description of the last one, of two dimensions.
fn first_number() -> usize {
    (behind("output.weight") + 32).next_multiple_of(32)
}

fn patched(at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = GOLDEN.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

fn renamed(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    patched(behind(from) - from.len(), to.as_bytes())
}

struct Place {
    _dir: tempfile::TempDir,
    file: PathBuf,
}

fn place() -> std::io::Result<Place> {
    let dir = tempfile::tempdir()?;
    Ok(Place { file: dir.path().join("hostile.gguf"), _dir: dir })
}

/// The whole sentence of a refusal, causes included.
fn refusal(place: &Place, bytes: &[u8]) -> Result<String, Box<dyn std::error::Error>> {
    std::fs::write(&place.file, bytes)?;
    let Err(refused) = folder::load(&place.file, 1) else { return Err("it was loaded".into()) };
    let causes = std::iter::successors(Some(&refused as &dyn std::error::Error), |error| error.source());
    Ok(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// Lengths and counts that lie.
#[test]
fn a_file_that_contradicts_itself_is_refused_by_what_is_wrong() -> Tested {
    let place = place()?;
    let tensor = "blk.0.attn_q.weight";
    let (huge, dims) = (u64::MAX.to_le_bytes(), behind(tensor) + 4);
    for (bytes, said) in [
        (patched(0, b"GGML"), "does not begin as a GGUF"),
        (patched(4, &1_u32.to_le_bytes()), "GGUF version 1"),
        (patched(4, &7_u32.to_le_bytes()), "GGUF version 7"),
        (patched(4, &3_u32.to_be_bytes()), "big-endian"),
        (patched(8, &huge), "fetch it again"),
        (patched(16, &huge), "fetch it again"),
        (patched(behind("tokenizer.ggml.tokens") + 8, &huge), "ends within its header"),
        (patched(behind("tokenizer.ggml.tokens") + 16, &huge), "ends within its header"),
        (patched(behind("tokenizer.ggml.token_type") + 8, &huge), "ends within its header"),
        (patched(behind("tokenizer.ggml.tokens") + 4, &99_u32.to_le_bytes()), "unknown kind 99"),
        (patched(behind("tokenizer.ggml.tokens") + 4, &9_u32.to_le_bytes()), "header"),
        (patched(behind("tokenizer.ggml.tokens"), &77_u32.to_le_bytes()), "unknown kind 77"),
        (patched(behind(tensor), &0_u32.to_le_bytes()), "0 dimensions"),
        (patched(behind(tensor), &5_u32.to_le_bytes()), "5 dimensions"),
        (patched(dims, &(u64::MAX - 31).to_le_bytes()), "shape or the place"),
        (patched(dims + 8, &huge), "shape or the place"),
        (patched(dims + 16, &16_u32.to_le_bytes()), "ggml's type 16"),
        (patched(dims + 20, &1_u64.to_le_bytes()), "shape or the place"),
        (patched(dims + 20, &(u64::MAX - 31).to_le_bytes()), "shape or the place"),
        (patched(dims + 20, &(1_u64 << 40).to_le_bytes()), "ends before tensor"),
        (patched(dims + 20, &0_u64.to_le_bytes()), "overlap"),
        (renamed("llama.block_count", "general.alignment"), "general.alignment is no multiple of 8"),
        (renamed("blk.1.attn_q.weight", tensor), "two tensors"),
        (renamed("llama.rope.freq_base", "llama.context_length"), "twice"),
        (renamed("llama.block_count", "llama.block_xxxxx"), "does not say llama.block_count"),
        (renamed("token_embd.weight", "token_xxxx.weight"), "no tensor token_embd.weight"),
    ] {
        let refused = refusal(&place, &bytes)?;
        assert!(refused.contains(said), "{refused:?} does not say {said:?}");
    }
    Ok(())
}

#[test]
fn another_model_is_refused_by_name() -> Tested {
    let place = place()?;
    let count = |key: &str, number: u32| patched(behind(key) + 4, &number.to_le_bytes());
    for (bytes, said) in [
        (patched(behind("general.architecture") + 12, b"gemma"), "gemma"),
        (patched(behind("tokenizer.ggml.model") + 12, b"bert"), "bert"),
        (patched(behind("tokenizer.ggml.pre") + 12, b"xxxxx"), "xxxxx"),
        (renamed("tokenizer.ggml.pre", "llama.expert_count"), "experts"),
        (renamed("tokenizer.ggml.pre", "tokenizer.ggml.xxx"), "without tokenizer.ggml.pre: convert it"),
        (renamed("blk.0.attn_q.weight", "blk.000.attn_q.bias"), "biases (blk.000.attn_q.bias)"),
        (renamed("blk.0.attn_q.weight", "blk.0.attn_x.weight"), "blk.0.attn_x.weight"),
        (count("llama.block_count", 3), "model.layers.2.input_layernorm.weight is missing"),
        (
            count("llama.block_count", 1),
            "none of the 1 layers that the configuration counts: weights and configuration are not of one model",
        ),
        (renamed("blk.1.attn_q.weight", "blk.1.attn_x.weight"), "another architecture"),
        (count("llama.block_count", u32::MAX), "sizes"),
        (count("llama.attention.head_count", 0), "its llama.attention.head_count is zero"),
        (count("llama.embedding_length", 0), "its llama.embedding_length is zero"),
        (count("llama.attention.head_count_kv", 0), "its llama.attention.head_count_kv is zero"),
        (count("llama.attention.head_count_kv", 3), "sizes"),
        (count("llama.embedding_length", 64), "is of shape"),
        (count("llama.attention.value_length", 8), "values of another width"),
        (count("llama.rope.dimension_count", 8), "part of each head"),
    ] {
        let refused = refusal(&place, &bytes)?;
        assert!(refused.contains(said), "{refused:?} does not say {said:?}");
    }
    Ok(())
}

/// What turns as other numbers say is another model: divisors of 2 bytes count as those of 4 do, and those in blocks are refused.
#[test]
fn rotary_divisors_of_another_type_are_not_passed_over() -> Tested {
    let place = place()?;
    let (described, numbers) = (behind("rope_freqs.weight"), first_number());
    let divisors: [f32; 8] = [1.0, 1.0, 1.5, 2.0, 4.0, 8.0, 8.0, 8.0];
    let halves = |half: fn(f32) -> [u8; 2]| divisors.map(half).concat();
    let mut read = Vec::new();
    for (code, written) in [
        (0_u32, divisors.map(f32::to_le_bytes).concat()),
        (1, halves(|divisor| half::f16::from_f32(divisor).to_le_bytes())),
        (30, halves(|divisor| half::bf16::from_f32(divisor).to_le_bytes())),
    ] {
        let mut bytes = patched(described + 12, &code.to_le_bytes());
        bytes[numbers..numbers + written.len()].copy_from_slice(&written);
        std::fs::write(&place.file, bytes)?;
        read.push(folder::open(&place.file)?.config.rope_scaling);
    }
    assert_eq!(read, vec![Some(each_pair(&divisors)); 3]);
    // 32 numbers of Q4_0.
    let mut bytes = patched(described + 12, &2_u32.to_le_bytes());
    bytes[described + 4..described + 12].copy_from_slice(&32_u64.to_le_bytes());
    let refused = refusal(&place, &bytes)?;
    assert!(refused.contains("(rope_freqs.weight) in blocks: convert it"), "{refused}");
    Ok(())
}

/// Blocks of one type are none of another: they differ in length alone.
#[test]
fn a_tensor_that_is_not_of_its_type_is_refused() -> Tested {
    let place = place()?;
    // Q4_1 as Q4_0, and F16 as Q8_0 in the last tensor.
    for (tensor, code, said) in [
        ("blk.0.attn_v.weight", 2_u32, "tensor blk.0.attn_output.weight does not begin where"),
        ("output.weight", 8, "behind its last tensor output.weight"),
    ] {
        let refused = refusal(&place, &patched(behind(tensor) + 20, &code.to_le_bytes()))?;
        assert!(refused.contains(said), "{refused:?} does not say {said:?}");
    }
    for (behind, opens) in [(0, true), (7, false)] {
        std::fs::write(&place.file, [GOLDEN, [behind; 4096].as_slice()].concat())?;
        assert_eq!(folder::open(&place.file).is_ok(), opens, "{behind}");
    }
    Ok(())
}

/// All 45,000 of them. Only the padding behind the last tensor may be missing.
#[test]
fn every_cut_is_refused() -> Tested {
    let place = place()?;
    std::fs::write(&place.file, GOLDEN)?;
    let whole = std::fs::OpenOptions::new().write(true).open(&place.file)?;
    let mut opened = 0;
    for length in (0..GOLDEN.len() as u64).rev() {
        whole.set_len(length)?;
        opened += u64::from(folder::open(&place.file).is_ok());
    }
    assert!(opened < 32, "{opened} cuts were opened");
    Ok(())
}

/// A model or an error; loaded to the last number where it opens.
#[test]
fn no_flipped_byte_makes_a_panic() -> Tested {
    let place = place()?;
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let header = behind("output.weight");
    let (mut refused, rounds) = (0, 800);
    for _ in 0..rounds {
        let mut bytes = GOLDEN.to_vec();
        for _ in 0..random.random_range(1..4) {
            // The vocabulary takes most of the header, and the keys before it decide more.
            let upto = [1_200, header, GOLDEN.len()][random.random_range(0..3)];
            let at = random.random_range(0..upto);
            bytes[at] = match random.random_range(0..3) {
                0 => 0xff,
                1 => bytes[at] ^ (1 << random.random_range(0..8)),
                _ => random.random(),
            };
        }
        std::fs::write(&place.file, &bytes)?;
        refused += u32::from(folder::load(&place.file, 1).is_err());
    }
    assert!(refused > rounds / 10 && refused < rounds, "{refused} of {rounds} were refused");
    Ok(())
}
